//! What an ack of a Session may cover (R19).

use std::time::Duration;

use crate::Time;
use crate::normal::{Form, Normal};

/// A heartbeat, or the `open` that counts as the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Heartbeat {
    /// The client's number; 0 is `open`.
    pub(crate) seq: i64,
    /// When it arrived: later than every one before it.
    pub(crate) arrived: Time,
}

/// Counts the announced locks of one Session that the latest heartbeat covers. Each lock notes when the heartbeat arrived
/// that covers it.
///
/// The one rule (R19): an ack covers a lock only if a command that renewed it was sent after the heartbeat had arrived.
/// So a client needs to keep one instant for the whole Session, the sending of the latest acknowledged heartbeat, and
/// nothing of its clock is compared with ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    heartbeat: Heartbeat,
    /// When the first heartbeat arrived that has not been acknowledged, not even in part.
    owed_since: Option<Time>,
    /// How many locks are announced, and how many of them have not been renewed since the latest heartbeat.
    announced: usize,
    behind: usize,
    /// When to tell of locks that were renewed after an ack had left them out.
    late_at: Option<Time>,
}

/// The message that a change of a [`Ledger`] makes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// An ack of the latest heartbeat, without exceptions.
    Ack,
}

/// The least time for which late renewals are gathered before the ack that tells of them.
const GATHER: Duration = Duration::from_millis(10);

impl Ledger {
    /// Begins with the `open` that has arrived now.
    pub(crate) fn open(now: Time) -> Ledger {
        let heartbeat = Heartbeat { seq: 0, arrived: now };
        Ledger { heartbeat, owed_since: None, announced: 0, behind: 0, late_at: None }
    }

    /// Returns the latest heartbeat.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat
    }

    /// Takes note of a heartbeat. Whoever calls this then has the locks renewed.
    pub(crate) fn beat(&mut self, seq: i64, now: Time) -> Due {
        // Later than the one before, so that a lock tells by the time alone which of them it is covered by. A command that
        // is sent within the same nanosecond covers neither.
        let arrived = now.max(self.heartbeat.arrived + Duration::from_nanos(1));
        self.heartbeat = Heartbeat { seq, arrived };
        self.owed_since = self.owed_since.or(Some(arrived));
        self.behind = self.announced;
        self.due()
    }

    /// Takes note of a grant that is about to be announced, whose command was sent at `sent`. Returns when the heartbeat
    /// arrived that covers it, or none if it has to be renewed first: a heartbeat has come since, and its ack will cover
    /// the lock.
    pub(crate) fn announce(&mut self, sent: Time) -> Option<Time> {
        (sent >= self.heartbeat.arrived).then(|| {
            self.announced += 1;
            self.heartbeat.arrived
        })
    }

    /// Takes note of a renewal by a command sent at `sent`, of a lock that was `covered` by an earlier heartbeat.
    pub(crate) fn renewed(&mut self, covered: &mut Time, sent: Time, now: Time) -> Due {
        let Heartbeat { arrived, .. } = self.heartbeat;
        if sent < arrived || *covered >= arrived {
            return Due::Nothing;
        }
        *covered = arrived;
        self.caught_up(now)
    }

    /// Takes note of the end of a lock that was announced and `covered` by a heartbeat.
    pub(crate) fn end(&mut self, covered: Time, now: Time) -> Due {
        self.announced -= 1;
        if covered < self.heartbeat.arrived { self.caught_up(now) } else { Due::Nothing }
    }

    fn caught_up(&mut self, now: Time) -> Due {
        self.behind -= 1;
        if self.owed_since.is_none() {
            // It was acknowledged without this lock: again, with what has been renewed by then.
            // An ack in part goes through all locks, so it comes the more seldom the more there are.
            let gather = GATHER.max(Duration::from_micros(2) * u32::try_from(self.announced).unwrap_or(u32::MAX));
            self.late_at = self.late_at.or(Some(now + gather));
        }
        self.due()
    }

    fn due(&mut self) -> Due {
        if self.behind > 0 {
            return Due::Nothing;
        }
        self.owed_since = None;
        Due::Ack
    }

    /// Returns when an ack is due of what has been renewed by then: a sixth of the ttl after the heartbeat, or soon after
    /// an ack that left something out.
    pub(crate) fn ack_at(&self, ttl: Duration) -> Option<Time> {
        let owed = self.owed_since.map(|since| since + ttl / 6);
        [owed, self.late_at].into_iter().flatten().min()
    }

    /// Acknowledges what has been renewed so far. Returns false if there is nothing to tell that has not been told.
    pub(crate) fn ack_in_part(&mut self) -> bool {
        self.late_at = None;
        if self.behind == 0 {
            return false;
        }
        self.owed_since = None;
        true
    }
}

