//! The speed of locks that several share: beside a thousand others, when all let go at once, and for a writer among readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{BeginLock, EndLock, LockSpec, SessionEvent, SessionRequest, WaitSpec};
use lockbroker::proto::{session_request, session_response};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Broker, Memcached, RawSession};

/// The most permits of one lock.
const MOST_PERMITS: i32 = 4_096;
/// Longer than anything here takes that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Session that sends its heartbeats by itself, and says when each event came.
struct Client {
    requests: mpsc::UnboundedSender<SessionRequest>,
    events: mpsc::UnboundedReceiver<(i64, Kind, Instant)>,
}

impl Client {
    async fn open(broker: &Broker) -> Client {
        let mut raw = RawSession::open(&mut broker.stub().await, None).await;
        let (requests, (tell, events)) = (raw.requests.clone(), mpsc::unbounded_channel());
        tokio::spawn(async move {
            let mut beats = tokio::time::interval(Duration::from_secs(4));
            loop {
                let message = tokio::select! {
                    _ = beats.tick() => {
                        raw.beat();
                        continue;
                    }
                    () = tell.closed() => return,
                    message = raw.responses.message() => message,
                };
                // At the end of a test the broker goes first. Whoever waits for an event notices.
                let Ok(Some(message)) = message else { return };
                if let Some(session_response::Kind::Event(SessionEvent { lock_ref, event })) = message.kind {
                    let kind = event.and_then(|event| event.kind).expect("an event of a known kind");
                    let _ = tell.send((lock_ref, kind, Instant::now()));
                }
            }
        });
        Client { requests, events }
    }

    fn begin(&self, lock_ref: i64, lock: LockSpec, wait: Option<WaitSpec>) {
        let begin = BeginLock { lock_ref, lock: Some(lock), wait, ..BeginLock::default() };
        self.requests.send(SessionRequest { kind: Some(session_request::Kind::Begin(begin)) }).unwrap();
    }

    fn end(&self, lock_ref: i64) {
        let end = EndLock { lock_ref };
        self.requests.send(SessionRequest { kind: Some(session_request::Kind::End(end)) }).unwrap();
    }

    /// Returns when the next lock is told as acquired.
    async fn acquired(&mut self) -> Instant {
        loop {
            match timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap() {
                (_, Kind::Acquired(_), at) => return at,
                (_, Kind::Queued(_) | Kind::Released(_), _) => {}
                other => panic!("{other:?} where `acquired` was expected"),
            }
        }
    }

    async fn queued(&mut self) {
        let event = timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        assert!(matches!(event.1, Kind::Queued(_)), "{event:?} where `queued` was expected");
    }

    async fn released(&mut self) {
        let event = timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        assert!(matches!(event.1, Kind::Released(_)), "{event:?} where `released` was expected");
    }

    /// Acquires a lock that is to be had, and releases it. Returns how long it took to acquire it.
    async fn cycle(&mut self, lock_ref: i64, lock: LockSpec) -> Duration {
        let asked = Instant::now();
        self.begin(lock_ref, lock, None);
        let took = self.acquired().await - asked;
        self.end(lock_ref);
        self.released().await;
        took
    }
}

fn alone(name: &str) -> LockSpec {
    LockSpec { name: name.to_owned(), ..LockSpec::default() }
}

fn shared(name: &str, limit: i32) -> LockSpec {
    LockSpec { mode: Mode::Shared.into(), limit, ..alone(name) }
}

fn clients(number: usize, brokers: &[Broker]) -> impl Future<Output = Vec<Client>> {
    join_all((0..number).map(|at| Client::open(&brokers[at % brokers.len()])))
}

