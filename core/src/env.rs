//! What the core is given from outside: time, chance, and somebody who watches.

use std::time::Duration;

use crate::Time;
use crate::event::{LostReason, Reason};
use crate::failure::Failure;
use crate::lock::{Etag, FencingToken, GrantId, LingerId, LockName, Owner};
use crate::request::{Account, Mode};
use crate::rules::Rule;
use crate::store::{ItemState, StoreError};

/// The outside of the core, as whoever drives it makes it.
pub trait Env {
    /// Returns what time it is. The core reads it once a turn.
    fn now(&self) -> Time;
    /// Draws a fresh grant id.
    fn grant_id(&mut self) -> GrantId;
    /// Draws a fresh linger id.
    fn linger_id(&mut self) -> LingerId;
    /// Draws the id of a linger that keeps a revoked lock closed.
    fn revocation_id(&mut self) -> LingerId {
        self.linger_id().into_revocation()
    }
    /// Returns the etag of an item. By default it is made of the item's number, which is good where nobody is shown etags.
    fn etag(&self, state: ItemState) -> Etag {
        Etag::of_digest(state.number())
    }
    /// Returns a time from `span` to `span + extra`, at random, so that brokers do not act in step.
    fn spread(&mut self, span: Duration, extra: Duration) -> Duration;
    /// Returns true if a rule is to be left out.
    fn breaks(&self, rule: Rule) -> bool {
        let _ = rule;
        false
    }
    /// Takes note that a branch was taken which only rare events lead to, for tests that look if all are.
    fn mark(&mut self, mark: Mark) {
        let _ = mark;
    }
    /// Counts a lock that `account` asks for, and the wait for it if it is to wait, or says why there is no room for it. A reattach
    /// always finds room.
    ///
    /// # Errors
    /// The failure that the client is told.
    fn charge(&mut self, account: Account, mode: &Mode) -> Result<(), Failure> {
        let _ = (account, mode);
        Ok(())
    }
    /// Takes note that a wait of `account` is over: it has got the lock, or come to nothing.
    fn wait_is_over(&mut self, account: Account) {
        let _ = account;
    }
    /// Takes note that a lock of `account` is gone.
    fn lock_is_gone(&mut self, account: Account) {
        let _ = account;
    }
    /// Takes note that a lock, or its holder's value, may not be any more as it was in the store, by what this broker has done: those
    /// who observe it look anew.
    fn changed(&mut self, name: &LockName) {
        let _ = name;
    }
    /// Takes note of what happened, for metrics, the audit and the log.
    fn observe(&mut self, observed: Observed<'_>) {
        let _ = observed;
    }
}

/// A lock and the client that it is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The lock.
    pub name: &'a LockName,
    /// The holder's label.
    pub owner: &'a Owner,
    /// Who the client is, where somebody wants to know.
    pub caller: Option<&'a str>,
}

/// The cause of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReleaseCause {
    /// Its client ended it, or closed its stream.
    Closed,
    /// Somebody called Release.
    ReleaseCall,
    /// Its client fell silent, and its validity is over.
    Silent,
    /// Its client was told that it is lost, and its validity is over.
    Lost,
    /// An operator revoked it.
    Revoked,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Observed<'a> {
    /// A lock was granted, or reattached.
    Granted {
        /// The lock and its client.
        subject: Subject<'a>,
        /// Its token.
        token: FencingToken,
        /// How it was asked for.
        mode: &'a Mode,
        /// The time since it was asked for.
        waited: Duration,
    },
    /// A request came to nothing, by what the store or the client did.
    NotAcquired {
        /// The lock and its client.
        subject: Subject<'a>,
        /// What the client is told.
        reason: Reason,
    },
    /// A request failed, before or after it was tried.
    Failed {
        /// The lock and its client.
        subject: Subject<'a>,
        /// What the client is told.
        failure: &'a Failure,
    },
    /// A request did not do, and was not tried.
    TurnedBack {
        /// What the client is told.
        failure: &'a Failure,
    },
    /// A lock was renewed, so long after that was due.
    Renewed {
        /// From when the renewal was due to its answer.
        lag: Duration,
    },
    /// A heartbeat came, so much later than a third of the ttl after the one before.
    Heartbeat {
        /// By how much it was late.
        lag: Duration,
    },
    /// A lock was lost.
    Lost {
        /// The lock and its client.
        subject: Subject<'a>,
        /// Its token.
        token: FencingToken,
        /// The reason.
        reason: LostReason,
        /// True if its client had heard of the grant.
        announced: bool,
    },
    /// A grant was ended.
    Released {
        /// The lock and its client.
        subject: Subject<'a>,
        /// Its token.
        token: FencingToken,
        /// The cause.
        cause: ReleaseCause,
    },
    /// A lock is not held any more, for whatever reason.
    HoldEnded {
        /// The time since its grant.
        held: Duration,
    },
    /// A lock went from its holder to a waiter of this broker.
    HandedOver,
    /// A limit refused something.
    Full(Limit),
    /// The store did not do something, which is tried again.
    Retried {
        /// The lock.
        name: &'a LockName,
        /// What was tried.
        what: &'static str,
        /// What the store said.
        error: &'a StoreError,
    },
    /// A grant that nobody wants is left to expire: there is no room for another clean-up.
    CleanupLeftOut,
}

