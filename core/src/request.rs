//! What clients ask for.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use crate::Time;
use crate::event::LostReason;
use crate::lock::{GrantId, LockId, LockName, LockValue, Owner};
use crate::store::LockStatus;

/// A request for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockRequest {
    /// The lock.
    pub name: LockName,
    /// For how long a grant stands without renewal.
    pub ttl: Duration,
    /// For how long nobody can acquire after the release.
    pub linger: Duration,
    /// For how long nobody can acquire after the grant, however and whenever it ends (R31).
    pub min_hold: Duration,
    /// The holder's label.
    pub owner: Owner,
    /// The value for those who observe it. Of a lock for one alone.
    pub value: Option<LockValue>,
    /// With whom it is shared.
    pub access: Access,
    /// How it is wanted.
    pub mode: Mode,
    /// Whose quota it counts for, if it counts for one.
    pub account: Option<Account>,
    /// What becomes of the lock when its stream ends.
    pub on_disconnect: OnDisconnect,
}

/// The others who may have a lock at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nobody.
    #[default]
    Alone,
    /// Those who share it too. Each has a permit.
    Shared {
        /// Its permit is below this number: 1 up to [`MAX_PERMITS`].
        ///
        /// [`MAX_PERMITS`]: crate::lock::MAX_PERMITS
        limit: u16,
        /// The number of permits that it takes: 1 up to [`MOST_TOGETHER`], and no more than there may be. More than one only on a Session.
        ///
        /// [`MOST_TOGETHER`]: crate::group::MOST_TOGETHER
        weight: u8,
    },
}

/// What becomes of a lock that its client holds when the stream ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// A stream that its client closed releases it at once.
    #[default]
    Release,
    /// It is kept until its validity is over, however the stream ended, so that its client can reattach. Only the client's own
    /// word releases it earlier: an `EndLock`, or a Release.
    Keep,
}

/// What a lock with a stream of its own is acquired for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The stream's client holds it.
    Stream,
    /// It becomes a lease once it is announced. Then its label is noted, with the call that it came from. One that was noted before could
    /// be written last: a broker has several connections to a server.
    Lease,
}

/// Names a count of locks and waits. Whoever drives the core keeps it, and knows whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(pub NonZeroU16);

/// The way in which a lock is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Now or not at all.
    Once,
    /// With a wait.
    Wait {
        /// For how long; without end if not set.
        max_wait: Option<Duration>,
        /// The least time between two polls; the broker chooses if not set.
        poll_interval: Option<Duration>,
    },
    /// As it is held already under this id.
    Reattach(LockId),
}

/// The way in which a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamEnd {
    /// The client closed it: its locks are released now.
    Closed,
    /// The client is not heard any more, and may still believe in its locks: they are released when what it was told is
    /// over (R7).
    Unresponsive,
}

/// The outcome of a Release call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The grant was ended.
    Released,
    /// Nobody holds the lock.
    NotHeld,
    /// Somebody else holds it.
    HeldByAnother,
}

/// The outcome of giving a lock another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Updated {
    /// The lock has the new value.
    Done,
    /// Nobody holds the lock.
    NotHeld,
    /// Somebody else holds it.
    HeldByAnother,
    /// The lock was asked for without a value.
    NoValue,
}

/// A look of those who observe a lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// The grant that was seen last.
    pub known: Option<GrantId>,
    /// For how many seconds this broker is to be told of changes that others make; not at all if not set.
    pub note_for: Option<u32>,
}

/// A lock as those see it who observe it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// As the store has it.
    pub status: LockStatus,
    /// The holder's value, if it has one.
    pub value: Option<LockValue>,
    /// True if several may share it, so that its permits have to be looked at too.
    pub is_shared: bool,
}

/// The outcome of renewing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseRenewal {
    /// It is good until then.
    Renewed {
        /// The end of the lease.
        until: Time,
    },
    /// It is lost.
    Lost(LostReason),
}

/// The outcome of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// The grant was revoked.
    Revoked {
        /// For how long the lock stays closed, from now on: until its holder can no longer believe in it, and its linger.
        closed: Duration,
        /// The label of the holder that lost it.
        owner: Owner,
    },
    /// Nobody held the lock: it was closed after a release or a revocation, and was freed early.
    Freed,
    /// Nobody holds the lock.
    NotHeld,
    /// The lock is not what was meant any more.
    Changed,
}

/// A message that a client may not send on a Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// `heartbeat.seq` does not rise.
    #[error("must be above every earlier one: {got} after {last}")]
    Seq {
        /// The one before.
        last: i64,
        /// The one that came.
        got: i64,
    },
    /// `begin.lock_ref` does not rise.
    #[error("must be above every earlier one: {got} after {last}")]
    BeginRef {
        /// The one before.
        last: i64,
        /// The one that came.
        got: i64,
    },
    /// `end.lock_ref` was never begun.
    #[error("has never been begun: {0}")]
    EndRef(i64),
}

/// The limits and defaults of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The ttl of those who name none.
    pub default_ttl: Duration,
    /// The longest ttl that any broker of the deployment grants.
    pub max_ttl: Duration,
    /// The time between two polls for those who name none; up to 1 s where another broker will wake them.
    pub poll_interval: Duration,
    /// The most locks here. An `Acquire` counts from its start, and one that waits from its grant, both until release, linger
    /// and clean-up are over. More are refused.
    pub max_locks: NonZeroUsize,
    /// How many may wait here; above that new ones are refused.
    pub max_waiters: NonZeroUsize,
}

/// What the store is to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreTraits {
    /// True if other brokers use it too. They can end a grant without this one's knowledge.
    pub is_shared: bool,
    /// True if other brokers can wake this one.
    pub can_be_woken: bool,
}
