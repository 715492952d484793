//! What is known of the memory behind a shard, and whom that lets it serve.

use std::time::Duration;

use memcache::exp::MetaResponse;

use super::{COUNTDOWN, Cargo, EAGER_CHECK, IDLE_CHECK, Link, Probe, Sent, Shard};
use crate::clock::Moment;
use crate::lock::FencingToken;
use crate::mutations::{self, Rule};
use crate::store::StoreError;
use crate::store::memcached::batch::{Job, Op};
use crate::store::memcached::board::View;
use crate::store::memcached::connection::Said;
use crate::store::memcached::epoch::{Distrust, Phase};
use crate::store::memcached::metrics::ShardState;
use crate::store::memcached::state_item::{Epoch, Stamp, StateItem, Unusable, Witness};
use crate::store::memcached::{commands, opening};
use lockbroker_core::failure::Cause;

/// Why a shard that others have set up otherwise is not used.
const FOREIGN: &str = "it belongs to brokers with another list of servers, other weights or another --max-ttl; start \
                       all brokers with the same, or, with all of them stopped, use `lockbroker shard adopt`";

impl Shard {
    /// Why the shard cannot serve this job now.
    pub(super) fn refusal(&self, job: &Job) -> Option<StoreError> {
        let shard = &self.settings.address;
        let refused = |why: &dyn std::fmt::Display| {
            Some(
                StoreError::unavailable(format!("memcached {shard} is refused: {why}"), None)
                    .because(Cause::StoreRefused),
            )
        };
        let (why, retry_after) = match (&self.link, self.state.phase()) {
            (Link::Up { .. }, Phase::Closed { .. }) if job.op.grants() && !mutations::breaks(Rule::GrantOnlyIfOpen) => {
                return Some(self.closed());
            }
            (Link::Up { .. }, Phase::Open { .. } | Phase::Closed { .. }) if job.op.extends() && !self.clock.runs() => (
                format!("memcached {shard} is being watched for a second: its clock may stand still"),
                Some(EAGER_CHECK),
            ),
            (Link::Up { .. }, Phase::Open { .. } | Phase::Closed { .. })
                if matches!(job.op, Op::Look { .. }) && self.queues.has_many_changes() =>
            {
                (format!("memcached {shard} is asked more than it can answer; looks have to wait"), None)
            }
            (Link::Up { .. }, Phase::Open { .. } | Phase::Closed { .. }) => return None,
            (Link::Down(why, reason), _) => {
                let why = format!("memcached {shard} cannot be reached: {why}");
                return Some(StoreError::unavailable(why, None).because(*reason));
            }
            (Link::Refused(why), _) => return refused(why),
            (_, Phase::Foreign { .. }) => return refused(&FOREIGN),
            (_, Phase::Unusable { why }) => return refused(&why),
            (_, Phase::Distrusted { why }) => return refused(&why),
            (_, Phase::Unread | Phase::Lost | Phase::Found { .. }) => {
                (format!("memcached {shard} is being asked whether its memory is whole"), Some(EAGER_CHECK))
            }
        };
        Some(StoreError::unavailable(why, retry_after))
    }

    /// Why nothing but a success is the last word of a shard that is closed, or was when it was asked.
    pub(super) fn closed(&self) -> StoreError {
        let left = self.state.quarantine_left(self.settings.max_ttl).unwrap_or_default();
        let (shard, seconds) = (&self.settings.address, left.as_secs_f64().ceil().max(1.0));
        let why = format!("memcached {shard} is new or has lost its memory, and grants nothing for {seconds} s");
        // When that is over the next probe opens the shard.
        StoreError::unavailable(why, Some(left + EAGER_CHECK)).because(Cause::StoreQuarantined)
    }

    /// Whether the shard is in a state that passes.
    pub(super) fn may_come_back(&self) -> bool {
        match (&self.link, self.state.phase()) {
            (Link::Refused(_), _) | (_, Phase::Foreign { .. } | Phase::Unusable { .. } | Phase::Distrusted { .. }) => {
                false
            }
            (Link::Down(..), _) | (_, Phase::Unread | Phase::Lost | Phase::Found { .. }) => true,
            (_, Phase::Closed { .. } | Phase::Open { .. }) => !self.clock.runs(),
        }
    }

