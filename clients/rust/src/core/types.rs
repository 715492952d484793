//! What goes into the [core](super) and comes out of it.

use std::time::Duration;

use crate::clock::Moment;

/// The client's own number for one call and for its lock. It rises.
pub type Key = u64;
/// Tells the streams of one client apart.
pub type LinkId = u64;
/// A lock's handle on one stream.
pub type LockRef = i64;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A call wants a lock.
    Acquire {
        /// A new key.
        key: Key,
        /// The lock.
        spec: LockSpec,
        /// The way to wait; none to try once.
        wait: Option<Wait>,
        /// The lock id of a grant to take over instead of asking for a new one.
        adopt: Option<String>,
    },
    /// A lock, or the wait for it, is no longer wanted. Ignored if it has ended.
    End {
        /// The lock.
        key: Key,
    },
    /// A lock is to have another value. Each reattach from now on brings it. Ignored if it was asked for without one, or has ended.
    Value {
        /// The lock.
        key: Key,
        /// The value.
        value: Vec<u8>,
    },
    /// A lock that is held alone is to be shared from now on, up to `limit`.
    Share {
        /// The lock.
        key: Key,
        /// The most that may have it.
        limit: Option<u32>,
    },
    /// A connection stands, or cannot be made.
    Dialled {
        /// The link of [`Output::Dial`].
        link: LinkId,
        /// The reason why there is none.
        result: Result<(), Failure>,
    },
    /// A message has come.
    Message {
        /// The stream.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// A stream has ended, though nobody here has hung up.
    Ended {
        /// The stream.
        link: LinkId,
        /// The status by which it ended.
        failure: Failure,
    },
    /// A call of Release has been answered, or has failed.
    ReleasedElsewhere {
        /// The lock of [`Output::ReleaseElsewhere`].
        key: Key,
        /// The failure. Any answer means that the lock is not held any more.
        result: Result<(), Failure>,
    },
    /// Nothing but the time that has passed.
    Timeout,
}

/// Something to do. Outputs are carried out in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make a new connection; [`Input::Dialled`] answers.
    Dial {
        /// The link that it is for.
        link: LinkId,
        /// The number of the endpoint.
        endpoint: usize,
    },
    /// Send a message.
    Send {
        /// The stream.
        link: LinkId,
        /// The message.
        request: Request,
    },
    /// Close a connection, or give up making it. Nothing of it counts any more.
    Hangup {
        /// The link.
        link: LinkId,
    },
    /// A call has its lock.
    Granted {
        /// The lock.
        key: Key,
        /// The id of the grant.
        lock_id: String,
        /// The fencing token.
        fencing_token: i64,
        /// The permit, if the lock is shared.
        permit: Option<u32>,
        /// The locks that it has together with that, in the order of [`LockSpec::others`].
        also: Vec<Granted>,
    },
    /// A lock has been reattached. It is the same grant, with another id.
    Moved {
        /// The lock.
        key: Key,
        /// The new id.
        lock_id: String,
        /// Those of the locks that it has together with that.
        also: Vec<String>,
        /// The permit, if the lock is shared.
        permit: Option<u32>,
    },
    /// A lock that was to be shared is held alone, as before.
    NotShared {
        /// The lock.
        key: Key,
        /// The reason.
        failure: Failure,
    },
    /// A call does not get its lock.
    Refused {
        /// The call.
        key: Key,
        /// The reason.
        refusal: Refusal,
    },
    /// A call has failed, or a release has.
    Failed {
        /// The call or lock.
        key: Key,
        /// The failure.
        failure: Failure,
    },
    /// A lock is no longer held.
    Lost {
        /// The lock.
        key: Key,
        /// The way in which it was lost.
        reason: LostReason,
    },
    /// A lock has been released.
    Released {
        /// The lock.
        key: Key,
    },
    /// Call Release at any broker; [`Input::ReleasedElsewhere`] answers.
    ReleaseElsewhere {
        /// The lock.
        key: Key,
        /// Its name.
        name: String,
        /// The id of the grant.
        lock_id: String,
    },
}

/// A lock that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockSpec {
    /// The name.
    pub name: String,
    /// The names of other locks that are wanted together with this one, in the same way: all or none.
    pub also: Vec<String>,
    /// The linger; none for the broker's default.
    pub linger: Option<Duration>,
    /// The time after the grant for which nobody else can acquire the lock; none for 0.
    pub min_hold: Option<Duration>,
    /// The label that others see; empty for none.
    pub owner: String,
    /// The value for those who observe the lock; none for none.
    pub value: Option<Vec<u8>>,
    /// True if the lock is kept until its validity is over when its stream ends, however that ends.
    pub is_kept: bool,
    /// Those who may have the lock at the same time.
    pub access: Access,
}

impl LockSpec {
    /// Asks for the lock as one that others may have too: up to `limit` of them, by `weight` permits. What is none stays as it was
    /// asked for before.
    pub fn share(&mut self, limit: Option<u32>, weight: Option<u32>) {
        let before = if let Access::Shared { limit, weight } = self.access { (limit, weight) } else { (None, 1) };
        self.access = Access::Shared { limit: limit.or(before.0), weight: weight.unwrap_or(before.1) };
    }

    /// Returns the names of the locks that are had together with this one: other locks, or other permits of the same.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let permits = if let Access::Shared { weight, .. } = self.access { weight.saturating_sub(1) } else { 0 };
        let permits = std::iter::repeat_n(self.name.as_str(), permits as usize);
        self.also.iter().map(String::as_str).chain(permits)
    }
}

