//! Reattach: a holder moves its grant to another stream or broker, and what it left behind touches nothing.

use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use lockbroker::proto::{AcquireRequest, BeginLock, lost};
use tonic::Code;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);

#[tokio::test]
async fn it_moves_the_grant_and_the_old_stream_frees_nothing() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (old, mut old_stream) = acquire(&mut stub, once("job")).await;
        let (new, mut new_stream) = acquire(&mut broker.stub().await, reattach("job", &old.lock_id)).await;
        assert_eq!(new.fencing_token, old.fencing_token);
        assert_ne!(new.lock_id, old.lock_id);
        let Kind::Lost(lost) = after_renewals(&mut old_stream).await else { panic!("not lost") };
        assert_eq!(lost.reason(), lost::Reason::TakenOver);
        assert_eq!(end_of(&mut old_stream).await.code(), Code::Aborted);
        drop(old_stream);
        // Neither that nor a late Release under the old id is about this grant.
        assert_eq!(release(&mut stub, "job", &old.lock_id).await, Outcome::HeldByAnother);
        assert_eq!(release(&mut stub, "job", &new.lock_id).await, Outcome::Released);
        assert!(matches!(after_renewals(&mut new_stream).await, Kind::Released(_)));
    }
}

#[tokio::test]
async fn a_session_takes_over_from_a_stream() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (old, _old_stream) = acquire(&mut stub, once("job")).await;
        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(BeginLock { reattach_lock_id: old.lock_id.clone(), ..begin(1, "job") });
        let (1, Kind::Acquired(new)) = session.next_event().await else { panic!("not acquired") };
        assert_eq!((new.fencing_token, new.expires_after_request), (old.fencing_token, None));
        session.end(1);
        assert!(matches!(session.next_event().await, (1, Kind::Released(_))));
        assert_eq!(look(&mut stub, "job").await.state(), State::Free);
    }
}

#[tokio::test]
async fn a_stale_id_loses_the_old_stream_its_lock_and_releases_nothing() {
    let memcached = Memcached::start(&[]).await;
    let [first, second] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let mut stub = first.stub().await;
    let mut old_session = RawSession::open(&mut stub, None).await;
    for (number, by_release) in [(1, true), (2, false)] {
        let name = format!("session {number}");
        old_session.begin(begin(number, &name));
        let (_, Kind::Acquired(old)) = old_session.next_event().await else { panic!("not acquired") };
        let (new, mut new_stream) = acquire(&mut second.stub().await, reattach(&name, &old.lock_id)).await;
        if by_release {
            assert_eq!(release(&mut stub, &name, &old.lock_id).await, Outcome::HeldByAnother);
        } else {
            old_session.end(number);
        }
        let (_, Kind::Lost(lost)) = old_session.next_event().await else { panic!("not lost") };
        assert_eq!(lost.reason(), lost::Reason::TakenOver);
        assert_eq!(release(&mut stub, &name, &new.lock_id).await, Outcome::Released);
        assert!(matches!(after_renewals(&mut new_stream).await, Kind::Lost(_)));
    }
    let (old, mut old_stream) = acquire(&mut stub, once("stream")).await;
    let (_, _new_stream) = acquire(&mut second.stub().await, reattach("stream", &old.lock_id)).await;
    assert_eq!(release(&mut stub, "stream", &old.lock_id).await, Outcome::HeldByAnother);
    let Kind::Lost(lost) = after_renewals(&mut old_stream).await else { panic!("not lost") };
    assert_eq!(lost.reason(), lost::Reason::TakenOver);
    assert_eq!(end_of(&mut old_stream).await.code(), Code::Aborted);
    assert_eq!(look(&mut stub, "stream").await.state(), State::Held);
}

#[tokio::test]
async fn what_has_ended_cannot_be_reattached() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (stale, held) = acquire(&mut stub, once("job")).await;
        drop(held);
        freed(&mut stub, "job").await;
        not_reattachable(&mut stub, &stale.lock_id).await;
        assert_eq!(look(&mut stub, "job").await.state(), State::Free, "a reattach never creates a lock");
        let (present, _held) = acquire(&mut stub, once("job")).await;
        not_reattachable(&mut stub, &stale.lock_id).await;
        // Nor does an id go twice.
        let (_, _moved) = acquire(&mut stub, reattach("job", &present.lock_id)).await;
        not_reattachable(&mut stub, &present.lock_id).await;
        assert_eq!(look(&mut stub, "job").await.state(), State::Held);
    }
}

