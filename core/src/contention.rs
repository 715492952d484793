//! Who has a lock here, who waits for it, and when the store is asked on their behalf.

use std::time::Duration;

use crate::Time;
use crate::broker::{Core, Cx};
use crate::env::Env;
use crate::hold::{End, HoldKey};
use crate::lock::{GrantId, LingerId, LockItem, LockName, Owner, Permit, WakeHint, item_ttl};
use crate::names::{Entry, Holder};
use crate::queue::{Ticket, WaitQueue, Waiter};
use crate::store::{Label, Note, Slots};

/// The least time between two looks of a broker for those who wait behind holders, so that these are 10,000 a second at the
/// most.
const LOOK_EVERY: Duration = Duration::from_micros(100);

impl Core {
    /// Returns until when a lock is closed here that lingers under this id, if this broker keeps that.
    pub(crate) fn closed_until(&self, item: &LockItem, id: LingerId) -> Option<Time> {
        let (_, keeper) = self.names.holder(item)?;
        self.holds.get(keeper)?.closed_until(id)
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns the hold that has this grant here.
    pub(crate) fn holder(&self, item: &LockItem, id: GrantId) -> Option<HoldKey> {
        let (held, hold) = self.core.names.holder(item)?;
        (held == id).then_some(hold)
    }

    /// Returns true if somebody has the same lock, or the same permit, here.
    pub(crate) fn is_held_here(&self, me: HoldKey) -> bool {
        self.core.names.holder(&self.hold(me).item()).is_some()
    }

    /// Returns the label of a grant. That of a holder that is kept here is known even before the store has noted it, and
    /// after it has forgotten it.
    pub(crate) fn label_of(&self, item: &LockItem, id: GrantId, noted: Label) -> Label {
        match self.holder(item, id).and_then(|hold| self.core.holds.get(hold)) {
            Some(hold) => {
                let owner = if hold.has_label() { hold.owner.clone() } else { noted.owner };
                Label { owner, token: hold.token().or(noted.token), call: hold.call().or(noted.call), ..noted }
            }
            None => noted,
        }
    }

    /// Returns the label of the holder here, if there is one.
    pub(crate) fn label_here(&self, name: &LockName) -> Owner {
        let holder = self.core.names.get(name).and_then(|entry| entry.holder);
        holder.and_then(|(_, hold)| self.core.holds.get(hold)).map(|hold| hold.owner.clone()).unwrap_or_default()
    }

    /// Notes that a hold has the lock, or the permit. Whoever had it here before does so no longer, and is told.
    pub(crate) fn become_holder(&mut self, me: HoldKey, id: GrantId) {
        let LockItem { name, permit } = self.hold(me).item();
        let entry = self.core.names.get_or_insert(&name);
        let before = match permit {
            None => entry.holder.replace((id, me)),
            Some(permit) => entry.permits.get_or_insert_default().hold(permit, (id, me)),
        };
        if permit.is_none() {
            self.pace(&name);
        }
        self.supersede(before, me);
    }

    /// Ends the hold that has had the lock alone here, whose client goes on with `me`.
    pub(crate) fn supersede_holder(&mut self, me: HoldKey) {
        let before = self.core.names.get(&self.hold(me).name).and_then(|entry| entry.holder);
        self.supersede(before, me);
    }

    fn supersede(&mut self, before: Option<Holder>, me: HoldKey) {
        if let Some((_, before)) = before.filter(|(_, before)| *before != me) {
            self.end_hold_by(before, End::Superseded);
        }
    }

    /// Notes that a waiter has the lock, by a hand-over from the one that had it.
    pub(crate) fn pass(&mut self, name: &LockName, id: GrantId, to: HoldKey) {
        self.core.names.get_or_insert(name).holder = Some((id, to));
        self.pace(name);
    }

    /// Notes that a grant is over, and lets the first that waits ask the store from `next_poll` on.
    pub(crate) fn let_go(&mut self, me: HoldKey, id: GrantId, next_poll: Time) {
        let LockItem { name, permit } = self.hold(me).item();
        self.env.changed(&name);
        let Some(entry) = self.core.names.get_mut(&name) else { return };
        let was_held = match permit {
            None => entry.holder.take_if(|(held, _)| *held == id).is_some(),
            Some(permit) => entry.permits.as_mut().is_some_and(|permits| permits.let_go(permit, id)),
        };
        if was_held {
            if let Some(queue) = &mut entry.queue {
                queue.let_go(next_poll);
            }
            self.let_ask(&name);
        }
        self.core.names.forget_if_empty(&name);
    }

    /// Returns the permit below `limit` that is most likely to be free, and how others get to look for it.
    pub(crate) fn likely_permit(&mut self, name: &LockName, limit: u16) -> (Permit, Slots) {
        self.core.names.permits_mut(name).map_or((Permit::FIRST, Slots::Ensure), |permits| permits.likely(limit))
    }

    /// Returns the next permit below `limit` that nobody has looked for, where others look for so many.
    pub(crate) fn next_permit(&mut self, name: &LockName, slots: u16, limit: u16) -> Option<(Permit, Slots)> {
        match self.core.names.permits_mut(name) {
            Some(permits) => permits.next(slots, limit),
            None => {
                Permit::new(slots).filter(|permit| permit.get() < limit).map(|permit| (permit, Slots::Raise(slots)))
            }
        }
    }

    /// Takes note that a permit was not even asked for in earnest: the lock is closed.
    pub(crate) fn put_back_permit(&mut self, name: &LockName, permit: Permit) {
        if let Some(permits) = self.core.names.permits_mut(name) {
            permits.put_back(permit);
        }
    }

    /// Notes that a hold's grant is over, and lets the first that waits ask the store at once.
    pub(crate) fn let_go_now(&mut self, me: HoldKey, id: GrantId) {
        self.let_go(me, id, self.now);
    }

    /// Lets the queue ask the store at once: the lock was released by somebody else. That may be the one that is held here,
    /// as far as is known.
    pub(crate) fn released_elsewhere(&mut self, name: &LockName) {
        self.env.changed(name);
        self.ask_at(name, self.now);
    }

    fn ask_at(&mut self, name: &LockName, at: Time) {
        let now = self.now;
        if let Some(queue) = self.core.names.get_mut(name).and_then(|entry| entry.queue.as_mut()) {
            queue.ask_at(at, now);
            self.let_ask(name);
        }
    }

    /// Lets whoever asks the store for the queue look: the holder here, or the first waiter.
    fn let_ask(&mut self, name: &LockName) {
        if let Some(hold) = self.core.names.get(name).and_then(Entry::asks) {
            self.look_later(hold);
        }
    }

    /// Lets the interval of the first begin now, if somebody waits.
    fn pace(&mut self, name: &LockName) {
        let default = self.core.settings.poll_interval;
        let Some(entry) = self.core.names.get(name).filter(|entry| entry.is_waited_for()) else { return };
        let until = self.now + jittered(entry.interval(default), self.env);
        if let Some(queue) = self.core.names.get_mut(name).and_then(|entry| entry.queue.as_mut()) {
            queue.pace(until);
        }
    }

    /// Joins the end of the queue.
    pub(crate) fn enter(&mut self, name: &LockName, waiter: Waiter) -> Ticket {
        let (ticket, first_behind_holder) = self.core.names.enter(name, waiter);
        if first_behind_holder {
            self.pace(name);
            self.let_ask(name);
        }
        ticket
    }

    /// Leaves the queue.
    pub(crate) fn leave_queue(&mut self, name: &LockName, ticket: Ticket) {
        let Some(queue) = self.core.names.get_mut(name).and_then(|entry| entry.queue.as_mut()) else { return };
        let (was_first, was_paced) = queue.remove(ticket);
        if was_first {
            if was_paced {
                self.pace(name);
            }
            self.let_ask(name);
        }
        self.core.names.forget_if_empty(name);
    }

    /// Returns when the store may be asked from this place: none while others come first, or the lock is held here. Whoever
    /// ends that lets this one look.
    pub(crate) fn turn(&self, name: &LockName, ticket: Ticket) -> Option<Time> {
        let entry = self.core.names.get(name).filter(|entry| entry.holder.is_none())?;
        entry.queue.as_ref()?.turn(ticket, self.now)
    }

    /// Returns the place of a ticket, the first being 1.
    pub(crate) fn position(&self, name: &LockName, ticket: Ticket) -> usize {
        self.queue(name).map_or(1, |queue| queue.position(ticket))
    }

    /// Returns true if nobody else waits.
    pub(crate) fn is_alone_in_queue(&self, name: &LockName, ticket: Ticket) -> bool {
        self.queue(name).is_some_and(|queue| queue.is_alone(ticket))
    }

    /// Returns true if somebody waits here, and the first wants the lock for himself alone.
    pub(crate) fn is_waited_for_alone(&self, name: &LockName) -> bool {
        self.queue(name).and_then(WaitQueue::first).is_some_and(|first| !first.shares)
    }

    fn queue(&self, name: &LockName) -> Option<&WaitQueue> {
        self.core.names.get(name)?.queue.as_deref()
    }

    /// Takes the first out of the queue for a hand-over, unless there have been too many in a row.
    pub(crate) fn next_waiter(&mut self, name: &LockName) -> Option<(Ticket, Waiter)> {
        let now = self.now;
        self.core.names.get_mut(name)?.queue.as_mut()?.next(now)
    }

    /// Puts one back where it stood: the hand-over came to nothing. One that has left meanwhile stays away.
    pub(crate) fn put_back(&mut self, name: &LockName, ticket: Ticket, waiter: Waiter) {
        if self.is_waiting(waiter.hold) {
            self.core.names.get_or_insert(name).queue.get_or_insert_default().insert(ticket, waiter);
            // It may be the first that nobody keeps from asking.
            self.let_ask(name);
        }
    }

    /// Notes that the store was asked for the queue in vain, by commands from `began` on. Returns for how long it is left alone
    /// now: `pause`, or, if there is none, the interval of the first.
    pub(crate) fn polled(&mut self, name: &LockName, began: Time, pause: Option<Duration>) -> Duration {
        let default = self.core.settings.poll_interval;
        let entry = self.core.names.get(name).filter(|entry| entry.is_waited_for());
        let interval = entry.map_or(default, |entry| entry.interval(default));
        let is_waited_for = entry.is_some();
        let pause = pause.unwrap_or_else(|| jittered(interval, self.env));
        let next = self.now + pause;
        let queue = self.core.names.get_mut(name).and_then(|entry| entry.queue.as_mut());
        if let Some(queue) = queue.filter(|_| is_waited_for) {
            queue.polled(began, next);
        }
        pause
    }

    /// Returns when a holder is to look at the store for those who wait behind it. Never where nobody does, or only this
    /// broker has the store.
    pub(crate) fn look_at(&self, me: HoldKey, id: GrantId) -> Option<Time> {
        let entry = self.core.names.get(&self.hold(me).name).filter(|entry| entry.is_waited_for())?;
        entry.holder.filter(|(held, _)| *held == id && self.core.store.is_shared)?;
        entry.queue.as_ref().map(|queue| queue.next_poll(self.now))
    }

    /// Takes a turn among the looks of this broker. Returns when it is.
    pub(crate) fn turn_to_look(&mut self) -> Time {
        let turn = self.core.next_look.map_or(self.now, |next| next.max(self.now));
        self.core.next_look = Some(turn + LOOK_EVERY);
        turn
    }

    /// Notes in the store that a queue stands here behind a holder, so that it hears when another broker ends the grant.
    /// Again and again: a holder calls this with every renewal.
    pub(crate) fn note_queue(&mut self, name: &LockName) {
        let stands = |entry: &Entry| entry.holder.is_some() && entry.is_waited_for();
        if !self.core.store.can_be_woken || !self.core.names.get(name).is_some_and(stands) {
            return;
        }
        let (again, now) = (self.core.settings.max_ttl / 3, self.now);
        if self.core.names.wakeups(name).is_some_and(|wakeups| wakeups.is_to_be_noted(again, now)) {
            let ttl = item_ttl(self.core.settings.max_ttl, Duration::ZERO);
            self.note_of(name, Note::QueueHere { ttl });
        }
    }

    /// Forgets that other brokers are to wake this queue. Returns true if the store still has it so.
    pub(crate) fn stop_watching(&mut self, name: &LockName) -> bool {
        let now = self.now;
        self.core.names.stop_watching(name, now)
    }

    /// Takes that back in the store.
    pub(crate) fn unwatch(&mut self, name: &LockName) {
        self.note_of(name, Note::Unwatch);
    }

    /// Heeds a wake-up: the lock may be free. Its queue asks the store, at once or a little later. What is said of a lock
    /// for which no wake-up was asked is passed over.
    pub(crate) fn woken(&mut self, hint: WakeHint) {
        let now = self.now;
        let Some(name) = self.core.names.of_hint(hint) else { return };
        if let Some(at) = self.core.names.wakeups(&name).and_then(|wakeups| wakeups.woken(now)) {
            self.ask_at(&name, at);
        }
    }
}

/// Returns 1.0 to 1.2 times `interval`, so that waiters do not poll in step.
fn jittered(interval: Duration, env: &mut impl Env) -> Duration {
    env.spread(interval, interval / 5)
}
