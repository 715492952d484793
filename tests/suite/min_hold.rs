//! A lock with a `min_hold` stays closed for that long after its grant, whoever ends it, however and wherever.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{
    AcquireLeaseRequest, AcquireRequest, Acquired, LockSpec, RenewLeaseRequest, WaitAcquireRequest,
    WaitAcquireResponse, not_acquired,
};
use tokio::time::{sleep, timeout};
use tonic::Streaming;

const SHORT: &[&str] = &["--default-ttl", "5s", "--max-ttl", "5s"];
const TTL: Duration = Duration::from_secs(5);
const MIN_HOLD: Duration = Duration::from_secs(4);
/// Longer than the item of a lock lives for its ttl.
const LONG: Duration = Duration::from_secs(9);
/// A poll of another broker comes after 1.2 times the interval at the latest, and a busy machine takes its time.
const SLACK: Duration = Duration::from_millis(400);
/// By how much an item outlives a `min_hold`: the margin that every item has, and the rounding of the clock.
const MARGIN: Duration = Duration::from_secs(4);

fn spec(name: &str, min_hold: Duration) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), min_hold: span(min_hold), ..LockSpec::default() })
}

fn for_at_least(min_hold: Duration, name: &str) -> AcquireRequest {
    AcquireRequest { lock: spec(name, min_hold), ..AcquireRequest::default() }
}

fn lease_for_at_least(min_hold: Duration, name: &str) -> AcquireLeaseRequest {
    AcquireLeaseRequest { lock: spec(name, min_hold), ..AcquireLeaseRequest::default() }
}

async fn acquire_lease(broker: &Broker, request: AcquireLeaseRequest) -> Acquired {
    match broker.stub().await.acquire_lease(request).await.unwrap().into_inner().result {
        Some(Acquiring::Acquired(acquired)) => acquired,
        other => panic!("{other:?}"),
    }
}

/// When a lock was granted: between two moments.
struct Granted {
    asked: Instant,
    told: Instant,
}

impl Granted {
    async fn after<T>(asks: impl Future<Output = T>) -> (Granted, T) {
        let asked = Instant::now();
        let answer = asks.await;
        (Granted { asked, told: Instant::now() }, answer)
    }

    /// Checks that the next one is granted the lock once the `min_hold` is over, and no later than `late` after that.
    async fn closed_for(&self, min_hold: Duration, late: Duration, next: &mut Streaming<WaitAcquireResponse>) {
        timeout(2 * SOON, granted_whenever(next)).await.expect("it is free again");
        let (longest, shortest) = (self.asked.elapsed(), self.told.elapsed());
        assert!(longest >= min_hold, "granted after {longest:?}");
        assert!(shortest <= min_hold + late, "granted after {shortest:?}");
    }
}

async fn waiting(broker: &Broker, name: &str) -> Streaming<WaitAcquireResponse> {
    queue(&mut broker.stub().await, wait(name)).await.1
}

#[tokio::test]
async fn a_release_leaves_it_closed_until_it_is_over() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut stub = broker.stub().await;
        let (grant, (lock, stream)) = Granted::after(acquire(&mut stub, for_at_least(MIN_HOLD, "job"))).await;
        assert_eq!(lock.lock_id.len(), 43);
        let mut next = waiting(&broker, "job").await;
        drop(stream);
        eventually(SOON, "it is released", async || {
            look(&mut broker.stub().await, "job").await.state() == State::Lingering
        })
        .await;
        assert!(duration(look(&mut stub, "job").await.free_within) <= MIN_HOLD);
        let mut refused = stub.acquire(once("job")).await.unwrap().into_inner();
        let Kind::NotAcquired(why) = next_event(&mut refused).await else { panic!("two holders") };
        assert_eq!(why.reason(), not_acquired::Reason::Lingering);
        grant.closed_for(MIN_HOLD, SLACK, &mut next).await;
    }
}

#[tokio::test]
async fn what_ends_later_is_handed_over_at_once() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let (min_hold, both) = (Duration::from_secs(1), Duration::from_millis(1_500));
    let (_, held) = acquire(&mut stub, for_at_least(min_hold, "job")).await;
    // One whose own grant is to be kept too.
    let waits = WaitAcquireRequest { lock: spec("job", both), ttl: None, wait: None };
    let (_, mut next) = queue(&mut broker.stub().await, waits).await;
    sleep(min_hold).await;
    let (grant, ()) = Granted::after(async {
        drop(held);
        timeout(SLACK, granted(&mut next)).await.expect("it is handed over");
    })
    .await;
    let mut last = waiting(&broker, "job").await;
    drop(next);
    grant.closed_for(both, SLACK, &mut last).await;
}

#[tokio::test]
async fn a_longer_linger_counts_from_the_release() {
    let broker = Broker::memory().await;
    let linger = Duration::from_millis(1_500);
    let lock = LockSpec { linger: span(linger), ..spec("job", Duration::from_secs(1)).unwrap() };
    let request = AcquireRequest { lock: Some(lock), ..AcquireRequest::default() };
    let (lock, _stream) = acquire(&mut broker.stub().await, request).await;
    let mut next = waiting(&broker, "job").await;
    sleep(Duration::from_millis(500)).await;
    let mut stub = broker.stub().await;
    let (released, outcome) = Granted::after(release(&mut stub, "job", &lock.lock_id)).await;
    assert_eq!(outcome, Outcome::Released);
    released.closed_for(linger, SLACK, &mut next).await;
}

