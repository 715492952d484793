//! A keeper's place at its client's stream.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::event::Event;
use super::event::{LockRef, SESSION};
use super::ledger::{Beat, Ledger};
use super::outbox::{Item, Outbox};
use crate::clock::Moment;

/// Where a keeper tells its client what happens: a stream of one lock, or one lock of a Session.
#[derive(Debug)]
pub enum Seat {
    /// Alone on an Acquire or WaitAcquire stream.
    Alone(Arc<Outbox>),
    /// One of a Session's.
    Shared {
        /// The client's handle.
        lock_ref: LockRef,
        /// Where it is kept whether the lock has been renewed.
        ledger: Arc<Ledger>,
        /// One of the keepers that the Session waits for when it ends.
        live: TaskTrackerToken,
    },
}

impl Seat {
    /// The latest heartbeat to renew on; a lock alone on its stream renews by the broker's own.
    pub fn beat(&self) -> Option<Beat> {
        match self {
            Seat::Alone(_) => None,
            Seat::Shared { ledger, .. } => Some(ledger.beat()),
        }
    }

    /// When the heartbeat arrived from which the client counts its validity; none if it counts from its request.
    pub fn covered_since(&self) -> Option<Moment> {
        match self {
            Seat::Alone(_) => None,
            Seat::Shared { lock_ref, ledger, .. } => ledger.covered_since(*lock_ref),
        }
    }

    /// Tells the client of its grant, whose command was sent at `sent`. `false` if it has to be renewed first.
    pub fn announce(&self, sent: Moment, granted: Event) -> bool {
        match self {
            Seat::Alone(outbox) => {
                outbox.push(Item::Event(SESSION, granted));
                true
            }
            Seat::Shared { lock_ref, ledger, .. } => ledger.announce(*lock_ref, sent, granted),
        }
    }

    /// Tells the client that the lock was renewed by a command sent at `sent`, so that its lease ends at `until`.
    pub fn renewed(&self, sent: Moment, until: Moment) {
        match self {
            Seat::Alone(outbox) => outbox.push(Item::Event(SESSION, Event::Renewed { until })),
            Seat::Shared { lock_ref, ledger, .. } => ledger.renewed(*lock_ref, sent),
        }
    }

    /// Tells the client an event that is not the last.
    pub fn tell(&self, event: Event) {
        match self {
            Seat::Alone(outbox) => outbox.push(Item::Event(SESSION, event)),
            Seat::Shared { lock_ref, ledger, .. } => ledger.outbox().push(Item::Event(*lock_ref, event)),
        }
    }

    /// Tells the client the last event.
    pub fn end(&self, last: Event) {
        match self {
            Seat::Alone(outbox) => {
                outbox.push(Item::Event(SESSION, last));
                outbox.close();
            }
            Seat::Shared { lock_ref, ledger, .. } => ledger.end(*lock_ref, last),
        }
    }

    /// Takes back a grant that the client has not read. Returns whether it was still unread.
    pub fn retract_grant(&self) -> bool {
        match self {
            Seat::Alone(outbox) => outbox.retract_grant(SESSION),
            Seat::Shared { lock_ref, ledger, .. } => ledger.outbox().retract_grant(*lock_ref),
        }
    }

    /// Who the client is, for the audit.
    pub fn caller(&self) -> Option<&str> {
        match self {
            Seat::Alone(outbox) => outbox.caller(),
            Seat::Shared { ledger, .. } => ledger.outbox().caller(),
        }
    }

    /// Whether the stream is this lock's alone.
    pub fn is_alone(&self) -> bool {
        matches!(self, Seat::Alone(_))
    }
}
