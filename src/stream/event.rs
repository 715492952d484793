//! What happens to a lock.

use std::sync::Arc;
use std::time::Duration;

use crate::client::ErrorReason;
use crate::clock::Moment;
use crate::lock::{LockId, Owner};
use crate::store::StoreError;

/// The client's handle for a lock on its stream; 0 stands for the whole stream.
pub type LockRef = i64;
/// The handle of the whole stream.
pub const SESSION: LockRef = 0;

/// What happened to a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is held, and the lease that this began with ends at `until`.
    Acquired {
        /// What the client gets.
        lock_id: LockId,
        /// The end of the lease.
        until: Moment,
    },
    /// It was not acquired; the last event.
    NotAcquired {
        /// Why.
        reason: Reason,
        /// The holder's label, where known.
        owner: Owner,
    },
    /// It waits at this place, the first being 1.
    Queued {
        /// The place among this broker's waiters.
        position: usize,
    },
    /// Its lease was renewed.
    Renewed {
        /// The end of the lease.
        until: Moment,
    },
    /// It is lost; the last event.
    Lost(LostReason),
    /// It was released as asked; the last event.
    Released,
    /// The broker is going away.
    Draining {
        /// For how long it goes on at the most.
        grace: Duration,
    },
    /// It failed; the last event.
    Failed(Failure),
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The heartbeat's number.
    pub seq: i64,
    /// That of the Session: from it follows for how long its locks are valid.
    pub ttl: Duration,
    /// The locks that keep what an earlier ack gave them.
    pub not_renewed: Vec<LockRef>,
}

/// Why a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody holds it.
    Held,
    /// It lingers.
    Lingering,
    /// The wait is over.
    MaxWait,
    /// The client gave up the wait.
    Cancelled,
    /// The grant to reattach has ended.
    NotReattachable,
}

/// Why a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// No renewal got through in time.
    Expired,
    /// The store no longer has it.
    Gone,
    /// The store has another grant in its place.
    TakenOver,
}

/// Why the broker could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not now.
    #[error("{why}")]
    Unavailable {
        /// For the person who reads it.
        why: Arc<str>,
        /// For programs.
        reason: ErrorReason,
        /// When a new try makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// A limit of the broker's or the store's is reached.
    #[error("{why}")]
    Exhausted {
        /// For the person who reads it.
        why: Arc<str>,
        /// For programs.
        reason: ErrorReason,
    },
    /// The request itself does not do.
    #[error("{why}")]
    Invalid {
        /// Which field, and why.
        why: Arc<str>,
    },
    /// It is not known whose request it is.
    #[error("{why}")]
    Unknown {
        /// For the person who reads it.
        why: Arc<str>,
    },
    /// Whose request it is may not make it.
    #[error("{why}")]
    Denied {
        /// For the person who reads it.
        why: Arc<str>,
    },
}

impl Failure {
    /// The store did not do as asked, or not in time.
    pub(crate) fn unavailable(why: impl Into<Arc<str>>) -> Failure {
        Failure::Unavailable { why: why.into(), reason: ErrorReason::StoreUnavailable, retry_after: None }
    }

    pub(crate) fn exhausted(reason: ErrorReason, why: impl Into<Arc<str>>) -> Failure {
        Failure::Exhausted { why: why.into(), reason }
    }

    /// Returns why, for the person who reads it.
    pub fn why(&self) -> &str {
        match self {
            Failure::Unavailable { why, .. }
            | Failure::Exhausted { why, .. }
            | Failure::Invalid { why }
            | Failure::Unknown { why }
            | Failure::Denied { why } => why,
        }
    }

    /// Returns why, for programs.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Failure::Unavailable { reason, .. } | Failure::Exhausted { reason, .. } => *reason,
            Failure::Invalid { .. } => ErrorReason::InvalidField,
            Failure::Unknown { .. } => ErrorReason::UnknownCaller,
            Failure::Denied { .. } => ErrorReason::PolicyDenied,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            StoreError::Unavailable { why, reason, retry_after } => Failure::Unavailable { why, reason, retry_after },
            StoreError::Uncertain { why } => Failure::unavailable(why),
            StoreError::Full { why } => Failure::exhausted(ErrorReason::StoreFull, why),
        }
    }
}

impl Event {
    /// Whether nothing follows it for its lock.
    pub fn is_last(&self) -> bool {
        match self {
            Event::NotAcquired { .. } | Event::Lost(_) | Event::Released | Event::Failed(_) => true,
            Event::Acquired { .. } | Event::Queued { .. } | Event::Renewed { .. } | Event::Draining { .. } => false,
        }
    }
}
