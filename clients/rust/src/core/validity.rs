//! Counts until when the locks of one stream may be believed in.
//!
//! There is one moment for the whole stream, which every acknowledged heartbeat moves on, and one for each lock that
//! the latest acknowledgement left out. Moments count from when the client *sent* what is acknowledged, so the clocks
//! of client and broker are never compared. Knows nothing of streams, tasks or guards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Moment;

/// The book-keeping of one stream. Locks are named by their `lock_ref`.
#[derive(Debug)]
pub(super) struct Validity {
    /// The end of the validity of every lock that is not in `behind`, later ones included.
    covered_until: Moment,
    /// The locks that the latest acknowledgement did not renew, with the validity that an earlier one gave them.
    behind: BTreeMap<i64, Moment>,
    /// The locks in `behind` that acknowledgements no longer mention.
    settled: BTreeSet<i64>,
    /// Heartbeats that may still be acknowledged and when they were sent, oldest first; the first may have
    /// been acknowledged already, since the broker repeats itself when it has renewed more.
    beats: VecDeque<(i64, Moment)>,
    /// The moment at which something here runs out next. None once everything has.
    next: Option<Moment>,
}

/// The locks that have run out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RunOut {
    /// The stream's own instant: every lock on it.
    All,
    /// These locks only.
    Some(Vec<i64>),
}

impl Validity {
    /// Begins with a stream whose `open` was sent at `sent` and answered with `expires_after`.
    pub(super) fn new(sent: Moment, expires_after: Duration) -> Validity {
        let until = sent + expires_after;
        Validity {
            covered_until: until,
            behind: BTreeMap::new(),
            settled: BTreeSet::new(),
            beats: VecDeque::new(),
            next: Some(until),
        }
    }

    /// Notes that the heartbeat `seq` is being sent.
    pub(super) fn beat(&mut self, seq: i64, now: Moment) {
        self.beats.push_back((seq, now));
    }

    /// Takes an acknowledgement. Ignores one that was never asked for, or is older than another that has come.
    pub(super) fn acknowledged(&mut self, seq: i64, expires_after: Duration, not_renewed: &[i64]) {
        if !self.beats.iter().any(|&(sent, _)| sent == seq) {
            return;
        }
        self.beats.retain(|&(sent, _)| sent >= seq);
        let behind = not_renewed.iter().chain(&self.settled);
        self.behind = behind.map(|&lock| (lock, self.until(lock))).collect();
        self.covered_until = self.beats[0].1 + expires_after;
        self.look_ahead();
    }

    /// Notes that no more events come for this lock. It keeps its validity, and nothing is added to it.
    /// Acknowledgements leave it out from now on, though not in `not_renewed`.
    pub(super) fn settle(&mut self, lock_ref: i64) {
        self.behind.insert(lock_ref, self.until(lock_ref));
        self.settled.insert(lock_ref);
        self.look_ahead();
    }

    /// Returns the end of the lock's validity.
    pub(super) fn until(&self, lock_ref: i64) -> Moment {
        self.behind.get(&lock_ref).copied().unwrap_or(self.covered_until)
    }

    /// Returns the moment at which to call [`run_out`](Validity::run_out) again.
    pub(super) fn next(&self) -> Option<Moment> {
        self.next
    }

    /// Returns what has run out by `now` and was not reported before.
    pub(super) fn run_out(&mut self, now: Moment) -> Option<RunOut> {
        if self.next? > now {
            return None;
        }
        if self.covered_until <= now {
            self.next = None;
            return Some(RunOut::All);
        }
        let over = self.behind.iter().filter(|&(_, &until)| until <= now).map(|(&lock, _)| lock).collect();
        // Those reported stay in `behind`: a lock that has run out once must not become valid again.
        self.next = self.behind.values().copied().filter(|&until| until > now).chain([self.covered_until]).min();
        Some(RunOut::Some(over))
    }

    fn look_ahead(&mut self) {
        self.next = self.behind.values().copied().chain([self.covered_until]).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(13);
    const BEAT: Duration = Duration::from_secs(5);

    fn stream() -> (Moment, Validity) {
        let start = Moment::now();
        (start, Validity::new(start, TTL))
    }

    #[test]
    fn validity_counts_from_when_the_heartbeat_was_sent() {
        let (start, mut validity) = stream();
        assert_eq!(validity.until(1), start + TTL);
        validity.beat(1, start + BEAT);
        assert_eq!(validity.until(1), start + TTL, "an unanswered heartbeat gives nothing");
        validity.beat(2, start + BEAT * 2);
        validity.acknowledged(1, TTL, &[]);
        assert_eq!(validity.until(1), start + BEAT + TTL);
        validity.acknowledged(2, TTL, &[]);
        assert_eq!(validity.until(1), start + BEAT * 2 + TTL);
    }

    #[test]
    fn a_lock_left_out_keeps_what_it_had_and_later_ones_are_covered() {
        let (start, mut validity) = stream();
        validity.beat(1, start + BEAT);
        validity.acknowledged(1, TTL, &[7]);
        assert_eq!(validity.until(7), start + TTL);
        assert_eq!(validity.until(8), start + BEAT + TTL);
        // Left out again: still what the first acknowledgement before gave it, not more.
        validity.beat(2, start + BEAT * 2);
        validity.acknowledged(2, TTL, &[7]);
        assert_eq!(validity.until(7), start + TTL);
        // The same heartbeat once more: by now it has been renewed.
        validity.acknowledged(2, TTL, &[]);
        assert_eq!(validity.until(7), start + BEAT * 2 + TTL);
    }

    #[test]
    fn acknowledgements_say_nothing_of_a_lock_that_has_ended() {
        let (start, mut validity) = stream();
        validity.settle(7);
        for seq in 1..=2 {
            validity.beat(seq, start + BEAT);
            validity.acknowledged(seq, TTL, &[]);
        }
        assert_eq!((validity.until(7), validity.until(8)), (start + TTL, start + BEAT + TTL));
        assert_eq!(validity.run_out(start + TTL), Some(RunOut::Some(vec![7])));
    }

    #[test]
    fn an_acknowledgement_that_is_old_or_unasked_for_changes_nothing() {
        let (start, mut validity) = stream();
        validity.beat(1, start + BEAT);
        validity.beat(2, start + BEAT * 2);
        validity.acknowledged(2, TTL, &[]);
        validity.acknowledged(1, TTL, &[3]);
        validity.acknowledged(9, TTL, &[3]);
        assert_eq!(validity.until(3), start + BEAT * 2 + TTL);
    }

    #[test]
    fn what_runs_out_is_reported_once() {
        let (start, mut validity) = stream();
        validity.beat(1, start + BEAT);
        validity.acknowledged(1, TTL, &[7]);
        assert_eq!(validity.next(), Some(start + TTL));
        assert_eq!(validity.run_out(start + TTL - Duration::from_millis(1)), None);
        assert_eq!(validity.run_out(start + TTL), Some(RunOut::Some(vec![7])));
        assert_eq!(validity.run_out(start + TTL), None);
        assert_eq!(validity.next(), Some(start + BEAT + TTL));
        assert_eq!(validity.run_out(start + BEAT + TTL), Some(RunOut::All));
        assert_eq!(validity.run_out(start + BEAT * 9), None);
        assert_eq!(validity.next(), None);
    }
}
