//! The memory behind a shard: probes, what answers prove of it, and whom that lets the shard serve.

use std::time::Duration;

use super::batch::{Batch, Evidence};
use super::epoch::{Distrust, Phase};
use super::job::{self, LastWord, Op, Seen};
use super::link::{COUNTDOWN, Link};
use super::server::{EAGER_CHECK, Payload, Probe, Sent, Shard};
use super::state_item::{Epoch, Stamp, StateItem, Witness};
use super::{Env, News, Turn, protocol};
use crate::Time;
use crate::command::Reply as Said;
use crate::failure::Cause;
use crate::lock::FencingToken;
use crate::rules::Rule;
use crate::store::StoreError;

/// The interval at which an idle, open shard is asked if it is still the same.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// The beginning of 2024 and of 2038, in seconds since 1970. A clock outside is not set, and memcached's dates end in
/// January 2038.
const SANE_DATES: std::ops::Range<u64> = 1_704_067_200..2_145_916_800;
/// The least distance from the highest token that this broker has seen to the first of a new epoch (R17).
const TOKEN_GAP: u64 = 1_000_000;

/// The reason for which a shard that others have set up otherwise is not used.
pub const FOREIGN: &str = "it belongs to brokers with another list of servers, other weights or another --max-ttl; start \
                           all brokers with the same, or, with all of them stopped, use `lockbroker shard adopt`";

/// Returns the number after which the fencing tokens of a new epoch begin: the date in microseconds, or a number
/// above `highest_seen` if that clock was set back. Returns none if the date cannot be right.
pub fn first_token(wall_micros: Option<u64>, highest_seen: u64) -> Option<u64> {
    let micros = wall_micros.filter(|micros| SANE_DATES.contains(&(micros / 1_000_000)))?;
    let start = micros.max(highest_seen.saturating_add(TOKEN_GAP));
    (start < FencingToken::LIMIT).then_some(start)
}

impl Shard {
    /// Returns true if the shard serves no holder now, and may again within a second.
    pub(crate) fn may_come_back(&self) -> bool {
        match (&self.link, self.state.phase()) {
            (Link::Refused(_), _) | (_, Phase::Foreign { .. } | Phase::Unusable { .. } | Phase::Distrusted { .. }) => {
                false
            }
            (Link::Down(..), _) | (_, Phase::Unread | Phase::Lost | Phase::Found { .. }) => true,
            (_, Phase::Closed { .. } | Phase::Open { .. }) => !self.clock.runs(),
        }
    }
}

