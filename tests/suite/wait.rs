//! WaitAcquire: the line, its order, and how a wait ends.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use tokio::sync::mpsc;
use tonic::Code;

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn the_lock_is_granted_on_a_release_a_cancel_and_a_disconnect() {
    for (_memcached, broker) in brokers(&[]).await {
        let proxy = Proxy::start(broker.address()).await;
        let mut waiter = broker.stub().await;
        for end in ["release", "cancel", "disconnect"] {
            let mut holder = stub(proxy.address()).await;
            let (acquired, mut held) = acquire(&mut holder, once("job")).await;
            let (place, mut waiting) = queue(&mut waiter, wait("job")).await;
            assert_eq!(place, 1);
            let ended = Instant::now();
            match end {
                "release" => {
                    assert_eq!(release(&mut waiter, "job", &acquired.lock_id).await, Outcome::Released);
                    assert!(matches!(after_renewals(&mut held).await, Kind::Released(_)));
                    assert_eq!(end_of(&mut held).await.code(), Code::Ok);
                }
                "cancel" => drop(held),
                _ => proxy.cut(),
            }
            let next = granted(&mut waiting).await;
            assert!(ended.elapsed() < 1_000 * MS, "after a {end}: {:?}", ended.elapsed());
            assert!(next.fencing_token > acquired.fencing_token && next.lock_id != acquired.lock_id);
            drop(waiting);
            freed(&mut waiter, "job").await;
        }
    }
}

#[tokio::test]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    for (_memcached, broker) in brokers(&[]).await {
        let (_, held) = acquire(&mut broker.stub().await, once("job")).await;
        let (tell, mut served) = mpsc::unbounded_channel();
        for number in 1..=20 {
            let mut stub = broker.stub().await;
            let (place, mut waiting) = queue(&mut stub, wait("job")).await;
            assert_eq!(place, number);
            let tell = tell.clone();
            tokio::spawn(async move {
                granted(&mut waiting).await;
                tell.send(number).unwrap();
            });
        }
        drop((held, tell));
        for number in 1..=20 {
            assert_eq!(served.recv().await, Some(number));
        }
    }
}

#[tokio::test]
async fn a_waiter_is_told_its_place_again_and_again() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("job")).await;
    let (first_place, first) = queue(&mut stub, wait("job")).await;
    let (second_place, mut second) = queue(&mut stub, wait("job")).await;
    let queued = Instant::now();
    assert_eq!((first_place, second_place), (1, 2));
    drop(first);
    let Kind::Queued(again) = next_event(&mut second).await else { panic!("not queued") };
    let after = queued.elapsed();
    assert_eq!(again.position, 1);
    assert!(after > 4_500 * MS && after < 5_500 * MS, "{after:?}");
}

#[tokio::test]
async fn waiters_whose_client_has_left_are_passed_over() {
    for (_memcached, broker) in brokers(&[]).await {
        let proxy = Proxy::start(broker.address()).await;
        let mut cut_off = stub(proxy.address()).await;
        let mut stub = broker.stub().await;
        let (acquired, _held) = acquire(&mut stub, once("job")).await;
        let (_, _gone) = queue(&mut cut_off, wait("job")).await;
        let (_, cancelled) = queue(&mut stub, wait("job")).await;
        let (place, mut third) = queue(&mut stub, wait("job")).await;
        assert_eq!(place, 3);
        proxy.cut();
        drop(cancelled);
        eventually(SOON, "the line shrinks", async || queue(&mut stub, wait("job")).await.0 == 2).await;
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        granted(&mut third).await;
    }
}

#[tokio::test]
async fn a_wait_on_a_session_is_ended_by_its_client() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("job")).await;
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin_wait(1, "job"));
    assert!(matches!(session.next_event().await, (1, Kind::Queued(queued)) if queued.position == 1));
    session.end(1);
    let (1, Kind::NotAcquired(refusal)) = session.next_event().await else { panic!("not refused") };
    assert_eq!(refusal.reason(), Reason::Cancelled);
    assert_eq!(queue(&mut stub, wait("job")).await.0, 1);
}

#[tokio::test]
async fn a_wait_of_no_time_is_one_try() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let no_time = || wait_up_to(Duration::ZERO, "job");
        let mut held = stub.wait_acquire(no_time()).await.unwrap().into_inner();
        granted(&mut held).await;
        let mut late = stub.wait_acquire(no_time()).await.unwrap().into_inner();
        let Kind::NotAcquired(refusal) = next_event(&mut late).await else { panic!("not refused") };
        assert_eq!(refusal.reason(), Reason::MaxWait);
        assert_eq!(end_of(&mut late).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn a_lock_that_another_broker_releases_is_found_by_polling() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let mut stub = here.stub().await;
    for _ in 0..5 {
        let (_, held) = acquire(&mut there.stub().await, once("job")).await;
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let released = Instant::now();
        drop(held);
        granted(&mut waiting).await;
        // 1.2 times 100 ms, and what a busy machine adds.
        assert!(released.elapsed() < 500 * MS, "{:?}", released.elapsed());
        drop(waiting);
        freed(&mut stub, "job").await;
    }
}

/// A look at the end of a wait may take longer than its last attempt. A busy machine may add to what the store takes, so a
/// wait is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_over_names_the_holder_though_the_store_is_slow() {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let store = format!("memcached://{}", proxy.address());
    let [here, there] = [Broker::on_store(&store, &[]).await, Broker::on_store(&store, &[]).await];
    let mut request = once("job");
    request.lock.as_mut().unwrap().owner = "host 8".into();
    let (_, _held) = acquire(&mut there.stub().await, request).await;
    proxy.delay(25 * MS);
    let mut owners = Vec::new();
    for _ in 0..5 {
        let mut waiting = here.stub().await.wait_acquire(wait_up_to(200 * MS, "job")).await.unwrap().into_inner();
        let refusal = loop {
            match next_event(&mut waiting).await {
                Kind::Queued(_) => {}
                Kind::NotAcquired(refusal) => break refusal,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refusal.reason(), Reason::MaxWait);
        owners.push(refusal.owner);
        if owners.last().is_some_and(|owner| owner == "host 8") {
            return;
        }
    }
    panic!("{owners:?}");
}
