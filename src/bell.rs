//! What others tell a keeper: to end, or that a grant has been handed over to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::clock::Moment;
use crate::lock::{FencingToken, GrantId};
use crate::stream::Failure;

/// Why a keeper is to end.
#[derive(Debug)]
pub enum End {
    /// The client's word: a cancel, a half-close, a closed connection, an `EndLock`. Release now.
    Word,
    /// The stream fell silent: renew no more, and release when the client no longer believes.
    Silence,
    /// A Release call names this grant; it waits for what came of it.
    Release(oneshot::Sender<Result<Ended, Failure>>),
    /// Another keeper of this broker has a later grant of the lock.
    Superseded,
}

/// What a release came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The grant was ended.
    Released,
    /// Nobody holds the lock.
    NotHeld,
    /// Somebody else holds it.
    HeldByAnother,
}

/// A grant on its way from the keeper that had the lock to the one that waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handed {
    pub(crate) id: GrantId,
    pub(crate) token: FencingToken,
    /// When the command was sent.
    pub(crate) sent: Moment,
}

/// Where a keeper hears from others. One keeper listens; anybody rings.
#[derive(Debug, Default)]
pub struct Bell {
    messages: Mutex<Messages>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Messages {
    end: Option<End>,
    handed: Option<Handed>,
    /// Takes no grant any more.
    left: bool,
    /// Heeds no order any more.
    over: bool,
    lease_end: Option<Moment>,
}

impl Bell {
    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the keeper to look again.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Tells the keeper to end. The first word counts, but a silence may still be followed by a word. A Release call
    /// that comes too late finds its sender dropped.
    pub fn end(&self, end: End) {
        {
            let mut messages = self.messages();
            if !messages.over && matches!(messages.end, None | Some(End::Silence)) {
                messages.end = Some(end);
            }
        }
        self.ring();
    }

    /// The keeper has begun to release, and heeds no order any more.
    pub(crate) fn over(&self) {
        let mut messages = self.messages();
        messages.over = true;
        messages.end = None;
        messages.lease_end = None;
    }

    /// Hands a grant over. If the waiter has left, gives it back.
    pub(crate) fn hand(&self, handed: Handed) -> Result<(), Handed> {
        {
            let mut messages = self.messages();
            if messages.left {
                return Err(handed);
            }
            messages.handed = Some(handed);
        }
        self.ring();
        Ok(())
    }

    /// Resolves when somebody has rung since the last time.
    ///
    /// # Cancel safety
    /// A dropped future loses no ring.
    pub(crate) fn rung(&self) -> Notified<'_> {
        self.rung.notified()
    }

    /// Why to end, if so; asked once.
    pub(crate) fn take_end(&self) -> Option<End> {
        self.messages().end.take()
    }

    /// Whether somebody has said to end.
    pub(crate) fn is_ended(&self) -> bool {
        self.messages().end.is_some()
    }

    /// The grant that was handed over, if so; asked once.
    pub(crate) fn take_handed(&self) -> Option<Handed> {
        self.messages().handed.take()
    }

    /// Takes no grant from now on, and gives back one that came before.
    pub(crate) fn leave(&self) -> Option<Handed> {
        let mut messages = self.messages();
        messages.left = true;
        messages.handed.take()
    }

    /// Whether the waiter has left.
    pub(crate) fn has_left(&self) -> bool {
        self.messages().left
    }

    /// Notes the end of the keeper's lease, for GetLock; none once the lock is lost.
    pub(crate) fn set_lease_end(&self, until: Option<Moment>) {
        self.messages().lease_end = until;
    }

    /// The end of the keeper's lease, if it holds one.
    pub(crate) fn lease_end(&self) -> Option<Moment> {
        self.messages().lease_end
    }
}
