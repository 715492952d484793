//! The Rust client: leaders and followers that go from one broker to the next.

use super::*;
use lockbroker::client::{Client, Error, Guard, Observe, Observed, ObservedState};

/// A client of both brokers, the first one first.
fn client(brokers: [&Broker; 2]) -> Client {
    Client::builder(brokers[0].url()).endpoint(brokers[1].url()).connect().unwrap()
}

async fn leader(client: &Client, value: &str) -> Guard {
    client.wait_acquire("leader").value(value).await.unwrap().guard().unwrap()
}

/// Waits until an observer is told what is wanted, and returns all that it is told until then.
async fn until(observe: &mut Observe, what: &str, wanted: impl Fn(&Observed) -> bool) -> Vec<Observed> {
    let mut told = Vec::new();
    loop {
        let next = timeout(2 * SOON, observe.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{what}: not told: {told:?}")).unwrap();
        told.push(next.clone());
        if wanted(&next) {
            return told;
        }
    }
}

fn has(value: &str) -> impl Fn(&Observed) -> bool {
    move |seen| seen.value.as_deref() == Some(value.as_bytes())
}

#[tokio::test]
async fn a_leader_is_seen_and_what_it_says_and_its_end() {
    for (_memcached, broker) in brokers(&[]).await {
        let client = Client::connect(broker.url()).unwrap();
        let mut observe = client.observe("leader");
        until(&mut observe, "free", |seen| seen.state == ObservedState::Free).await;
        let lock = leader(&client, "one").await;
        let seen = until(&mut observe, "one", has("one")).await.pop().unwrap();
        assert_eq!((seen.state, seen.fencing_token), (ObservedState::Held, Some(lock.fencing_token())));
        lock.update("two").await.unwrap();
        until(&mut observe, "two", has("two")).await;
        let too_long = lock.update("x".repeat(1_025)).await.unwrap_err();
        assert!(matches!(too_long, Error::Invalid { .. }), "{too_long}");
        lock.release().await.unwrap();
        until(&mut observe, "free", |seen| seen.state == ObservedState::Free).await;
        let plain = client.acquire("leader").await.unwrap().guard().unwrap();
        assert!(matches!(plain.update("x").await.unwrap_err(), Error::Invalid { .. }), "it has none");
    }
}

#[tokio::test]
async fn a_value_moves_along_when_its_broker_stops_and_followers_go_on_elsewhere() {
    let (_memcached, [mut first, second]) = two_brokers(&[]).await;
    let both = client([&first, &second]);
    let lock = leader(&both, "one").await;
    lock.update("two").await.unwrap();
    let followers = client([&first, &second]);
    let mut observe = followers.observe("leader");
    until(&mut observe, "two", has("two")).await;
    let (id, pid) = (lock.lock_id(), rustix::process::Pid::from_raw(first.pid() as i32).unwrap());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    eventually(SOON, "the lock has moved", async || lock.lock_id() != id).await;
    lock.update("three").await.unwrap();
    let told = until(&mut observe, "three", has("three")).await;
    let odd = told.iter().find(|seen| seen.fencing_token.is_some_and(|token| token != lock.fencing_token()));
    assert!(odd.is_none() && told.iter().all(|seen| seen.state != ObservedState::Free), "{told:?}");
    eventually(SOON, "the first broker has gone", async || first.exit().is_some()).await;
    // That which moved with the reattach is told by whoever asks now.
    let mut anew = client([&second, &second]).observe("leader");
    until(&mut anew, "three", has("three")).await;
}

#[tokio::test]
async fn without_a_broker_nobody_knows() {
    let (_memcached, [mut first, mut second]) = two_brokers(&[]).await;
    let client = client([&first, &second]);
    let mut observe = client.observe("leader");
    until(&mut observe, "free", |seen| seen.state == ObservedState::Free).await;
    first.kill();
    second.kill();
    until(&mut observe, "unknown", |seen| seen.state == ObservedState::Unknown).await;
    second.start_again().await;
    until(&mut observe, "free", |seen| seen.state == ObservedState::Free).await;
}