impl<E: Env> Turn<'_, E> {
    /// Returns why the shard cannot do this now. None if it can.
    pub(crate) fn refusal(&self, op: &Op) -> Option<StoreError> {
        let shard = &self.shard.address;
        let refused = |why: &dyn std::fmt::Display| {
            let why = format!("memcached {shard} is refused: {why}");
            Some(StoreError::unavailable(why, None).because(Cause::StoreRefused))
        };
        let (why, retry_after) = match (&self.shard.link, self.shard.state.phase()) {
            (Link::Up { .. }, Phase::Closed { .. }) if op.grants() && !self.env.breaks(Rule::GrantOnlyIfOpen) => {
                return Some(self.closed());
            }
            (Link::Up { .. }, Phase::Open { .. } | Phase::Closed { .. }) if op.extends() && !self.clock_runs() => {
                let why = format!("memcached {shard} is being watched for a second: its clock may stand still");
                (why, Some(EAGER_CHECK))
            }
            (Link::Up { .. }, Phase::Open { .. } | Phase::Closed { .. })
                if op.looks() && self.shard.queues.has_many_changes() =>
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

    /// Returns the error for an answer that is not final, since the shard is closed.
    fn closed(&self) -> StoreError {
        let left = self.shard.state.quarantine_left(self.common.settings.max_ttl, self.now).unwrap_or_default();
        let (shard, seconds) = (&self.shard.address, left.as_secs_f64().ceil().max(1.0));
        let why = format!("memcached {shard} is new or has lost its memory, and grants nothing for {seconds} s");
        // When that is over the next probe opens the shard.
        StoreError::unavailable(why, Some(left + EAGER_CHECK)).because(Cause::StoreQuarantined)
    }

    /// Returns the error for an answer that is not final, since the shard was closed when it was asked.
    fn was_closed(&self) -> StoreError {
        let why = format!("memcached {} was in quarantine when it was asked, and grants locks now", self.shard.address);
        StoreError::unavailable(why, Some(EAGER_CHECK)).because(Cause::StoreQuarantined)
    }

    /// Asks the shard how it is, or moves it on to its next phase.
    pub(crate) fn launch_probe(&mut self) {
        let Some(link) = self.shard.idle.pop() else { return };
        let start = first_token(self.env.wall_micros(), self.shard.highest_token);
        let probe = match (self.shard.state.phase(), start) {
            (Phase::Lost, _) if self.common.health.may_begin(self.shard.index) => {
                let epoch = Epoch::from_random(if self.env.breaks(Rule::FreshEpoch) { 0 } else { self.env.random() });
                Probe::Begin(Stamp { epoch, generation: self.common.health.generation() })
            }
            (Phase::Closed { since, .. }, Some(start)) if self.now >= since + self.quarantine() => Probe::Open(start),
            _ => Probe::Look,
        };
        self.shard.probing = true;
        self.send(link, Payload::Probe(probe));
    }

    /// Returns how long a closed shard stays closed (R15).
    fn quarantine(&self) -> Duration {
        if self.env.breaks(Rule::Quarantine) { Duration::ZERO } else { self.common.settings.max_ttl }
    }

    /// Takes note of what a batch says of the shard, and brings what its jobs have come to. `known`: what was known when it
    /// was sent, if that is still so.
    pub(crate) fn jobs_landed(&mut self, batch: Batch, said: &[Said], known: Option<Sent>, sent_at: Time) {
        let Some((epoch, known)) = known.and_then(|sent| Some((sent.epoch?, sent))) else {
            let why = "the shard's epoch changed while the command was under way";
            return self.fail_all(batch, &StoreError::uncertain(why));
        };
        let address = std::sync::Arc::clone(&self.shard.address);
        let Evidence { clock, fence, witness } = match batch.evidence(said, &address) {
            Ok(evidence) => evidence,
            Err(error) => {
                // It may be that answers and commands no longer go together.
                self.hang_up_idle();
                return self.fail_all(batch, &error);
            }
        };
        let in_time = clock.is_none_or(|left| self.clock_counts(left, sent_at))
            || self.env.breaks(Rule::ClockLag)
            || self.env.breaks(Rule::AnswerInTime);
        if !self.witnessed(witness, sent_at) && !self.env.breaks(Rule::Witness) {
            let why = "the shard lost its memory while the command was under way";
            return self.fail_all(batch, &StoreError::uncertain(why));
        }
        if let Some(Ok(Some(top))) = &fence
            && top.get() < known.token + batch.grants()
        {
            self.distrust(Distrust::TokensFell, None);
            let why = "the shard gave a fencing token twice: its memory is an old one";
            return self.fail_all(batch, &StoreError::uncertain(why));
        }
        if !in_time {
            self.shard.next_check = self.now;
            let why = "memcached was stopped for a while, and its clock lags";
            return self.fail_all(batch, &StoreError::uncertain(why));
        }
        if let Some(Ok(top)) = &fence {
            self.fences_seen(epoch, top.is_some());
            self.token_seen(*top);
        }
        // What was sent into a closed shard may have been carried out before it opened.
        let last_word: LastWord = match (known.open, self.shard.is_open()) {
            (true, true) => Ok(()),
            (_, false) => Err(self.closed()),
            (false, true) => Err(self.was_closed()),
        };
        let settled = batch.settle(said, fence, &Seen { shard: &address, last_word: &last_word });
        self.bring(settled);
    }

    pub(crate) fn probe_landed(&mut self, probe: Probe, said: &[Said], sent: Sent) {
        if let Some(refusal) = said.iter().find_map(|said| match said {
            Said::Refused(refusal) => Some(*refusal),
            _ => None,
        }) {
            let error = job::refused(&self.shard.address, refusal);
            return self.probe_refused(&error.to_string());
        }
        let state = match said.last().map(protocol::read_state) {
            Some(Ok(state)) => state,
            Some(Err(error)) => return self.probe_refused(&error.to_string()),
            None => return,
        };
        if probe == Probe::Look {
            let left = said.first().and_then(protocol::read_clock);
            self.clock_counts(left, sent.at);
        }
        if !self.state_read(state, sent.at) {
            // Whatever it is now, go on at once.
            if matches!(self.shard.state.phase(), Phase::Found { .. }) {
                self.shard.next_check = self.now;
            }
            return;
        }
        match (probe, sent.epoch) {
            (Probe::Look, Some(epoch)) => match said.get(1).map(protocol::read_fence) {
                Some(Ok(Some(token))) if token.get() < sent.token => return self.distrust(Distrust::TokensFell, None),
                Some(Ok(token)) => {
                    self.fences_seen(epoch, token.is_some());
                    self.token_seen(token);
                }
                Some(Err(error)) => self.probe_refused(&error.to_string()),
                None => {}
            },
            // Opened by this command, or by another broker's before it.
            (Probe::Open(_), Some(epoch)) => self.fences_seen(epoch, true),
            _ => {}
        }
        let clock = &self.shard.clock;
        if self.shard.is_open() && clock.runs() && !clock.wants_a_tick(self.now) {
            self.shard.next_check = self.now + IDLE_CHECK;
        }
        self.count_down();
    }

    /// Takes note of what S has left to live. Returns true if the server's clock has come as far as it should (R18).
    fn clock_counts(&mut self, left: Option<Duration>, sent: Time) -> bool {
        left.is_some_and(|left| self.shard.clock.counts(sent, self.now, left) || self.clock_runs())
    }

    /// Returns true if the server's clock has been seen to tick, and does not lag.
    fn clock_runs(&self) -> bool {
        let clock = &self.shard.clock;
        clock.runs() || (!clock.has_ticked() && self.env.breaks(Rule::FirstTick))
    }

    /// Takes note of the witness of what was sent then. Returns true if S is the one that was read before (R13).
    fn witnessed(&mut self, witness: Witness, sent: Time) -> bool {
        let before = self.shard.state.changes();
        let known = self.shard.state.witnessed(witness);
        self.learned(before, known, sent)
    }

    /// Takes note of the whole of S, as what was sent then found it. Returns true if S is the one that was read before.
    fn state_read(&mut self, state: StateItem, sent: Time) -> bool {
        let before = self.shard.state.changes();
        let known = self.shard.state.read(state);
        if let Some(stamp) = self.shard.state.stamp() {
            self.common.health.generation_seen(stamp.generation);
        }
        self.learned(before, known, sent)
    }

    /// Handles what S has just shown, after so many `changes`. Returns true if it is the one that was `known`, and nothing
    /// speaks against it.
    fn learned(&mut self, changes: u64, known: bool, sent: Time) -> bool {
        if let Some(doubt) = self.shard.doubt.take_if(|doubt| sent > doubt.since || doubt.changes != changes)
            && known
            && doubt.changes == changes
        {
            self.distrust(Distrust::SeveralServers, doubt.epoch);
            return false;
        }
        if self.shard.state.changes() != changes {
            match self.shard.state.phase() {
                Phase::Lost => self.tell(News::Lost),
                Phase::Foreign { .. } => self.tell(News::NotUsed(FOREIGN.into())),
                Phase::Unusable { why } => self.tell(News::NotUsed(why.to_string().into())),
                Phase::Distrusted { why } => self.tell(News::NotUsed(why.to_string().into())),
                _ => {}
            }
            self.shard.next_check = self.now;
            self.shard.next_countdown = self.now;
        }
        known
    }

    /// Refuses the shard until it shows an epoch that is new; `also` is an epoch that another server shows (R15a).
    fn distrust(&mut self, why: Distrust, also: Option<Epoch>) {
        self.tell(News::NotUsed(why.to_string().into()));
        self.shard.state.distrust(why, also);
        self.shard.next_check = self.now;
    }

    /// Takes note of the highest token of a batch, or of a probe.
    fn token_seen(&mut self, token: Option<FencingToken>) {
        let token = token.map_or(0, FencingToken::get);
        self.shard.state.token_seen(token);
        self.shard.highest_token = self.shard.highest_token.max(token);
    }

    fn fences_seen(&mut self, epoch: Epoch, there: bool) {
        let was_open = self.shard.is_open();
        self.shard.state.fences_seen(epoch, there, self.now);
        if was_open && !self.shard.is_open() {
            self.shard.next_check = self.now;
        }
    }

    pub(crate) fn probe_refused(&mut self, why: &str) {
        if self.now >= self.shard.next_countdown {
            self.shard.next_countdown = self.now + COUNTDOWN;
            self.tell(News::StateRefused(why.into()));
        }
    }

    /// Tells how long the shard stays closed, and why.
    fn count_down(&mut self) {
        let Some(left) = self.shard.state.quarantine_left(self.common.settings.max_ttl, self.now) else { return };
        if self.now < self.shard.next_countdown {
            return;
        }
        self.shard.next_countdown = self.now + COUNTDOWN;
        match first_token(self.env.wall_micros(), 0) {
            Some(_) => self.tell(News::Closed(left)),
            None => self.tell(News::WrongDate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_new_epoch_come_after_all_that_was_seen() {
        let now = 1_800_000_000_000_000;
        assert_eq!(first_token(Some(now), 0), Some(now));
        assert_eq!(first_token(Some(now), now * 2), Some(now * 2 + TOKEN_GAP));
        assert_eq!(first_token(Some(now), FencingToken::LIMIT), None);
        assert_eq!(first_token(Some(1_000_000_000_000_000), 0), None, "the clock is not set");
        assert_eq!(first_token(None, 0), None);
    }
}
