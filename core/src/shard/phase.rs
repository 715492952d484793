//! Whom a shard serves now, and what is told and asked when that changes.

use std::time::Duration;

use super::batch::Batch;
use super::epoch::Phase;
use super::job::{Heeds, LastWord, Op, Permits, Seen};
use super::link::{COUNTDOWN, Link};
use super::proof::{Finality, Probe, Sent, Unserved, Void};
use super::server::{EAGER_CHECK, Payload, Shard};
use super::{Env, News, Turn};
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
                           all brokers with theirs, or change theirs by `lockbroker shard adopt`";

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
        match &self.shard.link {
            Link::Down(why, reason) => {
                let why = format!("memcached {shard} cannot be reached: {why}");
                return Some(StoreError::unavailable(why, None).because(*reason));
            }
            Link::Refused(why) => return refused(why),
            Link::Up { .. } => {}
        }
        let (why, retry_after) = match self.shard.state.serves(op, self.env.breaks(Rule::GrantOnlyIfOpen)) {
            Err(Unserved::Closed) => return Some(self.closed()),
            Err(Unserved::Foreign) => return refused(&FOREIGN),
            Err(Unserved::Unusable(why)) => return refused(&why),
            Err(Unserved::Distrusted(why)) => return refused(&why),
            Err(Unserved::Asked) => {
                (format!("memcached {shard} is being asked whether its memory is whole"), Some(EAGER_CHECK))
            }
            Ok(()) if op.extends() && !self.clock_runs() => {
                let why = format!("memcached {shard} is being watched for a second: its clock may stand still");
                (why, Some(EAGER_CHECK))
            }
            Ok(()) if op.looks() && self.shard.queues.has_many_changes() => {
                (format!("memcached {shard} is asked more than it can answer; looks have to wait"), None)
            }
            Ok(()) => return None,
        };
        Some(StoreError::unavailable(why, retry_after))
    }

    /// Returns the error for an answer that is not final, since the shard is closed.
    fn closed(&self) -> StoreError {
        if self.awaits_a_change() {
            let why =
                format!("memcached {} grants nothing until a change of the servers is through", self.shard.address);
            return StoreError::unavailable(why, Some(IDLE_CHECK)).because(Cause::StoreQuarantined);
        }
        let left = self.shard.state.quarantine_left(self.common.routes.max_ttl(), self.now).unwrap_or_default();
        if left.is_zero() && !self.may_open() {
            let why = format!(
                "memcached {} is new or has lost its memory, and grants nothing until another server of the list is reached",
                self.shard.address
            );
            return StoreError::unavailable(why, Some(IDLE_CHECK)).because(Cause::StoreQuarantined);
        }
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
        let quarantine = self.quarantine();
        let start = first_token(self.env.wall_micros(), self.shard.state.highest_ever()).filter(|_| self.may_open());
        let beginning = if self.shard.state.phase() == Phase::Lost { self.beginning() } else { None };
        let probe = match (self.shard.asks_for_words.take(), self.completion()) {
            (Some(announced), _) => Probe::Words(announced),
            (None, Some(flip)) => flip,
            (None, None) => self.shard.state.next_probe(self.now, quarantine, start, || beginning),
        };
        self.shard.probing = true;
        self.send(link, Payload::Probe(probe));
    }

    /// Returns how long a closed shard stays closed (R15).
    fn quarantine(&self) -> Duration {
        if self.env.breaks(Rule::Quarantine) { Duration::ZERO } else { self.common.routes.max_ttl() }
    }

    /// Takes note of what a batch says of the shard, and brings what its jobs have come to. `known`: what was known when it
    /// was sent, if that is still so.
    pub(crate) fn jobs_landed(&mut self, batch: Batch, said: &[Said], known: Option<Sent>, sent_at: Time) {
        let Some(known) = known.filter(|sent| sent.epoch.is_some()) else {
            let why = "the shard's epoch changed while the command was under way";
            return self.fail_all(batch, &StoreError::uncertain(why));
        };
        let address = std::sync::Arc::clone(&self.shard.address);
        let evidence = match batch.evidence(said, &address) {
            Ok(evidence) => evidence,
            Err(error) => {
                // It may be that answers and commands no longer go together.
                self.hang_up_idle();
                return self.fail_all(batch, &error);
            }
        };
        let in_time = evidence.clock.is_none_or(|left| self.clock_counts(left, sent_at))
            || self.env.breaks(Rule::ClockLag)
            || self.env.breaks(Rule::AnswerInTime);
        let blind = self.env.breaks(Rule::Witness);
        let before = self.snapshot();
        let judged = self.shard.state.judge(&evidence, &known, self.now, in_time, blind);
        self.learned(before);
        let last_word: LastWord = match judged {
            Ok(Finality::Final) => Ok(()),
            Ok(Finality::Closed) => Err(self.closed()),
            Ok(Finality::WasClosed) => Err(self.was_closed()),
            Err(void) => {
                if void == Void::ClockLags {
                    self.shard.next_check = self.now;
                }
                return self.fail_all(batch, &StoreError::uncertain(void.to_string()));
            }
        };
        let permits =
            Permits { exist: evidence.permits.exist && !self.env.breaks(Rule::LockHeedsPermits), ..evidence.permits };
        let heeds = Heeds {
            lock: !self.env.breaks(Rule::PermitHeedsLock),
            gate: !self.env.breaks(Rule::GateCompared),
            cover: !self.env.breaks(Rule::PermitCovered),
            value: !self.env.breaks(Rule::ValueOfItsGrant),
        };
        let seen = Seen { shard: &address, last_word: &last_word, permits, heeds };
        let settled = batch.settle(said, evidence.fence, &seen);
        self.bring(settled);
    }

    /// Takes note of what a probe has found.
    pub(crate) fn probe_landed(&mut self, probe: Probe, said: &[Said], sent: Sent) {
        let mut found = match probe.evidence(&sent, said, &self.shard.address) {
            Ok(found) => found,
            Err(error) => return self.probe_refused(&error.to_string()),
        };
        self.shard.words = found.words.take();
        if let Some(left) = found.clock {
            self.clock_counts(left, sent.at);
        }
        let before = self.snapshot();
        let is_same = self.shard.state.probed(probe, &found, &sent, self.now);
        self.learned(before);
        if !is_same {
            return;
        }
        if let Some(Err(error)) = found.fence {
            self.probe_refused(&error.to_string());
        }
        let clock = &self.shard.clock;
        if self.shard.is_open() && clock.runs() && !clock.wants_a_tick(self.now) {
            // While the servers change, a flip is to be seen at once: leases go on meanwhile.
            let pause = if self.common.routes.is_changing() { EAGER_CHECK } else { IDLE_CHECK };
            self.shard.next_check = self.now + pause;
        }
        self.count_down();
    }

    /// Takes note of what S has left to live. Returns true if the server's clock has come as far as it should (R18).
    fn clock_counts(&mut self, left: Option<Duration>, sent: Time) -> bool {
        left.is_some_and(|left| self.shard.clock.counts(sent, self.now, left) || self.trusts_unseen_clock())
    }

    /// Returns true if the server's clock has been seen to tick, and does not lag.
    fn clock_runs(&self) -> bool {
        self.shard.clock.runs() || self.trusts_unseen_clock()
    }

    /// Returns true if a clock counts that was not seen to tick: only without its rule.
    fn trusts_unseen_clock(&self) -> bool {
        !self.shard.clock.has_ticked() && self.env.breaks(Rule::FirstTick)
    }

    /// Returns the count of changes of what S shows, and true if the shard is open.
    fn snapshot(&self) -> (u64, bool) {
        (self.shard.state.changes(), self.shard.is_open())
    }

    /// Handles what an answer has changed in what was known before: tells it, and asks anew at once.
    fn learned(&mut self, (changes, was_open): (u64, bool)) {
        let state = &self.shard.state;
        // That of the next topology is none of the present one: nothing of the present one may be made in it.
        if let Some(stamp) = state.stamp().filter(|_| self.common.routes.is_by_present(state)) {
            self.common.health.generation_seen(stamp.generation);
        }
        if was_open && !state.is_open() {
            self.shard.next_check = self.now;
        }
        if state.changes() == changes {
            return;
        }
        match state.phase() {
            Phase::Lost => self.tell(News::Lost),
            Phase::Foreign { fingerprint } => self.tell(News::Foreign { fingerprint }),
            Phase::Unusable { why } => self.tell(News::NotUsed(why.to_string().into())),
            Phase::Distrusted { why } => self.tell(News::NotUsed(why.to_string().into())),
            _ => {}
        }
        self.shard.next_check = self.now;
        self.shard.next_countdown = self.now;
    }

    pub(crate) fn probe_refused(&mut self, why: &str) {
        if self.now >= self.shard.next_countdown {
            self.shard.next_countdown = self.now + COUNTDOWN;
            self.tell(News::StateRefused(why.into()));
        }
    }

    /// Tells how long the shard stays closed, and why.
    fn count_down(&mut self) {
        let Some(left) = self.shard.state.quarantine_left(self.common.routes.max_ttl(), self.now) else { return };
        if self.now < self.shard.next_countdown {
            return;
        }
        self.shard.next_countdown = self.now + COUNTDOWN;
        if self.awaits_a_change() {
            self.shard.next_countdown = self.now + 6 * COUNTDOWN;
            return self.tell(News::Moving);
        }
        if left.is_zero() && !self.may_open() {
            return self.tell(News::Alone);
        }
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