    /// Asks the shard how it is, or moves it on to its next phase.
    pub(super) fn launch_probe(&mut self, now: Moment) {
        let Some(connection) = self.idle.pop() else {
            return;
        };
        let probe = match self.state.phase() {
            Phase::Lost if self.settings.board.may_begin(self.settings.index) => {
                Probe::Begin(Stamp::fresh(self.settings.board.generation()))
            }
            Phase::Closed { since, .. } if now >= since + self.quarantine() && opening::start(0).is_some() => {
                Probe::Open
            }
            _ => Probe::Look,
        };
        self.probing = true;
        self.send(connection, Cargo::Probe(probe));
    }

    /// Returns true if the broker may note itself now: on what is known to be a shard of brokers.
    pub(super) fn may_note(&self) -> bool {
        let known = !matches!(self.state.phase(), Phase::Unread | Phase::Unusable { why: Unusable::Strange });
        known && self.presence.is_some() && !self.noting && !self.idle.is_empty()
    }

    /// Notes this broker on the shard.
    pub(super) fn launch_note(&mut self) {
        let Some(command) = self.presence.as_ref().map(|presence| presence.command(&self.settings.keys)) else {
            return;
        };
        if let Some(connection) = self.idle.pop() {
            self.noting = true;
            self.send(connection, Cargo::Presence(command));
        }
    }

    /// Takes note of what became of that. What was refused is tried again when it is due.
    pub(super) fn noted(&mut self, said: &[Said], arrived: Moment) {
        if let (Some(presence), Some(Ok(response))) = (&mut self.presence, said.first())
            && !presence.answered(response)
        {
            self.next_note = arrived + EAGER_CHECK;
        }
    }

    /// How long a closed shard stays closed.
    fn quarantine(&self) -> Duration {
        if mutations::breaks(Rule::Quarantine) { Duration::ZERO } else { self.settings.max_ttl }
    }

    pub(super) fn probe_landed(
        &mut self,
        probe: Probe,
        responses: &[MetaResponse],
        sent_in: Sent,
        (sent, arrived): (Moment, Moment),
    ) {
        let state = match responses.last().map(commands::read_state) {
            Some(Ok(state)) => state,
            Some(Err(error)) => return self.probe_refused(&error.to_string()),
            None => return,
        };
        if matches!(probe, Probe::Look) {
            let left = commands::read_clock(&responses[0]);
            self.clock_counts(left, sent, arrived);
        }
        if !self.state_read(state, sent) {
            // Whatever it is now, go on at once.
            self.next_check = if matches!(self.state.phase(), Phase::Found { .. }) { arrived } else { self.next_check };
            return;
        }
        match (probe, sent_in.epoch) {
            (Probe::Look, Some(epoch)) => match commands::read_fence(&responses[1]) {
                Ok(Some(token)) if token.get() < sent_in.token => return self.distrust(Distrust::TokensFell, None),
                Ok(token) => {
                    self.fences_seen(epoch, token.is_some(), arrived);
                    self.token_seen(token);
                }
                Err(error) => self.probe_refused(&error.to_string()),
            },
            // Opened by this command, or by another broker's before it.
            (Probe::Open, Some(epoch)) => self.fences_seen(epoch, true, arrived),
            _ => {}
        }
        if self.state.is_open() && self.clock.runs() && !self.clock.wants_a_tick(arrived) {
            self.next_check = arrived + IDLE_CHECK;
        }
        self.count_down();
    }

    /// Takes note of what S has left to live. Returns whether the server's clock has come as far as it should.
    pub(super) fn clock_counts(&mut self, left: Option<Duration>, sent: Moment, arrived: Moment) -> bool {
        left.is_some_and(|left| self.clock.counts(sent, arrived, left))
    }

    /// Takes note of the witness of what was sent then. Returns true if S is the one that was read before.
    pub(super) fn witnessed(&mut self, witness: Witness, sent: Moment) -> bool {
        let before = self.state.changes();
        let known = self.state.witnessed(witness);
        self.learned(before, known, sent)
    }

    /// Takes note of the whole of S, as what was sent then found it. Returns true if S is the one that was read before.
    fn state_read(&mut self, state: StateItem, sent: Moment) -> bool {
        let before = self.state.changes();
        let known = self.state.read(state);
        if let Some(stamp) = self.state.stamp() {
            self.settings.board.generation_seen(stamp.generation);
        }
        self.learned(before, known, sent)
    }

