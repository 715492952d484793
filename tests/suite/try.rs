//! Acquire: one try, its answer, and what a holder is told from then on.

use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use lockbroker::proto::{AcquireRequest, AcquireResponse, LockEvent, LockSpec, lost};
use tokio::time::timeout;
use tonic::{Code, Streaming};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);
/// For how long a grant of that ttl is good.
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn the_second_is_told_who_is_first() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let labelled = LockSpec { owner: "worker 7".into(), ..lock("job").unwrap() };
        let (_, _held) = acquire(&mut stub, AcquireRequest { lock: Some(labelled), ..Default::default() }).await;
        // The label follows the grant: best effort.
        eventually(SOON, "the second sees the holder's label", async || {
            let mut second = broker.stub().await.acquire(once("job")).await.unwrap().into_inner();
            let (reason, owner) = refusal(&mut second).await;
            assert_eq!(reason, Reason::Held);
            owner == "worker 7"
        })
        .await;
        acquire(&mut stub, once("another job")).await;
    }
}

#[tokio::test]
async fn nobody_acquires_while_a_lock_lingers() {
    let linger = 2_500 * MS;
    join_all(brokers(&[]).await.map(async |(_memcached, broker)| {
        let mut stub = broker.stub().await;
        let request = AcquireRequest { lock: lingering("job", linger), ..Default::default() };
        let (_, held) = acquire(&mut stub, request).await;
        let released = Instant::now();
        drop(held);
        let mut lingered = false;
        let acquired = loop {
            let mut next = stub.acquire(once("job")).await.unwrap().into_inner();
            match timeout(SOON, next.message()).await.expect("an answer").map(|answer| answer.unwrap().event.unwrap()) {
                Ok(LockEvent { kind: Some(Kind::Acquired(_)) }) => break released.elapsed(),
                Ok(LockEvent { kind: Some(Kind::NotAcquired(refusal)) }) => {
                    lingered |= refusal.reason() == Reason::Lingering;
                }
                // A memcached whose clock falls behind on a busy machine is not believed for a moment.
                Err(status) if status.code() == Code::Unavailable => {}
                other => panic!("{other:?}"),
            }
            assert!(released.elapsed() < linger + SOON);
            tokio::time::sleep(5 * MS).await;
        };
        assert!(lingered && acquired >= linger && acquired < linger + 1_000 * MS, "{lingered} {acquired:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_holder_may_believe_for_as_long_as_the_store_keeps_the_lock_and_no_longer() {
    join_all(brokers(&[]).await.map(async |(_memcached, broker)| {
        let mut stub = broker.stub().await;
        let sent = Instant::now();
        let request = AcquireRequest { ttl: span(TTL), ..once("job") };
        let (acquired, mut held) = acquire(&mut stub, request).await;
        // Counted from the request, so what is left is the lease at the most, and most of it.
        let left = duration(acquired.expires_after_request).checked_sub(sent.elapsed()).expect("still valid");
        assert!(left <= LEASE && left > LEASE - 1_000 * MS, "{left:?}");

        // Each renewal comes a third of the ttl after the one before, and adds as much.
        let mut validity = duration(acquired.expires_after_request);
        for number in 1..=3 {
            let Kind::Renewed(renewed) = next_event(&mut held).await else { panic!("not renewed") };
            let at = sent.elapsed();
            let due = number * TTL / 3;
            assert!(at >= due && at < due + 700 * MS, "renewal {number} after {at:?}");
            let renewed = duration(renewed.expires_after_request);
            assert!(renewed >= validity + TTL / 3 - 2 * MS, "{validity:?}, then {renewed:?}");
            assert!(renewed - at <= LEASE, "{renewed:?} at {at:?}");
            validity = renewed;
        }
    }))
    .await;
}

#[tokio::test]
async fn tokens_rise() {
    for (memcached, mut broker) in brokers(&[]).await {
        let mut last = 0;
        for round in 0..40 {
            if round == 20 && memcached.is_some() {
                // Another broker's tokens go on from this one's.
                assert!(broker.terminate(SOON).await.success());
                broker.start_again().await;
            }
            let mut stub = broker.stub().await;
            let mut stream = stub.wait_acquire(wait("job")).await.unwrap().into_inner();
            let acquired = granted(&mut stream).await;
            assert!(acquired.fencing_token > last && acquired.fencing_token < 1 << 53, "{last}, then {acquired:?}");
            assert_eq!(acquired.lock_id.len(), 36);
            last = acquired.fencing_token;
        }
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_renewed_is_lost_when_it_is_valid_no_longer() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut stub = broker.stub().await;
    let (acquired, mut held) = acquire(&mut stub, AcquireRequest { ttl: span(TTL), ..once("job") }).await;
    let answered = Instant::now();
    memcached.stop().await;
    let Kind::Lost(lost) = next_event(&mut held).await else { panic!("not lost") };
    let after = answered.elapsed();
    assert_eq!(lost.reason(), lost::Reason::Expired);
    // Not at the first renewal that fails, and not after the client has ceased to believe.
    let validity = duration(acquired.expires_after_request);
    assert!(after > validity - 1_000 * MS && after < validity + 300 * MS, "{after:?} of {validity:?}");
    assert_eq!(end_of(&mut held).await.code(), Code::Aborted);
    memcached.cont();
    freed(&mut stub, "job").await;
}

#[tokio::test]
async fn a_blip_of_the_store_costs_nothing() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut stub = broker.stub().await;
    // A new memcached counts after its first tick, so up to a second later: too late for the shortest ttl, whose lock is told
    // lost after 2.8 s (docs/operations.md).
    let ttl = Duration::from_secs(8);
    let (acquired, mut held) = acquire(&mut stub, AcquireRequest { ttl: span(ttl), ..once("job") }).await;
    memcached.kill();
    // Gone over the first renewal, and its memory for good.
    tokio::time::sleep(ttl / 3 + 100 * MS).await;
    memcached.start_again().await;
    for _ in 0..2 {
        let Kind::Renewed(_) = next_event(&mut held).await else { panic!("not renewed") };
    }
    assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
}

/// Why a lock was not acquired, and who holds it; the status that follows is OK.
async fn refusal(stream: &mut Streaming<AcquireResponse>) -> (Reason, String) {
    let Kind::NotAcquired(refusal) = next_event(stream).await else { panic!("not refused") };
    assert_eq!(end_of(stream).await.code(), Code::Ok);
    (refusal.reason(), refusal.owner)
}
