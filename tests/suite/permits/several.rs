//! Several permits of one lock at once: all or none.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::*;
use lockbroker::client::Client;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AlsoLock, BeginLock, Failed, NotAcquired, WaitSpec, lost, not_acquired};

fn wait_for_several(lock_ref: i64, name: &str, limit: i32, weight: i32) -> BeginLock {
    BeginLock { wait: Some(WaitSpec::default()), ..several(lock_ref, name, limit, weight) }
}

/// Returns what happens next, but for places in a queue.
async fn told(session: &mut RawSession) -> Kind {
    loop {
        match session.next_event().await.1 {
            Kind::Queued(_) => {}
            kind => return kind,
        }
    }
}

/// Returns the permits of the next grant, in their order.
async fn permits(session: &mut RawSession) -> (Acquired, Vec<i32>) {
    let Kind::Acquired(acquired) = told(session).await else { panic!("`acquired` was expected") };
    let mut permits = vec![permit(&acquired)];
    permits.extend(acquired.also.iter().map(|also| also.permit.unwrap()));
    permits.sort_unstable();
    (acquired, permits)
}

#[tokio::test]
async fn all_are_taken_at_once_and_others_have_the_rest() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut session = open(&broker).await;
        session.begin(several(1, "pool", 4, 3));
        let (acquired, held) = permits(&mut session).await;
        assert_eq!(held, [0, 1, 2]);
        assert!(acquired.also.iter().all(|also| also.fencing_token > acquired.fencing_token));
        let (rest, _rest) = take(&broker, "pool", 4).await;
        assert_eq!(permit(&rest), 3);
        assert!(is_refused(&broker, share("pool", 4)).await, "a fifth of four");
        assert!(is_refused(&broker, once("pool")).await, "and nobody has it alone");
        session.end(1);
        assert!(matches!(told(&mut session).await, Kind::Released(_)));
        session.begin(several(2, "pool", 4, 3));
        assert_eq!(permits(&mut session).await.1, [0, 1, 2]);
    }
}

#[tokio::test]
async fn too_few_refuse_all_and_keep_nobody_out() {
    for (_memcached, broker) in brokers(&[]).await {
        let (_, _first) = take(&broker, "pool", 3).await;
        let mut session = open(&broker).await;
        session.begin(several(1, "pool", 3, 3));
        match told(&mut session).await {
            Kind::NotAcquired(NotAcquired { reason, name, .. }) => {
                assert_eq!(reason, not_acquired::Reason::Held as i32);
                assert_eq!(name, "pool");
            }
            other => panic!("{other:?}"),
        }
        eventually(SOON, "another gets a permit", async || !is_refused(&broker, share("pool", 3)).await).await;
        session.begin(wait_for_several(2, "pool", 3, 2));
        assert_eq!(permits(&mut session).await.1, [1, 2]);
    }
}

/// One who waits for several lets no new ones in, and has them as soon as enough have left.
async fn they_are_waited_for(here: &Broker, there: &Broker) {
    let mut singles = Vec::new();
    for number in 0..4 {
        singles.push(take(if number % 2 == 0 { here } else { there }, "pool", 4).await);
    }
    let mut session = open(here).await;
    session.begin(wait_for_several(1, "pool", 4, 3));
    // It is the first in line, and keeps others out, once its item stands.
    eventually(SOON, "it waits", async || look(&mut there.stub().await, "pool").await.state() == State::Held).await;
    singles.truncate(3);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_refused(there, share("pool", 4)).await, "who comes later stands behind it");
    singles.truncate(1);
    let left = Instant::now();
    let (_, mut held) = permits(&mut session).await;
    held.dedup();
    assert_eq!(held.len(), 3);
    assert!(left.elapsed() < BELOW_A_POLL, "{:?}", left.elapsed());
    drop(session);
    eventually(SOON, "they are free again", async || !is_refused(there, share("pool", 4)).await).await;
}

#[tokio::test]
async fn one_who_waits_for_several_has_them_when_enough_have_left() {
    for (_memcached, broker) in brokers(&[]).await {
        they_are_waited_for(&broker, &broker).await;
    }
}

#[tokio::test]
async fn so_it_is_between_brokers() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    they_are_waited_for(&here, &there).await;
}

#[tokio::test]
async fn two_who_want_most_of_them_never_wait_for_each_other() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let holders = AtomicUsize::new(0);
    let turns = [&here, &there, &here, &there].map(async |broker: &Broker| {
        let client = Client::builder(broker.url()).ttl(TTL).connect().unwrap();
        for _ in 0..10 {
            let held = client.wait_acquire("pool").limit(5).weight(3).max_wait(Duration::from_secs(20)).await.unwrap();
            let guard = held.guard().expect("it comes to its turn");
            assert_eq!(holders.fetch_add(1, Relaxed), 0, "five are not enough for two");
            let permits: HashSet<_> = guard.locks().into_iter().filter_map(|lock| lock.permit).collect();
            assert_eq!(permits.len(), 3);
            holders.fetch_sub(1, Relaxed);
            guard.release().await.unwrap();
        }
    });
    futures_util::future::join_all(turns).await;
}

