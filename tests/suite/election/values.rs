//! A value is that of the grant which holds the lock, at every broker, through updates, moves and losses.

use super::*;

#[tokio::test]
async fn a_leaders_value_is_told_here_at_once_and_elsewhere_by_the_next_poll() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (mut near, mut far) = (Observer::at(&here, "leader").await, Observer::at(&there, "leader").await);
    near.state(SOON, State::Free).await;
    far.state(SOON, State::Free).await;

    let began = Instant::now();
    let (leader, stream) = acquire(&mut here.stub().await, campaign("leader", "one")).await;
    let seen = near.value(SOON, "one").await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(seen.fencing_token, leader.fencing_token);
    assert!(duration(seen.expires_in) > Duration::from_secs(10), "{seen:?}");
    assert_eq!(far.value(POLLED, "one").await.fencing_token, leader.fencing_token);

    for (at, value) in [(&here, "two"), (&there, "three"), (&here, "four")] {
        let began = Instant::now();
        assert_eq!(update(at, "leader", &leader.lock_id, value).await.unwrap(), Updated::Updated);
        let (nearer, farther) = if std::ptr::eq(at, &here) { (&mut near, &mut far) } else { (&mut far, &mut near) };
        nearer.value(SOON, value).await;
        assert!(began.elapsed() < AT_ONCE, "{value}: {:?}", began.elapsed());
        farther.value(POLLED, value).await;
    }

    let began = Instant::now();
    drop(stream);
    near.state(SOON, State::Free).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let free = far.state(POLLED, State::Free).await;
    assert_eq!((free.value, free.fencing_token, free.expires_in), (None, 0, None));
}

#[tokio::test]
async fn an_old_leaders_late_update_touches_nothing_of_the_new_ones() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (old, stream) = acquire(&mut stub, campaign("leader", "old")).await;
        drop(stream);
        freed(&mut stub, "leader").await;
        assert_eq!(update(&broker, "leader", &old.lock_id, "late").await.unwrap(), Updated::NotHeld);
        let (new, _stream) = acquire(&mut stub, campaign("leader", "new")).await;
        assert_eq!(update(&broker, "leader", &old.lock_id, "late").await.unwrap(), Updated::HeldByAnother);
        let mut observer = Observer::at(&broker, "leader").await;
        let seen = observer.value(SOON, "new").await;
        assert_eq!(seen.fencing_token, new.fencing_token);
    }
}

#[tokio::test]
async fn a_hand_over_brings_the_next_leaders_value() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (first, stream) = acquire(&mut stub, campaign("leader", "first")).await;
        let request = lockbroker::proto::WaitAcquireRequest { lock: valued("leader", "second"), ..wait("leader") };
        let (_, mut waiting) = queue(&mut stub, request).await;
        let mut observer = Observer::at(&broker, "leader").await;
        observer.value(SOON, "first").await;
        drop(stream);
        let second = granted(&mut waiting).await;
        let seen = observer.value(AT_ONCE, "second").await;
        assert!(seen.fencing_token == second.fencing_token && seen.fencing_token > first.fencing_token);
        assert!(!observer.was_told(State::Free), "{:?}", observer.told);
    }
}

#[tokio::test]
async fn a_lock_without_a_value_has_none_and_gets_none() {
    for (_memcached, broker) in brokers(&[]).await {
        let (held, _stream) = acquire(&mut broker.stub().await, once("job")).await;
        assert_eq!(update(&broker, "job", &held.lock_id, "x").await.unwrap(), Updated::NoValue);
        let mut observer = Observer::at(&broker, "job").await;
        let seen = observer.state(SOON, State::Held).await;
        assert_eq!((seen.value, seen.fencing_token), (None, held.fencing_token), "this broker keeps it");
        // An empty one is one.
        let (empty, _stream) = acquire(&mut broker.stub().await, campaign("empty", "")).await;
        let mut observer = Observer::at(&broker, "empty").await;
        observer.value(SOON, "").await;
        assert_eq!(update(&broker, "empty", &empty.lock_id, "x").await.unwrap(), Updated::Updated);
        observer.value(SOON, "x").await;
    }
}

#[tokio::test]
async fn a_reattach_takes_the_value_along_and_nobody_sees_the_lock_without() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (mut leader, mut stream) = acquire(&mut here.stub().await, campaign("leader", "value")).await;
    let (mut near, mut far) = (Observer::at(&here, "leader").await, Observer::at(&there, "leader").await);
    near.value(SOON, "value").await;
    far.value(SOON, "value").await;
    for turn in 0..6 {
        let at = [&there, &here][turn % 2];
        let request = AcquireRequest { reattach_lock_id: leader.lock_id.clone(), ..campaign("leader", "value") };
        let (moved, new) = acquire(&mut at.stub().await, request).await;
        assert_eq!(moved.fencing_token, leader.fencing_token);
        (leader, stream) = (moved, new);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    // What was given under the old id is over, and what is given under the new one counts.
    assert_eq!(update(&there, "leader", &leader.lock_id, "at last").await.unwrap(), Updated::Updated);
    for observer in [&mut near, &mut far] {
        observer.value(POLLED, "at last").await;
        let all = |seen: &ObserveResponse| is_held_with(seen, "value") || is_held_with(seen, "at last");
        let odd = observer.told.iter().find(|seen| !all(seen) || seen.fencing_token != leader.fencing_token);
        assert!(odd.is_none(), "{odd:?}");
    }
    drop(stream);
}

#[tokio::test]
async fn a_value_lives_as_long_as_its_lock_and_through_a_loss_of_memory() {
    // Short, and long enough to be kept through a restart on a busy machine.
    let (mut memcached, [here, there]) = two_brokers(&["--max-ttl", "10s", "--default-ttl", "10s"]).await;
    let (leader, _stream) = acquire(&mut here.stub().await, campaign("leader", "first")).await;
    let mut observers = [Observer::at(&here, "leader").await, Observer::at(&there, "leader").await];
    for observer in &mut observers {
        observer.value(POLLED, "first").await;
    }
    // It is not that of the broker which keeps the lock, until that has read it, with its next renewal.
    assert_eq!(update(&there, "leader", &leader.lock_id, "second").await.unwrap(), Updated::Updated);
    // Longer than anything lives that is not kept.
    tokio::time::sleep(Duration::from_secs(13)).await;
    for observer in &mut observers {
        observer.value(POLLED, "second").await;
        observer.told.clear();
    }
    memcached.restart().await;
    for observer in &mut observers {
        observer.state(SOON, State::Unknown).await;
        let seen = observer.value(3 * SOON, "second").await;
        assert_eq!(seen.fencing_token, leader.fencing_token);
        assert!(!observer.was_told(State::Free), "{:?}", observer.told);
    }
}
