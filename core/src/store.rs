//! What a broker asks of the store that all brokers share, and what the store answers.
//!
//! A store compares and changes one item per lock. It never decides who ought to have the lock. It reports what it did,
//! or that it does not know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::RequestId;
use crate::failure::Cause;
use crate::lock::{CallKey, FencingToken, GrantId, LingerId, LockItem, LockValue, Owner, Permit};

/// The state that an item shows: held under a grant, or lingering after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemState {
    /// Held.
    Held(GrantId),
    /// Lingering.
    Lingering(LingerId),
}

impl ItemState {
    /// Returns the state that an item's number stands for, if it is a lock's.
    pub fn of_number(number: u64) -> Option<ItemState> {
        let held = GrantId::new(number).map(ItemState::Held);
        held.or_else(|| LingerId::new(number).map(ItemState::Lingering))
    }

    /// Returns the number that stands for it in an item.
    pub fn number(self) -> u64 {
        match self {
            ItemState::Held(id) => id.get(),
            ItemState::Lingering(id) => id.get(),
        }
    }
}

/// The outcome of an attempt to get a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granted {
    /// It is held under the new id, with this token.
    Yes(FencingToken),
    /// It was not granted. To [`Request::Grant`]: the lock is held or lingers. To [`Request::HandOver`]: the item no
    /// longer carries the old id.
    No,
    /// The item carries the new id, and permits may be held beside it: it is an intent, and no grant yet.
    Intent(Besides),
}

/// The permits beside an intent, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Besides {
    /// The next permit to look at. Without `seats`, nobody has one below it.
    pub from: u16,
    /// Nobody has a permit from this one on; none if that is not known yet.
    pub upto: Option<u16>,
    /// True if it has to wait: somebody has the permit `from`, or, with `seats`, too few are free.
    pub held: bool,
    /// The permits that have to be free. None: nobody may have one.
    pub seats: Option<Seats>,
}

/// The permits that have to be free for one who wants several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seats {
    /// Those from this one on are not asked for.
    pub limit: u16,
    /// The number of those that are wanted.
    pub weight: u16,
    /// The number of those that have been seen free below [`Besides::from`].
    pub free: u16,
}

impl Besides {
    /// Nothing is known yet.
    pub const UNKNOWN: Besides = Besides { from: 0, upto: None, held: false, seats: None };
    /// The number of permits that are looked at first. Most locks have fewer.
    const FIRST_WINDOW: u16 = 4;

    /// Returns the permits to look at next.
    pub fn window(self) -> impl Iterator<Item = Permit> {
        let limit = self.seats.map_or(u16::MAX, |seats| seats.limit);
        let upto = self.upto.unwrap_or(Besides::FIRST_WINDOW).min(self.from.saturating_add(WINDOW)).min(limit);
        (self.from..upto).filter_map(Permit::new)
    }

    /// Returns what is known after so many permits were `free` in its window, where others may exist below `slots`. None: as many are
    /// free as are wanted.
    pub(crate) fn counted(self, seats: Seats, free: u16, slots: u16) -> Option<Besides> {
        let exist = slots.min(seats.limit);
        let looked_at = self.window().last().map_or(self.from, |last| last.get() + 1).min(exist);
        let free = seats.free + free;
        if free + (seats.limit - exist) >= seats.weight {
            return None;
        }
        let all = looked_at == exist;
        let (from, free) = if all { (0, 0) } else { (looked_at, free) };
        Some(Besides { from, upto: Some(slots), held: all, seats: Some(Seats { free, ..seats }) })
    }
}

/// Lets those who want the lock for themselves alone look for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slots {
    /// They look for it already, or for none yet.
    Ensure,
    /// They look for so many, and are to look for this one as well.
    Raise(u16),
}

/// The outcome of an attempt to get a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    /// It is held under the new id, with this token.
    Yes(FencingToken),
    /// Somebody has the lock for himself alone, or it lingers.
    Closed {
        /// True if the permit carries the new id all the same.
        created: bool,
    },
    /// Somebody has this permit.
    Taken {
        /// The number of permits that may exist.
        slots: u16,
    },
    /// Others would not look for this permit.
    Uncovered {
        /// The number of permits for which they look.
        slots: u16,
        /// True if the permit carries the new id all the same.
        created: bool,
    },
}

