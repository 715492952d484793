//! The tools of the other tests do what they say.

use std::time::{Duration, Instant};

use crate::support::{Broker, History, Hold, Memcached, Proxy, RawSession, SOON, end_of, eventually, next_event};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, BeginLock, LockSpec, session_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

/// For what must not happen.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_restarted_memcached_has_lost_its_memory() {
    let mut memcached = Memcached::start(&[]).await;
    assert_eq!(memcached.command("set k 0 0 1\r\nv").await, "STORED\r\n");
    assert_eq!(memcached.command("mg k v").await, "VA 1\r\nv\r\n");
    assert_eq!(memcached.stat("curr_items").await, 1);
    assert_eq!(memcached.command("flush_all").await, "CLIENT_ERROR flush_all not allowed\r\n");
    memcached.restart().await;
    assert_eq!(memcached.command("mg k v").await, "EN\r\n");
}

#[tokio::test]
async fn a_stopped_memcached_keeps_its_memory_and_says_nothing() {
    let mut memcached = Memcached::start(&[]).await;
    memcached.command("set k 0 0 1\r\nv").await;
    memcached.stop().await;
    assert!(timeout(A_WHILE, memcached.command("mg k v")).await.is_err());
    memcached.cont();
    assert_eq!(memcached.command("mg k v").await, "VA 1\r\nv\r\n");
}

#[tokio::test]
async fn there_is_an_old_memcached_and_a_current_one() {
    let version = async |memcached: Memcached| memcached.command("version").await;
    assert!(version(Memcached::old(&[]).await).await.starts_with("VERSION 1.6.18"));
    // `E`, which 1.6.27 brought, is heeded.
    let current = Memcached::start(&[]).await;
    assert_eq!(current.command("ma k N60 J7 E77 c").await, "HD c77\r\n");
}

/// A connection through a proxy: the proxy, its client's end, its server's end.
async fn proxied() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, client, server)
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 64];
    let length = timeout(SOON, stream.read(&mut buffer)).await.expect("something to read")?;
    buffer.truncate(length);
    Ok(buffer)
}

#[tokio::test]
async fn a_proxy_passes_on_bytes_and_ends() {
    let (proxy, mut client, mut server) = proxied().await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"ping");
    server.write_all(b"pong!").await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), b"pong!");
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"");
    // Half-closed: the other direction still works.
    server.write_all(b"bye").await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), b"bye");
    assert_eq!((proxy.accepted(), proxy.bytes_up(), proxy.bytes_down()), (1, 4, 8));
}

