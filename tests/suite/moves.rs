//! A client's locks move between brokers, and are at no moment free: because the broker drains, is killed, is stopped
//! for a while, or because the client is cut off from it. And when no broker can be reached, the client knows that
//! it has lost them before anybody else can get them.
//!
//! The client knows one address, a proxy's, as it would a Service's.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use crate::support::{Broker, Memcached, Proxy, SOON, eventually};
use lockbroker::client::{Client, Guard, LockState, LostReason};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The shortest there is, for what has to wait until a lock runs out.
const TTL: Duration = Duration::from_secs(5);
/// For how long a lock with that ttl is valid.
const VALID: Duration = Duration::from_secs(3);
/// The longest that these brokers grant.
const LONG_TTL: Duration = Duration::from_secs(15);
const LOCKS: usize = 20;

#[tokio::test]
async fn a_broker_that_drains_hands_its_clients_to_the_next() {
    let mut site = Site::start().await;
    let client = site.client_with(LONG_TTL);
    let locks = site.hold(&client).await;
    // Waiters stand in line at the broker that goes, and go on standing in line.
    let waiting: Vec<_> = (0..LOCKS)
        .map(|number| {
            let wait = client.wait_acquire(&name(number)).max_wait(Duration::from_secs(60));
            tokio::spawn(async move { wait.await.unwrap().guard().is_some() })
        })
        .collect();

    site.proxy.turn_to(site.other.address());
    // Ends of its own accord, and before the grace does: when the last lock has moved.
    assert!(site.one.terminate(SOON).await.success());
    locks.have_moved().await;
    locks.release(&site).await;
    for waiter in waiting {
        assert!(timeout(SOON, waiter).await.expect("the waiter waits on").unwrap());
    }
}

#[tokio::test]
async fn the_locks_of_a_killed_broker_go_on_at_the_next() {
    let mut site = Site::start().await;
    let locks = site.hold(&site.client_with(LONG_TTL)).await;
    site.proxy.turn_to(site.other.address());
    site.one.kill();
    locks.have_moved().await;
    locks.release(&site).await;
}

#[tokio::test]
async fn a_broker_that_wakes_up_later_takes_nothing_back() {
    let mut site = Site::start().await;
    let locks = site.hold(&site.client_with(LONG_TTL)).await;
    site.proxy.turn_to(site.other.address());
    site.one.stop().await;
    locks.have_moved().await;
    // It finds heartbeats to answer, leases that it no longer has, and streams that have ended.
    site.one.cont();
    site.one.ready().await;
    let client = Client::connect(site.one.url()).unwrap();
    for number in 0..LOCKS {
        assert_eq!(client.get(&name(number), None).await.unwrap().state, LockState::Held, "{}", name(number));
    }
    locks.release(&site).await;
}

#[tokio::test]
async fn a_client_that_is_cut_off_moves_while_its_old_stream_lies_dead() {
    let site = Site::start().await;
    let locks = site.hold(&site.client_with(LONG_TTL)).await;
    site.proxy.turn_to(site.other.address());
    site.proxy.black_hole();
    site.proxy.heal();
    locks.have_moved().await;
    locks.release(&site).await;
}

#[tokio::test]
async fn a_client_whose_connection_is_closed_under_it_does_not_believe_on() {
    // The broker takes the cut for the client's end and releases: the client must not believe for a moment that it
    // holds what somebody else has.
    let site = Site::start().await;
    let client = site.client();
    let lock = client.acquire("a").await.unwrap().guard().expect("a lock that nobody has");
    let rival = site.rival("a");
    site.proxy.black_hole();
    let cut = Instant::now();
    site.proxy.cut();
    let (granted, _theirs) = timeout(SOON, rival).await.expect("the lock is free").unwrap();
    assert!(granted - cut < VALID / 2, "the client's end was taken for silence");
    assert!(lock.remaining().is_zero());
    let reason = timeout(SOON, lock.lost()).await.expect("the loss is told");
    assert_eq!(reason, LostReason::Expired);
}

#[tokio::test]
async fn a_client_that_is_cut_off_from_all_loses_its_lock_before_anybody_gets_it() {
    let site = Site::start().await;
    let lock = site.client().acquire("a").await.unwrap().guard().expect("a lock that nobody has");
    let rival = site.rival("a");
    // Right after a heartbeat was acknowledged it believes for longest.
    let before = lock.remaining();
    eventually(SOON, "a heartbeat is acknowledged", async || lock.remaining() > before).await;
    site.proxy.black_hole();
    // Nothing renews this any more. When a task is told is the scheduler's affair; what it believes is not.
    let believed_until = Instant::now() + lock.expires_in();
    let (granted, _theirs) = timeout(SOON, rival).await.expect("the lock is free in the end").unwrap();
    assert_eq!(lock.remaining(), Duration::ZERO);
    assert!(granted > believed_until, "granted {:?} too early", believed_until - granted);
    assert_eq!(timeout(SOON, lock.lost()).await, Ok(LostReason::Expired));
}

