//! The interface between the domain and the store that all brokers share, and the two stores that implement it.
//!
//! A store compares and changes one item per lock. It never decides who ought to have the lock. It reports what it
//! did, or that it does not know.

mod address;
mod first;
mod listing;
mod memory;

pub mod memcached;
pub use address::{InvalidStore, MAX_WEIGHT, ShardAddress, Store};
pub use listing::{CHUNK, Chunk, ChunkSender, ListError, Listed, Lister, Listing, MOST_LISTED};
pub use lockbroker_core::RequestId;
pub use lockbroker_core::request::StoreTraits;
pub use lockbroker_core::shard::ShardState;
pub use lockbroker_core::store::{
    Change, Granted, ItemState, Label, LockStatus, Note, Order, Proclaimed, Reply, Request, Sight, StoreError, Stored,
    Watch,
};
pub use memory::MemoryStore;

use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

use crate::clock::Moment;
use crate::lock::{LockName, WakeHint};

/// A part of a store, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardView {
    /// Its address, as `--store` has it.
    pub address: Arc<str>,
    /// Its state.
    pub state: ShardState,
    /// The moment at which a closed one opens, if nothing comes between.
    pub opens_at: Option<Moment>,
    /// The reason for which it does not grant locks, where there is more to say than its state does.
    pub why: Option<Arc<str>>,
}

/// An event of a store.
#[derive(Debug, Clone)]
pub enum StoreEvent {
    /// The answer to a request.
    Answer(RequestId, Reply),
    /// Another broker says that a lock may be free: a hint, which proves nothing.
    Woken(WakeHint),
    /// Another broker says that a lock has changed which may be observed here: a hint too.
    ChangedElsewhere(WakeHint),
    /// Another broker says that it has revoked a lock which is held here: a hint too.
    RevokedElsewhere(LockName),
}

/// Keeps the items of locks, for one task that drives it. [`Request`] says what it does.
pub trait LockStore: Send + 'static {
    /// Returns what a broker needs to know of it.
    fn traits(&self) -> StoreTraits;

    /// Returns a flag that is true while at least one part of the store can grant locks.
    fn ready(&self) -> watch::Receiver<bool>;

    /// Returns what lists the locks, while another drives the store.
    fn lister(&self) -> Arc<dyn Lister> {
        Arc::new(listing::NoLister)
    }

    /// Returns its parts as they are now, in the order of `--store`. None for a store that has no parts.
    fn shards(&self) -> watch::Receiver<Vec<ShardView>> {
        watch::channel(Vec::new()).1
    }

    /// Takes all `orders`. Adds to `events` what can be said at once.
    ///
    /// Each request is answered once, within a few seconds, whatever happens. One that was given up may stay unanswered. The
    /// life of an item counts from before this call (R2). What was ordered may still be carried out after the store is dropped, as after
    /// [`StoreError::Uncertain`].
    fn take(&mut self, orders: &mut Vec<Order>, events: &mut Vec<StoreEvent>);

    /// Goes on with what is under way. Returns when `events` has something.
    ///
    /// # Cancel safety
    /// Nothing is lost; call it again.
    fn drive(&mut self, events: &mut Vec<StoreEvent>) -> impl Future<Output = ()> + Send;
}
