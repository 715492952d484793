//! One broker: what a service needs of the domain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Session;
use crate::audit::Subject;
use crate::bell::{Bell, End, Ended};
use crate::clock::Moment;
use crate::keeper::{Asked, Common, Keeper, LONGEST_RELEASE, LockMetrics, Settings, Want, going_away, release_by_id};
use crate::lock::{LockId, LockName, Owner};
use crate::metrics::{Label, Metrics};
use crate::quota::Share;
use crate::store::{ItemState, LockStatus, LockStore};
use crate::stream::{Failure, Outbox, Seat};
use lockbroker_core::failure::Cause;

/// How many unread events a stream may have before its client's messages have to wait…
const MANY_UNREAD: usize = 8_192;
/// …and how many where the streams have too many together.
const FEW_UNREAD: usize = 64;

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The lock.
    pub name: LockName,
    /// For how long a grant stands without renewal.
    pub ttl: Duration,
    /// For how long nobody can acquire after the release.
    pub linger: Duration,
    /// The holder's label.
    pub owner: Owner,
    /// How it is wanted.
    pub want: Want,
}

/// A stream of one lock.
#[derive(Debug)]
pub struct Standing {
    /// What waits to be written.
    pub outbox: Arc<Outbox>,
    /// Where the keeper hears that the stream has ended.
    pub bell: Arc<Bell>,
    /// Keeps the broker from ending before the stream has.
    pub unfinished: TaskTrackerToken,
}

/// The room that a request has been given: one of the two.
#[derive(Debug)]
pub(super) struct Room {
    /// Among `--max-locks`.
    lock: Option<Share>,
    /// Among `--max-waiters`.
    waits: Option<Share>,
}

/// A lock as a look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As the store has it.
    pub look: LockStatus,
    /// The end of the lease, if the lock is held by the id that was asked about, and kept here.
    pub lease_end: Option<Moment>,
}

/// Hands out the locks of one store. Cloning shares it.
#[derive(Debug)]
pub struct Broker<S> {
    common: Arc<Common<S>>,
}

impl<S> Clone for Broker<S> {
    fn clone(&self) -> Broker<S> {
        Broker { common: Arc::clone(&self.common) }
    }
}

impl<S: LockStore> Broker<S> {
    /// A broker for the locks of `store`, which it counts among `metrics`.
    pub fn new(store: S, settings: Settings, metrics: &Metrics) -> Broker<S> {
        Broker { common: Arc::new(Common::new(store, settings, metrics)) }
    }

    /// The limits and defaults.
    pub fn settings(&self) -> &Settings {
        &self.common.settings
    }