#[tokio::test]
async fn run_is_done_at_once_and_the_lock_stays_closed() {
    let both = Brokers::start_with(SHORT).await;
    let url = both.first.url();
    let command = ["run", "--server", &url, "--at-least", "4s", "job", "--", "true"];
    let (grant, output) = Granted::after(async { run(&command) }).await;
    assert!(output.status.success(), "{output:?}");
    assert!(grant.asked.elapsed() < MIN_HOLD / 2, "{:?}", grant.asked.elapsed());
    let refused = run(&command);
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    let mut next = waiting(&both.second, "job").await;
    grant.closed_for(MIN_HOLD, SLACK, &mut next).await;
    let wrong = run(&["run", "--server", &url, "--at-least", "2h", "job", "--", "true"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("--at-least is 7200s; it may be 0s to 3600s"), "{said}");
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_it_closed() {
    let both = Brokers::start_with(SHORT).await;
    let url = both.first.url();
    let sleeps = ["sh", "-c", "echo started; exec sleep 600"];
    let command = [&["run", "--server", &url, "--at-least", "4s", "job", "--"], &sleeps[..]].concat();
    let start = async { Process::spawn_running("lockbroker run", &mut lockbroker(&command)) };
    let (grant, mut client) = Granted::after(start).await;
    let mut next = waiting(&both.second, "job").await;
    client.kill();
    grant.closed_for(MIN_HOLD, SLACK, &mut next).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_leaves_it_closed() {
    let mut both = Brokers::start_with(SHORT).await;
    let mut stub = both.first.stub().await;
    let (grant, (_, mut held)) = Granted::after(acquire(&mut stub, for_at_least(LONG, "job"))).await;
    // After a renewal, whose T is no shorter.
    let Kind::Renewed(_) = next_event(&mut held).await else { panic!("not renewed") };
    let mut next = waiting(&both.second, "job").await;
    both.first.kill();
    grant.closed_for(LONG, TTL / 3 + MARGIN + SLACK, &mut next).await;
}

#[tokio::test]
async fn another_broker_keeps_it_as_well() {
    let mut both = Brokers::start_with(SHORT).await;
    let (mut here, mut there) = (both.first.stub().await, both.second.stub().await);
    let (grant, (lock, _stream)) = Granted::after(acquire(&mut here, for_at_least(LONG, "job"))).await;
    assert_eq!(release(&mut there, "job", &lock.lock_id).await, Outcome::Released);
    assert_eq!(look(&mut here, "job").await.state(), State::Lingering);

    let (moved_grant, (lock, _stream)) = Granted::after(acquire(&mut here, for_at_least(LONG, "moved"))).await;
    let (lock, moved) = acquire(&mut there, reattach("moved", &lock.lock_id)).await;
    assert_eq!(lock.lock_id.len(), 43);
    both.first.kill();
    drop(moved);
    let mut next = [waiting(&both.second, "job").await, waiting(&both.second, "moved").await];
    let [released, moved] = &mut next;
    // All that it knows of the grant is what its lock id says: so it counts from the call.
    let late = SLACK + Duration::from_secs(1);
    tokio::join!(grant.closed_for(LONG, late, released), moved_grant.closed_for(LONG, late, moved));
}

#[tokio::test]
async fn a_lease_that_runs_out_or_is_released_leaves_it_closed() {
    let both = Brokers::start_with(SHORT).await;
    let lease = |name| acquire_lease(&both.first, lease_for_at_least(LONG, name));
    let (grant, runs_out) = Granted::after(lease("runs out")).await;
    assert_eq!(runs_out.lock_id.len(), 52);
    let (other, released) = Granted::after(lease("released")).await;
    // Renewed where nothing is known of it, which looks at the item, and cuts nothing off.
    for (name, lock_id) in [("runs out", &runs_out.lock_id), ("released", &released.lock_id)] {
        let request = RenewLeaseRequest { name: name.to_owned(), lock_id: lock_id.clone() };
        both.second.stub().await.renew_lease(request).await.unwrap();
    }
    assert_eq!(release(&mut both.second.stub().await, "released", &released.lock_id).await, Outcome::Released);
    let mut next = [waiting(&both.second, "runs out").await, waiting(&both.first, "released").await];
    let [runs_out, released] = &mut next;
    let late = SLACK + Duration::from_secs(1);
    tokio::join!(grant.closed_for(LONG, MARGIN + late, runs_out), other.closed_for(LONG, late, released));
}

/// What an old lock id says of a `min_hold` that is over counts for no longer than the item lives.
#[tokio::test]
async fn an_old_lock_id_keeps_nothing_closed_for_long() {
    let both = Brokers::start_with(SHORT).await;
    let (mut here, mut there) = (both.first.stub().await, both.second.stub().await);
    let (lock, _stream) = acquire(&mut here, for_at_least(2 * LONG, "job")).await;
    sleep(2 * LONG).await;
    let (released, outcome) = Granted::after(release(&mut there, "job", &lock.lock_id)).await;
    assert_eq!(outcome, Outcome::Released);
    let mut next = waiting(&both.second, "job").await;
    released.closed_for(Duration::ZERO, TTL + Duration::from_secs(1) + SLACK, &mut next).await;
}
