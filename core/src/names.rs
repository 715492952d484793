//! The holder and the queue of each name in this broker.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::Time;
use crate::hold::HoldKey;
use crate::lock::{GrantId, LockItem, LockName, Permit, WakeHint};
use crate::normal::{Form, Normal};
use crate::queue::{Ticket, WaitQueue, Waiter};
use crate::store::Slots;
use crate::table::{self, Table};
use crate::wakeups::WakeupState;

/// A grant that is held here, and by whom.
pub(crate) type Holder = (GrantId, HoldKey);

/// The permits of a lock that are held here, and what is known of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Permits {
    held: BTreeMap<Permit, Holder>,
    /// Those that were let go here, and that others may have taken since.
    free: BTreeSet<Permit>,
    /// The number of those that may exist as far as is known, or that have been given out to be tried.
    slots: u16,
}

impl Permits {
    /// Notes who has a permit. Returns who had it before.
    pub(crate) fn hold(&mut self, permit: Permit, holder: Holder) -> Option<Holder> {
        self.free.remove(&permit);
        self.slots = self.slots.max(permit.get() + 1);
        self.held.insert(permit, holder)
    }

    /// Notes that a grant of a permit is over. Returns true if it was held here.
    pub(crate) fn let_go(&mut self, permit: Permit, id: GrantId) -> bool {
        let was_held = self.held.get(&permit).is_some_and(|(held, _)| *held == id);
        if was_held {
            self.held.remove(&permit);
            self.free.insert(permit);
        }
        was_held
    }

    /// Returns the permit below `limit` that is most likely to be free.
    pub(crate) fn likely(&mut self, limit: u16) -> (Permit, Slots) {
        if let Some(free) = self.free.first().copied().filter(|free| free.get() < limit) {
            self.free.remove(&free);
            return (free, Slots::Ensure);
        }
        let next = if self.slots > 0 { self.next(0, limit) } else { None };
        next.unwrap_or((Permit::FIRST, Slots::Ensure))
    }

    /// Returns the next permit that nobody has looked for, where others look for so many. Whoever asks here after that is given the one
    /// behind it, so that those who ask at one time are not in each other's way.
    pub(crate) fn next(&mut self, slots: u16, limit: u16) -> Option<(Permit, Slots)> {
        let next = self.slots.max(slots);
        let permit = Permit::new(next).filter(|permit| permit.get() < limit)?;
        self.slots = next + 1;
        Some((permit, Slots::Raise(next)))
    }

    /// Takes note that a permit that was given out here is as likely to be free as before.
    pub(crate) fn put_back(&mut self, permit: Permit) {
        self.free.insert(permit);
    }
}

/// What is known of one name here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// The grant that is held here, and by whom.
    pub(crate) holder: Option<Holder>,
    /// None until somebody has a permit here.
    pub(crate) permits: Option<Box<Permits>>,
    /// None until somebody waits, which for most locks nobody ever does, and each lock that is held has an entry.
    pub(crate) queue: Option<Box<WaitQueue>>,
}

/// The names that are held or waited for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    entries: Table<LockName, Entry>,
    /// Those that other brokers have been asked to wake.
    by_hint: Table<WakeHint, LockName>,
    next_ticket: Ticket,
}

impl Entry {
    pub(crate) fn is_waited_for(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Returns the one that asks the store for the queue: the holder, or else the first.
    pub(crate) fn asks(&self) -> Option<HoldKey> {
        let first = || self.queue.as_ref()?.first().map(|first| first.hold);
        self.holder.map(|(_, hold)| hold).or_else(first)
    }

    /// Returns the holds that keep the lock or a permit here, if they are few: a hint says nothing of which is meant, and anybody may
    /// have sent it. Of more than these each finds out when it renews.
    pub(crate) fn keepers(&self) -> Vec<HoldKey> {
        const FEW: usize = 64;
        let permits = self.permits.as_ref().filter(|permits| permits.held.len() <= FEW);
        let permits = permits.into_iter().flat_map(|permits| permits.held.values());
        self.holder.iter().chain(permits).map(|(_, hold)| *hold).collect()
    }

    /// Returns for how long the first leaves the store alone, before jitter.
    pub(crate) fn interval(&self, default: Duration) -> Duration {
        self.queue.as_ref().map_or(default, |queue| queue.interval(default, self.holder.is_some()))
    }

    fn is_empty(&self) -> bool {
        let has_permits = self.permits.as_ref().is_some_and(|permits| !permits.held.is_empty());
        self.holder.is_none() && !has_permits && !self.is_waited_for()
    }
}

impl Hash for Names {
    /// Hashes what is there, in whatever order the tables have it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries.hash(state);
        self.next_ticket.hash(state);
    }
}