/// Those who may have a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Nobody else.
    #[default]
    Exclusive,
    /// All who share it, each with a permit.
    Shared {
        /// The most that may have it; none for as many as there are permits.
        limit: Option<u32>,
        /// The number of permits that it takes.
        weight: u32,
    },
}

/// The way to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wait {
    /// The end of the wait; none to wait for as long as it takes.
    pub until: Option<Moment>,
    /// The least time between two of the broker's polls; none for the broker's choice.
    pub poll_interval: Option<Duration>,
}

/// A message to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Opens the Session; with the ttl of the settings.
    Open,
    /// The client lives.
    Heartbeat {
        /// Rises by one.
        seq: i64,
    },
    /// Asks for a lock.
    Begin {
        /// Its handle on this stream; rises by one.
        lock_ref: LockRef,
        /// The lock.
        spec: Box<LockSpec>,
        /// The wait that is left; none to try once.
        wait: Option<WaitLeft>,
        /// The lock id to reattach.
        reattach: Option<String>,
        /// Those of the locks that are held together with it.
        reattach_also: Vec<String>,
    },
    /// Gives up a lock, or the wait for it.
    End {
        /// The lock's handle.
        lock_ref: LockRef,
    },
}

/// A wait, as a broker is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitLeft {
    /// The time that is left; none to wait for as long as it takes.
    pub max_wait: Option<Duration>,
    /// As in [`Wait`].
    pub poll_interval: Option<Duration>,
}

/// A message from a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The Session is open.
    Opened {
        /// The ttl as granted.
        ttl: Duration,
        /// Locks granted from now on are valid for this long after `open` was sent.
        expires_after: Duration,
        /// The time from one heartbeat to the next; not 0.
        heartbeat_interval: Duration,
    },
    /// A heartbeat is acknowledged.
    HeartbeatAck {
        /// The heartbeat.
        seq: i64,
        /// All locks but those in `not_renewed` are valid for this long after it was sent.
        expires_after: Duration,
        /// The locks that keep what they had.
        not_renewed: Vec<LockRef>,
    },
    /// The broker goes away.
    Draining,
    /// Something happened to a lock.
    Event {
        /// The lock's handle.
        lock_ref: LockRef,
        /// The event.
        event: Event,
    },
    /// A kind of message that says nothing here. It shows that the broker is alive.
    Other,
}

/// Something that happened to a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is granted, or reattached.
    Acquired {
        /// The id of the grant.
        lock_id: String,
        /// The fencing token.
        fencing_token: i64,
        /// The permit, if the lock is shared.
        permit: Option<u32>,
        /// The locks that are held together with it.
        also: Vec<Granted>,
    },
    /// It is not granted, or not reattached.
    NotAcquired(Refusal),
    /// It is no longer held.
    Lost(LostReason),
    /// It has been released.
    Released,
    /// The broker could not do it.
    Failed(Failure),
}

/// One more lock that is held together with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The id of the grant.
    pub lock_id: String,
    /// The fencing token.
    pub fencing_token: i64,
    /// The permit, if the lock is shared.
    pub permit: Option<u32>,
}

/// The reason for which a lock was not acquired, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// The label of the present holder; empty if it has none or it is not known.
    pub owner: String,
    /// Of several locks the name of the one for which none was acquired; empty otherwise.
    pub name: String,
}

/// The reason for which a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// Somebody holds it.
    Held,
    /// It was released and its linger or its `min_hold` is not over, or it was revoked and is still closed.
    Lingering,
    /// The wait is over.
    MaxWait,
    /// The grant to take over has ended.
    NotReattachable,
    /// The wait was cancelled.
    Cancelled,
    /// One that this client does not know.
    Unknown,
}

/// The way in which a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// No renewal got through in time, by the broker's clock or by the client's.
    Expired,
    /// The store no longer has the grant: released elsewhere, or gone with the store's memory.
    Gone,
    /// The store has another grant in its place.
    TakenOver,
    /// An operator revoked it.
    Revoked,
    /// Somebody released it by its lock id.
    Released,
}

/// A failure, as a broker or the way to it tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, by which a program decides.
    pub code: Code,
    /// The words, for people.
    pub message: String,
    /// The broker's reason, for programs; empty if it gave none.
    pub reason: String,
    /// The time after which another try makes sense, if the broker said one.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Makes a failure that passes: nobody answers, or cannot at the moment.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { code: Code::Unavailable, message: message.into(), reason: String::new(), retry_after: None }
    }
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// gRPC's INVALID_ARGUMENT.
    InvalidArgument,
    /// gRPC's PERMISSION_DENIED.
    PermissionDenied,
    /// gRPC's UNAUTHENTICATED.
    Unauthenticated,
    /// gRPC's UNIMPLEMENTED.
    Unimplemented,
    /// The two sides cannot agree on TLS.
    Handshake,
    /// gRPC's UNAVAILABLE.
    Unavailable,
    /// gRPC's RESOURCE_EXHAUSTED.
    ResourceExhausted,
    /// Another code of gRPC's, by its number.
    Other(i32),
}

impl Code {
    /// Returns true if a broker that refuses something with this code would refuse it again.
    pub(super) fn is_final(self) -> bool {
        matches!(
            self,
            Code::InvalidArgument
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
                | Code::Handshake
        )
    }
}
