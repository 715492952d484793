//! The Rust client with real brokers.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use crate::support::{Broker, Memcached, Proxy, SOON, eventually};
use lockbroker_client::{Client, Error, Guard, LockState, LostReason, NotAcquired, Outcome, Reason, ReleaseOutcome};
use tokio::time::timeout;

async fn acquired(client: &Client, name: &str) -> Guard {
    client.acquire(name).await.unwrap().guard().expect("nobody else has it")
}

async fn refused(client: &Client, name: &str) -> NotAcquired {
    match client.acquire(name).await.unwrap() {
        Outcome::NotAcquired(why) => why,
        Outcome::Acquired(guard) => panic!("acquired: {guard:?}"),
    }
}

#[tokio::test]
async fn a_lock_is_held_until_it_is_released() {
    let broker = Broker::memory().await;
    let ours = Client::builder(broker.url()).owner("ours").connect().unwrap();
    let theirs = Client::connect(broker.address().to_string()).unwrap();
    let first = acquired(&ours, "a").await;
    assert!(first.remaining() > Duration::from_secs(10) && first.remaining() <= first.ttl());

    let why = refused(&theirs, "a").await;
    assert_eq!((why.reason, why.owner.as_str()), (Reason::Held, "ours"));
    let seen = theirs.get("a", Some(&first.lock_id())).await.unwrap();
    assert_eq!((seen.state, seen.owner.as_str()), (LockState::Held, "ours"));
    assert!(seen.free_within.is_some() && seen.remaining.is_some());

    let token = first.fencing_token();
    first.release().await.unwrap();
    assert_eq!(theirs.get("a", None).await.unwrap().state, LockState::Free);
    assert!(acquired(&theirs, "a").await.fencing_token() > token);
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_its_guard_is_dropped_and_after_the_linger() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let linger = Duration::from_millis(500);
    let first = client.acquire("a").linger(linger).await.unwrap().guard().unwrap();
    let short = client.wait_acquire("a").max_wait(Duration::from_millis(50)).await.unwrap();
    assert!(matches!(short, Outcome::NotAcquired(why) if why.reason == Reason::MaxWait));

    let waiting = tokio::spawn(client.wait_acquire("a").max_wait(SOON).into_future());
    let released = Instant::now();
    drop(first);
    assert!(waiting.await.unwrap().unwrap().guard().is_some());
    assert!(released.elapsed() >= linger, "{:?}", released.elapsed());
}

#[tokio::test]
async fn a_grant_is_adopted_by_another_client_and_the_former_holder_is_told() {
    let (memcached, other) = (Memcached::start(&[]).await, Broker::memory().await);
    for broker in [Broker::on(&memcached).await, other] {
        let (ours, theirs) = (Client::connect(broker.url()).unwrap(), Client::connect(broker.url()).unwrap());
        let first = acquired(&ours, "a").await;
        let second = theirs.adopt("a", first.lock_id()).await.unwrap().guard().expect("it is still held");
        assert_eq!(second.fencing_token(), first.fencing_token());
        assert_eq!(timeout(SOON, first.lost()).await.unwrap(), LostReason::TakenOver);
        let late = theirs.adopt("a", first.lock_id()).await.unwrap();
        assert!(matches!(late, Outcome::NotAcquired(why) if why.reason == Reason::NotReattachable));
        drop(first);
        second.release().await.unwrap();
    }
}

