//! After a release a lock that lingers is nobody's for as long as it was asked to, whoever ended it and however;
//! and the ttls of those who take turns at one lock are each one's own.

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{
    AcquireRequest, GetLockRequest, LockSpec, ReleaseRequest, get_lock_response, release_response,
};
use support::{
    Broker, Memcached, Process, SOON, attempt, attempt_for, eventually, granted_in_the_end, lockbroker, named,
    next_event, stand_in_line,
};
use tokio::time::timeout;

const LINGER: Duration = Duration::from_millis(1_500);
/// A poll of another broker comes after 1.2 times the interval at the latest…
const POLL: Duration = Duration::from_millis(120);
/// …and a busy machine takes its time.
const SLACK: Duration = Duration::from_millis(200);
const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "20s"];

#[tokio::test]
async fn a_release_lingers_exactly() {
    let pair = Pair::start().await;
    let mut stub = pair.first.stub().await;
    let request = AcquireRequest { lock: Some(lingering("released")), ..Default::default() };
    let mut stream = stub.acquire(request).await.unwrap().into_inner();
    let Kind::Acquired(acquired) = next_event(&mut stream).await else { panic!("not acquired") };
    let waiting = pair.wait_for("released").await;

    let request = ReleaseRequest { name: "released".into(), lock_id: acquired.lock_id };
    let released = Instant::now();
    let outcome = stub.release(request).await.unwrap().into_inner().outcome();
    let answered = Instant::now();
    assert_eq!(outcome, release_response::Outcome::Released);
    assert_eq!(state(&pair.second, "released").await, get_lock_response::State::Lingering);
    assert!(attempt(&mut stub, named("released")).await.unwrap().is_none());
    waiting.come_after(released, answered, LINGER, LINGER).await;
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_a_linger() {
    let pair = Pair::start().await;
    let url = pair.first.url();
    let mut run = lockbroker(&["run", "--server", &url, "--linger", "1500ms", "killed", "--", "sleep", "600"]);
    let mut client = Process::spawn("lockbroker run", run.stdout(Stdio::null()));
    eventually(SOON, "it holds the lock", async || {
        state(&pair.second, "killed").await == get_lock_response::State::Held
    })
    .await;
    let waiting = pair.wait_for("killed").await;
    let killed = Instant::now();
    client.kill();
    waiting.come_after(killed, Instant::now(), LINGER, LINGER).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_leaves_the_ttl_and_the_linger() {
    let mut pair = Pair::start().await;
    let mut stub = pair.first.stub().await;
    let lock =
        attempt(&mut stub, LockSpec { linger: Some(Duration::from_secs(2).try_into().unwrap()), ..named("orphaned") });
    let before = Instant::now();
    let _lock = lock.await.unwrap().expect("it is free");
    let after = Instant::now();
    let mut waiting = stand_in_line(&mut pair.second.stub().await, named("orphaned"), None).await;
    pair.first.kill();
    timeout(2 * SOON, granted_in_the_end(&mut waiting)).await.expect("it expires");
    // An item of 5 + 2 s lives for more than 5 s and at most 7 s.
    assert!(before.elapsed() > Duration::from_secs(5), "granted after {:?}", before.elapsed());
    assert!(after.elapsed() <= Duration::from_secs(7) + POLL + SLACK, "granted after {:?}", after.elapsed());
}

#[tokio::test]
async fn everybody_holds_for_their_own_ttl() {
    let mut pair = Pair::start().await;
    let (short, long) = (Duration::from_secs(5), Duration::from_secs(20));
    let mut stub = pair.first.stub().await;
    let first = attempt_for(&mut stub, named("taken in turns"), Some(short)).await.unwrap().expect("it is free");
    assert!(expires_in(&pair.second, "taken in turns").await <= short);
    let mut second = stand_in_line(&mut pair.first.stub().await, named("taken in turns"), Some(long)).await;

    drop(first);
    timeout(SOON, granted_in_the_end(&mut second)).await.expect("it is handed over");
    let left = expires_in(&pair.second, "taken in turns").await;
    assert!(left > long - Duration::from_secs(3) && left <= long, "{left:?}");
    let mut third = stand_in_line(&mut pair.second.stub().await, named("taken in turns"), Some(short)).await;

    drop(second);
    timeout(SOON, granted_in_the_end(&mut third)).await.expect("it is released");
    let after = Instant::now();
    assert!(expires_in(&pair.first, "taken in turns").await <= short);
    // Nothing is left of the long one: the short one's broker dies, and its lock with it in time.
    let mut fourth = stand_in_line(&mut stub, named("taken in turns"), None).await;
    pair.second.kill();
    timeout(2 * SOON, granted_in_the_end(&mut fourth)).await.expect("it expires");
    // It may have been renewed once or twice before its broker died.
    assert!(after.elapsed() <= short + Duration::from_secs(1) + SLACK, "granted after {:?}", after.elapsed());
}

/// Two brokers on one memcached.
struct Pair {
    first: Broker,
    second: Broker,
    _memcached: Memcached,
}

impl Pair {
    async fn start() -> Self {
        let memcached = Memcached::start(&[]).await;
        let first = Broker::on_store(&memcached.store(), &SHORT).await;
        let second = Broker::start(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
        Self { first, second, _memcached: memcached }
    }

    /// One waits for the lock at each broker.
    async fn wait_for(&self, name: &str) -> Waiting {
        let mut streams = Vec::new();
        for broker in [&self.first, &self.second] {
            streams.push(stand_in_line(&mut broker.stub().await, named(name), None).await);
        }
        Waiting(streams)
    }
}

struct Waiting(Vec<tonic::Streaming<lockbroker::proto::WaitAcquireResponse>>);

impl Waiting {
    /// One of them is granted the lock, no earlier than `least` after it was given up and no later than `most`, a
    /// poll and some slack after that was done.
    async fn come_after(mut self, given_up: Instant, done: Instant, least: Duration, most: Duration) {
        let mut streams = self.0.iter_mut();
        let (Some(here), Some(there)) = (streams.next(), streams.next()) else { unreachable!() };
        let grant = async {
            tokio::select! { token = granted_in_the_end(here) => token, token = granted_in_the_end(there) => token }
        };
        timeout(SOON, grant).await.expect("one of them is granted");
        let (lower, upper) = (given_up.elapsed(), done.elapsed());
        assert!(lower >= least, "granted {lower:?} after it was given up");
        assert!(upper <= most + POLL + SLACK, "granted {upper:?} after it was given up");
    }
}

fn lingering(name: &str) -> LockSpec {
    LockSpec { linger: Some(LINGER.try_into().unwrap()), ..named(name) }
}

async fn state(broker: &Broker, name: &str) -> get_lock_response::State {
    let request = GetLockRequest { name: name.into(), ..Default::default() };
    broker.stub().await.get_lock(request).await.unwrap().into_inner().state()
}

async fn expires_in(broker: &Broker, name: &str) -> Duration {
    let request = GetLockRequest { name: name.into(), ..Default::default() };
    let lock = broker.stub().await.get_lock(request).await.unwrap().into_inner();
    lock.expires_in.expect("it is held").try_into().unwrap()
}
