//! The broker: the core, driven. Takes what clients ask and what the store answers to the core, and does what the core says.

mod engine;
mod listing;
mod metrics;
mod observe;
mod overview;
mod permits;
mod store_task;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::store::StoreError;
use tokio::sync::watch;

pub use lockbroker_core::event::{Ack, Event, LockRef, LostReason, Reason, SESSION, Together};
pub use lockbroker_core::failure::{Cause, Failure};
pub use lockbroker_core::listing::{Kept, SeenWaiter, Which};
pub use lockbroker_core::request::{
    Access, Account, Ended, LeaseRenewal, LockRequest, Look, Mode, Observation, OnDisconnect, ProtocolError, Purpose,
    Revoked, Settings, StreamEnd, Updated,
};
pub use lockbroker_core::{Item, MOST_TOGETHER, Seen, StreamKey, Time};

use self::engine::{Answer, Engine};
pub use self::listing::{KnownChunk, ShownState, Waiter, in_order};
pub(crate) use self::observe::going_away;
pub use self::observe::{Observed, ObservedState, Observing};
pub use self::overview::{Overview, Totals};
pub use self::permits::SeenPermits;
pub use self::streams::{ClientStream, Session, SessionTurn, StreamEnder};
use crate::accounts::Accounts;
use crate::lock::{Etag, LeaseId, LockId, LockItem, LockName, LockValue};
use crate::metrics::Metrics;
use crate::store::{Lister, LockStore, ShardView};
pub use crate::times::moment;

/// The longest that a call which changes a lock waits for the store.
const LONGEST_CALL: Duration = Duration::from_secs(3);
/// How many unread events a stream may have before its client's messages have to wait…
const MANY_UNREAD: usize = 8_192;
/// …and how many where the streams have too many together.
const FEW_UNREAD: usize = 64;

/// Hands out the locks of one store. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Broker {
    engine: Arc<Engine>,
    ready: watch::Receiver<bool>,
    shards: watch::Receiver<Vec<ShardView>>,
    lister: Arc<dyn Lister>,
}

impl Broker {
    /// Makes a broker for the locks of `store`, which it counts among `metrics`, on the current tokio runtime.
    pub fn new(store: impl LockStore, settings: Settings, metrics: &Metrics) -> Broker {
        let (ready, shards, lister) = (store.ready(), store.shards(), store.lister());
        let engine = Engine::new(store.traits(), settings, metrics);
        // One task serves what all streams ask. tokio's budget would stop it after 128 answers, while thousands of streams have
        // their turns. It stops itself, after so many events and rounds.
        let task = store_task::run(Arc::downgrade(&engine), engine.alarm(), store);
        tokio::spawn(tokio::task::unconstrained(task));
        Broker { engine, ready, shards, lister }
    }

    /// Returns the limits and defaults.
    pub fn settings(&self) -> &Settings {
        self.engine.settings()
    }

    /// Returns what callers have here whom quotas name.
    pub(crate) fn accounts(&self) -> &Accounts {
        self.engine.accounts()
    }

    /// Returns a flag that is true while locks can be granted.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Returns how it is now.
    pub fn overview(&self) -> Overview {
        let counted = self.engine.counted();
        let (held, waiting) = counted.present();
        Overview { held, waiting, totals: counted.totals(), shards: self.shards.borrow().clone() }
    }

    /// Begins to get a lock for a stream of its own. What comes of it is told there.
    ///
    /// # Errors
    /// There is no room, or the broker is going away.
    pub fn begin(&self, request: LockRequest) -> Result<ClientStream, Failure> {
        self.begin_as(request, Purpose::Stream, None)
    }

    /// Does the same for this purpose, and for a client that the audit calls `caller`.
    ///
    /// # Errors
    /// As [`Broker::begin`].
    pub fn begin_as(
        &self,
        request: LockRequest,
        purpose: Purpose,
        caller: Option<Arc<str>>,
    ) -> Result<ClientStream, Failure> {
        let stream = self.stream(caller);
        self.engine.turn(|core, outside| core.begin_alone(stream.key(), request, purpose, outside))?;
        Ok(stream)
    }

    /// Makes a stream on which nothing has been asked yet, for a client that the audit calls `caller`.
    pub fn stream(&self, caller: Option<Arc<str>>) -> ClientStream {
        ClientStream::new(&self.engine, caller)
    }

    /// Opens a Session on a new stream, whose locks have this ttl.
    ///
    /// # Errors
    /// The broker is going away.
    pub fn open(&self, stream: StreamKey, ttl: Duration) -> Result<Session, Failure> {
        Session::open(&self.engine, stream, ttl)
    }

