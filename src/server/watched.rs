//! The broker as the page of the admin listener sees it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::broker::{Broker, Kept, Overview, Waiter, Which, moment};
use crate::lock::{FencingToken, LockName, Owner};
use crate::store::{Chunk, ItemState, ListError, Listed, Listing};
use crate::times::since_date;

/// The interface through which the page sees the broker. Nothing here changes anything.
pub trait Watched: Send + Sync + 'static {
    /// Returns how the broker is now.
    fn overview(&self) -> Overview;

    /// Lists locks of the whole store, in no order.
    ///
    /// # Errors
    /// Says why there is no list, for the person who wants it.
    ///
    /// # Cancel safety
    /// The listing ends soon.
    fn locks(&self, listing: Listing) -> impl Future<Output = Result<Part<Lock>, String>> + Send;

    /// Lists those who wait at this broker for locks whose names begin with `prefix`, `limit` at the most. Those of one lock
    /// stand in the order of their places.
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
    /// True if there is more.
    pub more: bool,
}

/// A lock of the store. It has no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: LockName,
    /// Its state.
    pub state: LockState,
    /// The holder's label, where it is known.
    pub owner: Owner,
    /// The fencing token, where it is known.
    pub token: Option<FencingToken>,
    /// The time since it was granted or last reattached, where that is known.
    pub held_for: Option<Duration>,
    /// The longest time until it is free if nobody renews it.
    pub expires_in: Duration,
}

/// The state of a lock that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Somebody holds it.
    Held,
    /// It was released, and nobody can have it yet.
    Lingering,
    /// It was revoked, and nobody can have it until its holder does not believe in it any more.
    Revoked,
}

impl Lock {
    /// Makes it of what the store knows, and of what the broker does where it keeps the lock.
    fn new(Listed { name, state, label, expires_in }: Listed, kept: Option<Kept>) -> Lock {
        let state = match state {
            ItemState::Held(_) => LockState::Held,
            ItemState::Lingering(id) if id.is_revocation() => LockState::Revoked,
            ItemState::Lingering(_) => LockState::Lingering,
        };
        let token = kept.map(|kept| kept.token).or(label.token);
        let held_for = kept
            .and_then(|kept| kept.since)
            .map(|since| moment(since).elapsed())
            .or_else(|| label.since.map(since_date));
        Lock { name, state, owner: label.owner, token, held_for, expires_in }
    }
}

impl Watched for Broker {
    fn overview(&self) -> Overview {
        Broker::overview(self)
    }

    async fn locks(&self, listing: Listing) -> Result<Part<Lock>, String> {
        let (to, mut from) = mpsc::channel::<Result<Chunk, ListError>>(2);
        let taking = async {
            let mut part = Part { rows: Vec::new(), more: false };
            while let Some(chunk) = from.recv().await {
                let chunk = chunk.map_err(|error| error.to_string())?;
                let kept = self.kept(&chunk.locks);
                part.rows.extend(chunk.locks.into_iter().zip(kept).map(|(listed, kept)| Lock::new(listed, kept)));
                part.more |= chunk.more;
            }
            Ok(part)
        };
        let ((), part) = tokio::join!(self.list(listing, to), taking);
        part
    }

    async fn waiters(&self, prefix: &str, limit: usize) -> Part<Waiter> {
        let (rows, more) = Broker::waiters(self, &Which::Prefix(prefix.into()), limit).await;
        Part { rows, more }
    }
}
