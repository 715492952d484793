//! The actor that owns all there is of one shard: its connections, what is known of its epoch and its clock, and
//! the jobs that wait. It never waits itself: whatever takes time is a flight, and what has landed changes the
//! state.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memcache::exp::{AsyncMetaConnection, Error, MetaCommand, MetaResponse};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::batch::{Batch, Evidence, Job, Kind};
use super::board::{Board, View};
use super::commands::{self, Epoch, Keys, Witness};
use super::epoch::{EpochState, Phase};
use super::server::{BOUND, Dialled, ServerFacts, dial};
use super::server_clock::ServerClock;
use super::{ShardAddress, opening};
use crate::clock::{Moment, sleep_until};
use crate::sabotage::{self, Rule};
use crate::store::StoreError;

/// How many jobs travel together at the most: what a memcached answers in well under a millisecond.
const MAX_BATCH: usize = 256;
/// How many owners' labels wait to be noted at the most; the oldest is let go for a new one.
const MAX_NOTES: usize = 1024;
/// How many connections a broker has to a shard at the most.
const MAX_CONNECTIONS: usize = 3;
/// How often an idle, open shard is asked whether it is still the same.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How often a shard is asked that is closed, or whose clock lags.
const EAGER_CHECK: Duration = Duration::from_millis(100);
/// How often the log says how long a shard stays closed.
const COUNTDOWN: Duration = Duration::from_secs(5);

/// What does not change while a shard's actor runs.
pub(super) struct ShardSettings {
    pub(super) index: usize,
    pub(super) address: ShardAddress,
    pub(super) keys: Keys,
    pub(super) fingerprint: u64,
    pub(super) max_ttl: Duration,
    pub(super) allow_unsafe: bool,
    pub(super) board: Arc<Board>,
}

enum Link {
    /// Cannot be reached, or not yet.
    Down(Arc<str>),
    /// Reached, but it cannot keep locks.
    Refused(Arc<str>),
    /// At least one connection has said what it leads to.
    Up { address: SocketAddr },
}

/// What is on its way.
enum Cargo {
    Jobs(Batch),
    Probe(Probe),
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    /// The clock, the fences if the epoch is known, and the witness.
    Look,
    /// Begin this epoch on a shard that has none.
    Begin(Epoch),
    /// Open the present epoch.
    Open,
}

enum Landed {
    Dialled(Result<Dialled, String>),
    Exchange {
        connection: Option<AsyncMetaConnection>,
        process: u64,
        cargo: Cargo,
        epoch: Option<Epoch>,
        generation: u64,
        result: Result<Vec<MetaResponse>, Error>,
        arrived: Moment,
    },
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

pub(super) struct Shard {
    settings: ShardSettings,
    link: Link,
    state: EpochState,
    /// The server's process id and its clock, kept while it cannot be reached: it may be the same one.
    pid: Option<u64>,
    clock: Option<ServerClock>,
    /// Counts the server processes: a connection to an earlier one is not used again.
    process: u64,
    idle: Vec<AsyncMetaConnection>,
    in_flight: usize,
    dialling: bool,
    flights: FuturesUnordered<Flight>,
    creates: VecDeque<Job>,
    changes: VecDeque<Job>,
    notes: VecDeque<Job>,
    creates_are_next: bool,
    probing: bool,
    next_check: Moment,
    next_dial: Moment,
    next_countdown: Moment,
    backoff: backon::ExponentialBackoff,
    highest_token: u64,
}

impl Shard {
    pub(super) fn new(settings: ShardSettings) -> Shard {
        let now = Moment::now();
        Shard {
            link: Link::Down("it has not been reached yet".into()),
            state: EpochState::new(settings.fingerprint),
            pid: None,
            clock: None,
            process: 0,
            idle: Vec::new(),
            in_flight: 0,
            dialling: false,
            flights: FuturesUnordered::new(),
            creates: VecDeque::new(),
            changes: VecDeque::new(),
            notes: VecDeque::new(),
            creates_are_next: false,
            probing: false,
            next_check: now,
            next_dial: now,
            next_countdown: now,
            backoff: backoff(),
            highest_token: 0,
            settings,
        }
    }

