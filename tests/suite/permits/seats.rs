//! Permits one by one: up to a limit, at any broker, and what becomes of each when its holder ends.

use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use lockbroker::client::Client;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lost;
use tokio::time::timeout;

/// The shortest ttl, as the longest one too: so what nobody renews is free again soon.
const SHORT: &[&str] = &["--max-ttl", "5s", "--default-ttl", "5s"];
const TTL: Duration = Duration::from_secs(5);
/// The lease of that.
const LEASE: Duration = Duration::from_secs(3);

/// As many as the limit says have a permit, at these brokers in turn, and one who waits gets one that is let go.
async fn as_many_as_the_limit(brokers: &[&Broker; 2]) {
    let mut held = Vec::new();
    for number in 0..3 {
        held.push(take(brokers[number % 2], "pool", 3).await);
    }
    let permits: BTreeSet<_> = held.iter().map(|(acquired, _)| permit(acquired)).collect();
    assert_eq!(permits, BTreeSet::from([0, 1, 2]));
    assert!(held.is_sorted_by(|(a, _), (b, _)| a.fencing_token < b.fencing_token));
    for broker in brokers {
        assert!(is_refused(broker, share("pool", 3)).await, "a fourth of three");
    }
    for (at, waits_at) in [(0, 1), (1, 0), (1, 1)] {
        let (_, mut waiting) = queue(&mut brokers[waits_at].stub().await, wait_to_share("pool", 3)).await;
        let (old, stream) = held.remove(at);
        let left = Instant::now();
        drop(stream);
        let new = granted(&mut waiting).await;
        assert!(left.elapsed() < BELOW_A_POLL, "{at} {waits_at}: {:?}", left.elapsed());
        assert_eq!(permit(&new), permit(&old));
        assert!(new.fencing_token > old.fencing_token);
        drop(waiting);
        eventually(SOON, "there is room again", async || {
            match try_acquire(&mut brokers[0].stub().await, share("pool", 3)).await.unwrap() {
                Some(stream) => {
                    held.push((new.clone(), stream));
                    true
                }
                None => false,
            }
        })
        .await;
    }
}

#[tokio::test]
async fn as_many_have_a_permit_as_the_limit_says_and_the_next_gets_one_that_is_let_go() {
    for (_memcached, broker) in brokers(POLLS_EVERY).await {
        as_many_as_the_limit(&[&broker, &broker]).await;
    }
}

#[tokio::test]
async fn so_it_is_between_brokers() {
    let (_memcached, [here, there]) = two_brokers(POLLS_EVERY).await;
    as_many_as_the_limit(&[&here, &there]).await;
}

#[tokio::test]
async fn each_gets_a_permit_below_its_own_limit() {
    for (_memcached, broker) in brokers(&[]).await {
        let (_, _large) = take(&broker, "pool", 4096).await;
        let (second, _second) = take(&broker, "pool", 2).await;
        assert_eq!(permit(&second), 1);
        assert!(is_refused(&broker, share("pool", 2)).await);
        let (third, _third) = take(&broker, "pool", 0).await;
        assert_eq!(permit(&third), 2);
    }
}

#[tokio::test]
async fn the_permits_of_a_broker_that_dies_are_free_when_nobody_can_believe_in_them() {
    let (_memcached, [mut dies, other]) = two_brokers(SHORT).await;
    let granted_at = Instant::now();
    let (dead, _stream) = take(&dies, "pool", 2).await;
    let (_, _lives) = take(&other, "pool", 2).await;
    let (_, mut waiting) = queue(&mut other.stub().await, wait_to_share("pool", 2)).await;
    dies.kill();
    let killed_at = Instant::now();
    let next = timeout(TTL + Duration::from_secs(3), granted_whenever(&mut waiting)).await;
    let next = next.unwrap_or_else(|_| panic!("its permit is not free {:?} after its death", killed_at.elapsed()));
    assert!(granted_at.elapsed() > LEASE, "{:?}", granted_at.elapsed());
    assert_eq!(permit(&next), permit(&dead));
    assert!(next.fencing_token > dead.fencing_token);
}

#[tokio::test]
async fn the_permit_of_a_client_that_is_silent_is_free_when_it_can_believe_no_more() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut session = RawSession::open(&mut broker.stub().await, None).await;
        let opened = Instant::now();
        session.begin(lockbroker::proto::BeginLock { lock: shared("pool", 1), ..begin(1, "pool") });
        let (1, Kind::Acquired(_)) = session.next_event().await else { panic!("not acquired") };
        let mut waiting = broker.stub().await.wait_acquire(wait_to_share("pool", 1)).await.unwrap().into_inner();
        let next = timeout(TTL + Duration::from_secs(3), granted_whenever(&mut waiting)).await;
        assert!(next.is_ok() && opened.elapsed() > LEASE, "{:?}", opened.elapsed());
    }
}

