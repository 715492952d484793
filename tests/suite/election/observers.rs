//! What observers are told: the latest that is known, and never what is not.

use super::*;
use lockbroker::proto::{WaitAcquireRequest, lock_spec};
use tonic::transport::Endpoint;

#[tokio::test]
async fn while_the_store_is_away_nobody_knows_and_nobody_says_free() {
    let (mut memcached, [here, there]) = two_brokers(&[]).await;
    let (leader, _stream) = acquire(&mut here.stub().await, campaign("leader", "value")).await;
    let mut observers = [
        Observer::at(&here, "leader").await,
        Observer::at(&there, "leader").await,
        Observer::at(&here, "nobody's").await,
    ];
    observers[2].state(SOON, State::Free).await;
    for observer in &mut observers[..2] {
        observer.value(SOON, "value").await;
    }
    // It stands still: the connections stay open, and nothing is answered.
    observers.iter_mut().for_each(|observer| observer.told.clear());
    memcached.stop().await;
    for observer in &mut observers {
        let seen = observer.state(SOON, State::Unknown).await;
        assert_eq!((seen.value, seen.fencing_token, seen.owner), (None, 0, String::new()));
        assert!(!observer.was_told(State::Free), "{:?}", observer.told);
    }
    memcached.cont();
    for observer in &mut observers[..2] {
        assert_eq!(observer.value(SOON, "value").await.fencing_token, leader.fencing_token);
    }
    observers[2].state(SOON, State::Free).await;
    // It ends, and the connections with it.
    observers.iter_mut().for_each(|observer| observer.told.clear());
    memcached.kill();
    for observer in &mut observers {
        observer.state(SOON, State::Unknown).await;
        assert!(!observer.was_told(State::Free), "{:?}", observer.told);
    }
}

#[tokio::test]
async fn a_closed_shard_is_unknown_and_not_free() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], SHORT].concat()).await;
    let began = Instant::now();
    let mut observer = Observer::at(&broker, "leader").await;
    observer.state(SOON, State::Unknown).await;
    observer.state(SOON, State::Free).await;
    assert!(began.elapsed() > Duration::from_secs(3), "it opened after {:?}", began.elapsed());
}

#[tokio::test]
async fn tokens_never_go_back_at_any_broker() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let mut observers = vec![
        Observer::at(&here, "leader").await,
        Observer::at(&here, "leader").await,
        Observer::at(&there, "leader").await,
    ];
    let campaigns = [&here, &there, &here, &there].map(|broker| async {
        let mut stub = broker.stub().await;
        let began = Instant::now();
        let mut last = 0;
        while began.elapsed() < Duration::from_secs(4) {
            let request = WaitAcquireRequest { lock: valued("leader", "somebody"), ..wait("leader") };
            let mut stream = stub.wait_acquire(request).await.unwrap().into_inner();
            last = granted_whenever(&mut stream).await.fencing_token;
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        last
    });
    let last = futures_util::future::join_all(campaigns).await.into_iter().max().unwrap();
    // Those before may still be on their way out.
    let request = WaitAcquireRequest { lock: valued("leader", "the last"), ..wait("leader") };
    let mut stream = here.stub().await.wait_acquire(request).await.unwrap().into_inner();
    assert!(granted_whenever(&mut stream).await.fencing_token > last);
    for observer in &mut observers {
        observer.value(POLLED, "the last").await;
        let tokens: Vec<_> = observer.told.iter().map(|seen| seen.fencing_token).filter(|token| *token > 0).collect();
        assert!(tokens.len() > 2 && tokens.is_sorted(), "{tokens:?}");
        // A value is told with its own grant's token alone.
        let odd = observer.told.iter().find(|seen| seen.value.is_some() && seen.fencing_token == 0);
        assert!(odd.is_none(), "{odd:?}");
    }
}

#[tokio::test]
async fn whoever_reads_slowly_gets_the_latest() {
    let broker = Broker::memory().await;
    let (leader, _stream) = acquire(&mut broker.stub().await, campaign("leader", "0")).await;
    // It has room for sixty of these values, and does not read meanwhile.
    let endpoint = Endpoint::from_shared(broker.url()).unwrap().initial_stream_window_size(65_535);
    let mut slow = Stub::new(endpoint.connect().await.unwrap());
    let stream = slow.observe(ObserveRequest { name: "leader".to_owned() }).await.unwrap().into_inner();
    let mut observer = Observer { stream, told: Vec::new() };
    observer.value(SOON, "0").await;
    observer.told.clear();
    let mut stub = broker.stub().await;
    let filling = "x".repeat(1_000);
    for number in 1..=300 {
        let value = format!("{filling} {number}").into();
        let request = UpdateLockRequest { name: "leader".into(), lock_id: leader.lock_id.clone(), value };
        stub.update_lock(request).await.unwrap();
        // Each is seen by the broker, which looks no more often than that.
        tokio::time::sleep(Duration::from_millis(22)).await;
    }
    observer.value(SOON, &format!("{filling} 300")).await;
    assert!(observer.told.len() < 150, "it was told {} of 300", observer.told.len());
}

#[tokio::test]
async fn the_last_state_is_repeated_so_that_silence_says_something() {
    let broker = Broker::memory().await;
    let mut observer = Observer::at(&broker, "nobody's").await;
    observer.state(SOON, State::Free).await;
    let began = Instant::now();
    observer.state(SOON, State::Free).await;
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_lock_that_lingers_is_neither_held_nor_free() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut observer = Observer::at(&broker, "job").await;
        observer.state(SOON, State::Free).await;
        let linger = Duration::from_secs(2);
        let lock = LockSpec { linger: span(linger), ..valued("job", "value").unwrap() };
        let request = AcquireRequest { lock: Some(lock), ..AcquireRequest::default() };
        let (_, stream) = acquire(&mut broker.stub().await, request).await;
        observer.value(AT_ONCE, "value").await;
        drop(stream);
        let seen = observer.state(AT_ONCE, State::Lingering).await;
        assert_eq!(seen.value, None);
        assert!(duration(seen.expires_in) <= linger, "{seen:?}");
        observer.state(SOON, State::Free).await;
    }
}

#[tokio::test]
async fn a_lock_that_several_share_is_held_while_anybody_has_a_permit() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut observer = Observer::at(&broker, "pool").await;
        observer.state(SOON, State::Free).await;
        let mode = lock_spec::Mode::Shared.into();
        let lock = || Some(LockSpec { name: "pool".to_owned(), mode, ..LockSpec::default() });
        let request = || AcquireRequest { lock: lock(), ..AcquireRequest::default() };
        let (_, first) = acquire(&mut broker.stub().await, request()).await;
        observer.state(AT_ONCE, State::Held).await;
        let (_, second) = acquire(&mut broker.stub().await, request()).await;
        drop(first);
        observer.told.clear();
        tokio::time::sleep(POLLED).await;
        drop(second);
        observer.state(AT_ONCE, State::Free).await;
        assert_eq!(observer.told.len(), 1, "{:?}", observer.told);
    }
}
