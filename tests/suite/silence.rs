//! A client that the broker hears no more may still believe: what it holds is released when that is over, however the
//! broker came to know of the silence.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::client::Client;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{
    AcquireRequest, BeginLock, LockSpec, OpenSession, SessionRequest, WaitAcquireRequest, session_request,
};
use prost::Message;
use tonic::Code;

use crate::server::raw::{self, DATA, END_STREAM, RST_STREAM, WINDOW_UPDATE, frame, headers};
use crate::support::*;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);
/// For how long a grant of that ttl is good.
const LEASE: Duration = Duration::from_secs(3);
/// What passes between a message's way to the broker and the next one's way back, on a busy machine.
const TRANSIT: Duration = Duration::from_secs(1);

/// When the broker gives a client up, the request stream ends as if the client had closed it.
#[tokio::test]
async fn a_session_whose_pings_go_unanswered_keeps_its_lock_until_its_validity_is_over() {
    let keepalive = ["--keepalive-interval", "200ms", "--keepalive-timeout", "200ms"];
    let broker = Broker::start(&[&["--store", "memory"], &keepalive[..]].concat()).await;
    let proxy = Proxy::start(broker.address()).await;
    let sent = Instant::now();
    let mut session = RawSession::open(&mut stub(proxy.address()).await, Some(TTL)).await;
    let lock = || Some(LockSpec { name: "a".into(), ..Default::default() });
    session.begin(BeginLock { lock_ref: 1, lock: lock(), ..Default::default() });
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let validity: Duration = session.opened.expires_after_open.unwrap().try_into().unwrap();

    let request = WaitAcquireRequest { lock: lock(), ..Default::default() };
    let mut rival = broker.stub().await.wait_acquire(request).await.unwrap().into_inner();
    assert!(matches!(next_event(&mut rival).await, Kind::Queued(_)));
    proxy.black_hole();
    assert!(matches!(next_event(&mut rival).await, Kind::Acquired(_)));
    assert!(sent.elapsed() >= validity, "granted {:?} after it was told that it has {validity:?}", sent.elapsed());
}

/// Middleboxes do that: a packet of the broker's that they mangle makes the client's kernel answer with a reset.
#[tokio::test]
async fn a_reset_that_only_the_broker_sees_releases_nothing_before_the_validity_is_over() {
    join_all(brokers(&[]).await.map(async |(_memcached, broker)| {
        let proxy = Proxy::start(broker.address()).await;
        let mut client = stub(proxy.address()).await;
        let sent = Instant::now();
        let (acquired, mut held) = acquire(&mut client, AcquireRequest { ttl: span(TTL), ..once("stream") }).await;
        let mut session = RawSession::open(&mut client, Some(TTL)).await;
        session.begin(begin(1, "session"));
        session.next_event().await;
        let (_, mut first) = queue(&mut broker.stub().await, wait("stream")).await;
        let (_, mut second) = queue(&mut broker.stub().await, wait("session")).await;
        proxy.reset_target();
        let reset = Instant::now();
        let after = async |waiter| {
            granted(waiter).await;
            sent.elapsed()
        };
        let (first, second) = tokio::join!(after(&mut first), after(&mut second));
        assert!(
            first >= duration(acquired.expires_after_request),
            "the stream's, while its client believes: {first:?}"
        );
        let session_ends = duration(session.opened.expires_after_open);
        assert!(second >= session_ends, "the Session's, while its client believes: {second:?}");
        assert!(reset.elapsed() < LEASE + TRANSIT, "{:?}", reset.elapsed());
        // Their client has heard of nothing.
        assert!(tokio::time::timeout(10 * MS, held.message()).await.is_err());
    }))
    .await;
}

/// A client whose half of the connection alone is reset has no validity left, and takes its lock to another stream.
#[tokio::test]
async fn a_reset_that_only_the_client_sees_costs_it_nothing_but_a_reattach() {
    join_all(brokers(&[]).await.map(async |(_memcached, broker)| {
        let proxy = Proxy::start(broker.address()).await;
        let client = Client::builder(format!("http://{}", proxy.address())).ttl(TTL).connect().unwrap();
        let lock = client.wait_acquire("job").await.unwrap().guard().expect("a lock that nobody has");
        let before = lock.lock_id();
        proxy.reset_clients();
        eventually(SOON, "the lock has been reattached", async || {
            lock.lock_id() != before && !lock.remaining().is_zero()
        })
        .await;
        // And it stays, though the broker gives up on the connection that nobody answers on.
        tokio::time::sleep(TTL).await;
        assert!(!lock.remaining().is_zero());
        lock.release().await.unwrap();
    }))
    .await;
}

/// A client that a reset at its broker leaves alone with an open stream moves before its validity is over.
#[tokio::test]
async fn a_client_that_hears_nothing_after_a_reset_at_its_broker_moves_in_time() {
    join_all(brokers(&[]).await.map(async |(_memcached, broker)| {
        let proxy = Proxy::start(broker.address()).await;
        let client = Client::builder(format!("http://{}", proxy.address())).ttl(TTL).connect().unwrap();
        let lock = client.wait_acquire("job").await.unwrap().guard().expect("a lock that nobody has");
        let before = lock.lock_id();
        proxy.reset_target();
        eventually(2 * SOON, "the lock has been reattached", async || {
            assert!(!lock.expires_in().is_zero(), "it was lost");
            lock.lock_id() != before
        })
        .await;
        lock.release().await.unwrap();
    }))
    .await;
}