/// The outcome of a change to an item that had to carry a certain state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The item carried the state and was changed.
    Done,
    /// There is no item.
    Gone,
    /// The item carries another state.
    TakenOver,
    /// The item shows that the lock was revoked. Only to [`Request::Renew`]; to everything else that is `TakenOver`.
    Revoked,
}

/// The outcome of asking to be woken when a lock is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watch {
    /// The broker is noted from now on. It will not hear of releases from before.
    Begun,
    /// The broker was noted before, and still is.
    Kept,
    /// Another broker is woken first, or nobody is.
    No,
}

/// What is noted of a grant for people who ask who has the lock. It is best effort, and nothing depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Label {
    /// The holder's own words.
    pub owner: Owner,
    /// The fencing token.
    pub token: Option<FencingToken>,
    /// When the lock was granted or last reattached, in microseconds since 1970 by the wall clock of the broker that keeps it.
    pub since: Option<u64>,
    /// The call that it came from, if it is a lease whose call had a request id.
    pub call: Option<CallKey>,
    /// Where that broker hears wake-ups, if it does.
    pub keeper: Option<SocketAddr>,
}

/// The value of a grant, as the store has it. It stands under the grant's id, so a late write touches no later grant's (R34).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The grant's fencing token.
    pub token: FencingToken,
    /// Rises by one with every update. The first is 1.
    pub version: u64,
    /// The value.
    pub value: LockValue,
}

/// The outcome of giving a grant another value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proclaimed {
    /// The grant has the new value, as its version so-and-so.
    Done {
        /// The version.
        version: u64,
    },
    /// Nobody holds the lock.
    NotHeld,
    /// Somebody else holds it.
    HeldByAnother,
    /// It is held under the id, and has no value that could be updated.
    NoValue,
}

/// A lock and its holder's value, as a look shows them together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sight {
    /// The lock.
    pub status: LockStatus,
    /// The value of the grant that holds it, if it has one.
    pub stored: Option<Stored>,
    /// True if the lock may be one that several share, so that its permits have to be looked at too.
    pub is_shared: bool,
}

/// A lock as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LockStatus {
    /// Nobody has it.
    Free,
    /// There is an item.
    Taken {
        /// The item's state.
        state: ItemState,
        /// The label of that grant, where it is known. In a box, for it is larger than all else that a store answers, and all
        /// answers are moved.
        label: Box<Label>,
        /// The longest time until the item is gone if nobody renews it.
        expires_in: Duration,
    },
}

/// The reason for which a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// Nothing was sent; nothing has changed.
    #[error("{why}")]
    Unavailable {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
        /// The cause, for programs.
        cause: Cause,
        /// The time after which another try makes sense, where it is known.
        retry_after: Option<Duration>,
    },
    /// The command may have been carried out, and may still be.
    #[error("{why}")]
    Uncertain {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
    },
    /// There is no memory for another lock. The command may have been carried out all the same.
    #[error("{why}")]
    Full {
        /// The explanation, for the person who reads it.
        why: Arc<str>,
    },
}

impl StoreError {
    /// Says that nothing was sent, and when another try makes sense.
    pub fn unavailable(why: impl Into<Arc<str>>, retry_after: Option<Duration>) -> StoreError {
        StoreError::Unavailable { why: why.into(), cause: Cause::StoreUnavailable, retry_after }
    }

    /// Says why, for programs, where the store is not simply away.
    pub fn because(mut self, because: Cause) -> StoreError {
        if let StoreError::Unavailable { cause, .. } = &mut self {
            *cause = because;
        }
        self
    }

    /// Says that the command may have been carried out, and may still be.
    pub fn uncertain(why: impl Into<Arc<str>>) -> StoreError {
        StoreError::Uncertain { why: why.into() }
    }

    /// Returns true if the command may have been carried out, or still may be.
    pub fn may_have_landed(&self) -> bool {
        !matches!(self, StoreError::Unavailable { .. })
    }
}

/// The most permits that one request looks at.
pub const WINDOW: u16 = 64;

