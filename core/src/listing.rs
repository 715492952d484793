//! Lists who waits, for people. Changes nothing, and makes nobody wait for long.

use crate::Time;
use crate::broker::Broker;
use crate::hold::State;
use crate::lock::{FencingToken, GrantId, LingerId, LockItem, LockName, Owner};
use crate::request::Access;

/// The number of slots that are looked at in one go: some ten microseconds, for which everybody else waits.
const SLOTS_AT_ONCE: u32 = 1024;

/// The names of which the waiters are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Which {
    /// This one.
    Name(LockName),
    /// Those that begin so.
    Prefix(Box<str>),
}

/// One that waits for a lock. They sort by the names of their locks, and then in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeenWaiter {
    /// The lock.
    pub name: LockName,
    /// Rises from one that waits to those who came later, and stays for as long as it waits.
    pub ticket: u64,
    /// Its label.
    pub owner: Owner,
    /// When it asked.
    pub since: Time,
    /// With whom it would share the lock.
    pub access: Access,
    /// True if its item keeps others out, until those have gone who have permits.
    pub keeps_others_out: bool,
}

/// A place in the table of a broker, from which a list goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Cursor(u32);

impl Which {
    fn has(&self, name: &LockName) -> bool {
        match self {
            Which::Name(this) => this == name,
            Which::Prefix(prefix) => name.as_str().starts_with(&**prefix),
        }
    }
}

/// What a broker knows of a grant that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kept {
    /// Its fencing token.
    pub token: FencingToken,
    /// When it was granted or last reattached, if that was here.
    pub since: Option<Time>,
}

impl Broker {
    /// Returns what is known of a grant, if it is kept here.
    pub fn kept(&self, item: &LockItem, id: GrantId) -> Option<Kept> {
        let (held, hold) = self.core.names.holder(item)?;
        let hold = self.core.holds.get(hold).filter(|_| held == id)?;
        Some(Kept { token: hold.token()?, since: hold.held_since() })
    }

    /// Returns until when a lock is closed that lingers under this id, if this broker keeps that.
    pub fn closed_until(&self, item: &LockItem, id: LingerId) -> Option<Time> {
        self.core.closed_until(item, id)
    }

    /// Adds those who wait for the locks `which`, of a part of the table, to `found`: at most a thousand. Returns where the
    /// rest of the table begins; none at its end.
    ///
    /// Called again and again until the end, it finds everybody once who waits for the whole of that time. It may or may not
    /// find those who come or go meanwhile. Those who are being handed the lock still wait.
    pub fn waiters(&self, which: &Which, from: Cursor, found: &mut Vec<SeenWaiter>) -> Option<Cursor> {
        if let Which::Name(name) = which
            && self.core.names.get(name).is_none_or(|entry| entry.queue.is_none())
        {
            return None;
        }
        for hold in self.core.holds.values_in(from.0, SLOTS_AT_ONCE) {
            if let State::Waiting(waiting) = &hold.state
                && which.has(&hold.name)
            {
                found.push(SeenWaiter {
                    name: hold.name.clone(),
                    ticket: waiting.ticket(),
                    owner: hold.owner.clone(),
                    since: waiting.asked(),
                    access: hold.access,
                    keeps_others_out: waiting.keeps_others_out(),
                });
            }
        }
        let next = from.0.saturating_add(SLOTS_AT_ONCE);
        (next < self.core.holds.slots()).then_some(Cursor(next))
    }
}
