//! What happens to a lock.

use std::time::Duration;

use crate::Time;
use crate::failure::Failure;
use crate::lock::{LockId, LockName, Owner};

/// The client's handle for a lock on its stream; 0 stands for the whole stream.
pub type LockRef = i64;
/// The handle of the whole stream.
pub const SESSION: LockRef = 0;

/// What happened to a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// It is held, and the lease that this began with ends at `until`.
    Acquired {
        /// What the client gets.
        lock_id: LockId,
        /// The end of the lease.
        until: Time,
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
        until: Time,
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
    /// The same for several locks that are had together.
    Together(Box<Together>),
}

/// What happened to several locks that are had together. What there is only one way to say of is said as of one lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Together {
    /// All are held.
    Acquired {
        /// What the client gets, in the order in which it asked.
        locks: Vec<LockId>,
    },
    /// None was acquired; the last event.
    NotAcquired {
        /// The one that was not to be had.
        name: LockName,
        /// Why.
        reason: Reason,
        /// Its holder's label, where known.
        owner: Owner,
    },
    /// One is lost, and so all are; the last event.
    Lost {
        /// The one.
        name: LockName,
        /// Why.
        reason: LostReason,
    },
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The heartbeat's number.
    pub seq: i64,
    /// That of the Session: from it follows for how long its locks are valid.
    pub ttl: Duration,
    /// The locks that keep what an earlier ack gave them.
    pub not_renewed: Vec<LockRef>,
}

/// Why a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// No renewal got through in time.
    Expired,
    /// The store no longer has it.
    Gone,
    /// The store has another grant in its place.
    TakenOver,
    /// An operator revoked it.
    Revoked,
}

impl Event {
    /// Whether nothing follows it for its lock.
    pub fn is_last(&self) -> bool {
        match self {
            Event::NotAcquired { .. } | Event::Lost(_) | Event::Released | Event::Failed(_) => true,
            Event::Together(together) => !matches!(**together, Together::Acquired { .. }),
            Event::Acquired { .. } | Event::Queued { .. } | Event::Renewed { .. } | Event::Draining { .. } => false,
        }
    }
}
