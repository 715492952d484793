//! What is counted of locks.

use std::time::Instant;

use super::Want;
use crate::metrics::{Buckets, By, Counter, Gauge, Histogram, Label, Metrics};
use crate::stream::{Event, Failure, LostReason, Reason};

/// What is counted of the locks of one broker.
#[derive(Debug)]
pub(crate) struct LockMetrics {
    /// Locks held here.
    pub(crate) held: Gauge,
    pub(crate) waiting: Gauge,
    /// Events that wait to be read by clients, in all outboxes.
    pub(crate) unread: Gauge,
    outcomes: By<Outcome>,
    tried_once: Histogram,
    waited: Histogram,
    reattached: Histogram,
    hold: Histogram,
    pub(crate) renewal_lag: Histogram,
    pub(crate) heartbeat_lag: Histogram,
    lost: By<LostReason>,
    pub(crate) hand_overs: Counter,
}

/// What asking for a lock came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acquired,
    Reattached,
    NotAcquired(Reason),
    Unavailable,
    Exhausted,
    Invalid,
    Denied,
}

/// From a millisecond to four minutes.
const WAITS: Buckets = Buckets { first: 0.001, factor: 4.0, count: 10 };
/// From a millisecond to almost five hours.
const HOLDS: Buckets = Buckets { first: 0.001, factor: 8.0, count: 9 };
/// From a millisecond to 16 s, which is above the lease of the default ttl.
const LAGS: Buckets = Buckets { first: 0.001, factor: 4.0, count: 8 };

/// The most unread events of all clients together. Above it, Sessions that do not read are read no more.
const MAX_UNREAD: i64 = 1_000_000;

impl LockMetrics {
    /// Returns whether so many events wait to be read that those who do not read have to wait.
    pub(crate) fn has_many_unread(&self) -> bool {
        self.unread.get() > MAX_UNREAD
    }

    pub(crate) fn new(metrics: &Metrics) -> LockMetrics {
        let waits = metrics.histograms("wait_seconds", "From asking for a lock to its grant", WAITS);
        LockMetrics {
            held: metrics.gauge("locks_held", "Locks that this broker holds for its clients"),
            unread: metrics.limit("unread_events", MAX_UNREAD).0,
            waiting: metrics.gauge("waiters", "Requests that wait in line for a lock"),
            outcomes: metrics
                .counters("acquisitions", "What asking for locks came to, in Sessions and streams alike")
                .by("outcome", &[]),
            tried_once: waits.of(&[("want", "once")]),
            waited: waits.of(&[("want", "wait")]),
            reattached: waits.of(&[("want", "reattach")]),
            hold: metrics.histogram("hold_seconds", "From a lock's grant to the end of holding it", HOLDS),
            renewal_lag: metrics.histogram(
                "renewal_lag_seconds",
                "From when a lock was due to be renewed to the answer that renewed it",
                LAGS,
            ),
            heartbeat_lag: metrics.histogram(
                "heartbeat_lag_seconds",
                "By how much Sessions' heartbeats come later than a third of the ttl after the one before",
                LAGS,
            ),
            lost: metrics.counters("locks_lost", "Locks lost whose clients believed in them").by("reason", &[]),
            hand_overs: metrics.counter("hand_overs", "Locks handed from their holder to a waiter of this broker"),
        }
    }

    /// The times that it takes to get a lock that is wanted in this way.
    pub(super) fn waits_of(&self, want: &Want) -> &Histogram {
        match want {
            Want::Once => &self.tried_once,
            Want::Wait { .. } => &self.waited,
            Want::Reattach(_) => &self.reattached,
        }
    }

    /// A lock was granted, as a reattach or not.
    pub(super) fn granted(&self, reattach: bool) {
        self.outcomes.inc(if reattach { Outcome::Reattached } else { Outcome::Acquired });
    }

    /// Counts a lock that was not granted, by what its client is told.
    pub(super) fn not_granted(&self, why: &Event) -> Option<Outcome> {
        let outcome = match why {
            Event::NotAcquired { reason, .. } => Outcome::NotAcquired(*reason),
            Event::Failed(failure) => return Some(self.failed(failure)),
            _ => return None,
        };
        self.outcomes.inc(outcome);
        Some(outcome)
    }

    /// Counts a lock that was not even tried for.
    pub(crate) fn failed(&self, failure: &Failure) -> Outcome {
        let outcome = match failure {
            Failure::Unavailable { .. } => Outcome::Unavailable,
            Failure::Exhausted { .. } => Outcome::Exhausted,
            Failure::Invalid { .. } => Outcome::Invalid,
            Failure::Unknown { .. } | Failure::Denied { .. } => Outcome::Denied,
        };
        self.outcomes.inc(outcome);
        outcome
    }

    /// Counts a lock that is held from now on, until [`LockMetrics::end_hold`]. A guard would take more room in each keeper.
    pub(super) fn begin_hold(&self) -> Instant {
        self.held.begin();
        Instant::now()
    }

    /// Counts the end of a hold that began then.
    pub(super) fn end_hold(&self, since: Instant) {
        self.held.end();
        self.hold.observe(since.elapsed());
    }

    pub(super) fn lost(&self, reason: LostReason) {
        self.lost.inc(reason);
    }
}

impl Label for Outcome {
    const ALL: &'static [Outcome] = &[
        Outcome::Acquired,
        Outcome::NotAcquired(Reason::Held),
        Outcome::NotAcquired(Reason::Lingering),
        Outcome::NotAcquired(Reason::MaxWait),
        Outcome::NotAcquired(Reason::Cancelled),
        Outcome::NotAcquired(Reason::NotReattachable),
        Outcome::Reattached,
        Outcome::Unavailable,
        Outcome::Exhausted,
        Outcome::Invalid,
        Outcome::Denied,
    ];

    fn label(self) -> &'static str {
        match self {
            Outcome::Acquired => "acquired",
            Outcome::Reattached => "reattached",
            Outcome::NotAcquired(Reason::Held) => "held",
            Outcome::NotAcquired(Reason::Lingering) => "lingering",
            Outcome::NotAcquired(Reason::MaxWait) => "max_wait",
            Outcome::NotAcquired(Reason::Cancelled) => "cancelled",
            Outcome::NotAcquired(Reason::NotReattachable) => "not_reattachable",
            Outcome::Unavailable => "unavailable",
            Outcome::Exhausted => "exhausted",
            Outcome::Invalid => "invalid",
            Outcome::Denied => "denied",
        }
    }
}

impl Label for LostReason {
    const ALL: &'static [LostReason] = &[LostReason::Expired, LostReason::Gone, LostReason::TakenOver];

    fn label(self) -> &'static str {
        match self {
            LostReason::Expired => "expired",
            LostReason::Gone => "gone",
            LostReason::TakenOver => "taken_over",
        }
    }
}