    /// Handles what S has just shown, after so many `changes`. Returns true if it is the one that was `known`, and nothing
    /// speaks against it.
    fn learned(&mut self, changes: u64, known: bool, sent: Moment) -> bool {
        if let Some(doubt) = self.doubt.take_if(|doubt| sent >= doubt.since || doubt.changes != changes)
            && known
            && doubt.changes == changes
        {
            self.distrust(Distrust::SeveralServers, doubt.epoch);
            return false;
        }
        if self.state.changes() != changes {
            let shard = &self.settings.address;
            match self.state.phase() {
                Phase::Lost => tracing::warn!(%shard, "memcached has no lock state: it is new, restarted or flushed"),
                Phase::Foreign { .. } => tracing::error!(%shard, "memcached is not used: {FOREIGN}"),
                Phase::Unusable { why } => tracing::error!(%shard, "memcached is not used: {why}"),
                Phase::Distrusted { why } => tracing::error!(%shard, "memcached is not used: {why}"),
                _ => {}
            }
            self.next_check = Moment::now();
            self.next_countdown = Moment::now();
        }
        known
    }

    /// Refuses the shard until it shows an epoch that is new; `also` is an epoch that another server shows.
    pub(super) fn distrust(&mut self, why: Distrust, also: Option<Epoch>) {
        tracing::error!(shard = %self.settings.address, "memcached is not used: {why}");
        self.state.distrust(why, also);
        self.next_check = Moment::now();
    }

    /// Takes note of the highest token of a batch, or of a probe.
    pub(super) fn token_seen(&mut self, token: Option<FencingToken>) {
        let token = token.map_or(0, FencingToken::get);
        self.state.token_seen(token);
        self.highest_token = self.highest_token.max(token);
    }

    pub(super) fn fences_seen(&mut self, epoch: Epoch, there: bool, arrived: Moment) {
        let was_open = self.state.is_open();
        self.state.fences_seen(epoch, there, arrived);
        if was_open && !self.state.is_open() {
            self.next_check = arrived;
        }
    }

    /// Says in the log how long the shard stays closed, and why.
    pub(super) fn count_down(&mut self) {
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

    /// Tells the other shards, and whoever watches the broker, how this one is.
    pub(super) fn publish(&mut self) {
        let view = match (&self.link, self.state.phase()) {
            (_, Phase::Foreign { .. } | Phase::Unusable { .. }) => View::Contradicts,
            (Link::Up { .. }, Phase::Distrusted { .. }) => View::Away,
            (Link::Up { .. }, Phase::Open { .. }) if self.clock.runs() => View::Open,
            (Link::Up { .. }, Phase::Unread) => View::Unknown,
            (Link::Up { .. }, _) => View::Agrees,
            (Link::Refused(_), _) => View::Away,
            (Link::Down(..), _) if !self.tried => View::Unknown,
            (Link::Down(..), _) => View::Away,
        };
        let state = match (&self.link, self.state.phase()) {
            (Link::Refused(_), _) | (_, Phase::Foreign { .. } | Phase::Unusable { .. } | Phase::Distrusted { .. }) => {
                ShardState::Refused
            }
            (Link::Down(..), _) => ShardState::Connecting,
            (Link::Up { .. }, Phase::Open { .. }) if self.clock.runs() => ShardState::Open,
            (Link::Up { .. }, Phase::Closed { .. }) => ShardState::Closed,
            (Link::Up { .. }, Phase::Unread | Phase::Lost | Phase::Found { .. } | Phase::Open { .. }) => {
                ShardState::Connecting
            }
        };
        match state {
            // Once for each epoch: a clock that lags for a moment closes nothing.
            ShardState::Open if !std::mem::replace(&mut self.told_open, true) => {
                tracing::info!(shard = %self.settings.address, "memcached grants locks");
            }
            _ => self.told_open &= self.state.is_open(),
        }
        let left = self.state.quarantine_left(self.settings.max_ttl).unwrap_or_default();
        self.settings.metrics.show_distrust(match self.state.phase() {
            Phase::Distrusted { why } => Some(why),
            _ => None,
        });
        self.settings.metrics.waiting.set(i64::try_from(self.queues.waiting()).unwrap_or(i64::MAX));
        // An hour at the most.
        self.settings.metrics.show(state, left.as_secs_f64().ceil() as u32);
        // Last: who sees in the metrics that the broker is ready or not finds there why.
        self.settings.board.publish(self.settings.index, view);
    }
}
