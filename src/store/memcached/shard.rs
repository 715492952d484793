//! The actor that owns all there is of one shard: its connections, what is known of its epoch and its clock, and
//! the jobs that wait. It never waits itself: whatever takes time is a flight, and what has landed changes the
//! state.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memcache::exp::{Error, MetaCommand};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::batch::{Batch, Evidence, Job, Kind};
use super::board::Board;
use super::commands::Keys;
use super::connection::{Connection, Said};
use super::epoch::{Distrust, EpochState};
use super::metrics::ShardMetrics;
use super::presence::{BrokerNote, Presence, RENEWED};
use super::queues::Queues;
use super::server::{BOUND, Dialled, Process, Unreached};
use super::server_clock::ServerClock;
use super::state_item::{Epoch, Stamp, Witness};
use super::{ShardAddress, opening};
use crate::clock::{Moment, sleep_until};
use crate::mutations::{self, Rule};
use crate::store::StoreError;
use lockbroker_core::failure::Cause;

mod link;
mod phase;

/// How many jobs are taken in before flights are looked at again.
const TAKEN_AT_ONCE: usize = 1024;
/// How many connections a broker has to a shard at the most.
const MAX_CONNECTIONS: usize = 3;
/// How often an idle, open shard is asked whether it is still the same.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How often a shard is asked that is closed, or whose clock is to be seen ticking.
const EAGER_CHECK: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect, before jitter: a lease that waits for a memcached to come back
/// has few seconds left.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
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
    pub(super) note: Option<BrokerNote>,
    pub(super) board: Arc<Board>,
    pub(super) metrics: ShardMetrics,
}

enum Link {
    /// Cannot be reached, or not yet.
    Down(Arc<str>, Cause),
    /// Reached, but it cannot keep locks.
    Refused(Arc<str>),
    /// At least one connection has said what it leads to.
    Up { address: SocketAddr },
}

/// What is on its way.
enum Cargo {
    Jobs(Batch),
    Probe(Probe),
    /// The broker's note of itself.
    Presence(MetaCommand),
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    /// The clock, the fences if the epoch is known, and S.
    Look,
    /// Begin an epoch on a shard that has none.
    Begin(Stamp),
    /// Open the present epoch.
    Open,
}

enum Landed {
    Dialled(Result<Dialled, Unreached>),
    /// What S showed on a connection of its own, and when the answer came. None if nothing was to be learned.
    Compared {
        changes: u64,
        found: Option<(Witness, Moment)>,
    },
    Exchange {
        connection: Option<Connection>,
        cargo: Cargo,
        sent_in: Sent,
        result: Result<Vec<Said>, Error>,
        sent: Moment,
        arrived: Moment,
    },
}

/// What was known when something was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    process: u64,
    epoch: Option<Epoch>,
    changes: u64,
    open: bool,
    /// The highest token seen in the epoch.
    token: u64,
}

/// A new connection has shown another S than the old ones had. That is two servers if an old one, asked again after
/// `since`, still shows what it did: no epoch comes back on one server.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Moment,
    changes: u64,
    /// What the new connection showed.
    epoch: Option<Epoch>,
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

