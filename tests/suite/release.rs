//! Release: from any connection, at any broker, and only of the grant that is named.

use crate::support::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, GetLockRequest, lost};
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn another_connection_releases_and_the_holder_is_told() {
    for (_memcached, broker) in brokers(&[]).await {
        let (acquired, mut held) = acquire(&mut broker.stub().await, once("job")).await;
        let mut stub = broker.stub().await;
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        assert_eq!(look(&mut stub, "job").await.state(), State::Free);
        assert!(matches!(after_renewals(&mut held).await, Kind::Released(_)));
        assert_eq!(end_of(&mut held).await.code(), Code::Ok);

        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(begin(7, "job"));
        let (7, Kind::Acquired(acquired)) = session.next_event().await else { panic!("not acquired") };
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        assert!(matches!(session.next_event().await, (7, Kind::Released(_))));
    }
}

#[tokio::test]
async fn a_lock_is_released_once() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (acquired, _held) = acquire(&mut stub, once("job")).await;
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::NotHeld);
    }
}

#[tokio::test]
async fn a_stale_id_leaves_the_present_holder_alone() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (stale, held) = acquire(&mut stub, once("job")).await;
        drop(held);
        freed(&mut stub, "job").await;
        let (present, _held) = acquire(&mut stub, once("job")).await;
        assert_eq!(release(&mut stub, "job", &stale.lock_id).await, Outcome::HeldByAnother);
        still_held(&broker, "job", &present.lock_id).await;
    }
}

#[tokio::test]
async fn the_id_of_another_name_releases_neither() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (job, _job) = acquire(&mut stub, once("job")).await;
        let (other, _other) = acquire(&mut stub, once("other")).await;
        assert_eq!(release(&mut stub, "other", &job.lock_id).await, Outcome::HeldByAnother);
        assert_eq!(release(&mut stub, "free", &job.lock_id).await, Outcome::NotHeld);
        still_held(&broker, "job", &job.lock_id).await;
        still_held(&broker, "other", &other.lock_id).await;
    }
}

#[tokio::test]
async fn the_id_of_a_lock_that_lingers_is_not_held() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let lingers = AcquireRequest { lock: lingering("job", Duration::from_secs(60)), ..Default::default() };
        let (acquired, _held) = acquire(&mut stub, lingers).await;
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        assert_eq!(look(&mut stub, "job").await.state(), State::Lingering);
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::NotHeld);
        assert_eq!(look(&mut stub, "job").await.state(), State::Lingering);
    }
}

#[tokio::test]
async fn another_broker_releases_and_the_first_finds_the_lock_gone() {
    let memcached = Memcached::start(&[]).await;
    let [first, second] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let mut stub = second.stub().await;
    let short = |name| AcquireRequest { ttl: span(Duration::from_secs(5)), ..once(name) };
    let (gone, mut gone_stream) = acquire(&mut first.stub().await, short("gone")).await;
    let (taken, mut taken_stream) = acquire(&mut first.stub().await, short("taken")).await;
    for (name, lock_id) in [("gone", &gone.lock_id), ("taken", &taken.lock_id)] {
        assert_eq!(release(&mut stub, name, lock_id).await, Outcome::Released);
        assert_eq!(release(&mut stub, name, lock_id).await, Outcome::NotHeld);
    }
    let (successor, _held) = acquire(&mut stub, once("taken")).await;
    // Its next renewal tells.
    for (stream, why) in [(&mut gone_stream, lost::Reason::Gone), (&mut taken_stream, lost::Reason::TakenOver)] {
        let Kind::Lost(lost) = after_renewals(stream).await else { panic!("not lost") };
        assert_eq!(lost.reason(), why);
        assert_eq!(end_of(stream).await.code(), Code::Aborted);
    }
    still_held(&second, "taken", &successor.lock_id).await;
}

/// No broker can wake another here.
#[tokio::test]
async fn another_broker_releases_and_the_line_behind_the_holder_goes_on() {
    let memcached = Memcached::start(&[]).await;
    let [first, second] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let [mut stub, mut elsewhere] = [first.stub().await, second.stub().await];
    let mut session = RawSession::open(&mut stub, None).await;
    for (number, on_session) in [(1, false), (2, true), (3, false), (4, true)] {
        let (lock_id, _held) = if on_session {
            session.begin(begin(number, "job"));
            let (_, Kind::Acquired(acquired)) = session.next_event().await else { panic!("not acquired") };
            (acquired.lock_id, None)
        } else {
            let (acquired, held) = acquire(&mut stub, once("job")).await;
            (acquired.lock_id, Some(held))
        };
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let released = Instant::now();
        assert_eq!(release(&mut elsewhere, "job", &lock_id).await, Outcome::Released);
        granted(&mut waiting).await;
        // 1.2 times 100 ms, and what a busy machine adds; its next renewal would come after 5 s.
        assert!(released.elapsed() < Duration::from_millis(500), "{:?}", released.elapsed());
        if on_session {
            let (_, Kind::Lost(lost)) = session.next_event().await else { panic!("not lost") };
            assert_ne!(lost.reason(), lost::Reason::Expired);
        }
        drop(waiting);
        freed(&mut stub, "job").await;
    }
}

#[tokio::test]
async fn another_broker_makes_a_lock_linger_as_it_was_granted_to() {
    let memcached = Memcached::start(&[]).await;
    let [first, second] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let lingers = AcquireRequest { lock: lingering("job", Duration::from_secs(60)), ..Default::default() };
    let (acquired, _held) = acquire(&mut first.stub().await, lingers).await;
    let mut stub = second.stub().await;
    assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
    let seen = look(&mut stub, "job").await;
    assert_eq!(seen.state(), State::Lingering);
    let expires_in = duration(seen.free_within);
    // If this broker died now, it would linger for longer: as long as any ttl allows, and rounded up.
    assert!(expires_in >= Duration::from_secs(59) && expires_in <= Duration::from_secs(76), "{expires_in:?}");
}

/// Asserts that this very grant holds the lock: only for that does GetLock tell for how long it is valid.
async fn still_held(broker: &Broker, name: &str, lock_id: &str) {
    let request = GetLockRequest { name: name.to_owned(), lock_id: lock_id.to_owned(), ..Default::default() };
    let seen = broker.stub().await.get_lock(request).await.unwrap().into_inner();
    assert!(seen.state() == State::Held && seen.expires_after_request.is_some(), "{seen:?}");
}
