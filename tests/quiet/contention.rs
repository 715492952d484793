//! A thousand clients contend for ten locks through two brokers on one memcached, and a history that no broker has
//! a hand in is judged: nobody starves, no lock has two holders at a time, and fencing tokens rise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Broker, History, Hold, Memcached, RawSession};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{BeginLock, HeartbeatAck, LockSpec, WaitSpec, session_response};
use rand::RngExt;
use tonic::transport::Channel;

const CLIENTS: usize = 1_000;
/// A connection carries as many streams as HTTP/2 peers commonly allow, and not more.
const CLIENTS_PER_CONNECTION: usize = 100;
const NAMES: usize = 10;
const BROKERS: usize = 2;
const FOR: Duration = Duration::from_secs(8);
/// The longest that a lock is held.
const HOLD: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_share_ten_locks_through_two_brokers() {
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let brokers = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let mut stubs = Vec::new();
    for client in (0..CLIENTS).step_by(CLIENTS_PER_CONNECTION) {
        stubs.push(brokers[broker_of(client)].stub().await);
    }

    let history = Arc::new(History::default());
    let end = Instant::now() + FOR;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let stub = stubs[client / CLIENTS_PER_CONNECTION].clone();
            tokio::spawn(contend(client, stub, Arc::clone(&history), end))
        })
        .collect();
    let mut longest_waits = Vec::new();
    for client in clients {
        longest_waits.push(client.await.unwrap());
    }

    let holds = history.holds();
    let mut per_client = vec![0; CLIENTS];
    let mut per_broker = [0; BROKERS];
    for hold in &holds {
        per_client[hold.client] += 1;
        per_broker[broker_of(hold.client)] += 1;
    }
    let (fewest, most) = (per_client.iter().min().unwrap(), per_client.iter().max().unwrap());
    println!(
        "{} grants in {FOR:?}, {per_broker:?} by broker, {fewest} to {most} by client; longest wait {:?}",
        holds.len(),
        longest_waits.iter().max().unwrap(),
    );
    assert_eq!(history.breaches(), [""; 0]);
    assert!(holds.len() >= 1_000, "{} grants", holds.len());
    assert!(*fewest >= 1, "a client has starved");
    // Each broker has half of the clients; neither may live at the other's expense.
    assert!(per_broker.iter().all(|&grants| grants * 3 >= holds.len()), "shares {per_broker:?}");
}

/// Clients on one connection are at one broker; connections alternate.
fn broker_of(client: usize) -> usize {
    client / CLIENTS_PER_CONNECTION % BROKERS
}

/// Takes and releases locks on a Session of its own until `end`; returns the longest that it waited for one.
async fn contend(client: usize, mut stub: LockServiceClient<Channel>, history: Arc<History>, end: Instant) -> Duration {
    let mut session = Holder::open(&mut stub).await;
    let mut longest = Duration::ZERO;
    for lock_ref in 1.. {
        // From one lock to the next, so that none has a longer line than the others for long.
        let name = format!("contended/{}", (client + lock_ref as usize) % NAMES);
        let lock = Some(LockSpec { name: name.clone(), ..Default::default() });
        let asked = Instant::now();
        session.raw.begin(BeginLock { lock_ref, lock, wait: Some(WaitSpec::default()), ..Default::default() });
        let answer = tokio::select! {
            answer = session.event(lock_ref) => answer,
            () = tokio::time::sleep_until(end.into()) => {
                longest = longest.max(asked.elapsed());
                break;
            }
        };
        let from = Instant::now();
        let Kind::Acquired(acquired) = answer else { panic!("{answer:?} where `acquired` was expected") };
        longest = longest.max(from - asked);
        // Timers are late by up to a millisecond, and more so on a busy machine.
        let hold = HOLD.mul_f64(rand::rng().random_range(0.0..0.5));
        tokio::time::sleep(hold).await;
        let until = Instant::now().min(session.valid_until);
        session.raw.end(lock_ref);
        if until > from {
            history.note(Hold { name, client, fencing_token: acquired.fencing_token, from, until });
        }
        let answer = session.event(lock_ref).await;
        assert!(matches!(answer, Kind::Released(_)), "{answer:?} where `released` was expected");
    }
    longest
}

/// A Session with its heartbeats and what a client knows of its validity.
struct Holder {
    raw: RawSession,
    beat_every: tokio::time::Interval,
    /// Heartbeats that have not been acknowledged, and when they were sent.
    beats: VecDeque<(i64, Instant)>,
    valid_until: Instant,
}

impl Holder {
    async fn open(stub: &mut LockServiceClient<Channel>) -> Self {
        let sent = Instant::now();
        let raw = RawSession::open(stub, None).await;
        let beat_every = duration(raw.opened.heartbeat_interval);
        let valid_until = sent + duration(raw.opened.expires_after_open);
        let beat_every = tokio::time::interval_at((sent + beat_every).into(), beat_every);
        Self { raw, beat_every, beats: VecDeque::new(), valid_until }
    }

    /// The next event of the lock but `queued`.
    async fn event(&mut self, lock_ref: i64) -> Kind {
        loop {
            let message = tokio::select! {
                message = self.raw.next() => message,
                _ = self.beat_every.tick() => {
                    let sent = Instant::now();
                    self.beats.push_back((self.raw.beat(), sent));
                    continue;
                }
            };
            match message {
                session_response::Kind::HeartbeatAck(ack) => self.acknowledged(&ack),
                session_response::Kind::Event(event) => {
                    assert_eq!(event.lock_ref, lock_ref, "{event:?}");
                    match event.event.and_then(|event| event.kind).expect("an event of a known kind") {
                        Kind::Queued(_) => {}
                        kind => return kind,
                    }
                }
                session_response::Kind::Opened(_) => panic!("opened twice"),
            }
        }
    }

    /// Locks are waited for, held for a moment and released, so those in `not_renewed` keep what they had: the
    /// earlier instant.
    fn acknowledged(&mut self, ack: &HeartbeatAck) {
        if !ack.not_renewed.is_empty() {
            return;
        }
        while let Some((_, sent)) = self.beats.pop_front_if(|(seq, _)| *seq <= ack.seq) {
            self.valid_until = sent + duration(ack.expires_after_heartbeat);
        }
    }
}

fn duration(span: Option<prost_types::Duration>) -> Duration {
    span.expect("a duration").try_into().unwrap()
}