#[tokio::test]
async fn a_permit_is_released_by_its_id_at_any_broker() {
    let (_memcached, [here, there]) = two_brokers(POLLS_EVERY).await;
    let (first, mut first_stream) = take(&here, "pool", 2).await;
    let (second, _second) = take(&here, "pool", 2).await;
    assert_eq!(first.lock_id.len(), 40);
    let (_, mut waiting) = queue(&mut here.stub().await, wait_to_share("pool", 2)).await;
    let released = Instant::now();
    assert_eq!(release(&mut there.stub().await, "pool", &first.lock_id).await, Outcome::Released);
    assert_eq!(permit(&granted(&mut waiting).await), permit(&first));
    assert!(released.elapsed() < BELOW_A_POLL, "{:?}", released.elapsed());
    match after_renewals(&mut first_stream).await {
        Kind::Lost(lost) => {
            assert!(matches!(lost.reason(), lost::Reason::Gone | lost::Reason::TakenOver), "{lost:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(release(&mut there.stub().await, "pool", &first.lock_id).await, Outcome::HeldByAnother);
    // A label is noted a moment after the grant.
    eventually(SOON, "the other one has its own still", async || {
        let seen = there.stub().await.get_lock(of_permit("pool", permit(&second))).await.unwrap().into_inner();
        (seen.state(), seen.fencing_token) == (State::Held, second.fencing_token)
    })
    .await;
}

#[tokio::test]
async fn a_permit_moves_to_another_broker_with_its_client() {
    let (_memcached, [here, there]) = two_brokers(SHORT).await;
    let (_, _first) = take(&here, "pool", 3).await;
    let (old, mut stream) = take(&here, "pool", 3).await;
    let again = AcquireRequest { reattach_lock_id: old.lock_id.clone(), ..share("pool", 3) };
    let (new, _moved) = acquire(&mut there.stub().await, again).await;
    assert_eq!((new.permit, new.fencing_token), (old.permit, old.fencing_token));
    assert_ne!(new.lock_id, old.lock_id);
    let Kind::Lost(lost) = after_renewals(&mut stream).await else { panic!("not lost") };
    assert_eq!(lost.reason(), lost::Reason::TakenOver);
    // It goes by the id, whatever else is said, and the lock is as shared as before.
    let (last, _last) = acquire(&mut here.stub().await, reattach("pool", &new.lock_id)).await;
    assert_eq!((last.permit, last.fencing_token), (old.permit, old.fencing_token));
    let (third, _third) = take(&there, "pool", 3).await;
    assert_eq!(permit(&third), 2);
    assert!(is_refused(&there, share("pool", 3)).await);
}

#[tokio::test]
async fn the_client_takes_its_permit_along() {
    let mut both = Brokers::start().await;
    let client = Client::builder(both.first.url()).endpoint(both.second.url()).connect().unwrap();
    let lock = client.acquire("pool").limit(2).await.unwrap().guard().unwrap();
    let (permit, token) = (lock.permit(), lock.fencing_token());
    assert_eq!(permit, Some(0));
    assert!(both.first.terminate(SOON).await.success());
    let rival = Client::connect(both.second.url()).unwrap();
    let other = rival.acquire("pool").limit(2).await.unwrap().guard().unwrap();
    assert_eq!(other.permit(), Some(1));
    let seen = rival.get_permit("pool", 0).await.unwrap();
    assert_eq!((seen.fencing_token, lock.permit()), (Some(token), permit));
    assert!(lock.check().is_ok());
    assert!(rival.acquire("pool").limit(2).await.unwrap().guard().is_none());
}

#[tokio::test]
async fn a_linger_and_a_min_hold_close_their_permit_alone() {
    const CLOSED: Duration = Duration::from_millis(2_500);
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        for lock in [
            LockSpec { linger: span(CLOSED), ..shared("lingers", 2).unwrap() },
            LockSpec { min_hold: span(CLOSED), ..shared("held", 2).unwrap() },
        ] {
            let name = lock.name.clone();
            let asked = Instant::now();
            let (first, stream) = acquire(&mut stub, AcquireRequest { lock: Some(lock), ..Default::default() }).await;
            assert_eq!(release(&mut stub, &name, &first.lock_id).await, Outcome::Released);
            drop(stream);
            let seen = look(&mut stub, &name).await;
            assert_eq!((seen.state(), seen.shared_count), (State::Lingering, 0), "{name}");
            assert!(duration(seen.free_within) > Duration::from_secs(1));
            let (second, _second) = take(&broker, &name, 2).await;
            assert_ne!(second.permit, first.permit);
            assert!(is_refused(&broker, share(&name, 2)).await, "{name}: its linger is cut");
            let mut waiting = stub.wait_acquire(wait_to_share(&name, 2)).await.unwrap().into_inner();
            let next = granted(&mut waiting).await;
            assert!(asked.elapsed() > CLOSED, "{name}: {:?}", asked.elapsed());
            assert!(asked.elapsed() < CLOSED + Duration::from_secs(4), "{name}: {:?}", asked.elapsed());
            assert_eq!(next.permit, first.permit);
        }
    }
}