/// A limit on what clients can make a broker hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `--max-locks`.
    Locks,
    /// `--max-waiters`.
    Waiters,
}

/// A branch that only rare events lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Several locks are held together.
    GroupHeld,
    /// One of several was refused: those behind it were given back, and it is waited for.
    GroupFellBack,
    /// One of several was lost, and so all were.
    GroupLost,
    /// Several permits of one lock were taken while its own item kept others out.
    PermitsCollected,
    /// A lock that one had alone is shared now.
    Downgraded,
    /// A lock that one has alone was to be shared, and there was no permit.
    NotDowngraded,
    /// The store granted a lock too late.
    GrantTooLate,
    /// An attempt may have been granted, and is cleaned up.
    GrantUncertain,
    /// An attempt was given up, for the wait was over or the client gone.
    AttemptAbandoned,
    /// One that leaves takes a hand-over that was under way, to release it.
    LeaverTookHandOver,
    /// A place was told.
    PlaceTold,
    /// There was no room for what one that waited was granted.
    NoRoomForGrant,
    /// A permit that did not count was deleted.
    PermitGivenBack,
    /// All permits were taken.
    NoPermitLeft,
    /// Somebody wanted the lock for himself alone, and others had permits.
    PermitsInTheWay,
    /// A swap landed too late to count.
    SwapTooLate,
    /// A reattach looks if an earlier swap has landed.
    SwapLookedFor,
    /// An earlier swap had landed.
    SwapFound,
    /// A reattach was tried for too long.
    ReattachGivenUp,
    /// A lock that was closed in mid-reattach is deleted.
    MovingDeleted,
    /// A renewal under way was given up, for the lock was lost.
    RenewalAbandoned,
    /// A look did not find a grant, and the renewal finds out.
    LookFoundNothing,
    /// No renewal got through in time.
    Expired,
    /// A holder was told that the broker goes away.
    DrainingTold,
    /// A broker that ends releases nothing.
    Abandoned,
    /// Another hold of the broker has a later grant.
    Superseded,
    /// A silent client can believe no more.
    SilenceOver,
    /// The one to whom a lock was handed over had left.
    HandOverLeft,
    /// A hand-over found that the grant was not there.
    HandOverRefused,
    /// A hand-over may have landed, and is cleaned up.
    HandOverUncertain,
    /// A release looks if an earlier try has begun the linger.
    LingerLookedFor,
    /// A release looks who has the lock, for its caller.
    WhoseLookedFor,
    /// A caller is told that the store did not answer.
    CallerToldLate,
    /// A release was tried until the item had gone by itself.
    ReleaseGivenUp,
    /// A long linger was renewed.
    LingerRenewed,
    /// The item of a linger was left to expire.
    LingerLeft,
    /// There was no room for another clean-up.
    CleanupLeftOut,
    /// A grant that nobody wanted was deleted.
    CleanedUp,
    /// A lock that was closed in mid-reattach is made to linger.
    MovingLingers,
    /// A lock had been let go before its queue was noted.
    FreeWhenWatched,
    /// A Session was not heard for too long.
    SessionSilent,
    /// A closed Session did not wait for all its releases.
    ClosedTooLong,
    /// A grant is taken back if it is unread.
    UnreadLookedFor,
    /// A Session that was found silent took no request.
    SilentTookNothing,
    /// A lock that is kept here was revoked.
    RevokedHere,
    /// A lock that is kept elsewhere, or by nobody, was revoked.
    RevokedElsewhere,
    /// A lease was over, as far as is known here.
    LeaseOver,
}

impl Mark {
    /// All of them.
    pub const ALL: &[Mark] = &[
        Mark::GroupHeld,
        Mark::GroupFellBack,
        Mark::GroupLost,
        Mark::PermitsCollected,
        Mark::Downgraded,
        Mark::NotDowngraded,
        Mark::GrantTooLate,
        Mark::GrantUncertain,
        Mark::AttemptAbandoned,
        Mark::LeaverTookHandOver,
        Mark::PlaceTold,
        Mark::NoRoomForGrant,
        Mark::PermitGivenBack,
        Mark::NoPermitLeft,
        Mark::PermitsInTheWay,
        Mark::SwapTooLate,
        Mark::SwapLookedFor,
        Mark::SwapFound,
        Mark::ReattachGivenUp,
        Mark::MovingDeleted,
        Mark::RenewalAbandoned,
        Mark::LookFoundNothing,
        Mark::Expired,
        Mark::DrainingTold,
        Mark::Abandoned,
        Mark::Superseded,
        Mark::SilenceOver,
        Mark::HandOverLeft,
        Mark::HandOverRefused,
        Mark::HandOverUncertain,
        Mark::LingerLookedFor,
        Mark::WhoseLookedFor,
        Mark::CallerToldLate,
        Mark::ReleaseGivenUp,
        Mark::LingerRenewed,
        Mark::LingerLeft,
        Mark::CleanupLeftOut,
        Mark::CleanedUp,
        Mark::MovingLingers,
        Mark::FreeWhenWatched,
        Mark::SessionSilent,
        Mark::ClosedTooLong,
        Mark::UnreadLookedFor,
        Mark::SilentTookNothing,
        Mark::RevokedHere,
        Mark::RevokedElsewhere,
        Mark::LeaseOver,
    ];
}
