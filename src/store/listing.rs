//! Lists all locks of a store, beside the task that drives it, for people who ask who holds what.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{ItemState, Label, StoreError};
use crate::lock::LockItem;

/// The most locks of one [`Chunk`]: the thread that serves all clients encodes a chunk in one go.
pub const CHUNK: usize = 250;
/// The most locks of one list.
pub const MOST_LISTED: usize = 1_000_000;

/// The locks to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The beginning of their names. Empty: all locks.
    pub prefix: Arc<str>,
    /// The most of them, the first by their names: 1 to [`MOST_LISTED`].
    pub limit: usize,
}

/// A lock, or a permit of one that several share, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The lock, or the permit.
    pub item: LockItem,
    /// The item's state.
    pub state: ItemState,
    /// What is noted of that grant, where it is known.
    pub label: Label,
    /// The longest time until the item is gone if nobody renews it.
    pub expires_in: Duration,
    /// True of the lock itself if somebody has a permit of it, or one lingers.
    pub beside_permits: bool,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Up to [`CHUNK`] locks.
    pub locks: Vec<Listed>,
    /// In the last chunk: the number of locks that there are, also beyond the limit. 0 in the others.
    pub total: usize,
}

/// The reason for which there is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The store does not list its keys, and would not the next time.
    #[error("{why}")]
    Refused {
        /// The explanation, with what mends it.
        why: Arc<str>,
    },
    /// The store cannot be asked now.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// The place to which a list goes. It holds few chunks, so whoever lists goes on only as fast as they are taken.
pub type ChunkSender = mpsc::Sender<Result<Chunk, ListError>>;

/// Lists the locks of one store, while its task does other things. A long list is work for a second: call it where nobody
/// waits for that.
pub trait Lister: fmt::Debug + Send + Sync + 'static {
    /// Sends the locks to `to` in chunks, in the order of their names and permits, or the error for which the list ends. An empty list is one
    /// chunk.
    ///
    /// A lock that stands for the whole of that time is listed once. One that is acquired or released meanwhile may be missing.
    ///
    /// # Cancel safety
    /// Ends soon when dropped, or when nobody takes from `to` any more. Nothing is left behind.
    fn list(&self, listing: Listing, to: ChunkSender) -> BoxFuture<'static, ()>;
}

/// Lists nothing.
#[derive(Debug)]
pub(super) struct NoLister;

impl Lister for NoLister {
    fn list(&self, _: Listing, to: ChunkSender) -> BoxFuture<'static, ()> {
        async move { drop(to.send(Err(ListError::Refused { why: "this store does not list its locks".into() })).await) }
            .boxed()
    }
}