/// A request to the store. All ttls are in whole seconds, 1 or more; an item with ttl n lives for more than
/// n-3 s after the request was sent and at most n s after it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Creates the item of a lock that has none. Answered by [`Reply::Granted`].
    Grant {
        /// The new id.
        id: GrantId,
        /// The item's ttl.
        ttl: u32,
    },
    /// Gives the lock held under `from` to `to`, as a new grant with a token of its own. At no moment is the lock free.
    /// Answered by [`Reply::Granted`].
    HandOver {
        /// The id that the item carries.
        from: GrantId,
        /// The new id.
        to: GrantId,
        /// The item's ttl.
        ttl: u32,
    },
    /// Makes a grant of an intent if nobody has a permit, and sets its ttl in any case. Looks at [`WINDOW`] permits at the most.
    /// Answered by [`Reply::Granted`].
    Occupy {
        /// The id that the item carries.
        id: GrantId,
        /// The item's ttl.
        ttl: u32,
        /// What was known of the permits before.
        besides: Besides,
    },
    /// Creates the item of a permit that nobody has. Answered by [`Reply::Shared`].
    Share {
        /// The new id.
        id: GrantId,
        /// The item's ttl.
        ttl: u32,
        /// How others get to look for it.
        slots: Slots,
        /// The id of the lock's own item, if it is ours and keeps others out meanwhile.
        under: Option<GrantId>,
    },
    /// Looks for a permit that nobody has, among [`WINDOW`] at the most. Answered by [`Reply::Found`].
    Find {
        /// The first one.
        from: u16,
        /// The end, which is not looked at.
        upto: u16,
    },
    /// Sets the ttl of an item that carries `state`, and that of the owner's label. If the store has lost its memory and
    /// nobody can have been granted the lock since, creates the item again. Answered by [`Reply::Changed`].
    Renew {
        /// The state that the item carries.
        state: ItemState,
        /// The holder's label.
        owner: Owner,
        /// The item's ttl.
        ttl: u32,
    },
    /// Replaces the grant `from` by `to` without a new token: a reattach. Where both are the same it renews a lease, and sets the
    /// ttl of the owner's label too. Answered by [`Reply::Changed`].
    Replace {
        /// The id that the item carries.
        from: GrantId,
        /// The new id.
        to: GrantId,
        /// The item's ttl.
        ttl: u32,
    },
    /// Turns the item of the grant `from` into a linger. If the store has lost its memory and it is `certain` that nobody
    /// else has been granted the lock since `from`, creates the linger. Answered by [`Reply::Changed`].
    Linger {
        /// The id that the item carries.
        from: GrantId,
        /// The linger's id.
        to: LingerId,
        /// The item's ttl.
        ttl: u32,
        /// True if nobody else can have been granted the lock.
        certain: bool,
    },
    /// Deletes an item that carries `state`, and wakes one broker that watches the lock. Answered by [`Reply::Changed`].
    Remove {
        /// The state that the item carries.
        state: ItemState,
        /// True if nobody is woken.
        quiet: bool,
    },
    /// Looks at a lock without touching it. A look that finds nothing proves nothing about requests under way. Answered by
    /// [`Reply::Status`].
    Look,
    /// Looks if the lock is held under this id. A hint: nothing may be released because of it. Answered by
    /// [`Reply::Stands`].
    Stands(GrantId),
    /// Asks that this broker be woken, once and within `ttl` seconds, when the lock is let go by another. Answered by
    /// [`Reply::Watching`].
    Watch {
        /// True if it was asked before, and this broker has not been woken since.
        kept: bool,
        /// For how long.
        ttl: u32,
    },
    /// Looks at a lock and at its holder's value. Other than a [`Request::Look`] it fails where the store cannot tell for certain.
    /// Answered by [`Reply::Seen`].
    Observe {
        /// The grant that was seen last, which most likely holds the lock still.
        known: Option<GrantId>,
    },
    /// Sees to it that a grant has a value, for so long: what stands stays, and gets this ttl. Answered by [`Reply::Kept`].
    KeepValue {
        /// The grant.
        id: GrantId,
        /// Its value where none stands.
        stored: Box<Stored>,
        /// The value's ttl.
        ttl: u32,
        /// True if nobody can have written one before.
        is_first: bool,
    },
    /// Gives the grant that holds the lock another value. Answered by [`Reply::Proclaimed`].
    Proclaim {
        /// The grant.
        id: GrantId,
        /// Its fencing token and the version of its value, where that has gone and is to be created.
        creates: Option<(FencingToken, u64)>,
        /// The value.
        value: LockValue,
        /// The value's ttl.
        ttl: u32,
    },
}