impl Ledger {
    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, ttl: Duration, form: &mut Form<'_, impl Normal>) {
        form.since(&mut self.heartbeat.arrived, ttl);
        self.owed_since.iter_mut().for_each(|since| form.since(since, ttl));
        form.until_any(&mut self.late_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn an_ack_waits_for_every_lock() {
        let mut ledger = Ledger::open(at(0));
        let mut first = ledger.announce(at(1)).unwrap();
        let mut second = ledger.announce(at(1)).unwrap();
        assert_eq!(ledger.beat(1, at(10)), Due::Nothing);
        assert_eq!(ledger.renewed(&mut first, at(11), at(12)), Due::Nothing);
        assert_eq!(ledger.renewed(&mut first, at(12), at(13)), Due::Nothing, "it counts once");
        assert_eq!(ledger.renewed(&mut second, at(11), at(13)), Due::Ack);
        assert_eq!(ledger.ack_at(TTL), None);
    }

    #[test]
    fn a_renewal_sent_before_the_heartbeat_covers_nothing() {
        let mut ledger = Ledger::open(at(0));
        let mut covered = ledger.announce(at(1)).unwrap();
        assert_eq!(ledger.beat(1, at(10)), Due::Nothing);
        assert_eq!(ledger.renewed(&mut covered, at(9), at(20)), Due::Nothing);
        assert_eq!(covered, at(0));
        assert_eq!(ledger.renewed(&mut covered, at(10), at(20)), Due::Ack);
        assert_eq!(covered, at(10));
    }

    #[test]
    fn what_is_late_is_left_out_and_told_soon_after() {
        let mut ledger = Ledger::open(at(0));
        let mut covered = ledger.announce(at(1)).unwrap();
        assert_eq!(ledger.beat(1, at(10)), Due::Nothing);
        assert_eq!(ledger.ack_at(TTL), Some(at(10) + TTL / 6));
        assert!(ledger.ack_in_part());
        assert_eq!(ledger.ack_at(TTL), None);
        assert_eq!(ledger.renewed(&mut covered, at(11), at(3_000)), Due::Ack);
        assert_eq!(ledger.ack_at(TTL), Some(at(3_010)));
        assert!(!ledger.ack_in_part(), "the ack has told it already");
    }

    #[test]
    fn a_grant_sent_before_the_heartbeat_is_renewed_before_it_is_announced() {
        let mut ledger = Ledger::open(at(0));
        assert_eq!(ledger.beat(1, at(10)), Due::Ack);
        assert_eq!(ledger.announce(at(9)), None);
        assert_eq!(ledger.announce(at(10)), Some(at(10)));
    }

    #[test]
    fn two_heartbeats_of_one_moment_are_told_apart() {
        let mut ledger = Ledger::open(at(0));
        let mut covered = ledger.announce(at(1)).unwrap();
        assert_eq!(ledger.beat(1, at(10)), Due::Nothing);
        assert_eq!(ledger.beat(2, at(10)), Due::Nothing);
        assert_eq!(ledger.renewed(&mut covered, at(10), at(11)), Due::Nothing);
        assert_eq!(ledger.renewed(&mut covered, at(11), at(12)), Due::Ack);
    }

    #[test]
    fn a_lock_that_ends_holds_up_no_ack() {
        let mut ledger = Ledger::open(at(0));
        let covered = ledger.announce(at(1)).unwrap();
        assert_eq!(ledger.beat(1, at(10)), Due::Nothing);
        assert_eq!(ledger.end(covered, at(11)), Due::Ack);
    }
}
