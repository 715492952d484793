//! The interface between the domain and the store that all brokers share, and the two stores that implement it.
//!
//! A store compares and changes one item per lock. It never decides who ought to have the lock. It reports what it
//! did, or that it does not know.

mod address;
mod memory;

pub mod memcached;
pub use address::{InvalidStore, MAX_WEIGHT, ShardAddress, Store};
pub use lockbroker_core::store::{Change, Granted, ItemState, LockStatus, StoreError, Watch};
pub use memory::MemoryStore;

use std::future::Future;
use tokio::sync::watch;

use crate::lock::{GrantId, LingerId, LockName, Owner, WakeHint};

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

    /// Sets the ttl of an item that carries `state`, and that of the owner's label. If the store has lost its
    /// memory and nobody can have been granted the lock since, creates the item again.
    fn renew(
        &self,
        name: &LockName,
        state: ItemState,
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

    /// Deletes an item that carries `state`, and wakes one broker that watches the lock.
    fn remove(&self, name: &LockName, state: ItemState) -> impl Future<Output = Result<Change, StoreError>> + Send;

    /// Looks at a lock without touching it. A look that finds nothing proves nothing about commands under way.
    fn look(&self, name: &LockName) -> impl Future<Output = Result<LockStatus, StoreError>> + Send;

    /// Returns true if other brokers use this store too. They can end a grant without this broker's knowledge.
    fn is_shared(&self) -> bool {
        true
    }

    /// Looks whether the lock is held under `id`. Asked often, for a line behind a holder, so it should cost little. A
    /// hint: nothing may be released because of it.
    fn stands(&self, name: &LockName, id: GrantId) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async move { Ok(matches!(self.look(name).await?, LockStatus::Taken { state, .. } if state == ItemState::Held(id))) }
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
