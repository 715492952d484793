//! Clients that go without a word: killed, cancelled, cut off, or fallen silent on a connection that nobody closes.

use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::{AcquireRequest, session_response};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);
/// For how long a grant of that ttl is good.
const LEASE: Duration = Duration::from_secs(3);
/// A broker that takes a silent connection for lost long before that.
const KEEPALIVE: [&str; 4] = ["--keepalive-interval", "300ms", "--keepalive-timeout", "300ms"];

#[tokio::test]
async fn a_killed_clients_lock_goes_to_the_next() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let run = ["run", "--server", &broker.url(), "job", "--", "sh", "-c", "echo started; exec sleep 600"];
        let mut client = Process::spawn_running("lockbroker run", &mut lockbroker(&run));
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let killed = Instant::now();
        client.kill();
        granted(&mut waiting).await;
        assert!(killed.elapsed() < 1_000 * MS, "{:?}", killed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_during_the_acquire_leaves_nothing_behind() {
    let memcached = Memcached::start(&[]).await;
    // Far enough away that most clients leave while the grant is under way.
    let far = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", far.address()), &[]).await;
    far.delay(5 * MS);
    let mut stub = broker.stub().await;
    for number in 0..200 {
        let mut client = broker.stub().await;
        let limit = number % 20 * MS;
        let acquiring = async {
            let mut stream = client.acquire(once(&format!("job {number}"))).await.unwrap().into_inner();
            granted(&mut stream).await;
        };
        let _ = tokio::time::timeout(limit, acquiring).await;
    }
    far.delay(Duration::ZERO);
    for number in 0..200 {
        freed(&mut stub, &format!("job {number}")).await;
    }
}

#[tokio::test]
async fn a_closed_connection_is_the_end_of_its_locks() {
    for (_memcached, broker) in brokers(&[]).await {
        let proxy = Proxy::start(broker.address()).await;
        let mut client = stub(proxy.address()).await;
        let (_, _held) = acquire(&mut client, once("stream")).await;
        let mut session = RawSession::open(&mut client, None).await;
        session.begin(begin(1, "session"));
        session.next_event().await;
        let mut stub = broker.stub().await;
        let (_, mut first) = queue(&mut stub, wait("stream")).await;
        let (_, mut second) = queue(&mut stub, wait("session")).await;
        let closed = Instant::now();
        proxy.cut();
        granted(&mut first).await;
        granted(&mut second).await;
        assert!(closed.elapsed() < 1_000 * MS, "{:?}", closed.elapsed());
    }
}

#[tokio::test]
async fn a_half_open_stream_keeps_its_lock_while_its_client_may_believe_and_no_longer() {
    join_all(brokers(&KEEPALIVE).await.map(async |(_memcached, broker)| {
        let proxy = Proxy::start(broker.address()).await;
        let mut client = stub(proxy.address()).await;
        let sent = Instant::now();
        let (acquired, _held) = acquire(&mut client, AcquireRequest { ttl: span(TTL), ..once("job") }).await;
        let (_, mut waiting) = queue(&mut broker.stub().await, wait("job")).await;
        proxy.black_hole();
        let lost = Instant::now();
        granted(&mut waiting).await;
        // The client's own clock: what it was told, from when it asked.
        assert!(sent.elapsed() >= duration(acquired.expires_after_request), "released while its client believes");
        // A renewal may have been sent after the last that the client heard of.
        assert!(lost.elapsed() < 600 * MS + LEASE + 1_000 * MS, "{:?}", lost.elapsed());
    }))
    .await;
}

#[tokio::test]
async fn a_half_open_session_keeps_its_locks_while_its_client_may_believe_and_no_longer() {
    join_all(brokers(&KEEPALIVE).await.map(async |(_memcached, broker)| {
        let proxy = Proxy::start(broker.address()).await;
        let mut session = RawSession::open(&mut stub(proxy.address()).await, Some(TTL)).await;
        session.begin(begin(1, "job"));
        session.next_event().await;
        let beat = Instant::now();
        session.beat();
        let session_response::Kind::HeartbeatAck(ack) = session.next().await else { panic!("not acknowledged") };
        let (_, mut waiting) = queue(&mut broker.stub().await, wait("job")).await;
        proxy.black_hole();
        granted(&mut waiting).await;
        let after = beat.elapsed();
        let validity = duration(ack.expires_after_heartbeat);
        assert!(after >= validity && after < validity + 1_000 * MS, "{after:?} of {validity:?}");
    }))
    .await;
}