impl Request {
    /// Returns true if somebody may believe in a lock by what this comes to.
    pub fn makes_believe(&self) -> bool {
        match self {
            Request::Grant { .. } | Request::HandOver { .. } | Request::Occupy { .. } | Request::Share { .. } => true,
            Request::Renew { state: ItemState::Held(_), .. } | Request::Replace { .. } => true,
            Request::Renew { state: ItemState::Lingering(_), .. } | Request::Linger { .. } | Request::Remove { .. } => {
                false
            }
            Request::Find { .. } | Request::Look | Request::Stands(_) | Request::Watch { .. } => false,
            Request::Observe { .. } | Request::KeepValue { .. } | Request::Proclaim { .. } => false,
        }
    }
}

/// A message to the store that no answer is waited for: best effort, and nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Note {
    /// Notes the label of a grant for others to see.
    Describe {
        /// The grant.
        id: GrantId,
        /// Its holder's label.
        owner: Owner,
        /// Its fencing token.
        token: FencingToken,
        /// The call that it came from, if it is a lease whose call had a request id.
        call: Option<CallKey>,
        /// For how long.
        ttl: u32,
    },
    /// Notes that this broker keeps a revoked lock closed under this id, so that another one which frees it can tell.
    KeepsClosed {
        /// The linger.
        id: LingerId,
        /// For how long.
        ttl: u32,
    },
    /// Takes back what [`Request::Watch`] asked for.
    Unwatch,
    /// Notes for `ttl` seconds that a queue stands here behind the lock's holder.
    QueueHere {
        /// For how long.
        ttl: u32,
    },
    /// Wakes the broker that has noted a queue behind the holder: for whoever ends a grant that another broker keeps.
    WakeQueue,
    /// Notes for `ttl` seconds that the lock is observed here.
    ObservedHere {
        /// For how long.
        ttl: u32,
    },
    /// Tells the brokers at which the lock is observed that it, or its holder's value, has changed.
    TellObservers,
    /// Tells the broker there that the lock was revoked which it keeps, or freed which it keeps closed.
    TellKeeper(SocketAddr),
    /// Deletes the value of a grant that is over.
    ForgetValue(GrantId),
}

/// An order to a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Order {
    /// Carry out a request, and bring the answer.
    Ask {
        /// The request's id, which comes back with the answer.
        id: RequestId,
        /// The item that it is about.
        item: LockItem,
        /// The request.
        request: Request,
        /// The time for which somebody may believe in the lock by this. Zero if nobody does.
        lease: Duration,
    },
    /// Nobody waits for the answer to this request any more. What is left of it to do need not be done.
    GiveUp(RequestId),
    /// Take a note.
    Note(LockItem, Note),
}

/// The store's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To [`Request::Grant`], [`Request::HandOver`] and [`Request::Occupy`].
    Granted(Result<Granted, StoreError>),
    /// To [`Request::Share`].
    Shared(Result<Shared, StoreError>),
    /// To [`Request::Find`]. None: somebody has each of them.
    Found(Result<Option<Permit>, StoreError>),
    /// To whatever changes an item.
    Changed(Result<Change, StoreError>),
    /// To [`Request::Look`].
    Status(Result<LockStatus, StoreError>),
    /// To [`Request::Stands`].
    Stands(Result<bool, StoreError>),
    /// To [`Request::Watch`].
    Watching(Watch),
    /// To [`Request::Observe`].
    Seen(Result<Box<Sight>, StoreError>),
    /// To [`Request::KeepValue`]: the value that stands.
    Kept(Result<Box<Stored>, StoreError>),
    /// To [`Request::Proclaim`]. It was not done if somebody else has updated the value since it was read: then the error says so.
    Proclaimed(Result<Proclaimed, StoreError>),
}
