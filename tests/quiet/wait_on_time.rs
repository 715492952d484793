//! A wait ends on time: to the fiftieth part of a second, which other tests beside this one would be in the way of.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use tonic::Code;

use crate::support::*;

const MS: Duration = Duration::from_millis(1);
/// How exact a wait's end is.
const EXACT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_wait_ends_on_time() {
    let _quiet = crate::quiet().await;
    for (_memcached, broker) in brokers(&[]).await {
        let (_, _held) = acquire(&mut broker.stub().await, once("job")).await;
        ends_on_time(&broker).await;
    }
}

#[tokio::test]
async fn a_wait_for_what_another_broker_holds_ends_on_time() {
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let [here, there] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let (_, _held) = acquire(&mut there.stub().await, once("job")).await;
    ends_on_time(&here).await;
}

/// Nine waits of as many lengths, none of which ends early. Most of them end within 50 ms: a machine that does
/// something else for a moment may hold up any one of them, so a round is tried again.
async fn ends_on_time(broker: &Broker) {
    let overdue = async |max_wait| {
        let mut stub = broker.stub().await;
        let begun = Instant::now();
        let mut waiting = stub.wait_acquire(wait_up_to(max_wait, "job")).await.unwrap().into_inner();
        let refusal = loop {
            match next_event(&mut waiting).await {
                Kind::Queued(_) => {}
                Kind::NotAcquired(refusal) => break refusal,
                other => panic!("{other:?}"),
            }
        };
        let after = begun.elapsed();
        assert_eq!(refusal.reason(), Reason::MaxWait);
        assert_eq!(end_of(&mut waiting).await.code(), Code::Ok);
        after.checked_sub(max_wait).unwrap_or_else(|| panic!("{max_wait:?} ended after {after:?}"))
    };
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let mut overdue = join_all((0..9).map(|n| overdue((200 + 37 * n) * MS))).await;
        overdue.sort();
        if overdue[4] < EXACT {
            return;
        }
        rounds.push(overdue);
    }
    panic!("too late by {rounds:?}");
}
