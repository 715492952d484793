//! Locks that outlive their stream: `on_disconnect` KEEP.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::client::Client;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_spec::OnDisconnect;
use lockbroker::proto::{AcquireLeaseRequest, AcquireRequest, BeginLock, LockSpec};
use tonic::Code;

/// The shortest ttl. Its validity is 3 s.
const SHORT: &[&str] = &["--default-ttl", "5s"];
const VALIDITY: Duration = Duration::from_secs(3);

fn kept(name: &str) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), on_disconnect: OnDisconnect::Keep.into(), ..LockSpec::default() })
}

fn keep(name: &str) -> AcquireRequest {
    AcquireRequest { lock: kept(name), ..AcquireRequest::default() }
}

#[tokio::test]
async fn a_closed_stream_keeps_it_for_its_validity_and_no_longer() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut stub = broker.stub().await;
        let (_, stream) = acquire(&mut stub, keep("alone")).await;
        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(BeginLock { lock: kept("session"), ..begin(1, "session") });
        session.begin(begin(2, "not kept"));
        for _ in 0..2 {
            let (_, Kind::Acquired(_)) = session.next_event().await else { panic!("not acquired") };
        }
        let (_, mut after_alone) = queue(&mut broker.stub().await, wait("alone")).await;
        let (_, mut after_session) = queue(&mut broker.stub().await, wait("session")).await;
        let (_, mut after_not_kept) = queue(&mut broker.stub().await, wait("not kept")).await;
        let closed = Instant::now();
        drop((stream, session));
        granted_whenever(&mut after_not_kept).await;
        assert!(closed.elapsed() < SOON, "{:?}", closed.elapsed());
        // The last renewal was up to a third of the ttl before.
        let least = VALIDITY - Duration::from_secs(2);
        let granted = async |after| {
            granted_whenever(after).await;
            assert!(closed.elapsed() > least && closed.elapsed() < VALIDITY + SOON, "{:?}", closed.elapsed());
        };
        tokio::join!(granted(&mut after_alone), granted(&mut after_session));
    }
}

#[tokio::test]
async fn its_client_reattaches_at_any_broker_after_a_close() {
    let both = Brokers::start_with(SHORT).await;
    let mut first = both.first.stub().await;
    let (old, stream) = acquire(&mut first, keep("job")).await;
    let (_, beside) = acquire(&mut first, once("beside")).await;
    drop((stream, beside));
    // The broker has seen both closes then.
    freed(&mut first, "beside").await;
    let again = AcquireRequest { reattach_lock_id: old.lock_id.clone(), ..keep("job") };
    let (new, stream) = acquire(&mut both.second.stub().await, again).await;
    assert_eq!(new.fencing_token, old.fencing_token);
    // Each reattach says it anew: this one did.
    let mut second = both.second.stub().await;
    let (_, beside) = acquire(&mut second, once("beside")).await;
    drop((stream, beside));
    freed(&mut second, "beside").await;
    assert_eq!(look(&mut both.first.stub().await, "job").await.state(), State::Held);
    let (last, stream) = acquire(&mut both.first.stub().await, reattach("job", &new.lock_id)).await;
    assert_eq!(last.fencing_token, old.fencing_token);
    drop(stream);
    freed(&mut both.second.stub().await, "job").await;
}

#[tokio::test]
async fn its_clients_own_word_releases_it_at_once() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut stub = broker.stub().await;
        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(BeginLock { lock: kept("ended"), ..begin(1, "ended") });
        let (1, Kind::Acquired(_)) = session.next_event().await else { panic!("not acquired") };
        session.end(1);
        assert!(matches!(session.next_event().await, (1, Kind::Released(_))));
        assert_eq!(look(&mut stub, "ended").await.state(), State::Free);
        // One that has no stream any more, too.
        let (acquired, stream) = acquire(&mut stub, keep("released")).await;
        drop(stream);
        assert_eq!(release(&mut stub, "released", &acquired.lock_id).await, Outcome::Released);
        assert_eq!(look(&mut stub, "released").await.state(), State::Free);
        // A Session that keeps a lock ends as soon as one that has none.
        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(BeginLock { lock: kept("kept"), ..begin(1, "kept") });
        let (1, Kind::Acquired(_)) = session.next_event().await else { panic!("not acquired") };
        let RawSession { requests, responses: mut stream, .. } = session;
        drop(requests);
        let closed = Instant::now();
        assert_eq!(end_of(&mut stream).await.code(), Code::Ok);
        assert!(closed.elapsed() < Duration::from_secs(1), "{:?}", closed.elapsed());
        assert_eq!(look(&mut stub, "kept").await.state(), State::Held);
    }
}

/// A proxy between closes both connections, as in a reload: to the broker that is what a client's own close is.
#[tokio::test]
async fn the_client_takes_it_along_when_a_proxy_closes_its_connection() {
    let broker = Broker::memory().await;
    let proxy = Proxy::start(broker.address()).await;
    let client = Client::connect(format!("http://{}", proxy.address())).unwrap();
    let guard = client.acquire("job").keep_on_disconnect().await.unwrap().guard().unwrap();
    let (_, mut next) = queue(&mut broker.stub().await, wait("job")).await;
    for _ in 0..3 {
        let id = guard.lock_id();
        proxy.cut();
        // Before the next cut: one that comes in mid-reattach may cost the lock (R30).
        let moves = eventually(SOON, "the lock moves to a new connection", async || {
            guard.lock_id() != id && guard.remaining() > Duration::from_secs(11)
        });
        tokio::select! {
            reason = guard.lost() => panic!("it is lost: {reason}"),
            () = moves => {}
        }
    }
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    assert!(granted(&mut next).await.fencing_token > token);
}

#[tokio::test]
async fn what_it_cannot_be_is_refused() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let odd = LockSpec { name: "job".to_owned(), on_disconnect: 3, ..LockSpec::default() };
    let status = stub.acquire(AcquireRequest { lock: Some(odd), ..AcquireRequest::default() }).await.unwrap_err();
    assert!(status.message().starts_with("lock.on_disconnect: is 3"), "{}", status.message());
    let lease = AcquireLeaseRequest { lock: kept("job"), ..AcquireLeaseRequest::default() };
    let status = stub.acquire_lease(lease).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("lease"), "{}", status.message());
}