impl Names {
    pub(crate) fn new(seed: u64) -> Names {
        Names { entries: table::new(seed), by_hint: table::new(seed ^ 1), next_ticket: 0 }
    }

    pub(crate) fn get(&self, name: &LockName) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns who has a lock, or a permit, here.
    pub(crate) fn holder(&self, item: &LockItem) -> Option<Holder> {
        let entry = self.entries.get(&item.name)?;
        match item.permit {
            None => entry.holder,
            Some(permit) => entry.permits.as_ref()?.held.get(&permit).copied(),
        }
    }

    /// Returns what is known of a lock's permits, once somebody has one here.
    pub(crate) fn permits_mut(&mut self, name: &LockName) -> Option<&mut Permits> {
        self.entries.get_mut(name)?.permits.as_deref_mut()
    }

    pub(crate) fn get_mut(&mut self, name: &LockName) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    pub(crate) fn get_or_insert(&mut self, name: &LockName) -> &mut Entry {
        self.entries.entry(name.clone()).or_default()
    }

    /// Adds one at the end of the queue. Returns its ticket, and true if it is the first that waits behind a holder.
    pub(crate) fn enter(&mut self, name: &LockName, waiter: Waiter) -> (Ticket, bool) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let entry = self.get_or_insert(name);
        let first_behind_holder = entry.holder.is_some() && !entry.is_waited_for();
        entry.queue.get_or_insert_default().insert(ticket, waiter);
        (ticket, first_behind_holder)
    }

    /// Forgets a name that nobody holds or waits for.
    pub(crate) fn forget_if_empty(&mut self, name: &LockName) {
        const SMALLEST: usize = 64;
        let std::collections::hash_map::Entry::Occupied(found) = self.entries.entry(name.clone()) else { return };
        if !found.get().is_empty() {
            return;
        }
        if found.remove().queue.is_some_and(|queue| queue.wakeups.is_some()) {
            self.by_hint.remove(&WakeHint::of(name));
        }
        table::give_back_room(&mut self.entries, SMALLEST);
        table::give_back_room(&mut self.by_hint, SMALLEST);
    }

    /// Returns what is known of a queue's wake-ups, which from now on are heeded. None if nobody has waited for this name.
    pub(crate) fn wakeups(&mut self, name: &LockName) -> Option<&mut WakeupState> {
        let wakeups = &mut self.entries.get_mut(name)?.queue.as_mut()?.wakeups;
        if wakeups.is_none() {
            self.by_hint.insert(WakeHint::of(name), name.clone());
        }
        Some(wakeups.get_or_insert_default())
    }

    /// Takes note that other brokers need not wake this queue any more. Returns true if the store still has it so.
    pub(crate) fn stop_watching(&mut self, name: &LockName, now: Time) -> bool {
        let queue = self.entries.get_mut(name).and_then(|entry| entry.queue.as_mut());
        queue.and_then(|queue| queue.wakeups.as_mut()).is_some_and(|wakeups| wakeups.stop_watching(now))
    }

    /// Returns the name that a hint means, if somebody here asked for it.
    pub(crate) fn of_hint(&self, hint: WakeHint) -> Option<LockName> {
        self.by_hint.get(&hint).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Names {
    /// Brings it into its normal form. A queue without waiters is forgotten.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        let mut entries: Vec<(&LockName, &mut Entry)> = self.entries.iter_mut().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        for (_, entry) in entries {
            if let Some((id, hold)) = &mut entry.holder {
                form.grant(id);
                form.hold(hold);
            }
            if let Some(permits) = &mut entry.permits {
                for (id, hold) in permits.held.values_mut() {
                    form.grant(id);
                    form.hold(hold);
                }
            }
            entry.queue = entry.queue.take().filter(|queue| !queue.is_empty());
            if let Some(queue) = &mut entry.queue {
                queue.normalise(form);
            }
        }
        self.next_ticket = form.next_ticket();
    }
}
