//! What is counted of locks.

use lockbroker_core::Counts;
use lockbroker_core::env::{Limit, Observed, ReleaseCause, Subject};

use super::overview::Totals;
use super::{Failure, LostReason, Mode, Reason, Settings};
use crate::audit;
use crate::metrics::{Buckets, By, Counter, Gauge, Histogram, Label, Metrics};
use crate::rate_limited::RateLimited;

/// What is counted of the locks of one broker, and written to the audit and the log.
#[derive(Debug)]
pub(super) struct LockMetrics {
    /// Locks held here.
    held: Gauge,
    waiting: Gauge,
    /// Events that wait to be read by clients, on all streams.
    unread: Gauge,
    locks: Limited,
    waits: Limited,
    outcomes: By<Outcome>,
    tried_once: Histogram,
    waited: Histogram,
    reattached: Histogram,
    hold: Histogram,
    renewal_lag: Histogram,
    heartbeat_lag: Histogram,
    lost: By<LostReason>,
    released: By<ReleaseCause>,
    hand_overs: Counter,
    shown: Counts,
}

/// How much of a limit is used, and what it refused.
#[derive(Debug)]
struct Limited {
    used: Gauge,
    refused: Counter,
}

impl Limited {
    fn new(metrics: &Metrics, name: &str, limit: usize) -> Limited {
        let (used, refused) = metrics.limit(name, i64::try_from(limit).unwrap_or(i64::MAX));
        Limited { used, refused }
    }
}

/// What asking for a lock came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acquired,
    Reattached,
    NotAcquired(Reason),
    Unavailable,
    Exhausted,
    Invalid,
    Denied,
}

/// The counts that the page shows.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    held: Gauge,
    waiting: Gauge,
    outcomes: By<Outcome>,
    released: By<ReleaseCause>,
    lost: By<LostReason>,
    hand_overs: Counter,
}

impl Counted {
    /// Returns the number of locks held here, and of requests that wait here.
    pub(super) fn present(&self) -> (i64, i64) {
        (self.held.get(), self.waiting.get())
    }

    /// Returns what has been counted since the broker began.
    pub(super) fn totals(&self) -> Totals {
        let grants = self.outcomes.sum(|outcome| outcome == Outcome::Acquired);
        // Neither is refused: one has its lock, the other has changed its mind.
        let refusals = self.outcomes.sum(|outcome| {
            !matches!(outcome, Outcome::Acquired | Outcome::Reattached | Outcome::NotAcquired(Reason::Cancelled))
        });
        Totals {
            grants,
            refusals,
            releases: self.released.sum(|cause| cause != ReleaseCause::Lost),
            hand_overs: self.hand_overs.get(),
            losses: self.lost.sum(|_| true),
        }
    }
}

/// From a millisecond to four minutes.
const WAITS: Buckets = Buckets { first: 0.001, factor: 4.0, count: 10 };
/// From a millisecond to almost five hours.
const HOLDS: Buckets = Buckets { first: 0.001, factor: 8.0, count: 9 };
/// From a millisecond to 16 s, which is above the lease of the default ttl.
const LAGS: Buckets = Buckets { first: 0.001, factor: 4.0, count: 8 };

impl LockMetrics {
    /// The most unread events of all clients together. Above it, Sessions that do not read are read no more.
    pub(super) const MAX_UNREAD: usize = 1_000_000;

    pub(super) fn new(metrics: &Metrics, settings: &Settings) -> LockMetrics {
        let waits = metrics.histograms("wait_seconds", "From asking for a lock to its grant", WAITS);
        LockMetrics {
            held: metrics.gauge("locks_held", "Locks that this broker holds for its clients"),
            unread: metrics.limit("unread_events", Self::MAX_UNREAD as i64).0,
            waiting: metrics.gauge("waiters", "Requests that wait in line for a lock"),
            locks: Limited::new(metrics, "max_locks", settings.max_locks.get()),
            waits: Limited::new(metrics, "max_waiters", settings.max_waiters.get()),
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
            released: metrics.counters("releases", "Locks released through this broker").by("cause", &[]),
            hand_overs: metrics.counter("hand_overs", "Locks handed from their holder to a waiter of this broker"),
            shown: Counts::default(),
        }
    }