    /// Runs until nobody can send jobs any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Job>) {
        let mut arrived = Vec::with_capacity(MAX_BATCH);
        loop {
            self.launch();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land(landed),
                count = inbox.recv_many(&mut arrived, MAX_BATCH) => {
                    if count == 0 {
                        return;
                    }
                    arrived.drain(..).for_each(|job| self.take(job));
                }
                () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {}
            }
            self.publish();
        }
    }

    /// When there is something to do that no job and no landing asks for.
    fn next_wake(&self) -> Option<Moment> {
        match self.link {
            Link::Up { .. } if self.idle.is_empty() => {
                let wanted = self.waiting() > 0 || self.in_flight == 0;
                (wanted && self.may_dial()).then_some(self.next_dial)
            }
            Link::Up { .. } => (!self.probing).then_some(self.next_check),
            Link::Down(_) | Link::Refused(_) => self.may_dial().then_some(self.next_dial),
        }
    }

    /// Whether another connection makes sense, when it is time.
    fn may_dial(&self) -> bool {
        let limit = if matches!(self.link, Link::Up { .. }) { MAX_CONNECTIONS } else { 1 };
        !self.dialling && self.idle.len() + self.in_flight < limit
    }

    /// Queues a job, or turns it down if the shard cannot serve it.
    fn take(&mut self, job: Job) {
        match self.refusal(&job) {
            Some(error) => job.answer(Err(error)),
            None => match job.op.kind() {
                Kind::Create => self.creates.push_back(job),
                Kind::Change => self.changes.push_back(job),
                Kind::Note => {
                    if self.notes.len() >= MAX_NOTES {
                        self.notes.pop_front();
                    }
                    self.notes.push_back(job);
                }
            },
        }
    }

    /// Why the shard cannot serve this job now.
    fn refusal(&self, job: &Job) -> Option<StoreError> {
        let shard = &self.settings.address;
        let (why, retry_after) = match (&self.link, self.state.phase()) {
            (Link::Up { .. }, Phase::Open { .. }) => return None,
            (Link::Up { .. }, Phase::Closed { .. }) if !job.op.grants() => return None,
            (Link::Down(why), _) => (format!("memcached {shard} cannot be reached: {why}"), None),
            (Link::Refused(why), _) => (format!("memcached {shard} is refused: {why}"), None),
            (_, Phase::Foreign { .. }) => (format!("memcached {shard} is refused: {FOREIGN}"), None),
            (_, Phase::Closed { .. }) => {
                let left = self.state.quarantine_left(self.settings.max_ttl).unwrap_or_default();
                let seconds = left.as_secs_f64().ceil();
                (format!("memcached {shard} has lost its memory and grants nothing for {seconds} s"), Some(left))
            }
            (_, Phase::Unread | Phase::Lost | Phase::Found { .. }) => {
                (format!("memcached {shard} is being asked whether its memory is whole"), Some(EAGER_CHECK))
            }
        };
        Some(StoreError::unavailable(why, retry_after))
    }

    /// Sends off all that can be sent now.
    fn launch(&mut self) {
        let now = Moment::now();
        let Link::Up { address } = self.link else {
            if self.may_dial() && now >= self.next_dial {
                self.dial(None);
            }
            return;
        };
        if !self.probing && now >= self.next_check {
            self.launch_probe(now);
        }
        while self.waiting() > 0 || self.idle.len() + self.in_flight == 0 {
            let Some(connection) = self.idle.pop() else {
                if self.may_dial() && now >= self.next_dial {
                    self.dial(Some(address));
                }
                return;
            };
            let batch = self.next_batch();
            self.send(connection, Cargo::Jobs(batch));
        }
    }

    fn waiting(&self) -> usize {
        self.creates.len() + self.changes.len() + self.notes.len()
    }

    /// Grants and changes take turns, and notes go when there is nothing else.
    fn next_batch(&mut self) -> Batch {
        self.creates_are_next = !self.creates_are_next;
        let (queue, kind) = match (self.creates.is_empty(), self.changes.is_empty()) {
            (true, true) => (&mut self.notes, Kind::Note),
            (false, true) => (&mut self.creates, Kind::Create),
            (true, false) => (&mut self.changes, Kind::Change),
            (false, false) if self.creates_are_next => (&mut self.creates, Kind::Create),
            (false, false) => (&mut self.changes, Kind::Change),
        };
        let limit = if kind == Kind::Note { 1 } else { MAX_BATCH };
        let count = queue.len().min(limit);
        Batch::new(queue.drain(..count).collect(), kind)
    }

    fn dial(&mut self, address: Option<SocketAddr>) {
        self.dialling = true;
        let shard = self.settings.address.clone();
        self.flights.push(Box::pin(async move { Landed::Dialled(dial(&shard, address).await) }));
    }

    /// Asks the shard how it is, or moves it on to its next phase.
    fn launch_probe(&mut self, now: Moment) {
        let Some(connection) = self.idle.pop() else {
            return;
        };
        let probe = match self.state.phase() {
            Phase::Lost if self.settings.board.may_begin(self.settings.index) => Probe::Begin(Epoch::random()),
            Phase::Closed { since, .. } if now >= since + self.quarantine() && opening::start(0).is_some() => {
                Probe::Open
            }
            _ => Probe::Look,
        };
        self.probing = true;
        self.send(connection, Cargo::Probe(probe));
    }

    /// How long a closed shard stays closed.
    fn quarantine(&self) -> Duration {
        if sabotage::breaks(Rule::Quarantine) { Duration::ZERO } else { self.settings.max_ttl }
    }

    fn send(&mut self, mut connection: AsyncMetaConnection, cargo: Cargo) {
        let (process, epoch, generation) = (self.process, self.state.epoch(), self.state.generation());
        let commands = self.commands(&cargo);
        self.in_flight += 1;
        self.flights.push(Box::pin(async move {
            let result = match timeout(BOUND, connection.execute_batch(&commands)).await {
                Ok(result) => result,
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            };
            let arrived = Moment::now();
            // After an error nobody knows which answer the next line belongs to. A note travels alone, so
            // that its refusal is the last line.
            let in_step = match (&result, &cargo) {
                (Ok(_), _) => true,
                (Err(Error::Server(_)), Cargo::Jobs(batch)) => batch.kind() == Kind::Note,
                _ => false,
            };
            let connection = in_step.then_some(connection);
            Landed::Exchange { connection, process, cargo, epoch, generation, result, arrived }
        }));
    }

    fn commands(&self, cargo: &Cargo) -> Vec<MetaCommand> {
        let keys = &self.settings.keys;
        let mut commands = match (cargo, self.state.epoch()) {
            (Cargo::Jobs(batch), Some(epoch)) => return batch.commands(keys, epoch),
            // Jobs are taken only in a known epoch and turned down when it ends.
            (Cargo::Jobs(_), None) => Vec::new(),
            (Cargo::Probe(Probe::Begin(epoch)), _) => vec![keys.begin_epoch(*epoch, self.settings.fingerprint)],
            (Cargo::Probe(Probe::Open), Some(epoch)) => {
                let start = opening::start(self.highest_token).unwrap_or(self.highest_token);
                vec![keys.open(epoch, start)]
            }
            (Cargo::Probe(_), Some(epoch)) => vec![keys.clock(), keys.look_for_fence(epoch)],
            (Cargo::Probe(_), None) => vec![keys.clock()],
        };
        commands.push(keys.witness());
        commands
    }

    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Dialled(dialled) => {
                self.dialling = false;
                self.dialled(dialled);
            }
            Landed::Exchange { connection, process, cargo, epoch, generation, result, arrived } => {
                self.in_flight -= 1;
                self.idle.extend(connection.filter(|_| process == self.process));
                if matches!(cargo, Cargo::Probe(_)) {
                    self.probing = false;
                    self.next_check = arrived + EAGER_CHECK;
                }
                let fresh = generation == self.state.generation();
                match (result, cargo) {
                    (Ok(responses), Cargo::Jobs(batch)) if batch.kind() != Kind::Note => {
                        self.jobs_landed(batch, &responses, epoch.filter(|_| fresh), arrived);
                    }
                    (Ok(responses), Cargo::Probe(probe)) => self.probe_landed(probe, &responses, fresh, arrived),
                    (Ok(_), Cargo::Jobs(_)) => {}
                    (Err(error), cargo) => self.exchange_failed(&error, cargo),
                }
            }
        }
        self.turn_down_what_cannot_be_served();
    }

    fn dialled(&mut self, dialled: Result<Dialled, String>) {
        let shard = &self.settings.address;
        match dialled {
            Ok(Dialled { connection, address, facts }) => match refused(&facts, self.settings.allow_unsafe) {
                Some(why) => {
                    if !matches!(&self.link, Link::Refused(known) if **known == *why) {
                        tracing::error!(%shard, "memcached cannot keep locks, and is not used: {why}");
                    }
                    self.next_dial = Moment::now() + COUNTDOWN;
                    self.idle.clear();
                    self.process += 1;
                    self.link = Link::Refused(why.into());
                }
                None => self.connected(connection, address, &facts),
            },
            Err(why) => {
                self.next_dial = Moment::now() + self.backoff.next().unwrap_or(BOUND);
                if matches!(self.link, Link::Up { .. }) && self.idle.len() + self.in_flight > 0 {
                    // An extra connection: the ones that there are go on.
                    return;
                }
                if !matches!(&self.link, Link::Down(known) if **known == *why) {
                    tracing::warn!(%shard, "memcached cannot be reached: {why}");
                }
                self.link = Link::Down(why.into());
            }
        }
    }

    fn connected(&mut self, connection: AsyncMetaConnection, address: SocketAddr, facts: &ServerFacts) {
        let shard = &self.settings.address;
        if self.pid != facts.pid || self.pid.is_none() {
            self.process += 1;
            self.idle.clear();
            self.pid = facts.pid;
            self.clock = None;
            for danger in facts.dangers() {
                tracing::warn!(%shard, "memcached may lose locks: {danger}");
            }
            if let Some(seconds) = facts.clock_difference().filter(|seconds| *seconds >= 30) {
                tracing::warn!(%shard, "memcached's clock and ours are {seconds} s apart");
            }
            self.next_check = Moment::now();
        }
        if !matches!(self.link, Link::Up { .. }) {
            tracing::info!(%shard, %address, "connected to memcached");
            self.next_check = Moment::now();
        }
        self.link = Link::Up { address };
        self.backoff = backoff();
        self.idle.push(connection);
    }

    /// Takes note of what a batch says of the shard, and answers its jobs.
    fn jobs_landed(&mut self, batch: Batch, responses: &[MetaResponse], sent_in: Option<Epoch>, arrived: Moment) {
        let Some(epoch) = sent_in else {
            return batch.fail(&StoreError::uncertain("the shard's epoch changed while the command was under way"));
        };
        let Evidence { clock, fence, witness } = match batch.evidence(responses) {
            Ok(evidence) => evidence,
            Err(error) => return batch.fail(&StoreError::uncertain(error.to_string())),
        };
        let in_time = clock.is_none_or(|left| self.clock_counts(left, arrived)) || sabotage::breaks(Rule::ClockLag);
        if !self.witnessed(witness) {
            return batch.fail(&StoreError::uncertain("the shard lost its memory while the command was under way"));
        }
        if !in_time {
            return batch.fail(&StoreError::uncertain("memcached was stopped for a while, and its clock lags"));
        }
        if let Some(fence) = fence {
            self.fences_seen(epoch, fence.is_some(), arrived);
            self.highest_token = self.highest_token.max(fence.map_or(0, |token| token.get()));
        }
        batch.settle(responses, fence.flatten(), self.state.is_open());
    }

    fn probe_landed(&mut self, probe: Probe, responses: &[MetaResponse], fresh: bool, arrived: Moment) {
        let Some(witness) = responses.last().map(commands::read_witness) else {
            return;
        };
        let witness = match witness {
            Ok(witness) => witness,
            Err(error) => {
                tracing::error!(shard = %self.settings.address, "the shard's state cannot be read: {error}");
                return;
            }
        };
        if !fresh {
            return;
        }
        if matches!(probe, Probe::Look) {
            let left = commands::read_clock(&responses[0]);
            self.clock_counts(left, arrived);
        }
        let known_before = self.state.epoch();
        if !self.witnessed(witness) {
            // Whatever it is now, go on at once.
            self.next_check = if matches!(self.state.phase(), Phase::Found { .. }) { arrived } else { self.next_check };
            return;
        }
        match (probe, known_before) {
            (Probe::Look, Some(epoch)) => {
                let there = responses[1].rc() == memcache::exp::ReturnCode::Hd;
                self.fences_seen(epoch, there, arrived);
            }
            // Opened by this command, or by another broker's before it.
            (Probe::Open, Some(epoch)) => self.fences_seen(epoch, true, arrived),
            _ => {}
        }
        if self.state.is_open() && !self.lags() {
            self.next_check = arrived + IDLE_CHECK;
        }
        self.count_down();
    }

    /// Takes note of what S has left to live. Returns whether the server's clock has come as far as it should.
    fn clock_counts(&mut self, left: Option<Duration>, arrived: Moment) -> bool {
        left.is_some_and(|left| self.clock.get_or_insert_with(|| ServerClock::new(arrived, left)).counts(arrived, left))
    }

    fn lags(&self) -> bool {
        self.clock.as_ref().is_some_and(ServerClock::lags)
    }

    fn witnessed(&mut self, witness: Witness) -> bool {
        let before = self.state.generation();
        let known = self.state.witnessed(witness);
        if self.state.generation() != before {
            let shard = &self.settings.address;
            match self.state.phase() {
                Phase::Lost => tracing::warn!(%shard, "memcached has no lock state: it is new, restarted or flushed"),
                Phase::Foreign { .. } => tracing::error!(%shard, "memcached is not used: {FOREIGN}"),
                _ => {}
            }
            self.next_check = Moment::now();
            self.next_countdown = Moment::now();
        }
        known
    }

    fn fences_seen(&mut self, epoch: Epoch, there: bool, arrived: Moment) {
        let was_open = self.state.is_open();
        self.state.fences_seen(epoch, there, arrived);
        match (was_open, self.state.is_open()) {
            (false, true) => tracing::info!(shard = %self.settings.address, "memcached grants locks"),
            (true, false) => self.next_check = arrived,
            _ => {}
        }
    }

    /// Says in the log how long the shard stays closed, and why.
    fn count_down(&mut self) {
        let now = Moment::now();
        let Some(left) = self.state.quarantine_left(self.settings.max_ttl).filter(|_| now >= self.next_countdown)
        else {
            return;
        };
        self.next_countdown = now + COUNTDOWN;
        if opening::start(0).is_none() {
            tracing::error!(
                shard = %self.settings.address,
                "memcached stays closed: this machine's clock is outside the years 2024 to 2037; set it"
            );
            return;
        }
        tracing::warn!(
            shard = %self.settings.address,
            "memcached has lost its memory, or is new; it grants nothing for {:.0} s, until every lock that went \
             with it has run out (`lockbroker shard open` opens it at once, where you know that there were none)",
            left.as_secs_f64().ceil()
        );
    }

    fn exchange_failed(&mut self, error: &Error, cargo: Cargo) {
        if let (Error::Server(why), Cargo::Jobs(batch)) = (error, &cargo)
            && batch.kind() == Kind::Note
        {
            tracing::debug!(shard = %self.settings.address, "an owner's label was not noted: {why}");
            return;
        }
        if let Cargo::Jobs(batch) = cargo {
            let shard = &self.settings.address;
            let error = match error {
                Error::Server(why) if batch.kind() == Kind::Create => {
                    StoreError::Full { why: format!("memcached {shard} has no memory left for locks: {why}").into() }
                }
                error => StoreError::uncertain(format!("memcached {shard} did not answer: {error}")),
            };
            batch.fail(&error);
        }
        if !matches!(error, Error::Server(_)) {
            // The other connections lead to the same process, and may be as dead.
            self.idle.clear();
            self.next_dial = Moment::now();
            if self.in_flight == 0 && !self.dialling {
                tracing::warn!(shard = %self.settings.address, "the connection to memcached broke: {error}");
                self.link = Link::Down(error.to_string().into());
            }
        }
    }

    /// Turns down what waits and can no longer be served.
    fn turn_down_what_cannot_be_served(&mut self) {
        if matches!(self.link, Link::Up { .. }) && self.state.is_open() {
            return;
        }
        let queues = [&mut self.creates, &mut self.changes, &mut self.notes];
        let waiting: Vec<Job> = queues.into_iter().flat_map(std::mem::take).collect();
        waiting.into_iter().for_each(|job| self.take(job));
    }

    fn publish(&self) {
        let view = match (&self.link, self.state.phase()) {
            (_, Phase::Foreign { .. }) => View::Contradicts,
            (Link::Up { .. }, Phase::Open { .. }) => View::Open,
            (Link::Up { .. }, Phase::Unread) => View::Unknown,
            (Link::Up { .. }, _) => View::Agrees,
            (Link::Refused(_), _) => View::Away,
            (Link::Down(_), _) if self.dialling && matches!(self.state.phase(), Phase::Unread) => View::Unknown,
            (Link::Down(_), _) => View::Away,
        };
        self.settings.board.publish(self.settings.index, view);
    }
}

/// Why a shard that others have set up otherwise is not used.
const FOREIGN: &str = "it belongs to brokers with another list of servers, other weights or another --max-ttl; start \
                       all brokers with the same, or, with all of them stopped, use `lockbroker shard adopt`";

/// Why a server is refused; none if it may keep locks.
fn refused(facts: &ServerFacts, allow_unsafe: bool) -> Option<String> {
    facts.hopeless().or_else(|| {
        let dangers = facts.dangers();
        (!allow_unsafe && !dangers.is_empty())
            .then(|| format!("{} (--allow-unsafe-store takes it all the same)", dangers.join("; ")))
    })
}

fn backoff() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}
