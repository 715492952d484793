//! The broker as the page of the admin listener sees it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::aside::aside;
use crate::broker::{Broker, Kept, KnownChunk, Overview, ShownState, Waiter, Which, moment};
use crate::lock::{FencingToken, LockItem, LockName, Owner, Permit};
use crate::store::{ListError, Listed, Listing};
use crate::times::since_date;

/// The interface through which the page sees the broker. Nothing here changes anything.
pub trait Watched: Send + Sync + 'static {
    /// Returns how the broker is now.
    fn overview(&self) -> Overview;

    /// Lists locks of the whole store, in the order of their names and permits.
    ///
    /// # Errors
    /// Says why there is no list, for the person who wants it.
    ///
    /// # Cancel safety
    /// The listing ends soon.
    fn locks(&self, listing: Listing) -> impl Future<Output = Result<Part<Lock>, String>> + Send;

    /// Lists those who wait at this broker for locks whose names begin with `prefix`, the first `limit` of them, in the order of
    /// names and places.
    ///
    /// # Cancel safety
    /// The listing ends.
    fn waiters(&self, prefix: &str, limit: usize) -> impl Future<Output = Part<Waiter>> + Send;
}

/// A list, or the part of it that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// What was found.
    pub rows: Vec<T>,
    /// The number of all that there are.
    pub total: usize,
}

impl<T> Part<T> {
    /// Returns true if it has all that there are.
    pub(super) fn is_whole(&self) -> bool {
        self.rows.len() >= self.total
    }
}

/// A lock of the store, or one of its permits. It has no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: LockName,
    /// The permit, if several share the lock.
    pub permit: Option<Permit>,
    /// Its state.
    pub state: ShownState,
    /// The holder's label, where it is known.
    pub owner: Owner,
    /// The fencing token, where it is known.
    pub token: Option<FencingToken>,
    /// The time since it was granted or last reattached, where that is known.
    pub held_for: Option<Duration>,
    /// The longest time until it is free if nobody renews it.
    pub expires_in: Duration,
}

impl Lock {
    /// Makes it of what the store knows, and of what the broker does where it keeps the lock.
    fn new(listed: Listed, kept: Option<Kept>) -> Lock {
        let state = ShownState::of(&listed, kept);
        let Listed { item: LockItem { name, permit }, label, expires_in, .. } = listed;
        let token = kept.map(|kept| kept.token).or(label.token);
        let held_for = kept
            .and_then(|kept| kept.since)
            .map(|since| moment(since).elapsed())
            .or_else(|| label.since.map(since_date));
        Lock { name, permit, state, owner: label.owner, token, held_for, expires_in }
    }
}

impl Watched for Broker {
    fn overview(&self) -> Overview {
        Broker::overview(self)
    }

    async fn locks(&self, listing: Listing) -> Result<Part<Lock>, String> {
        let (broker, serving, (mut to, listed)) = (self.clone(), Handle::current(), oneshot::channel());
        aside(move || async move {
            tokio::select! {
                // Whoever looked at the page has gone.
                () = to.closed() => {}
                part = collect(broker, serving, listing) => drop(to.send(part)),
            }
        });
        listed.await.unwrap_or_else(|_| Err("the broker has no thread left for a list".to_owned()))
    }

    async fn waiters(&self, prefix: &str, limit: usize) -> Part<Waiter> {
        let (rows, total) = Broker::waiters(self, &Which::Prefix(prefix.into()), limit).await;
        Part { rows, total }
    }
}

/// Collects the locks of a list.
async fn collect(broker: Broker, serving: Handle, listing: Listing) -> Result<Part<Lock>, String> {
    let (to, mut from) = mpsc::channel::<Result<KnownChunk, ListError>>(2);
    let taking = async move {
        let mut part = Part { rows: Vec::new(), total: 0 };
        while let Some(chunk) = from.recv().await {
            let KnownChunk { locks, total } = chunk.map_err(|error| error.to_string())?;
            part.rows.extend(locks.into_iter().map(|(listed, kept)| Lock::new(listed, kept)));
            part.total += total;
        }
        Ok(part)
    };
    tokio::join!(broker.list(serving, listing, to), taking).1
}
