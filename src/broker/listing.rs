//! Lists locks and those who wait for them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use lockbroker_core::listing::{Cursor, Kept, SeenWaiter, Which};
use lockbroker_core::request::Access;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, yield_now};

use super::Broker;
use crate::lock::{LockName, Owner};
use crate::store::{Chunk, ItemState, ListError, Listed, Listing, StoreError};
use crate::times::now;

/// One that waits for a lock at this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The lock.
    pub name: LockName,
    /// The place among those who wait for it here; the first is 1.
    pub position: usize,
    /// Its label.
    pub owner: Owner,
    /// The time since it asked.
    pub waited: Duration,
    /// With whom it would share the lock.
    pub access: Access,
    /// True if it keeps others out until it has the lock: it waits for those who have permits.
    pub keeps_others_out: bool,
}

/// The state of a lock or a permit, as people are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownState {
    /// Somebody holds it.
    Held,
    /// Somebody waits for those who have permits of it, and lets no new ones in.
    Claimed,
    /// It was released, and nobody can have it yet.
    Lingering,
    /// It was revoked, and nobody can have it until its holder does not believe in it any more.
    Revoked,
}

impl ShownState {
    /// Returns how a listed lock is shown. A claim's item looks like a holder's: permits beside it, and no known token, make it a
    /// claim. A holder without an owner has no noted token. So for the moment in which a reader is turned away, brokers that do not
    /// keep it show it as a claim too.
    pub fn of(listed: &Listed, kept: Option<Kept>) -> ShownState {
        let is_granted = kept.is_some() || listed.label.token.is_some();
        match listed.state {
            ItemState::Held(_) if listed.beside_permits && !is_granted => ShownState::Claimed,
            state => state.into(),
        }
    }
}

impl From<ItemState> for ShownState {
    /// Takes what looks as a holder's item for that.
    fn from(state: ItemState) -> ShownState {
        match state {
            ItemState::Held(_) => ShownState::Held,
            ItemState::Lingering(id) if id.is_revocation() => ShownState::Revoked,
            ItemState::Lingering(_) => ShownState::Lingering,
        }
    }
}

/// A part of a list, in the order of the names.
#[derive(Debug)]
pub struct KnownChunk {
    /// The locks, and what is known of each that is kept here.
    pub locks: Vec<(Listed, Option<Kept>)>,
    /// In the last part: the number of locks that there are, also beyond the limit. 0 in the others.
    pub total: usize,
}

impl Broker {
    /// Lists locks of the whole store, with what this broker knows of them, to `to`. As [`Lister::list`](crate::store::Lister::list):
    /// run it `aside`. The broker is asked in `serving`, its own runtime: a thread that gets less of the
    /// processors is not to have the lock that everybody there waits for.
    ///
    /// # Cancel safety
    /// Ends soon when dropped, or when nobody takes from `to` any more.
    pub async fn list(self, serving: Handle, listing: Listing, to: mpsc::Sender<Result<KnownChunk, ListError>>) {
        let (chunks, mut taken) = mpsc::channel(1);
        let list = self.lister.list(listing, chunks);
        let complete = async {
            while let Some(chunk) = taken.recv().await {
                let part = match chunk {
                    Ok(chunk) => self.complete(&serving, chunk).await,
                    Err(error) => Err(error),
                };
                // Whoever asked may have gone.
                if to.send(part).await.is_err() {
                    break;
                }
            }
            // So that the list ends.
            drop(taken);
        };
        join(list, complete).await;
    }

    async fn complete(&self, serving: &Handle, Chunk { mut locks, total }: Chunk) -> Result<KnownChunk, ListError> {
        let engine = Arc::clone(&self.engine);
        let asked = serving.spawn(async move {
            let kept = engine.kept(&mut locks);
            let locks = locks.into_iter().zip(kept).collect();
            KnownChunk { locks, total }
        });
        asked.await.map_err(|_| StoreError::unavailable("the broker is ending", None).into())
    }

    /// Returns those who wait here for the locks `which`, the first `limit` of them, and the number of all. They stand in the order
    /// of names and places. As [`Broker::find_waiters`].
    ///
    /// # Cancel safety
    /// Nothing is left behind, but for a sorting that goes on to its end.
    pub async fn waiters(&self, which: &Which, limit: usize) -> (Vec<Waiter>, usize) {
        let found = self.find_waiters(which).await;
        // It fails only if the runtime ends.
        spawn_blocking(move || in_order(found, limit)).await.unwrap_or_default()
    }

    /// Returns those who wait here for the locks `which`, in no order: [`in_order`] puts them in theirs.
    ///
    /// Whoever waits for the whole of that time is among them. Clients are served meanwhile, so those who come or go may be
    /// missing, or count in others' places all the same.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn find_waiters(&self, which: &Which) -> Vec<SeenWaiter> {
        let (mut found, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.engine.waiters(which, from, &mut found);
            yield_now().await;
        }
        found
    }
}

/// Sorts those who wait by names and places, and gives each its place. Returns the first `limit`, and the number of all. A
/// million take a second.
pub fn in_order(mut found: Vec<SeenWaiter>, limit: usize) -> (Vec<Waiter>, usize) {
    found.sort_unstable_by(|a, b| (&a.name, a.ticket).cmp(&(&b.name, b.ticket)));
    let (total, now) = (found.len(), now());
    let (mut last, mut position) = (None, 0);
    let placed =
        found.into_iter().take(limit).map(|SeenWaiter { name, owner, since, access, keeps_others_out, .. }| {
            position = if last.as_ref() == Some(&name) { position + 1 } else { 1 };
            last = Some(name.clone());
            Waiter { name, position, owner, waited: now.since(since), access, keeps_others_out }
        });
    (placed.collect(), total)
}
