//! After a release a lock that lingers is nobody's for as long as it was asked to, whoever ended it and however;
//! and the ttls of those who take turns at one lock are each one's own.

use std::time::{Duration, Instant};

use crate::support::{
    Broker, Memcached, Outcome, Process, SOON, acquire, duration, granted, lingering, lockbroker, look, next_event,
    once, queue, release, span, try_acquire, wait,
};
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, WaitAcquireRequest, WaitAcquireResponse};
use tokio::time::timeout;
use tonic::Streaming;

const LINGER: Duration = Duration::from_millis(1_500);
/// A poll of another broker comes after 1.2 times the interval at the latest…
const POLL: Duration = Duration::from_millis(120);
/// …and a busy machine takes its time.
const SLACK: Duration = Duration::from_millis(200);
const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "20s"];
/// By how much an item outlives what its lock asked for.
const ROUNDING: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_release_lingers_exactly() {
    let pair = Pair::start().await;
    let mut stub = pair.first.stub().await;
    let request = AcquireRequest { lock: lingering("released", LINGER), ..Default::default() };
    let (acquired, _stream) = acquire(&mut stub, request).await;
    let waiting = pair.wait_for("released").await;

    let released = Instant::now();
    let outcome = release(&mut stub, "released", &acquired.lock_id).await;
    let answered = Instant::now();
    assert_eq!(outcome, Outcome::Released);
    assert_eq!(state(&pair.second, "released").await, State::Lingering);
    // No shorter than it was while the lock was held: a clock that lags cuts nothing off.
    assert!(expires_in(&pair.second, "released").await > Duration::from_secs(5));
    assert!(try_acquire(&mut stub, once("released")).await.unwrap().is_none());
    waiting.come_after(released, answered, LINGER, LINGER).await;
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_a_linger() {
    let pair = Pair::start().await;
    let url = pair.first.url();
    let command = ["sh", "-c", "echo started; exec sleep 600"];
    let run = [&["run", "--server", &url, "--linger", "1500ms", "killed", "--"], &command[..]].concat();
    let mut client = Process::spawn_running("lockbroker run", &mut lockbroker(&run));
    let waiting = pair.wait_for("killed").await;
    let killed = Instant::now();
    client.kill();
    waiting.come_after(killed, Instant::now(), LINGER, LINGER).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_leaves_the_ttl_and_the_linger() {
    let mut pair = Pair::start().await;
    let request = AcquireRequest { lock: lingering("orphaned", Duration::from_secs(3)), ..Default::default() };
    let before = Instant::now();
    let _held = acquire(&mut pair.first.stub().await, request).await;
    let mut waiting = queue(&mut pair.second.stub().await, wait("orphaned")).await.1;
    pair.first.kill();
    let killed = Instant::now();
    timeout(2 * SOON, granted(&mut waiting)).await.expect("it expires");
    // An item of 5 + 3 + 1 s lives for more than 6 s and at most 9 s.
    assert!(before.elapsed() > Duration::from_secs(6), "granted after {:?}", before.elapsed());
    assert!(killed.elapsed() <= Duration::from_secs(9) + POLL + SLACK, "granted after {:?}", killed.elapsed());
}

/// The item went with the memory, and the linger outlasts the quarantine.
#[tokio::test]
async fn a_release_after_a_loss_of_memory_lingers_all_the_same() {
    const LONG: Duration = Duration::from_secs(9);
    let memcached = Memcached::start(&[]).await;
    let shortest = ["--default-ttl", "5s", "--max-ttl", "5s"];
    let holding = Broker::on_store(&memcached.store(), &shortest).await;
    let other = Broker::start(&[&["--store", &memcached.store()], &shortest[..]].concat()).await;
    let mut stub = holding.stub().await;
    let request = AcquireRequest { lock: lingering("forgotten", LONG), ..Default::default() };
    let (acquired, mut stream) = acquire(&mut stub, request).await;
    // Right after a renewal, so that the next one does not find out first.
    let Kind::Renewed(_) = next_event(&mut stream).await else { panic!("not renewed") };
    assert_eq!(memcached.command("md lockbroker:L:forgotten").await, "HD\r\n");
    assert_eq!(memcached.command("md lockbroker:S").await, "HD\r\n");
    holding.logged("has lost its memory, or is new").await;
    let mut waiting = queue(&mut other.stub().await, wait("forgotten")).await.1;
    let released = Instant::now();
    assert_eq!(release(&mut stub, "forgotten", &acquired.lock_id).await, Outcome::Released);
    timeout(3 * SOON, granted(&mut waiting)).await.expect("the linger ends");
    assert!(released.elapsed() >= LONG, "granted {:?} after the release", released.elapsed());
}

#[tokio::test]
async fn everybody_holds_for_their_own_ttl() {
    let mut pair = Pair::start().await;
    let (short, long) = (Duration::from_secs(5), Duration::from_secs(20));
    let wait_for = |ttl| WaitAcquireRequest { ttl: span(ttl), ..wait("taken in turns") };
    let mut stub = pair.first.stub().await;
    let request = AcquireRequest { ttl: span(short), ..once("taken in turns") };
    let (_, first) = acquire(&mut stub, request).await;
    assert!(expires_in(&pair.second, "taken in turns").await <= short + ROUNDING);
    let mut second = queue(&mut pair.first.stub().await, wait_for(long)).await.1;

    drop(first);
    timeout(SOON, granted(&mut second)).await.expect("it is handed over");
    let left = expires_in(&pair.second, "taken in turns").await;
    assert!(left > long - Duration::from_secs(3) && left <= long + ROUNDING, "{left:?}");
    let mut third = queue(&mut pair.second.stub().await, wait_for(short)).await.1;

    drop(second);
    timeout(SOON, granted(&mut third)).await.expect("it is released");
    let after = Instant::now();
    assert!(expires_in(&pair.first, "taken in turns").await <= short + ROUNDING);
    // Nothing is left of the long one: the short one's broker dies, and its lock with it in time.
    let mut fourth = queue(&mut stub, wait("taken in turns")).await.1;
    pair.second.kill();
    timeout(2 * SOON, granted(&mut fourth)).await.expect("it expires");
    // It may have been renewed once or twice before its broker died.
    assert!(after.elapsed() <= short + Duration::from_secs(2) + SLACK, "granted after {:?}", after.elapsed());
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
            streams.push(queue(&mut broker.stub().await, wait(name)).await.1);
        }
        Waiting(streams)
    }
}

struct Waiting(Vec<Streaming<WaitAcquireResponse>>);

impl Waiting {
    /// One of them is granted the lock, no earlier than `least` after it was given up and no later than `most`, a
    /// poll and some slack after that was done.
    async fn come_after(mut self, given_up: Instant, done: Instant, least: Duration, most: Duration) {
        let mut streams = self.0.iter_mut();
        let (Some(here), Some(there)) = (streams.next(), streams.next()) else { unreachable!() };
        let grant = async {
            tokio::select! { token = granted(here) => token, token = granted(there) => token }
        };
        timeout(SOON, grant).await.expect("one of them is granted");
        let (lower, upper) = (given_up.elapsed(), done.elapsed());
        assert!(lower >= least, "granted {lower:?} after it was given up");
        assert!(upper <= most + POLL + SLACK, "granted {upper:?} after it was given up");
    }
}

async fn state(broker: &Broker, name: &str) -> State {
    look(&mut broker.stub().await, name).await.state()
}

async fn expires_in(broker: &Broker, name: &str) -> Duration {
    duration(look(&mut broker.stub().await, name).await.free_within)
}
