//! Clients that are killed let go at once: 200 of them die by SIGKILL, one after another, and what counts is the
//! time until the one that waits behind has the lock. Their neighbours keep theirs.
//!
//! The kernel closes a connection with bytes unread by a reset, which is no word of the client's: such a lock is free when
//! its validity is over. There are few of them, and the test tells how many. (A client has a second connection, without
//! locks. A reset of that one is counted too, and costs nothing.)

use std::time::{Duration, Instant};

use crate::support::{Broker, Memcached, Process, SOON, eventually, lockbroker, next_event};
use lockbroker::client::Client;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{LockSpec, WaitAcquireRequest, WaitSpec};
use tokio::task::JoinHandle;

const CLIENTS: usize = 200;
/// How many live at a time: each is two processes.
const AT_A_TIME: usize = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many must end in a FIN: a few at most have an answer on its way when they die.
const MOST: usize = CLIENTS * 4 / 5;
/// For how long a lock with the default ttl is valid.
const LEASE: Duration = Duration::from_secs(13);
/// From the kill to the next grant, beyond what polling takes.
const SOON_ENOUGH: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn the_lock_of_a_killed_client_goes_to_the_next_at_once() {
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let one = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let other = Broker::on(&memcached).await;
    let neighbour = Client::connect(one.url()).unwrap();
    let lock = neighbour.wait_acquire("neighbour").await.unwrap().guard().expect("a lock that nobody has");
    let lock_id = lock.lock_id();

    kill_in_time("in the same broker", &one, &one, SOON_ENOUGH).await;
    let polled = POLL_INTERVAL.mul_f64(1.2) + SOON_ENOUGH;
    kill_in_time("at another broker", &one, &other, polled).await;

    // Never lost, not even for a moment: a reattach would have changed its id.
    assert_eq!(lock.lock_id(), lock_id);
    assert!(!lock.remaining().is_zero());
    lock.release().await.unwrap();
}

/// A machine with something else to do for a moment holds up a few, so a round is tried again; a slow broker is slow in
/// all of them.
async fn kill_in_time(which: &str, one: &Broker, other: &Broker, limit: Duration) {
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let killed = kill_all(one, other).await;
        report(which, &killed);
        assert!(killed.closed.len() >= MOST, "{which}: {} of {CLIENTS} ended in a FIN", killed.closed.len());
        if let Some(longest) = killed.reset.last() {
            assert!(*longest < LEASE + SOON_ENOUGH + POLL_INTERVAL.mul_f64(1.2), "{which}: {longest:?} after a reset");
        }
        if p99(&killed.closed) <= limit {
            return;
        }
        rounds.push(p99(&killed.closed));
    }
    panic!("{which}: p99 {rounds:?}, at most {limit:?} is expected");
}

/// From each kill to the grant behind it, sorted, by how the client's connections ended.
#[derive(Default)]
struct Killed {
    /// All in a FIN.
    closed: Vec<Duration>,
    /// One of them, or both, in a reset.
    reset: Vec<Duration>,
}

/// How many connections have ended in a reset.
async fn resets(broker: &Broker) -> f64 {
    broker.scrape().await.sum("lockbroker_connections_ended_total", &[("how", "reset")])
}

/// Kills clients of `one` while somebody waits for each at `other`.
async fn kill_all(one: &Broker, other: &Broker) -> Killed {
    let mut all = Killed::default();
    while all.closed.len() + all.reset.len() < CLIENTS {
        let mut victims: Vec<_> = (0..AT_A_TIME).map(|number| Victim::start(one, number)).collect();
        let mut waiting = Vec::new();
        for victim in &victims {
            victim.holds(one).await;
            waiting.push(victim.wait_behind(other).await);
        }
        for (victim, waiter) in victims.iter_mut().zip(waiting) {
            let before = resets(one).await;
            // Before the call: the kernel closes a killed process's sockets when it likes.
            let killed = Instant::now();
            victim.process.kill();
            let granted = waiter.await.unwrap();
            let delay = granted.checked_duration_since(killed).expect("no grant before the holder's death");
            // Nobody else's connection is reset meanwhile.
            if resets(one).await > before { &mut all.reset } else { &mut all.closed }.push(delay);
        }
    }
    all.closed.sort_unstable();
    all.reset.sort_unstable();
    all
}

/// A client in a process of its own, about to die.
struct Victim {
    name: String,
    process: Process,
}

impl Victim {
    fn start(broker: &Broker, number: usize) -> Self {
        let name = format!("victim/{number}");
        let mut run = lockbroker(&["run", "--server", &broker.url(), "--wait", "10s", &name, "--", "sleep", "1000"]);
        let process = Process::spawn(&name, &mut run);
        Self { name, process }
    }

    /// Waits until it has its lock, which the label of the holder tells.
    async fn holds(&self, broker: &Broker) {
        let client = Client::connect(broker.url()).unwrap();
        let pid = format!("pid {}", self.process.pid());
        eventually(SOON, "the client has its lock", async || {
            // The store may be away for a moment.
            client.get(&self.name, None).await.is_ok_and(|seen| seen.owner.ends_with(&pid))
        })
        .await;
    }

    /// Lets somebody wait behind it, and returns when they do; the task gives the instant of their grant.
    async fn wait_behind(&self, broker: &Broker) -> JoinHandle<Instant> {
        let request = WaitAcquireRequest {
            lock: Some(LockSpec { name: self.name.clone(), ..Default::default() }),
            wait: Some(WaitSpec { poll_interval: Some(POLL_INTERVAL.try_into().unwrap()), ..Default::default() }),
            ..Default::default()
        };
        let mut stream = broker.stub().await.wait_acquire(request).await.unwrap().into_inner();
        let queued = next_event(&mut stream).await;
        assert!(matches!(queued, Kind::Queued(_)), "{queued:?} where `queued` was expected");
        tokio::spawn(async move {
            loop {
                match next_event(&mut stream).await {
                    Kind::Queued(_) => {}
                    Kind::Acquired(_) => return Instant::now(),
                    other => panic!("{other:?} where `acquired` was expected"),
                }
            }
        })
    }
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100 - 1]
}

fn report(waiter: &str, Killed { closed, reset }: &Killed) {
    let (median, longest) = (closed[closed.len() / 2], closed.last().unwrap());
    println!("killed to granted, waiter {waiter}: median {median:?}, p99 {:?}, longest {longest:?}", p99(closed));
    println!("  of {} that ended in a FIN; {} in a reset: {reset:?}", closed.len(), reset.len());
}