    /// Whether locks can be granted.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.common.store.ready()
    }

    /// Begins to get a lock for a stream of its own. What comes of it is told there.
    pub fn begin(&self, ask: Ask) -> Result<Standing, Failure> {
        self.begin_as(ask, None)
    }

    /// The same for a client that the audit calls `caller`.
    pub fn begin_as(&self, ask: Ask, caller: Option<Arc<str>>) -> Result<Standing, Failure> {
        let outbox = self.outbox(caller);
        let room = self.admit(&ask, &outbox)?;
        let standing = Standing { outbox, bell: Arc::default(), unfinished: self.unfinished() };
        self.keep(ask, Seat::Alone(Arc::clone(&standing.outbox)), Arc::clone(&standing.bell), room);
        Ok(standing)
    }

    /// An empty outbox for a new stream.
    pub fn outbox(&self, caller: Option<Arc<str>>) -> Arc<Outbox> {
        Arc::new(Outbox::counted_by(&self.common.metrics.unread, caller))
    }

    /// Returns whether a stream has to be read before more is taken from its client: it has many unread events, or some
    /// where all streams together have too many.
    pub fn is_backed_up(&self, outbox: &Outbox) -> bool {
        let limit = if self.common.metrics.has_many_unread() { FEW_UNREAD } else { MANY_UNREAD };
        outbox.unread() > limit
    }

    /// Opens a Session whose locks have this ttl, and whose client reads from `outbox`.
    pub fn open(&self, ttl: Duration, outbox: Arc<Outbox>) -> Result<Session<S>, Failure> {
        // Subscribed before the look, so that what comes after it is seen as a change.
        let draining = self.common.draining.subscribe();
        if draining.borrow().is_some() {
            return Err(going_away());
        }
        Ok(Session::open(self.clone(), ttl, outbox, draining))
    }

    /// Makes room for what is asked, or says why there is none. A reattach finds room up to twice `--max-locks`, since its
    /// lock is held already: one of two brokers can take over all that the other had.
    pub(super) fn admit(&self, ask: &Ask, outbox: &Outbox) -> Result<Room, Failure> {
        self.room_for(ask).inspect_err(|failure| {
            let outcome = self.common.metrics.failed(failure);
            Subject { name: &ask.name, owner: &ask.owner, caller: outbox.caller() }.refused(outcome.label());
        })
    }

    fn room_for(&self, ask: &Ask) -> Result<Room, Failure> {
        let Common { settings, locks, waits, draining, .. } = &*self.common;
        if draining.borrow().is_some() {
            return Err(going_away());
        }
        let room = match ask.want {
            Want::Once => Room { lock: locks.take(), waits: None },
            Want::Reattach(_) => Room { lock: locks.take_reserved(), waits: None },
            // It gets room among the locks with the grant; what is full now is refused now.
            Want::Wait { .. } if !locks.has_room() => Room { lock: None, waits: None },
            Want::Wait { .. } => match waits.take() {
                Some(share) => Room { lock: None, waits: Some(share) },
                None => {
                    let why = format!(
                        "{} wait at this broker, which is its limit: raise --max-waiters, or ask another broker",
                        settings.max_waiters
                    );
                    return Err(Failure::exhausted(Cause::MaxWaiters, why));
                }
            },
        };
        if room.lock.is_none() && room.waits.is_none() {
            return Err(self.common.full());
        }
        Ok(room)
    }

    /// Starts a keeper.
    pub(super) fn keep(&self, ask: Ask, seat: Seat, bell: Arc<Bell>, room: Room) {
        let Ask { name, ttl, linger, owner, want } = ask;
        // A reattached lock keeps the linger that it was granted with.
        let linger = if let Want::Reattach(lock_id) = &want { lock_id.linger } else { linger };
        let common = Arc::clone(&self.common);
        let Room { lock: room, waits } = room;
        tokio::spawn(Keeper { common, seat, bell, name, ttl, linger, owner, room }.keep(Asked { want, waits }));
    }

    /// Releases the grant that `lock_id` names, wherever it is kept.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer; this broker goes on trying to release. [`Failure::Exhausted`]
    /// if it does so for twice `--max-locks` already.
    ///
    /// # Cancel safety
    /// The release goes on.
    pub async fn release(&self, name: &LockName, lock_id: LockId) -> Result<Ended, Failure> {
        let released = async {
            if let Some(bell) = self.common.waiters.holder(name, lock_id.grant) {
                let (caller, answer) = oneshot::channel();
                bell.end(End::Release(caller));
                drop(bell);
                // No answer: its keeper was ending it already.
                if let Ok(ended) = answer.await {
                    return Some(ended);
                }
            }
            let Some(room) = self.common.locks.take_reserved() else { return Some(Err(self.common.full())) };
            let (caller, answer) = oneshot::channel();
            tokio::spawn(release_by_id(Arc::clone(&self.common), name.clone(), lock_id, caller, room));
            answer.await.ok()
        };
        let late = || Failure::unavailable("the store did not answer; the release is tried again and again");
        tokio::time::timeout(LONGEST_RELEASE, released).await.ok().flatten().unwrap_or_else(|| Err(late()))
    }

    /// Looks at a lock.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer.
    pub async fn look(&self, name: &LockName, lock_id: Option<LockId>) -> Result<Seen, Failure> {
        let look = self.common.look(name).await?;
        let kept = lock_id.and_then(|lock_id| {
            let held = matches!(&look, LockStatus::Taken { state, .. } if *state == ItemState::Held(lock_id.grant));
            self.common.waiters.holder(name, lock_id.grant).filter(|_| held)
        });
        Ok(Seen { look, lease_end: kept.and_then(|bell| bell.lease_end()) })
    }

    /// Heeds what other brokers say of locks that may be free, for ever.
    pub async fn heed_wakes(&self) {
        loop {
            self.common.waiters.wake(self.common.store.next_wake().await);
        }
    }

    /// Takes no new work and tells every stream, so that clients reattach elsewhere. Locks are renewed for as long as
    /// this process runs; it should be `grace` at the most.
    pub fn drain(&self, grace: Duration) {
        self.common.draining.send_replace(Some(grace));
        self.common.waiters.ring_all();
        self.common.unfinished.close();
    }

    /// Resolves when, after [`Broker::drain`], the last stream has gone and its releases are done.
    pub async fn drained(&self) {
        self.common.unfinished.wait().await;
    }

    /// Releases nothing from now on, whatever becomes of the streams: said before the process ends with locks
    /// still held, which then stand for their ttl.
    pub fn abandon(&self) {
        self.common.abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self) -> &LockMetrics {
        &self.common.metrics
    }

    pub(super) fn unfinished(&self) -> TaskTrackerToken {
        self.common.unfinished.token()
    }
}
