//! Lists locks and those who wait for them.

use std::time::Duration;

use lockbroker_core::listing::{Cursor, Kept, SeenWaiter, Which};
use tokio::task::{spawn_blocking, yield_now};

use super::Broker;
use crate::lock::{LockName, Owner};
use crate::store::{ChunkSender, Listed, Listing};
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
}

impl Broker {
    /// Lists locks of the whole store to `to`. As [`Lister::list`](crate::store::Lister::list): for short lists, or from where nobody waits.
    pub fn list(&self, listing: Listing, to: ChunkSender) -> impl Future<Output = ()> + Send + use<> {
        self.lister.list(listing, to)
    }

    /// Returns what is known of these locks where this broker keeps them, up to a chunk of them.
    pub fn kept(&self, locks: &[Listed]) -> Vec<Option<Kept>> {
        self.engine.kept(locks)
    }

    /// Returns those who wait here for the locks `which`, at most `limit`, and true if there are more. Those of one lock stand in
    /// the order of their places. As [`Broker::find_waiters`].
    ///
    /// # Cancel safety
    /// Nothing is left behind, but for a sorting that goes on to its end.
    pub async fn waiters(&self, which: &Which, limit: usize) -> (Vec<Waiter>, bool) {
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

/// Sorts those who wait, and gives each its place. Returns the first `limit`, and true if there are more. Those of one lock
/// stand in the order of their places. A million take a second.
pub fn in_order(mut found: Vec<SeenWaiter>, limit: usize) -> (Vec<Waiter>, bool) {
    found.sort_unstable_by(|a, b| (&a.name, a.ticket).cmp(&(&b.name, b.ticket)));
    let (more, now) = (found.len() > limit, now());
    let (mut last, mut position) = (None, 0);
    let placed = found.into_iter().take(limit).map(|SeenWaiter { name, owner, since, .. }| {
        position = if last.as_ref() == Some(&name) { position + 1 } else { 1 };
        last = Some(name.clone());
        Waiter { name, position, owner, waited: now.since(since) }
    });
    (placed.collect(), more)
}