/// Returns the median and the most of some times.
fn median_and_most(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_beside_a_thousand_takes_little_longer_than_a_lock_alone() {
    const ROUNDS: i64 = 2_000;
    let _quiet = crate::quiet().await;
    let memcached = [Memcached::start(&[]).await, Memcached::start(&[]).await];
    // The second one has no permits, so nobody who is alone looks for any.
    let brokers = [Broker::on(&memcached[0]).await, Broker::on(&memcached[1]).await];
    let mut holder = Client::open(&brokers[0]).await;
    for lock_ref in 1..=1_000 {
        holder.begin(lock_ref, shared("popular", 0), None);
    }
    for _ in 1..=1_000 {
        holder.acquired().await;
    }
    let (mut here, mut elsewhere) = (Client::open(&brokers[0]).await, Client::open(&brokers[1]).await);
    let mut times = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        let took = [
            here.cycle(2 * round, shared("popular", 0)).await,
            here.cycle(2 * round + 1, alone("alone")).await,
            elsewhere.cycle(round, alone("alone")).await,
        ];
        // The first ones find out where the free permits are.
        if round > ROUNDS / 10 {
            times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let [(permit, _), (beside, _), (bare, _)] = times.map(median_and_most);
    println!("p50: a permit {permit:?}; alone, in the same shard {beside:?}, in one without permits {bare:?}");
    let ratio = permit.as_secs_f64() / beside.min(bare).as_secs_f64();
    assert!(ratio <= 1.5, "a permit takes {ratio:.2} times as long");
}

/// All permits of `names` locks are held, `permits` of each, and as many wait. Returns the time from the release of all to the last
/// grant.
async fn mass_release(names: usize, permits: i32) -> Duration {
    const SESSIONS: usize = 100;
    let memcached = Memcached::start(&["-m", "256"]).await;
    let broker = [Broker::on_store(&memcached.store(), &["--advertise", "127.0.0.1:0"]).await];
    let (mut holders, mut waiters) = (clients(SESSIONS, &broker).await, clients(SESSIONS, &broker).await);
    let all = names * permits as usize;
    let lock = |number: usize| shared(&format!("popular/{}", number % names), permits);
    let of = |at: usize| (at..all).step_by(SESSIONS);
    let lock_ref = |number: usize| 1 + number as i64;
    for (at, holder) in holders.iter_mut().enumerate() {
        of(at).for_each(|number| holder.begin(lock_ref(number), lock(number), Some(WaitSpec::default())));
        for _ in of(at) {
            holder.acquired().await;
        }
    }
    for (at, waiter) in waiters.iter_mut().enumerate() {
        of(at).for_each(|number| waiter.begin(lock_ref(number), lock(number), Some(WaitSpec::default())));
        for _ in of(at) {
            waiter.queued().await;
        }
    }
    let released = Instant::now();
    for (at, holder) in holders.iter().enumerate() {
        of(at).for_each(|number| holder.end(lock_ref(number)));
    }
    let last = waiters.iter_mut().enumerate().map(|(at, waiter)| async move {
        let mut last = released;
        for _ in (at..all).step_by(SESSIONS) {
            last = last.max(waiter.acquired().await);
        }
        last
    });
    join_all(last).await.into_iter().max().unwrap() - released
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn thousands_of_permits_that_are_let_go_at_once_are_handed_over_in_two_seconds() {
    let _quiet = crate::quiet().await;
    // A debug build takes longer.
    let within = if crate::is_optimised() { Duration::from_secs(2) } else { Duration::from_secs(15) };
    for (names, permits) in [(1, MOST_PERMITS), (3, 3_334)] {
        let mut times = Vec::new();
        for _ in 0..3 {
            times.push(mass_release(names, permits).await);
        }
        let (median, most) = median_and_most(times);
        println!("{names} locks, {permits} permits of each handed over: median {median:.2?}, most {most:.2?}");
        // Three tries: one may fall into a moment in which the machine does something else.
        assert!(median < within, "{names} locks of {permits} permits: {median:?}");
    }
}

/// Shares the lock again and again until it is the end.
async fn read(mut client: Client, end: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    for lock_ref in 1.. {
        if end.load(Ordering::Relaxed) {
            return;
        }
        client.begin(lock_ref, shared("data", 0), Some(WaitSpec::default()));
        client.acquired().await;
        tokio::time::sleep(Duration::from_millis(lock_ref.unsigned_abs() % 6)).await;
        client.end(lock_ref);
        client.released().await;
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn a_writer_gets_in_among_many_readers_at_two_brokers() {
    const READERS: usize = 100;
    const WRITES: usize = 60;
    let within = Duration::from_millis(2_500);
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let advertises = ["--advertise", "127.0.0.1:0"];
    let brokers = [
        Broker::on_store(&memcached.store(), &advertises).await,
        Broker::on_store(&memcached.store(), &advertises).await,
    ];
    let (end, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers = clients(READERS, &brokers).await.into_iter();
    let readers: Vec<_> =
        readers.map(|client| tokio::spawn(read(client, Arc::clone(&end), Arc::clone(&reads)))).collect();
    let mut writers = clients(2, &brokers).await;
    let (mut times, mut last_reads) = (Vec::new(), 0);
    for (number, lock_ref) in (0..WRITES).zip(1..) {
        // So that the storm is up again.
        while reads.load(Ordering::Relaxed) < last_reads + READERS as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let writer = &mut writers[number % 2];
        let asked = Instant::now();
        writer.begin(lock_ref, alone("data"), Some(WaitSpec::default()));
        times.push(writer.acquired().await - asked);
        writer.end(lock_ref);
        writer.released().await;
        last_reads = reads.load(Ordering::Relaxed);
    }
    end.store(true, Ordering::Relaxed);
    timeout(PATIENCE, join_all(readers)).await.unwrap().into_iter().for_each(Result::unwrap);
    let (median, most) = median_and_most(times);
    println!("a writer among {READERS} readers: median {median:.2?}, most {most:.2?}; {reads:?} reads");
    assert!(most < within, "{most:?}");
}
