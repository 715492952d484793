//! One shard: the server behind it, its connections, and what is under way on them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::change::Routes;
use super::clock::ServerClock;
use super::epoch::{Announced, EpochState, Phase};
use super::health::View;
use super::job::Kind;
use super::link::{Link, LinkId, Process};
use super::presence::Presence;
use super::proof::{Probe, Sent, Words};
use super::queues::Queues;
use super::{Env, News, Output, ShardState, ShardStatus, Turn, presence};
use crate::Time;
use crate::command::{Command, Reply as Said};
use crate::failure::Cause;
use crate::rules::Rule;
use crate::store::StoreError;

/// The most connections that a broker has to a shard.
const MAX_CONNECTIONS: usize = 3;
/// The interval at which a shard is asked that is closed, or whose clock is to be seen ticking.
pub(crate) const EAGER_CHECK: Duration = Duration::from_millis(100);

/// Commands that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Jobs(Batch),
    Probe(Probe),
    /// The broker's note of itself.
    Presence,
}

/// Commands that were sent on a connection, and are not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnderWay {
    link: LinkId,
    payload: Payload,
    /// The number of commands.
    count: usize,
    sent: Sent,
    /// The server process.
    process: u64,
}

/// One shard, as a broker knows it.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) address: Arc<str>,
    pub(crate) link: Link,
    pub(crate) state: EpochState,
    /// The server that it is, and its clock, kept while it cannot be reached: it may be the same one.
    pub(crate) server: Option<(SocketAddr, Process)>,
    pub(crate) clock: ServerClock,
    /// Counts the server processes: neither a connection to an earlier one nor what it still says is used.
    pub(crate) process: u64,
    pub(crate) idle: Vec<LinkId>,
    under_way: Vec<UnderWay>,
    pub(crate) dialling: bool,
    pub(crate) presence: Option<Presence>,
    pub(crate) noting: bool,
    pub(crate) next_note: Time,
    /// True if it is in the list no more: nothing is asked of it.
    pub(crate) is_retired: bool,
    /// The topology that it is to show in words.
    pub(crate) asks_for_words: Option<Announced>,
    pub(crate) next_words: Time,
    /// The topology that it has shown in words.
    pub(crate) words: Option<Words>,
    /// When it has answered last.
    pub(crate) heard_at: Option<Time>,
    /// The count of changes before the comparison that is under way.
    pub(crate) comparing: Option<u64>,
    pub(crate) next_comparison: Time,
    /// True if the server has been reached, or not reached, at least once.
    pub(crate) tried: bool,
    /// True if the server has answered since the last trouble with it.
    pub(crate) well: bool,
    /// The last trouble that was told: the same is not told again until the server has answered.
    pub(crate) trouble: Arc<str>,
    /// True if it was told that the present epoch grants locks.
    told_open: bool,
    pub(crate) queues: Queues,
    pub(crate) probing: bool,
    pub(crate) next_check: Time,
    pub(crate) next_dial: Time,
    pub(crate) next_countdown: Time,
    /// The number of attempts to connect that have failed in a row.
    pub(crate) failures: u8,
}