#[tokio::test]
async fn a_proxy_cuts_with_fin_or_rst() {
    let (proxy, mut client, mut server) = proxied().await;
    proxy.cut();
    assert_eq!(read(&mut client).await.unwrap(), b"");
    assert_eq!(read(&mut server).await.unwrap(), b"");
    let (proxy, mut client, mut server) = proxied().await;
    proxy.reset();
    assert_eq!(read(&mut client).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(read(&mut server).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_proxy_resets_one_half_of_a_connection_and_leaves_the_other() {
    for target in [true, false] {
        let (proxy, client, server) = proxied().await;
        if target {
            proxy.reset_target();
        } else {
            proxy.reset_clients();
        }
        let (mut hit, mut left) = if target { (server, client) } else { (client, server) };
        assert_eq!(read(&mut hit).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        left.write_all(b"lost").await.unwrap();
        assert!(timeout(A_WHILE, left.read(&mut [0; 1])).await.is_err(), "neither bytes nor the end come through");
        proxy.cut();
        assert_eq!(read(&mut left).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_black_hole_leaves_connections_half_open() {
    let (proxy, mut client, mut server) = proxied().await;
    proxy.black_hole();
    client.write_all(b"lost").await.unwrap();
    eventually(SOON, "the proxy takes the bytes", async || proxy.bytes_up() == 4).await;
    drop(client);
    assert!(timeout(A_WHILE, server.read(&mut [0; 1])).await.is_err(), "neither bytes nor the end come through");
    proxy.heal();
    assert!(timeout(A_WHILE, server.read(&mut [0; 1])).await.is_err(), "not even afterwards");
}

#[tokio::test]
async fn a_proxy_turns_to_another_target_and_keeps_what_is_connected() {
    let (proxy, mut client, mut server) = proxied().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.turn_to(other.local_addr().unwrap());
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    second.write_all(b"two").await.unwrap();
    assert_eq!(read(&mut other.accept().await.unwrap().0).await.unwrap(), b"two");
    client.write_all(b"one").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"one");
}

#[tokio::test]
async fn a_delay_is_added_once_per_direction() {
    let (proxy, mut client, mut server) = proxied().await;
    proxy.delay(Duration::from_millis(300));
    let start = Instant::now();
    client.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"late");
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_broker_is_stopped_resumed_killed_and_ended() {
    let mut broker = Broker::memory().await;
    let address = broker.address();
    assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));
    broker.logged("listening").await;

    broker.stop().await;
    assert!(timeout(A_WHILE, broker.health("liveness")).await.is_err());
    broker.cont();
    assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));

    broker.kill();
    assert_eq!(broker.health("liveness").await, None);
    broker.start_again().await;
    assert_eq!(broker.address(), address);
    assert!(broker.terminate(SOON).await.success());
}

#[tokio::test]
async fn streams_and_sessions_are_read_event_by_event() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut stub = broker.stub().await;
    let spec = |name: &str| Some(LockSpec { name: name.into(), ..LockSpec::default() });

    let request = AcquireRequest { lock: spec("a"), ..AcquireRequest::default() };
    let mut held = stub.acquire(request.clone()).await.unwrap().into_inner();
    assert!(matches!(next_event(&mut held).await, Kind::Acquired(_)));
    let mut refused = stub.acquire(request).await.unwrap().into_inner();
    assert!(matches!(next_event(&mut refused).await, Kind::NotAcquired(_)));
    assert_eq!(end_of(&mut refused).await.code(), Code::Ok);

    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(BeginLock { lock_ref: 7, lock: spec("b"), ..BeginLock::default() });
    assert!(matches!(session.next_event().await, (7, Kind::Acquired(_))));
    let beat = session.beat();
    assert!(matches!(session.next().await, session_response::Kind::HeartbeatAck(ack) if ack.seq == beat));
    session.end(7);
    assert!(matches!(session.next_event().await, (7, Kind::Released(_))));
}

#[test]
fn a_history_tells_of_two_holders_and_of_tokens_that_do_not_rise() {
    let start = Instant::now();
    let breaches = |holds: &[(&str, i64, u64, u64)]| {
        let history = History::default();
        for (client, &(name, fencing_token, from, until)) in holds.iter().enumerate() {
            let at = |millis| start + Duration::from_millis(millis);
            history.note(Hold { name: name.into(), client, fencing_token, from: at(from), until: at(until) });
        }
        history.breaches().len()
    };
    assert_eq!(breaches(&[("a", 1, 0, 5), ("a", 2, 5, 9), ("a", 7, 20, 21), ("b", 1, 3, 8)]), 0, "nothing to blame");
    assert_eq!(breaches(&[("a", 1, 0, 5), ("a", 2, 4, 9)]), 1, "two at a time");
    assert_eq!(breaches(&[("a", 2, 4, 9), ("a", 1, 0, 5)]), 1, "in whichever order they are noted");
    assert_eq!(breaches(&[("a", 1, 0, 50), ("a", 2, 60, 70), ("a", 3, 61, 62), ("a", 4, 69, 80)]), 2, "a long one");
    assert_eq!(breaches(&[("a", 2, 0, 5), ("a", 2, 6, 9)]), 1, "the same token twice");
    assert_eq!(breaches(&[("a", 9, 0, 5), ("a", 5, 6, 9), ("a", 6, 10, 11)]), 2, "tokens below the highest");
    assert_eq!(breaches(&[("a", 2, 0, 5), ("b", 1, 2, 9)]), 0, "names are apart");
}
