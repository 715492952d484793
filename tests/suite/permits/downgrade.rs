//! A lock that one has alone becomes one that others share, and nobody has it alone in between.

use super::*;
use lockbroker::client::{Client, Error};
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired;

/// Asks to go on with a lock as one of those who share it.
fn downgrade(name: &str, limit: i32, lock_id: &str) -> AcquireRequest {
    AcquireRequest { reattach_lock_id: lock_id.to_owned(), ..share(name, limit) }
}

/// Who has a lock alone shares it then, at whichever broker.
async fn it_is_shared_then(here: &Broker, there: &Broker) {
    let (alone, mut old) = acquire(&mut here.stub().await, once("index")).await;
    let (_, mut writer) = queue(&mut here.stub().await, wait("index")).await;
    assert!(is_refused(there, share("index", 0)).await);
    let (reader, _stream) = acquire(&mut there.stub().await, downgrade("index", 0, &alone.lock_id)).await;
    assert_eq!((permit(&reader), reader.fencing_token), (0, alone.fencing_token));
    assert_ne!(reader.lock_id, alone.lock_id);
    assert!(matches!(after_renewals(&mut old).await, Kind::Lost(_)), "the old stream has it no more");
    // A writer waits already: it lets no new ones in. Without it, others share the lock.
    assert!(is_refused(there, once("index")).await);
    drop(writer);
    eventually(SOON, "another shares it", async || !is_refused(here, share("index", 0)).await).await;
    let (next, _next) = take(here, "index", 0).await;
    assert!(next.fencing_token > reader.fencing_token);
    (_, writer) = queue(&mut there.stub().await, wait("index")).await;
    drop((_stream, _next));
    assert!(granted(&mut writer).await.fencing_token > next.fencing_token);
}

#[tokio::test]
async fn who_has_a_lock_alone_can_share_it_and_nobody_has_it_alone_in_between() {
    for (_memcached, broker) in brokers(&[]).await {
        it_is_shared_then(&broker, &broker).await;
    }
}

#[tokio::test]
async fn so_it_is_at_another_broker() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    it_is_shared_then(&here, &there).await;
}

#[tokio::test]
async fn the_lock_is_free_when_the_last_who_shares_it_has_gone() {
    for (_memcached, broker) in brokers(&[]).await {
        let (alone, _old) = acquire(&mut broker.stub().await, once("index")).await;
        let (reader, _stream) = acquire(&mut broker.stub().await, downgrade("index", 2, &alone.lock_id)).await;
        assert_eq!(permit(&reader), 0);
        release(&mut broker.stub().await, "index", &reader.lock_id).await;
        eventually(SOON, "it is free", async || look(&mut broker.stub().await, "index").await.state() == State::Free)
            .await;
        assert!(!is_refused(&broker, once("index")).await);
    }
}

#[tokio::test]
async fn what_cannot_be_is_turned_back() {
    for (_memcached, broker) in brokers(&[]).await {
        let min_hold = Some(LockSpec { min_hold: span(Duration::from_secs(1)), ..lock("job").unwrap() });
        let (alone, _job) =
            acquire(&mut broker.stub().await, AcquireRequest { lock: min_hold, ..AcquireRequest::default() }).await;
        let refused = broker.stub().await.acquire(downgrade("job", 0, &alone.lock_id)).await.unwrap_err();
        assert!(refused.message().starts_with("lock.mode: is MODE_SHARED"), "{refused:?}");
        let (reader, _stream) = take(&broker, "index", 0).await;
        let exclusive = Some(LockSpec { mode: Mode::Exclusive.into(), ..lock("index").unwrap() });
        let upgrade = AcquireRequest { lock: exclusive, ..reattach("index", &reader.lock_id) };
        let refused = broker.stub().await.acquire(upgrade).await.unwrap_err();
        assert!(refused.message().starts_with("lock.mode: is MODE_EXCLUSIVE"), "{refused:?}");
        // One that has ended is told so.
        let (alone, stream) = acquire(&mut broker.stub().await, once("gone")).await;
        drop(stream);
        freed(&mut broker.stub().await, "gone").await;
        let mut told = broker.stub().await.acquire(downgrade("gone", 0, &alone.lock_id)).await.unwrap().into_inner();
        match next_event(&mut told).await {
            Kind::NotAcquired(refused) => assert_eq!(refused.reason(), not_acquired::Reason::NotReattachable),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_shares_what_it_had_alone_and_takes_it_along() {
    let (_memcached, [mut here, there]) = two_brokers(&[]).await;
    let client = Client::builder(here.url()).endpoint(there.url()).connect().unwrap();
    let guard = client.acquire("index").await.unwrap().guard().unwrap();
    let (id, token) = (guard.lock_id(), guard.fencing_token());
    assert_eq!(guard.permit(), None);
    guard.downgrade(Some(2)).await.unwrap();
    assert_eq!((guard.permit(), guard.fencing_token()), (Some(0), token));
    assert_ne!(guard.lock_id(), id);
    guard.downgrade(None).await.unwrap();
    guard.check().unwrap();
    let (_, _other) = take(&there, "index", 2).await;
    assert!(is_refused(&there, share("index", 2)).await, "a third of two");
    let id = guard.lock_id();
    here.kill();
    eventually(Duration::from_secs(9), "it has moved", async || guard.lock_id() != id && guard.check().is_ok()).await;
    assert_eq!(guard.permit(), Some(0));
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_client_is_told_why_it_has_the_lock_alone_as_before() {
    for (_memcached, broker) in brokers(&[]).await {
        let client = Client::connect(broker.url()).unwrap();
        let leader = client.acquire("leader").value("here").await.unwrap().guard().unwrap();
        let job = client.acquire("job").min_hold(Duration::from_secs(1)).await.unwrap().guard().unwrap();
        for guard in [&leader, &job] {
            assert!(matches!(guard.downgrade(None).await, Err(Error::Invalid { .. })));
            assert_eq!(guard.permit(), None);
            guard.check().unwrap();
        }
        assert!(matches!(job.downgrade(Some(0)).await, Err(Error::Invalid { .. })));
        assert!(is_refused(&broker, share("leader", 0)).await);
        leader.update("there").await.unwrap();
        leader.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_downgrade_waits_for_a_store_that_is_away_for_a_moment() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let client = Client::connect(broker.url()).unwrap();
    let guard = client.acquire("index").await.unwrap().guard().unwrap();
    memcached.stop().await;
    let downgrade = guard.downgrade(None);
    tokio::pin!(downgrade);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut downgrade).await.is_err(), "nobody can do it");
    memcached.cont();
    downgrade.await.unwrap();
    assert_eq!(guard.permit(), Some(0));
    guard.check().unwrap();
}