    /// Shows how many there are of what clients can make a broker hold.
    pub(super) fn show(&mut self, counts: &Counts) {
        if self.shown == *counts {
            return;
        }
        self.shown = *counts;
        let Counts { locks, waits, held, waiting, unread } = *counts;
        for (gauge, count) in [
            (&self.locks.used, locks),
            (&self.waits.used, waits),
            (&self.held, held),
            (&self.waiting, waiting),
            (&self.unread, unread),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts what happened, and writes it to the audit and the log.
    pub(super) fn observe(&self, observed: Observed<'_>) {
        static LEFT_OUT: RateLimited = RateLimited::new();
        static LOST: RateLimited = RateLimited::new();
        match observed {
            Observed::Granted { subject, token, mode, waited } => {
                let reattached = matches!(mode, Mode::Reattach(_));
                self.waits_of(mode).observe(waited);
                self.outcomes.inc(if reattached { Outcome::Reattached } else { Outcome::Acquired });
                if let Some(audited) = audited(subject) {
                    audited.granted(token, reattached, waited);
                };
            }
            Observed::NotAcquired { subject, reason } => self.refused(subject, Outcome::NotAcquired(reason)),
            Observed::Failed { subject, failure } => self.refused(subject, Outcome::of(failure)),
            Observed::TurnedBack { failure } => self.outcomes.inc(Outcome::of(failure)),
            Observed::Renewed { lag } => self.renewal_lag.observe(lag),
            Observed::Heartbeat { lag } => self.heartbeat_lag.observe(lag),
            Observed::Lost { subject, token, reason, announced } => {
                if announced {
                    self.lost.inc(reason);
                }
                if reason == LostReason::Expired
                    && let Some(left_out) = LOST.pass()
                {
                    tracing::warn!(lock = %subject.name, left_out, "lost: no renewal got through in time");
                }
                if let Some(audited) = audited(subject) {
                    audited.lost(token, reason);
                };
            }
            Observed::Released { subject, token, cause } => {
                self.released.inc(cause);
                if let Some(audited) = audited(subject) {
                    audited.released(token, cause);
                }
            }
            Observed::HoldEnded { held } => self.hold.observe(held),
            Observed::HandedOver => drop(self.hand_overs.inc()),
            Observed::Full(Limit::Locks) => drop(self.locks.refused.inc()),
            Observed::Full(Limit::Waiters) => drop(self.waits.refused.inc()),
            Observed::Retried { name, what, error } => {
                tracing::debug!(lock = %name, %error, "{what} the lock failed, and is tried again");
            }
            Observed::CleanupLeftOut => {
                if let Some(left_out) = LEFT_OUT.pass() {
                    tracing::warn!(left_out, "twice --max-locks: a grant that nobody wants is left to expire");
                }
            }
            _ => {}
        }
    }

    /// Returns what people are shown of it. It follows the counts.
    pub(super) fn counted(&self) -> Counted {
        Counted {
            held: self.held.clone(),
            waiting: self.waiting.clone(),
            outcomes: self.outcomes.clone(),
            released: self.released.clone(),
            lost: self.lost.clone(),
            hand_overs: self.hand_overs.clone(),
        }
    }

    fn refused(&self, subject: Subject<'_>, outcome: Outcome) {
        self.outcomes.inc(outcome);
        if let Some(audited) = audited(subject) {
            audited.refused(outcome.label());
        };
    }

    /// Returns the times that it takes to get a lock that is wanted in this way.
    fn waits_of(&self, mode: &Mode) -> &Histogram {
        match mode {
            Mode::Once => &self.tried_once,
            Mode::Wait { .. } => &self.waited,
            Mode::Reattach(_) => &self.reattached,
        }
    }
}

/// Returns the lock and its client as the audit names them. None if there is no audit: then no stream has a caller.
fn audited(Subject { name, owner, caller }: Subject<'_>) -> Option<audit::Subject<'_>> {
    caller.map(|caller| audit::Subject { name, owner, caller: Some(caller) })
}

impl Outcome {
    fn of(failure: &Failure) -> Outcome {
        match failure {
            Failure::Unavailable { .. } => Outcome::Unavailable,
            Failure::Exhausted { .. } => Outcome::Exhausted,
            Failure::Invalid { .. } => Outcome::Invalid,
            Failure::Unknown { .. } | Failure::Denied { .. } => Outcome::Denied,
        }
    }
}

impl Label for ReleaseCause {
    const ALL: &'static [ReleaseCause] = &[
        ReleaseCause::Closed,
        ReleaseCause::ReleaseCall,
        ReleaseCause::Silent,
        ReleaseCause::Lost,
        ReleaseCause::Revoked,
    ];

    fn label(self) -> &'static str {
        match self {
            ReleaseCause::Closed => "closed",
            ReleaseCause::ReleaseCall => "release_call",
            ReleaseCause::Silent => "silent",
            ReleaseCause::Lost => "lost",
            ReleaseCause::Revoked => "revoked",
        }
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
    const ALL: &'static [LostReason] =
        &[LostReason::Expired, LostReason::Gone, LostReason::TakenOver, LostReason::Revoked];

    fn label(self) -> &'static str {
        match self {
            LostReason::Expired => "expired",
            LostReason::Gone => "gone",
            LostReason::TakenOver => "taken_over",
            LostReason::Revoked => "revoked",
        }
    }
}