/// On threads without a runtime, as its users are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocking_client_holds_waits_loses_and_lets_go() {
    let broker = Broker::memory().await;
    let url = broker.url();
    let blocking = tokio::task::spawn_blocking(move || {
        let client = lockbroker_client::blocking::Client::connect(url.as_str()).unwrap();
        let first = client.acquire("a").unwrap().guard().unwrap();
        first.check().unwrap();
        assert_eq!(first.wait_lost(Duration::from_millis(1)), None);
        let refused = client.wait_acquire("a", Duration::from_millis(50)).unwrap();
        assert!(refused.guard().is_none());
        let waiting = std::thread::spawn({
            let client = client.clone();
            move || client.wait_acquire("a", Duration::MAX).unwrap().guard().unwrap()
        });
        first.release().unwrap();
        let second = waiting.join().unwrap();
        assert_eq!(client.release("a", &second.lock_id()).unwrap(), ReleaseOutcome::Released);
        assert_eq!(second.wait_lost(SOON), Some(LostReason::Released));
        assert!(matches!(second.check(), Err(Error::Lost { .. })));
        let linger = Duration::from_secs(60);
        let third = client.ask(client.client().acquire("b").linger(linger)).unwrap().guard().unwrap();
        third.release().unwrap();
        assert_eq!(client.get("b", None).unwrap().state, LockState::Lingering);
        let lease = client.lease("d", Duration::from_secs(15)).unwrap().guard().unwrap();
        let adopted = client.adopt_lease("d", lease.lock_id()).unwrap();
        lease.renew().unwrap();
        adopted.release().unwrap();
        assert!(matches!(lease.renew(), Err(Error::Lost { .. })));
        // Its drop is all that lets go of this one.
        client.acquire("c").unwrap().guard().unwrap()
    });
    let last = blocking.await.unwrap();
    let client = Client::connect(broker.url()).unwrap();
    assert_eq!(client.get("c", None).await.unwrap().state, LockState::Held);
    tokio::task::spawn_blocking(move || drop(last)).await.unwrap();
    eventually(SOON, "it is released", async || client.get("c", None).await.unwrap().state == LockState::Free).await;
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let holder = acquired(&client, "a").await;
    for _ in 0..20 {
        let gone = timeout(Duration::from_millis(5), client.wait_acquire("a").into_future()).await;
        assert!(gone.is_err());
    }
    holder.release().await.unwrap();
    // Were one of them still in the queue, it would have been handed the lock.
    acquired(&client, "a").await.release().await.unwrap();
    // Each of these races its own grant.
    for micros in (0..2_000).step_by(50) {
        let _ = timeout(Duration::from_micros(micros), client.wait_acquire("b").into_future()).await;
    }
    eventually(SOON, "nobody holds it", async || client.get("b", None).await.unwrap().state == LockState::Free).await;
}

#[tokio::test]
async fn a_lock_that_is_released_by_its_id_is_lost_to_its_holder() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let guard = acquired(&client, "a").await;
    let id = guard.lock_id();
    assert_eq!(client.release("a", &id).await.unwrap(), ReleaseOutcome::Released);
    assert_eq!(timeout(SOON, guard.lost()).await, Ok(LostReason::Released));
    assert_eq!(client.release("a", &id).await.unwrap(), ReleaseOutcome::NotHeld);
    assert!(matches!(guard.release().await, Err(Error::Lost { reason: LostReason::Released, .. })));
}

#[tokio::test]
async fn dropping_the_client_releases_all() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let (a, b) = (acquired(&client, "a").await, acquired(&client, "b").await);
    drop((a, b, client));
    let other = Client::connect(broker.url()).unwrap();
    for name in ["a", "b"] {
        assert!(other.wait_acquire(name).max_wait(SOON).await.unwrap().guard().is_some());
    }
}

#[tokio::test]
async fn a_lock_survives_its_broker() {
    let memcached = Memcached::start(&[]).await;
    let mut broker = Broker::on(&memcached).await;
    let client = Client::connect(broker.url()).unwrap();
    let guard = acquired(&client, "a").await;
    let waiting = tokio::spawn(client.wait_acquire("a").max_wait(Duration::from_secs(60)).into_future());
    let (id, token) = (guard.lock_id(), guard.fencing_token());
    broker.kill();
    eventually(SOON, "the client notices", async || guard.remaining().is_zero()).await;
    assert!(guard.expires_in() > Duration::ZERO);
    broker.start_again().await;
    eventually(SOON, "the lock is reattached", async || !guard.remaining().is_zero()).await;
    assert_ne!(guard.lock_id(), id);
    assert_eq!(guard.fencing_token(), token);
    let other = Client::connect(broker.url()).unwrap();
    assert_eq!(refused(&other, "a").await.reason, Reason::Held);
    guard.release().await.unwrap();
    let next = timeout(SOON, waiting).await.expect("the waiter waits on at the new broker").unwrap().unwrap();
    assert!(next.guard().unwrap().fencing_token() > token);
}

#[tokio::test]
async fn a_lock_survives_a_connection_that_has_gone_silent() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let proxy = Proxy::start(broker.address()).await;
    let client = Client::connect(proxy.address().to_string()).unwrap();
    let guard = acquired(&client, "a").await;
    let (id, ttl) = (guard.lock_id(), guard.ttl());
    proxy.black_hole();
    // Connections that are made from now on work.
    proxy.heal();
    eventually(ttl, "the lock has moved", async || guard.lock_id() != id).await;
    assert!(guard.remaining() > ttl / 2);
    let other = Client::connect(broker.url()).unwrap();
    assert_eq!(refused(&other, "a").await.reason, Reason::Held);
    // The old broker's lease would end about now; the lock is held all the same.
    let held_on = timeout(ttl, guard.lost()).await;
    assert!(held_on.is_err(), "{held_on:?}");
    assert_eq!(refused(&other, "a").await.reason, Reason::Held);
}
