//! The interface between the domain and the store that all brokers share, and the two stores that implement it.
//!
//! A store compares and changes one item per lock. It never decides who ought to have the lock. It reports what it
//! did, or that it does not know.

mod address;
mod memory;

pub mod memcached;
pub use address::{InvalidStore, MAX_WEIGHT, ShardAddress, Store};
pub use memory::MemoryStore;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::client::ErrorReason;
use crate::lock::{FencingToken, GrantId, LingerId, LockName, Owner, WakeHint};

/// The state that an item shows: held under a grant, or lingering after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Held.
    Held(GrantId),
    /// Lingering.
    Lingering(LingerId),
}

/// The outcome of an attempt to get a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It is held under the new id, with this token.
    Yes(FencingToken),
    /// It was not granted. For `grant`: the lock is held or lingers. For `hand_over`: the item no longer carries the
    /// old id.
    No,
}

/// The outcome of a change to an item that had to carry a certain mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The item carried the mark and was changed.
    Done,
    /// There is no item.
    Gone,
    /// The item carries another mark.
    TakenOver,
}

/// The outcome of asking to be woken when a lock is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
pub enum Look {
    /// Nobody has it.
    Free,
    /// There is an item.
    Marked {
        /// The item's state.
        mark: Mark,
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
        /// The reason, for programs.
        reason: ErrorReason,
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

/// Keeps the items of locks. All ttls are in whole seconds, 1 or more; an item with ttl n lives for more than
/// n-3 s after the command was sent and at most n s after it was carried out.
///
/// Every method answers within a few seconds, whatever the store does. The life of an item counts from before the call
/// (R2). Dropping a future does not take the command back: it may still be carried out, as after
/// [`StoreError::Uncertain`].
pub trait LockStore: Send + Sync + 'static {
    /// Creates the item of a lock that has none.
    fn grant(&self, name: &LockName, id: GrantId, ttl: u32)
    -> impl Future<Output = Result<Granted, StoreError>> + Send;

    /// Gives the lock held under `from` to `to`, as a new grant with a token of its own. At no moment is the
    /// lock free.
    fn hand_over(
        &self,
        name: &LockName,
        from: GrantId,
        to: GrantId,
        ttl: u32,
    ) -> impl Future<Output = Result<Granted, StoreError>> + Send;

    /// Sets the ttl of an item that carries `mark`, and that of the owner's label. If the store has lost its
    /// memory and nobody can have been granted the lock since, creates the item again.
    fn renew(
        &self,
        name: &LockName,
        mark: Mark,
        owner: &Owner,
        ttl: u32,
    ) -> impl Future<Output = Result<Change, StoreError>> + Send;

    /// Replaces the grant `from` by `to` without a new token: a reattach.
    fn replace(
        &self,
        name: &LockName,
        from: GrantId,
        to: GrantId,
        ttl: u32,
    ) -> impl Future<Output = Result<Change, StoreError>> + Send;

    /// Turns the item of the grant `from` into a linger. If the store has lost its memory and it is `certain` that
    /// nobody else has been granted the lock since `from`, creates the linger.
    fn linger(
        &self,
        name: &LockName,
        from: GrantId,
        to: LingerId,
        ttl: u32,
        certain: bool,
    ) -> impl Future<Output = Result<Change, StoreError>> + Send;

    /// Deletes an item that carries `mark`, and wakes one broker that watches the lock.
    fn remove(&self, name: &LockName, mark: Mark) -> impl Future<Output = Result<Change, StoreError>> + Send;

    /// Looks at a lock without touching it. A look that finds nothing proves nothing about commands under way.
    fn look(&self, name: &LockName) -> impl Future<Output = Result<Look, StoreError>> + Send;

    /// Returns true if other brokers use this store too. They can end a grant without its keeper's knowledge.
    fn is_shared(&self) -> bool {
        true
    }

    /// Looks whether the lock is held under `id`. Asked often, for a line behind a holder, so it should cost little. A
    /// hint: nothing may be released because of it.
    fn stands(&self, name: &LockName, id: GrantId) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async move { Ok(matches!(self.look(name).await?, Look::Marked { mark, .. } if mark == Mark::Held(id))) }
    }

    /// Notes the label of a grant for others to see: best effort, sent and forgotten. Does nothing if the label
    /// is empty.
    fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, ttl: u32);

    /// Returns a flag that is true while at least one part of the store can grant locks.
    fn ready(&self) -> watch::Receiver<bool>;

    // Wake-ups between brokers. They are hints: none is certain to come, and none proves anything. A store that only
    // this broker has needs none, and whoever hears none polls.

    /// Returns true if other brokers can wake this one.
    fn can_be_woken(&self) -> bool {
        false
    }

    /// Asks that this broker be woken, once and within `ttl` seconds, when the lock is let go by another. `kept`: it
    /// was asked before, and has not been woken since. One broker at a time watches a lock.
    fn watch(&self, _name: &LockName, _kept: bool, _ttl: u32) -> impl Future<Output = Watch> + Send {
        async { Watch::No }
    }

    /// Takes back what `watch` asked for: sent and forgotten.
    fn unwatch(&self, _name: &LockName) {}

    /// Notes for `ttl` seconds that a line stands here behind the lock's holder, for
    /// [`wake_line`](LockStore::wake_line): sent and forgotten.
    fn note_line(&self, _name: &LockName, _ttl: u32) {}

    /// Wakes the broker that has noted a line behind a holder: sent and forgotten. For whoever ends a grant that
    /// another broker keeps.
    fn wake_line(&self, _name: &LockName) {}

    /// Waits for the next hint that reaches this broker.
    ///
    /// # Cancel safety
    /// Dropping the future loses no hint.
    fn next_wake(&self) -> impl Future<Output = WakeHint> + Send {
        std::future::pending()
    }
}

impl StoreError {
    pub(crate) fn unavailable(why: impl Into<Arc<str>>, retry_after: Option<Duration>) -> StoreError {
        StoreError::Unavailable { why: why.into(), reason: ErrorReason::StoreUnavailable, retry_after }
    }

    /// Says why, for programs, where the store is not simply away.
    pub(crate) fn because(mut self, because: ErrorReason) -> StoreError {
        if let StoreError::Unavailable { reason, .. } = &mut self {
            *reason = because;
        }
        self
    }

    pub(crate) fn uncertain(why: impl Into<Arc<str>>) -> StoreError {
        StoreError::Uncertain { why: why.into() }
    }

    /// Returns true if the command may have been carried out, or still may be.
    pub fn may_have_landed(&self) -> bool {
        !matches!(self, StoreError::Unavailable { .. })
    }
}