/// Its kernel closes the connection with a reset, which over TCP might be anybody's.
#[tokio::test]
async fn a_client_killed_with_bytes_unread_is_freed_when_its_validity_is_over_and_over_a_unix_socket_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("lb.sock").display());
    // Pings, which the client leaves unread while it is stopped.
    let arguments = ["--store", "memory", "--listen", &socket, "--keepalive-interval", "100ms"];
    let broker = Broker::start(&[&arguments[..], &Broker::WATCHED].concat()).await;
    let ended = async |how: &str| broker.scrape().await.sum("lockbroker_connections_ended_total", &[("how", how)]);
    for (server, how) in [(broker.url(), "reset"), (socket.clone(), "closed")] {
        let mut stub = broker.stub().await;
        let run = ["run", "--server", &server, "--ttl", "5s", "job", "--", "sleep", "600"];
        let mut client = Process::spawn("lockbroker run", &mut lockbroker(&run));
        eventually(SOON, "the client holds the lock", async || look(&mut stub, "job").await.state() == State::Held)
            .await;
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let before = ended(how).await;
        client.stop().await;
        let stopped = Instant::now();
        tokio::time::sleep(300 * MS).await;
        client.kill();
        let acquired = granted(&mut waiting).await;
        let after = stopped.elapsed();
        println!("{how}: {after:?}");
        eventually(SOON, "the connection's end is counted", async || ended(how).await > before).await;
        match how {
            // The latest heartbeat may have come a third of the ttl before.
            "reset" => assert!(after >= LEASE - TTL / 3 && after < LEASE + TRANSIT, "{after:?}"),
            _ => assert!(after < TRANSIT, "{after:?}"),
        }
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
    }
}

#[tokio::test]
async fn a_lock_that_waits_out_a_silence_counts_among_those_that_there_may_be() {
    let broker = Broker::start(&["--store", "memory", "--max-locks", "1"]).await;
    let proxy = Proxy::start(broker.address()).await;
    let mut client = stub(proxy.address()).await;
    let (_, _held) = acquire(&mut client, AcquireRequest { ttl: span(TTL), ..once("silent") }).await;
    let mut other = broker.stub().await;
    let refused = async |other: &mut Stub| match try_acquire(other, once("other")).await {
        Err(status) => status.code() == Code::ResourceExhausted,
        Ok(stream) => stream.is_none(),
    };
    assert!(refused(&mut other).await);
    proxy.reset_target();
    let reset = Instant::now();
    while look(&mut other, "silent").await.state() == State::Held && reset.elapsed() < LEASE - 500 * MS {
        assert!(refused(&mut other).await);
        tokio::time::sleep(50 * MS).await;
    }
    assert!(reset.elapsed() >= LEASE - 500 * MS, "free after {:?}", reset.elapsed());
    freed(&mut other, "silent").await;
    eventually(SOON, "there is room again", async || !refused(&mut other).await).await;
}

/// Takes "job" on a Session and says this next; how long after that it is somebody else's.
async fn freed_after(broker: SocketAddr, name: &str, words: &[u8]) -> Duration {
    let message = |kind| {
        let message = SessionRequest { kind: Some(kind) }.encode_to_vec();
        frame(DATA, 0, 1, &[&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat())
    };
    let mut client = raw::Client::connect(broker).await;
    client.send(&headers(1, "/lockbroker.v1.LockService/Session")).await;
    client.send(&message(session_request::Kind::Open(OpenSession { ttl: span(TTL) }))).await;
    client.send(&message(session_request::Kind::Begin(begin(1, name)))).await;
    let mut rival = stub(broker).await;
    eventually(SOON, "the lock is held", async || look(&mut rival, name).await.state() == State::Held).await;
    let (_, mut waiting) = queue(&mut rival, wait(name)).await;
    let said = Instant::now();
    client.send(words).await;
    granted(&mut waiting).await;
    said.elapsed()
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_no_word_of_the_clients() {
    let broker = Broker::memory().await;
    let half = frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 9, 1, 2, 3]);
    let broken = [
        ("no field has this tag", frame(DATA, 0, 1, &[0, 0, 0, 0, 1, 0x0f])),
        ("not UTF-8", frame(DATA, 0, 1, &[0, 0, 0, 0, 8, 0x1a, 6, 0x12, 4, 0x0a, 2, 0xff, 0xff])),
        ("no such compression", frame(DATA, 0, 1, &[2, 0, 0, 0, 0])),
        ("compressed, and nobody said how", frame(DATA, 0, 1, &[1, 0, 0, 0, 0])),
        ("too long", frame(DATA, 0, 1, &[0, 0, 1, 0, 1])),
        ("cut off by a half-close", half),
        ("against HTTP/2's rules for a stream", frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes())),
    ];
    join_all(broken.iter().map(async |(what, words)| {
        let after = freed_after(broker.address(), what, words).await;
        assert!(after >= LEASE - TRANSIT && after < LEASE + TRANSIT, "{what}: {after:?}");
    }))
    .await;
    let ends = [
        ("half-close", frame(DATA, END_STREAM, 1, &[])),
        ("cancelled", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("reset for an error", frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])),
        ("reset without an error", frame(RST_STREAM, 0, 1, &[0; 4])),
    ];
    for (what, words) in &ends {
        let after = freed_after(broker.address(), what, words).await;
        assert!(after < TRANSIT, "{what}: {after:?}");
    }
}