#[tokio::test]
async fn another_broker_takes_over_from_one_that_sleeps_and_wakes() {
    let memcached = Memcached::start(&[]).await;
    let [first, second] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    // One wakes within its lease and wants to renew, the other after it and wants to release.
    join_all([(first, 1_000 * MS, "nap"), (Broker::on(&memcached).await, 4_000 * MS, "sleep")].map(
        async |(mut old_broker, asleep, name)| {
            let request = AcquireRequest { ttl: span(TTL), ..once(name) };
            let (old, mut old_stream) = acquire(&mut old_broker.stub().await, request).await;
            old_broker.stop().await;
            let stopped = Instant::now();
            let request = AcquireRequest { ttl: span(TTL), ..reattach(name, &old.lock_id) };
            let (new, mut new_stream) = acquire(&mut second.stub().await, request).await;
            assert_eq!(new.fencing_token, old.fencing_token);
            tokio::time::sleep(asleep.saturating_sub(stopped.elapsed())).await;
            old_broker.cont();
            let Kind::Lost(_) = after_renewals(&mut old_stream).await else { panic!("not lost") };
            assert_eq!(end_of(&mut old_stream).await.code(), Code::Aborted);
            drop(old_stream);
            for _ in 0..2 {
                assert!(matches!(next_event(&mut new_stream).await, Kind::Renewed(_)));
            }
            assert_eq!(release(&mut second.stub().await, name, &new.lock_id).await, Outcome::Released);
        },
    ))
    .await;
}

#[tokio::test]
async fn a_client_that_closes_its_stream_right_after_it_has_released_the_lock() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        for number in 0..20 {
            let name = format!("job {number}");
            let (old, _old_stream) = acquire(&mut stub, once(&name)).await;
            // Some hear the answer, some have left before it came.
            let limit = if number % 2 == 0 { SOON } else { number * MS / 4 };
            let _ = tokio::time::timeout(limit, acquire(&mut broker.stub().await, reattach(&name, &old.lock_id))).await;
        }
        for number in (0..20).step_by(2) {
            freed(&mut stub, &format!("job {number}")).await;
        }
        // A reattach that was given up may not have been sent at all; then the old stream's end is the release.
        for number in (1..20).step_by(2) {
            freed(&mut stub, &format!("job {number}")).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_right_after_it_may_believe_what_it_was_told_before() {
    let limits = ["--default-ttl", "5s", "--max-ttl", "8s"];
    let keepalive = ["--keepalive-interval", "300ms", "--keepalive-timeout", "300ms"];
    join_all(brokers(&[limits, keepalive].concat()).await.map(async |(_memcached, broker)| {
        let mut stub = broker.stub().await;
        let (old, _old_stream) = acquire(&mut stub, AcquireRequest { ttl: span(8_000 * MS), ..once("job") }).await;
        let proxy = Proxy::start(broker.address()).await;
        let mut client = crate::support::stub(proxy.address()).await;
        let reattached = Instant::now();
        let (_, _new_stream) = acquire(&mut client, reattach("job", &old.lock_id)).await;
        proxy.black_hole();
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let deadline = tokio::time::timeout(SOON + 8_000 * MS, async {
            while !matches!(waiting.message().await.unwrap().unwrap().event.unwrap().kind, Some(Kind::Acquired(_))) {}
        });
        deadline.await.expect("the lock is free in the end");
        let after = reattached.elapsed();
        assert!(after >= 8_000 * MS && after < 9_500 * MS, "{after:?}");
    }))
    .await;
}

/// Asserts that an id of the lock "job" names no grant any more.
async fn not_reattachable(stub: &mut Stub, lock_id: &str) {
    let mut stream = stub.acquire(reattach("job", lock_id)).await.unwrap().into_inner();
    let Kind::NotAcquired(refusal) = next_event(&mut stream).await else { panic!("not refused") };
    assert_eq!(refusal.reason(), Reason::NotReattachable);
    assert_eq!(end_of(&mut stream).await.code(), Code::Ok);
}
