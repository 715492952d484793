//! What a policy's quotas say of those who observe locks, and give them values.

use super::*;
use crate::quotas::{guarded, refusal, refused, us};
use lockbroker::proto::ReleaseRequest;
use tonic_types::StatusExt;

fn observe(name: &str) -> ObserveRequest {
    ObserveRequest { name: name.to_owned() }
}

fn observers(scrape: &Scrape) -> f64 {
    scrape.sum("lockbroker_quota_used", &[("who", &us()), ("quota", "observers")])
}

#[tokio::test]
async fn so_many_streams_of_a_caller_observe_and_no_more() {
    let guarded = guarded("max_observers = 2", &[]).await;
    let mut stub = guarded.stub().await;
    let first = stub.observe(observe("a")).await.unwrap();
    let _second = stub.observe(observe("a")).await.unwrap();
    let why = format!("{} observes locks on 2 streams at this broker, and its max_observers in the policy is 2", us());
    refusal(stub.observe(observe("b")).await, "QUOTA_OBSERVERS", &why);
    let scrape = guarded.broker.scrape().await;
    assert_eq!((observers(&scrape), refused(&scrape, "observers")), (2.0, 1.0));
    assert_eq!(scrape.sum("lockbroker_quota_limit", &[("quota", "observers")]), 2.0);
    // It takes nothing of what others may, and whoever does not observe is not counted.
    assert_eq!(scrape.sum("lockbroker_limit_used", &[("limit", "max_observers")]), 2.0);
    let (_, _held) = acquire(&mut stub, campaign("a", "value")).await;
    drop(first);
    guarded.broker.scraped("one is left", |scrape| observers(scrape) == 1.0).await;
    let _third = stub.observe(observe("b")).await.unwrap();
    refusal(stub.observe(observe("b")).await, "QUOTA_OBSERVERS", &why);
}

#[tokio::test]
async fn who_may_observe_on_no_stream_is_told_so() {
    let guarded = guarded("max_observers = 0", &[]).await;
    let mut stub = guarded.stub().await;
    refusal(stub.observe(observe("a")).await, "QUOTA_OBSERVERS", "its max_observers in the policy is 0");
    look(&mut stub, "a").await;
}

#[tokio::test]
async fn updates_and_the_opening_of_streams_count_for_the_rate() {
    let guarded = guarded("max_rate = 0.1\nburst = 4", &[]).await;
    let mut stub = guarded.stub().await;
    let (leader, stream) = acquire(&mut stub, campaign("leader", "one")).await;
    let update = |value: &str| UpdateLockRequest {
        name: "leader".to_owned(),
        lock_id: leader.lock_id.clone(),
        value: value.into(),
    };
    let seen = stub.observe(observe("leader")).await.unwrap().into_inner();
    let mut observer = Observer { stream: seen, told: Vec::new() };
    for value in ["two", "three"] {
        assert_eq!(stub.update_lock(update(value)).await.unwrap().into_inner().outcome(), Updated::Updated);
    }
    let says = format!("{} asks more than 0.1 times a second", us());
    for status in [
        refusal(stub.update_lock(update("four")).await, "QUOTA_RATE", &says),
        refusal(stub.observe(observe("leader")).await, "QUOTA_RATE", &says),
        refusal(try_acquire(&mut stub, once("job")).await.map(drop), "QUOTA_RATE", &says),
    ] {
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("when to ask again");
        assert!(retry > Duration::from_secs(5) && retry <= Duration::from_secs(10), "{retry:?}");
    }
    assert_eq!(refused(&guarded.broker.scrape().await, "rate"), 3.0);
    // What it has goes on: the lock, the value, the stream that observes, and the end.
    observer.value(SOON, "three").await;
    let release = ReleaseRequest { name: "leader".into(), lock_id: leader.lock_id.clone() };
    stub.release(release).await.unwrap();
    observer.state(SOON, State::Free).await;
    drop(stream);
}