    /// Returns true if a stream has to be read before more is taken from its client: it has many unread events, or some
    /// where all streams together have too many.
    pub fn is_backed_up(&self, stream: StreamKey) -> bool {
        let limit = if self.engine.has_many_unread() { FEW_UNREAD } else { MANY_UNREAD };
        self.engine.unread(stream) > limit
    }

    /// Releases the grant that `lock_id` names, wherever it is kept.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer; this broker goes on trying to release. [`Failure::Exhausted`]
    /// if it has twice `--max-locks` locks, releases and clean-ups.
    ///
    /// # Cancel safety
    /// The release goes on.
    pub async fn release(&self, name: &LockName, lock_id: LockId) -> Result<Ended, Failure> {
        let late = || Failure::unavailable("the store did not answer; the release is tried again and again");
        in_time(self.engine.release(name, lock_id), late).await
    }

    /// Renews a lease, whichever broker has granted it. From then on it counts for `account` here, if it did not count here before.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer in time: the lease may have been renewed all the same.
    /// [`Failure::Exhausted`] if this broker has twice `--max-locks` locks, releases and clean-ups.
    ///
    /// # Cancel safety
    /// The renewal goes on.
    pub async fn renew_lease(
        &self,
        name: &LockName,
        lease: LeaseId,
        account: Option<Account>,
    ) -> Result<LeaseRenewal, Failure> {
        let late = || Failure::unavailable("the store did not answer; the lease may have been renewed or not");
        in_time(self.engine.renew_lease(name, (lease, account)), late).await
    }

    /// Takes a lock, or a permit, from its holder, wherever it is kept, and keeps it closed until the holder can no longer believe in it.
    /// `only`: the one grant that is meant. `immediate`: frees it at once, also if it lingers or was revoked before,
    /// which can make two holders.
    ///
    /// # Errors
    /// As [`Broker::release`].
    ///
    /// # Cancel safety
    /// The revocation goes on.
    pub async fn revoke(
        &self,
        of: impl Into<LockItem>,
        only: Option<Etag>,
        immediate: bool,
    ) -> Result<Revoked, Failure> {
        let late = || Failure::unavailable("the store did not answer; the lock is tried to be revoked again and again");
        in_time(self.engine.revoke(of.into(), only, immediate), late).await
    }

    /// Looks at a lock, or at a permit.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer.
    pub async fn look(&self, of: impl Into<LockItem>, lock_id: Option<LockId>) -> Result<Seen, Failure> {
        let ending = || Err(StoreError::uncertain("the broker is ending").into());
        self.engine.look(of.into(), lock_id).await.unwrap_or_else(|_| ending())
    }

    /// Gives the grant that `lock_id` names another value, wherever it is kept.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the store did not answer in time, or somebody else has updated the value meanwhile: it may have been
    /// updated all the same. [`Failure::Exhausted`] if the store has no memory for it.
    ///
    /// # Cancel safety
    /// The update goes on.
    pub async fn update(&self, name: &LockName, lock_id: LockId, value: LockValue) -> Result<Updated, Failure> {
        let late = || Failure::unavailable("the store did not answer; the value may have been updated or not");
        in_time(self.engine.update(name, lock_id, value), late).await
    }

    /// Observes a lock: what is returned has its state, and hears of its changes.
    ///
    /// # Errors
    /// The broker is going away.
    pub fn observe(&self, name: &LockName) -> Result<Observing, Failure> {
        self.engine.observers().observe(self, name)
    }

    /// Takes no new work and tells every stream, so that clients reattach elsewhere. Locks are renewed for as long as
    /// this process runs; it should be `grace` at the most.
    pub fn drain(&self, grace: Duration) {
        self.engine.turn(|core, outside| core.drain(grace, outside));
        self.engine.observers().end();
    }

    /// Resolves when, after [`Broker::drain`], the last stream has gone and its releases are done.
    pub async fn drained(&self) {
        self.engine.drained().await;
    }

    /// Releases nothing from now on, whatever becomes of the streams: said before the process ends with locks still
    /// held, which then stand for their ttl.
    pub fn abandon(&self) {
        self.engine.turn(|core, _| core.abandon());
    }
}

/// Waits for the answer to a call, as long as a caller does; `late` is said of one that does not come.
async fn in_time<T>(answer: Answer<T>, late: impl FnOnce() -> Failure) -> Result<T, Failure> {
    tokio::time::timeout(LONGEST_CALL, answer).await.ok().and_then(Result::ok).unwrap_or_else(|| Err(late()))
}