impl Shard {
    pub(crate) fn new(
        index: usize,
        address: Arc<str>,
        fingerprint: u64,
        note: Option<Arc<str>>,
        now: Time,
        env: &mut impl Env,
    ) -> Shard {
        Shard {
            index,
            address,
            link: Link::Down("it has not been reached yet".into(), Cause::StoreUnavailable),
            state: EpochState::new(fingerprint),
            server: None,
            clock: ServerClock::default(),
            process: 0,
            idle: Vec::new(),
            under_way: Vec::new(),
            dialling: false,
            presence: note.map(|note| Presence::new(note, env)),
            noting: false,
            next_note: now,
            is_retired: false,
            asks_for_words: None,
            next_words: now,
            words: None,
            heard_at: None,
            comparing: None,
            next_comparison: now,
            tried: false,
            well: false,
            trouble: "".into(),
            told_open: false,
            queues: Queues::default(),
            probing: false,
            next_check: now,
            next_dial: now,
            next_countdown: now,
            failures: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.is_open()
    }

    /// Returns the number of connections that are of use.
    pub(crate) fn connections(&self) -> usize {
        self.idle.len() + self.under_way.len()
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Returns true if it can serve jobs now.
    pub(crate) fn serves(&self) -> bool {
        self.is_up() && self.state.epoch().is_some() && self.clock.runs()
    }

    /// Returns when there is something to do that no job and no answer asks for.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        if self.is_retired {
            return None;
        }
        match self.link {
            Link::Up { .. } if self.idle.is_empty() => {
                let wanted = self.queues.waiting() > 0 || self.under_way.is_empty();
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

    /// Returns true if another connection makes sense, when it is time.
    pub(crate) fn may_dial(&self) -> bool {
        let limit = if self.is_up() { MAX_CONNECTIONS } else { 1 };
        !self.is_retired && !self.dialling && self.connections() < limit
    }

    /// Returns true if the broker may note itself now: on what is known to be a shard of brokers.
    fn may_note(&self) -> bool {
        self.presence.is_some() && !self.noting && !self.idle.is_empty() && self.state.is_of_brokers()
    }

    /// Returns what there is to show of it.
    pub(crate) fn status(&self, routes: &Routes, now: Time) -> ShardStatus {
        let state = match (&self.link, self.state.phase()) {
            _ if self.is_retired => ShardState::Gone,
            (Link::Refused(_), _) | (_, Phase::Foreign { .. } | Phase::Unusable { .. } | Phase::Distrusted { .. }) => {
                ShardState::Refused
            }
            (Link::Down(..), _) => ShardState::Connecting,
            (Link::Up { .. }, Phase::Open { .. }) if self.clock.runs() => ShardState::Open,
            (Link::Up { .. }, Phase::Closed { .. })
                if self.state.change().is_some_and(|generation| routes.awaits(generation)) =>
            {
                ShardState::Moving
            }
            (Link::Up { .. }, Phase::Closed { .. }) => ShardState::Closed,
            (Link::Up { .. }, Phase::Unread | Phase::Lost | Phase::Found { .. } | Phase::Open { .. }) => {
                ShardState::Connecting
            }
        };
        let distrust = match self.state.phase() {
            Phase::Distrusted { why } => Some(why),
            _ => None,
        };
        let quarantine = self.state.quarantine_left(routes.max_ttl(), now).unwrap_or_default();
        ShardStatus { state, quarantine, distrust, waiting: self.queues.waiting() }
    }

    /// Returns how the other shards see it.
    fn view(&self, routes: &Routes) -> View {
        match (&self.link, self.state.phase()) {
            (Link::Up { .. }, Phase::Open { .. }) if self.clock.runs() && !self.is_retired => View::Open,
            _ if !routes.is_present(self.index) => View::Unused,
            _ => self.view_of_present(),
        }
    }

    fn view_of_present(&self) -> View {
        match (&self.link, self.state.phase()) {
            (_, Phase::Foreign { .. } | Phase::Unusable { .. }) => View::Contradicts,
            (Link::Up { .. }, Phase::Distrusted { .. }) => View::Away,
            (Link::Up { .. }, Phase::Unread) => View::Unknown,
            (Link::Up { .. }, _) => View::Agrees,
            (Link::Refused(_), _) => View::Away,
            (Link::Down(..), _) if !self.tried => View::Unknown,
            (Link::Down(..), _) => View::Away,
        }
    }
}

/// Says that a command may have been carried out, and that its lock is kept by another server now.
fn moved_meanwhile() -> StoreError {
    StoreError::uncertain("the servers have changed while the command was under way")
}

impl<E: Env> Turn<'_, E> {
    /// Sends off all that can be sent now.
    pub(crate) fn launch(&mut self) {
        if self.shard.is_retired {
            return;
        }
        let now = self.now;
        let Link::Up { address } = self.shard.link else {
            if self.shard.may_dial() && now >= self.shard.next_dial {
                self.dial(None);
            }
            return;
        };
        if self.shard.may_compare() && now >= self.shard.next_comparison {
            self.compare();
        }
        if !self.shard.probing && now >= self.shard.next_check {
            self.launch_probe();
        }
        if self.shard.may_note() && now >= self.shard.next_note {
            self.launch_note();
        }
        while self.shard.queues.waiting() > 0 || self.shard.connections() == 0 {
            let Some(link) = self.shard.idle.pop() else {
                if self.shard.may_dial() && now >= self.shard.next_dial {
                    self.dial(Some(address));
                }
                return;
            };
            let mut given_up = Vec::new();
            let common = &*self.common;
            let batch = self.shard.queues.next_batch(|job| common.is_wanted(job), &mut given_up);
            given_up.iter().for_each(|job| self.give_up(job));
            if batch.is_empty() {
                self.shard.idle.push(link);
                continue;
            }
            self.send(link, Payload::Jobs(batch));
        }
    }

    fn launch_note(&mut self) {
        if let Some(link) = self.shard.idle.pop() {
            self.shard.noting = true;
            self.send(link, Payload::Presence);
        }
    }

    pub(crate) fn send(&mut self, link: LinkId, mut payload: Payload) {
        let commands = self.commands(&mut payload);
        let (sent, process) = (self.shard.state.sent(self.now), self.shard.process);
        let is_batch = matches!(payload, Payload::Jobs(_));
        self.shard.under_way.push(UnderWay { link, payload, count: commands.len(), sent, process });
        let shard = self.shard.index;
        self.output(Output::Send { shard, link, commands, is_batch });
    }

    fn commands(&self, payload: &mut Payload) -> Vec<Command> {
        let epoch = self.shard.state.epoch();
        match payload {
            Payload::Jobs(batch) => {
                let compares = !self.env.breaks(Rule::IdsCompared);
                batch.commands(epoch, self.common.settings.watcher.as_ref(), compares)
            }
            Payload::Presence => self.shard.presence.iter().flat_map(Presence::commands).collect(),
            Payload::Probe(probe) => probe.commands(epoch, self.shard.state.asks_for()),
        }
    }

    /// Takes the answers to what was sent on a connection. Returns true if it was a look at the shard itself.
    pub(crate) fn answered(&mut self, link: LinkId, said: Result<Vec<Said>, Arc<str>>) -> bool {
        let Some(at) = self.shard.under_way.iter().position(|under_way| under_way.link == link) else {
            // That of a server that had gone, and has come back.
            self.hang_up(link);
            return false;
        };
        let UnderWay { payload, sent, count, process, .. } = self.shard.under_way.swap_remove(at);
        match payload {
            Payload::Probe(_) => {
                self.shard.probing = false;
                // From its sending: slow answers are asked for without a pause, or they would show no ticks.
                self.shard.next_check = sent.at + EAGER_CHECK;
            }
            Payload::Presence => {
                self.shard.noting = false;
                self.shard.next_note = self.now + presence::RENEWED;
            }
            Payload::Jobs(_) => {}
        }
        if self.shard.is_retired {
            self.hang_up(link);
            if let Payload::Jobs(batch) = payload {
                self.fail_all(batch, &moved_meanwhile());
            }
            return false;
        }
        let is_look = matches!(payload, Payload::Probe(_));
        let said = match said {
            Ok(said) if said.len() == count => said,
            Ok(_) => {
                self.hang_up(link);
                self.exchange_failed("it did not answer all that it was asked", payload);
                return is_look;
            }
            Err(why) => {
                self.exchange_failed(&why, payload);
                return is_look;
            }
        };
        let same_process = process == self.shard.process;
        if same_process {
            self.shard.idle.push(link);
        } else {
            self.hang_up(link);
        }
        self.heard();
        let fresh = same_process && self.shard.state.is_current(&sent);
        match payload {
            Payload::Jobs(batch) if batch.kind() == Kind::Note => {
                let noted = batch.noted(&said);
                self.bring(noted);
            }
            Payload::Jobs(batch) => self.jobs_landed(batch, &said, fresh.then_some(sent), sent.at),
            Payload::Presence => self.noted(&said),
            Payload::Probe(probe) if fresh => self.probe_landed(probe, &said, sent),
            Payload::Probe(_) => {}
        }
        is_look
    }

    /// Ends all that there is to do with a server that is in the list no more.
    pub(crate) fn retire(&mut self) {
        self.shard.is_retired = true;
        self.shard.dialling = false;
        self.hang_up_idle();
    }

    /// Answers what is under way on a shard that is to be made anew: nothing of it is heard any more.
    pub(crate) fn forget_under_way(&mut self) {
        for under_way in std::mem::take(&mut self.shard.under_way) {
            if let Payload::Jobs(batch) = under_way.payload {
                self.fail_all(batch, &moved_meanwhile());
            }
        }
    }

    /// Takes note of what became of the broker's note. What was refused is tried again when it is due.
    fn noted(&mut self, said: &[Said]) {
        let Turn { shard, env, now, .. } = self;
        if let (Some(presence), Some(reply)) = (&mut shard.presence, said.first())
            && !matches!(reply, Said::Refused(_))
            && !presence.answered(reply, *env)
        {
            shard.next_note = *now + EAGER_CHECK;
        }
    }

    /// Ends all connections on which nothing is under way: they lead to a process that has gone, or may be as dead as one that
    /// has broken.
    pub(crate) fn hang_up_idle(&mut self) {
        let idle = std::mem::take(&mut self.shard.idle);
        idle.into_iter().for_each(|link| self.hang_up(link));
    }

    pub(crate) fn hang_up(&mut self, link: LinkId) {
        let shard = self.shard.index;
        self.output(Output::Hangup { shard, link });
    }

    /// Answers every job of a batch with the same error.
    pub(crate) fn fail_all(&mut self, batch: Batch, error: &StoreError) {
        batch.into_jobs().for_each(|job| self.fail(job, error.clone()));
    }

    /// Tells the other shards, and the driver, how this one is.
    pub(crate) fn publish(&mut self) {
        let view = self.shard.view(&self.common.routes);
        let grants = view == View::Open;
        // Once for each epoch: a clock that lags for a moment closes nothing.
        if grants && !std::mem::replace(&mut self.shard.told_open, true) {
            self.tell(News::GrantsLocks);
        } else if !grants {
            self.shard.told_open &= self.shard.is_open();
        }
        if let Some(ready) = self.common.health.publish(self.shard.index, view) {
            self.output(Output::Ready(ready));
        }
    }
}
