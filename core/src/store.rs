//! What a broker asks of the store that all brokers share, and what the store answers.
//!
//! A store compares and changes one item per lock. It never decides who ought to have the lock. It reports what it did,
//! or that it does not know.

use std::sync::Arc;
use std::time::Duration;

use crate::failure::Cause;
use crate::lock::{FencingToken, GrantId, LingerId, Owner};

/// The state that an item shows: held under a grant, or lingering after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemState {
    /// Held.
    Held(GrantId),
    /// Lingering.
    Lingering(LingerId),
}

/// The outcome of an attempt to get a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granted {
    /// It is held under the new id, with this token.
    Yes(FencingToken),
    /// It was not granted. For `grant`: the lock is held or lingers. For `hand_over`: the item no longer carries the
    /// old id.
    No,
}

/// The outcome of a change to an item that had to carry a certain state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The item carried the state and was changed.
    Done,
    /// There is no item.
    Gone,
    /// The item carries another state.
    TakenOver,
}

/// The outcome of asking to be woken when a lock is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watch {
    /// The broker is noted from now on. It will not hear of releases from before.
    Begun,
    /// The broker was noted before, and still is.
    Kept,
    /// Another broker is woken first, or nobody is.
    No,
}

/// A lock as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockStatus {
    /// Nobody has it.
    Free,
    /// There is an item.
    Taken {
        /// The item's state.
        state: ItemState,
        /// The holder's label, where it is known and belongs to that grant.
        owner: Owner,
        /// The longest time until the item is gone if nobody renews it.
        expires_in: Duration,
    },
}

/// The reason for which a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was sent; nothing has changed.
    #[error("{why}")]
    Unavailable {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
        /// The cause, for programs.
        cause: Cause,
        /// The time after which another try makes sense, where it is known.
        retry_after: Option<Duration>,
    },
    /// The command may have been carried out, and may still be.
    #[error("{why}")]
    Uncertain {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
    },
    /// There is no memory for another lock. The command may have been carried out all the same.
    #[error("{why}")]
    Full {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
    },
}

impl StoreError {
    /// Says that nothing was sent, and when another try makes sense.
    pub fn unavailable(why: impl Into<Arc<str>>, retry_after: Option<Duration>) -> StoreError {
        StoreError::Unavailable { why: why.into(), cause: Cause::StoreUnavailable, retry_after }
    }

    /// Says why, for programs, where the store is not simply away.
    pub fn because(mut self, because: Cause) -> StoreError {
        if let StoreError::Unavailable { cause, .. } = &mut self {
            *cause = because;
        }
        self
    }

    /// Says that the command may have been carried out, and may still be.
    pub fn uncertain(why: impl Into<Arc<str>>) -> StoreError {
        StoreError::Uncertain { why: why.into() }
    }

    /// Returns true if the command may have been carried out, or still may be.
    pub fn may_have_landed(&self) -> bool {
        !matches!(self, StoreError::Unavailable { .. })
    }
}