#[tokio::test]
async fn they_are_moved_together() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let mut session = open(&here).await;
    session.begin(several(1, "pool", 4, 3));
    let (acquired, held) = permits(&mut session).await;
    let also =
        acquired.also.iter().map(|also| AlsoLock { lock: shared("pool", 4), reattach_lock_id: also.lock_id.clone() });
    let moved =
        BeginLock { reattach_lock_id: acquired.lock_id.clone(), also: also.collect(), ..several(1, "pool", 4, 0) };
    let mut other = open(&there).await;
    other.begin(moved);
    let (now, still_held) = permits(&mut other).await;
    assert_eq!(still_held, held);
    assert_eq!(now.fencing_token, acquired.fencing_token);
    assert!(is_refused(&there, once("pool")).await);
}

#[tokio::test]
async fn a_client_moves_them_to_another_broker() {
    let (_memcached, [mut here, there]) = two_brokers(&[]).await;
    let client = Client::builder(here.url()).endpoint(there.url()).ttl(TTL).connect().unwrap();
    let guard = client.acquire("pool").limit(4).weight(3).await.unwrap().guard().unwrap();
    let held = |guard: &lockbroker::client::Guard| -> Vec<_> {
        guard.locks().into_iter().map(|lock| (lock.name, lock.permit, lock.fencing_token)).collect()
    };
    let (before, id) = (held(&guard), guard.lock_id());
    here.kill();
    eventually(Duration::from_secs(5), "it has moved", async || guard.lock_id() != id && guard.check().is_ok()).await;
    assert_eq!(held(&guard), before);
    assert_eq!(guard.name(), "pool");
    guard.release().await.unwrap();
    eventually(SOON, "all are free", async || !is_refused(&there, once("pool")).await).await;
}

#[tokio::test]
async fn when_one_is_lost_all_are() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut session = open(&broker).await;
        session.begin(several(1, "pool", 4, 3));
        let (acquired, _) = permits(&mut session).await;
        release(&mut broker.stub().await, "pool", &acquired.also[1].lock_id).await;
        match told(&mut session).await {
            Kind::Lost(lost) => assert_eq!((lost.reason(), lost.name.as_str()), (lost::Reason::Gone, "pool")),
            other => panic!("{other:?}"),
        }
        assert!(is_refused(&broker, once("pool")).await, "its client may still believe in the others");
        session.end(1);
        eventually(SOON, "all are free", async || !is_refused(&broker, once("pool")).await).await;
    }
}

#[tokio::test]
async fn a_wait_that_is_cancelled_lets_others_in() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (_, _single) = take(&there, "pool", 3).await;
    let mut session = open(&here).await;
    session.begin(wait_for_several(1, "pool", 3, 3));
    eventually(SOON, "it waits", async || look(&mut there.stub().await, "pool").await.state() == State::Held).await;
    session.end(1);
    assert!(matches!(told(&mut session).await, Kind::NotAcquired(_)));
    eventually(SOON, "another gets a permit", async || !is_refused(&there, share("pool", 3)).await).await;
}

#[tokio::test]
async fn what_cannot_be_is_turned_back_by_its_field() {
    let (_memcached, broker) = &brokers(&[]).await[1];
    let mut session = open(broker).await;
    let also = vec![AlsoLock { lock: lock("other"), ..AlsoLock::default() }];
    let alone = lock("pool").map(|lock| LockSpec { weight: 2, ..lock });
    let min_hold = shared("pool", 4).map(|lock| LockSpec { weight: 2, min_hold: span(TTL), ..lock });
    for (at, (wrong, field)) in (1..).zip([
        (several(0, "pool", 2, 3), "begin.lock.weight"),
        (several(0, "pool", 20, 17), "begin.lock.weight"),
        (several(0, "pool", 4, -1), "begin.lock.weight"),
        (BeginLock { also, ..several(0, "pool", 4, 2) }, "begin.lock.weight"),
        (BeginLock { lock: alone, ..begin(0, "pool") }, "begin.lock.weight"),
        (BeginLock { lock: min_hold, ..begin(0, "pool") }, "begin.lock.weight"),
    ]) {
        session.begin(BeginLock { lock_ref: at, ..wrong });
        match told(&mut session).await {
            Kind::Failed(Failed { message, .. }) => assert!(message.starts_with(field), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    let lock = shared("pool", 4).map(|lock| LockSpec { weight: 2, ..lock });
    let refused = broker.stub().await.acquire(AcquireRequest { lock, ..AcquireRequest::default() }).await.unwrap_err();
    assert!(refused.message().starts_with("lock.weight"), "{refused:?}");
}