#[tokio::test]
async fn validity_runs_down_and_every_heartbeat_renews_it() {
    let site = Site::start().await;
    let lock = site.client().acquire("a").await.unwrap().guard().expect("a lock that nobody has");
    let (mut lowest, mut renewals) = (lock.remaining(), 0);
    let start = Instant::now();
    while start.elapsed() < TTL {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = lock.remaining();
        assert!(!now.is_zero() && now <= VALID, "{now:?}");
        if now > lowest {
            renewals += 1;
            assert!(lowest > VALID / 4, "renewed late, at {lowest:?}");
        }
        lowest = now;
    }
    // A heartbeat for each third of the ttl.
    assert!((2..=3).contains(&renewals), "{renewals} renewals");
    assert!(timeout(Duration::ZERO, lock.lost()).await.is_err());
}

#[tokio::test]
async fn calls_that_are_dropped_anywhere_leave_no_lock() {
    let site = Site::start().await;
    let client = site.client();
    let begin = Instant::now();
    client.acquire("measure").await.unwrap().guard().expect("a lock that nobody has").release().await.unwrap();
    let cycle = begin.elapsed();
    let mut acquired = 0;
    for number in 0..500 {
        let within = cycle.mul_f64(rand::random());
        let lock = name(number % 10);
        // Dropped before it is sent, on its way, when it is granted, or as a guard.
        acquired += match number % 2 {
            0 => timeout(within, client.acquire(&lock).into_future()).await.is_ok() as usize,
            _ => timeout(within, client.wait_acquire(&lock).into_future()).await.is_ok() as usize,
        };
    }
    assert!((1..500).contains(&acquired), "{acquired} of 500 were in time: nothing was cut short, or all");
    for number in 0..10 {
        eventually(SOON, "the lock is free", async || {
            client.get(&name(number), None).await.unwrap().state == LockState::Free
        })
        .await;
    }
}

/// Two brokers on one memcached, and a proxy in front of the first.
struct Site {
    _memcached: Memcached,
    one: Broker,
    other: Broker,
    proxy: Proxy,
}

/// Locks of one client, as it got them.
struct Locks(Vec<(Guard, String)>);

impl Site {
    async fn start() -> Self {
        let memcached = Memcached::start(&[]).await;
        let (one, other) = (Broker::on(&memcached).await, Broker::on(&memcached).await);
        let proxy = Proxy::start(one.address()).await;
        Self { _memcached: memcached, one, other, proxy }
    }

    fn client(&self) -> Client {
        self.client_with(TTL)
    }

    fn client_with(&self, ttl: Duration) -> Client {
        Client::builder(format!("http://{}", self.proxy.address())).ttl(ttl).connect().unwrap()
    }

    async fn hold(&self, client: &Client) -> Locks {
        let mut locks = Vec::new();
        for number in 0..LOCKS {
            let guard = client.acquire(&name(number)).await.unwrap().guard().expect("a lock that nobody has");
            let id = guard.lock_id();
            locks.push((guard, id));
        }
        Locks(locks)
    }

    /// Somebody who waits at the other broker; when they got it, and the lock.
    fn rival(&self, name: &str) -> JoinHandle<(Instant, Guard)> {
        let waiting = Client::connect(self.other.url()).unwrap().wait_acquire(name);
        tokio::spawn(async move {
            let guard = waiting.await.unwrap().guard().expect("there is no end to the wait");
            (Instant::now(), guard)
        })
    }
}

impl Locks {
    /// Waits until each is held under another id, and none was lost.
    async fn have_moved(&self) {
        eventually(Duration::from_secs(15), "the locks have moved", async || {
            let lost = self.0.iter().find(|(guard, _)| guard.expires_in().is_zero());
            assert!(lost.is_none(), "{lost:?}");
            self.0.iter().all(|(guard, id)| guard.lock_id() != *id && !guard.remaining().is_zero())
        })
        .await;
    }

    /// Releases them; somebody at the other broker gets each only then, and under a greater token.
    async fn release(self, site: &Site) {
        let other = Client::connect(site.other.url()).unwrap();
        for (guard, _) in self.0 {
            let (name, token) = (guard.name().to_owned(), guard.fencing_token());
            assert_eq!(other.get(&name, None).await.unwrap().state, LockState::Held, "{name}");
            guard.release().await.unwrap();
            let next = other.wait_acquire(&name).await.unwrap().guard().expect("there is no end to the wait");
            assert!(next.fencing_token() > token);
        }
    }
}

fn name(number: usize) -> String {
    format!("moves/{number}")
}