pub(super) struct Shard {
    settings: ShardSettings,
    link: Link,
    state: EpochState,
    /// Which server it is and its clock, kept while it cannot be reached: it may be the same one.
    server: Option<(SocketAddr, Process)>,
    clock: ServerClock,
    /// Counts the server processes: neither a connection to an earlier one nor what it still says is used.
    process: u64,
    idle: Vec<Connection>,
    in_flight: usize,
    dialling: bool,
    presence: Option<Presence>,
    noting: bool,
    next_note: Moment,
    comparing: bool,
    next_comparison: Moment,
    doubt: Option<Doubt>,
    /// Whether the server has been reached, or not reached, at least once.
    tried: bool,
    /// Whether the server has answered since the last trouble with it.
    well: bool,
    /// What the log last said of such trouble: the same is not said again until the server has answered.
    trouble: String,
    /// Whether the log has said that the present epoch grants locks.
    told_open: bool,
    flights: FuturesUnordered<Flight>,
    queues: Queues,
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
            link: Link::Down("it has not been reached yet".into(), Cause::StoreUnavailable),
            state: EpochState::new(settings.fingerprint),
            server: None,
            clock: ServerClock::default(),
            process: 0,
            idle: Vec::new(),
            in_flight: 0,
            dialling: false,
            presence: settings.note.clone().map(Presence::new),
            noting: false,
            next_note: now,
            comparing: false,
            next_comparison: now,
            doubt: None,
            tried: false,
            well: false,
            trouble: String::new(),
            told_open: false,
            flights: FuturesUnordered::new(),
            queues: Queues::default(),
            probing: false,
            next_check: now,
            next_dial: now,
            next_countdown: now,
            backoff: link::backoff(),
            highest_token: 0,
            settings,
        }
    }

    /// Runs until nobody can send jobs any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Job>) {
        let mut arrived = Vec::new();
        loop {
            self.launch();
            self.turn_down_the_impatient();
            let wake = [self.next_wake(), self.queues.impatient_at()].into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land(landed),
                count = inbox.recv_many(&mut arrived, TAKEN_AT_ONCE) => {
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
                let wanted = self.queues.waiting() > 0 || self.in_flight == 0;
                (wanted && self.may_dial()).then_some(self.next_dial)
            }
            Link::Up { .. } => {
                let check = (!self.probing).then_some(self.next_check);
                let comparison = self.may_compare().then_some(self.next_comparison);
                let note = self.may_note().then_some(self.next_note);
                [check, comparison, note].into_iter().flatten().min()
            }
            Link::Down(..) | Link::Refused(_) => self.may_dial().then_some(self.next_dial),
        }
    }

    /// Whether another connection makes sense, when it is time.
    fn may_dial(&self) -> bool {
        let limit = if matches!(self.link, Link::Up { .. }) { MAX_CONNECTIONS } else { 1 };
        !self.dialling && self.idle.len() + self.in_flight < limit
    }

    /// Queues a job, or turns it down if the shard cannot serve it. What serves a lock that is held waits for a shard
    /// that will be back: it may be soon enough.
    fn take(&mut self, job: Job) {
        match self.refusal(&job) {
            None => self.queues.push(job),
            Some(_) if job.op.serves_a_holder() && self.may_come_back() => self.queues.park(job),
            Some(error) => job.answer(Err(error)),
        }
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
        if self.may_compare() && now >= self.next_comparison {
            self.compare();
        }
        if !self.probing && now >= self.next_check {
            self.launch_probe(now);
        }
        if self.may_note() && now >= self.next_note {
            self.launch_note();
        }
        while self.queues.waiting() > 0 || self.idle.len() + self.in_flight == 0 {
            let Some(connection) = self.idle.pop() else {
                if self.may_dial() && now >= self.next_dial {
                    self.dial(Some(address));
                }
                return;
            };
            let batch = self.queues.next_batch();
            if batch.jobs.is_empty() {
                self.idle.push(connection);
                continue;
            }
            self.send(connection, Cargo::Jobs(batch));
        }
    }

    fn send(&mut self, mut connection: Connection, cargo: Cargo) {
        let sent_in = Sent {
            process: self.process,
            epoch: self.state.epoch(),
            changes: self.state.changes(),
            open: self.state.is_open(),
            token: self.state.highest_token(),
        };
        let commands = self.commands(&cargo);
        if matches!(cargo, Cargo::Jobs(_)) {
            self.settings.metrics.commands.observe_count(commands.len());
        }
        let sent = Moment::now();
        self.in_flight += 1;
        self.flights.push(Box::pin(async move {
            let result = match timeout(BOUND, connection.exchange(&commands)).await {
                Ok(result) => result,
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            };
            let arrived = Moment::now();
            let connection = result.is_ok().then_some(connection);
            Landed::Exchange { connection, cargo, sent_in, result, sent, arrived }
        }));
    }

    fn commands(&self, cargo: &Cargo) -> Vec<MetaCommand> {
        let keys = &self.settings.keys;
        let mut commands = match (cargo, self.state.epoch()) {
            (Cargo::Jobs(batch), Some(epoch)) => return batch.commands(keys, epoch),
            // Jobs are taken only in a known epoch and turned down when it ends.
            (Cargo::Jobs(_), None) => Vec::new(),
            (Cargo::Presence(command), _) => return vec![command.clone()],
            (Cargo::Probe(Probe::Begin(stamp)), _) => vec![keys.begin(*stamp, self.settings.fingerprint)],
            (Cargo::Probe(Probe::Open), Some(epoch)) => {
                let start = opening::start(self.highest_token).unwrap_or(self.highest_token);
                vec![keys.open(epoch, start)]
            }
            (Cargo::Probe(_), Some(epoch)) => vec![keys.clock(), keys.highest_token(epoch)],
            (Cargo::Probe(_), None) => vec![keys.clock()],
        };
        commands.push(keys.read_state());
        commands
    }

    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Dialled(dialled) => {
                self.dialling = false;
                self.tried = true;
                self.dialled(dialled);
            }
            Landed::Compared { changes, found } => self.compared(changes, found),
            Landed::Exchange { connection, cargo, sent_in, result, sent, arrived } => {
                self.in_flight -= 1;
                if matches!(cargo, Cargo::Jobs(_)) {
                    self.settings.metrics.batch.observe(arrived.since(sent));
                }
                self.idle.extend(connection.filter(|_| sent_in.process == self.process));
                if matches!(cargo, Cargo::Probe(_)) {
                    self.probing = false;
                    // From its sending: slow answers are asked for without a pause, or they would show no ticks.
                    self.next_check = sent + EAGER_CHECK;
                }
                if matches!(cargo, Cargo::Presence(_)) {
                    self.noting = false;
                    self.next_note = arrived + RENEWED;
                }
                if result.is_ok() {
                    self.answered();
                }
                let fresh = sent_in.changes == self.state.changes() && sent_in.process == self.process;
                match (result, cargo) {
                    (Ok(said), Cargo::Jobs(batch)) if batch.kind() != Kind::Note => {
                        self.jobs_landed(batch, &said, Some(sent_in).filter(|_| fresh), (sent, arrived));
                    }
                    (Ok(said), Cargo::Jobs(note)) => note.noted(said, &self.settings.address),
                    (Ok(said), Cargo::Presence(_)) => self.noted(&said, arrived),
                    (Ok(said), Cargo::Probe(probe)) => match said.into_iter().collect::<Result<Vec<_>, _>>() {
                        Ok(responses) if fresh => self.probe_landed(probe, &responses, sent_in, (sent, arrived)),
                        Ok(_) => {}
                        Err(why) => self.probe_refused(&why),
                    },
                    (Err(error), cargo) => self.exchange_failed(&error, cargo),
                }
            }
        }
        self.sort_anew();
    }

    /// Takes note of what a batch says of the shard, and answers its jobs.
    fn jobs_landed(&mut self, batch: Batch, said: &[Said], sent_in: Option<Sent>, (sent, arrived): (Moment, Moment)) {
        let Some((epoch, sent_in)) = sent_in.and_then(|sent_in| Some((sent_in.epoch?, sent_in))) else {
            return batch.fail(&StoreError::uncertain("the shard's epoch changed while the command was under way"));
        };
        let Evidence { clock, fence, witness } = match batch.evidence(said) {
            Ok(evidence) => evidence,
            Err(error) => {
                // It may be that answers and commands no longer go together.
                self.idle.clear();
                return batch.fail(&StoreError::uncertain(error.to_string()));
            }
        };
        let in_time = clock.is_none_or(|left| self.clock_counts(left, sent, arrived))
            || mutations::breaks(Rule::ClockLag)
            || mutations::breaks(Rule::AnswerInTime);
        if !self.witnessed(witness, sent) {
            return batch.fail(&StoreError::uncertain("the shard lost its memory while the command was under way"));
        }
        if let Some(Some(top)) = fence
            && top.get() < sent_in.token + batch.grants()
        {
            self.distrust(Distrust::TokensFell, None);
            return batch
                .fail(&StoreError::uncertain("the shard gave a fencing token twice: its memory is an old one"));
        }
        if !in_time {
            self.next_check = arrived;
            return batch.fail(&StoreError::uncertain("memcached was stopped for a while, and its clock lags"));
        }
        if let Some(fence) = fence {
            self.fences_seen(epoch, fence.is_some(), arrived);
            self.token_seen(fence);
        }
        // What was sent into a closed shard may have been carried out before it opened.
        let last_word = if sent_in.open && self.state.is_open() { Ok(()) } else { Err(self.closed()) };
        batch.settle(said, fence.flatten(), &last_word, &self.settings.address);
    }

    /// Looks anew at what waits, after something has changed.
    fn sort_anew(&mut self) {
        let serves = matches!(self.link, Link::Up { .. }) && self.state.epoch().is_some() && self.clock.runs();
        if serves || !self.may_come_back() {
            self.queues.take_parked().into_iter().for_each(|job| self.take(job));
        }
        if !serves || !self.state.is_open() {
            self.queues.take_waiting().into_iter().for_each(|job| self.take(job));
        }
    }

    /// Turns down what has waited long enough for the shard to come back.
    fn turn_down_the_impatient(&mut self) {
        while let Some(job) = self.queues.next_impatient() {
            match self.refusal(&job) {
                Some(error) => job.answer(Err(error)),
                None => self.queues.push(job),
            }
        }
    }
}
