//! What is known of the wake-ups of one queue: hints by which other brokers tell that a lock may be free, so that the queue
//! need not poll. None is certain to come.

use std::time::Duration;

use crate::Time;
use crate::normal::{Form, Normal};
use crate::store::Watch;

/// The least time between two wake-ups of a queue that are heeded: what forged ones cost at the most is a poll each.
const PAUSE: Duration = Duration::from_millis(20);

/// The state of the wake-ups of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct WakeupState {
    /// Until when the store has it that the queue is to be woken. None once it has been.
    watched_until: Option<Time>,
    /// For how many polls that has been so.
    polls: u32,
    /// A note has vanished from the store and no wake-up came: they do not get through.
    unreliable: bool,
    /// When a queue behind a holder is to be noted again.
    note_again: Option<Time>,
    /// The moment of the last wake-up that was heeded, or for which the next one is put off.
    woken: Option<Time>,
}

impl WakeupState {
    /// Returns true if other brokers are asked to wake the queue now, so that they need only be reminded.
    pub(crate) fn is_watched(&self, now: Time) -> bool {
        self.watched_until.is_some_and(|until| until > now)
    }

    /// Takes note of the answer to asking to be woken, up to `until`.
    pub(crate) fn watched(&mut self, watch: Watch, until: Time, now: Time) {
        self.unreliable |= self.is_watched(now) && watch != Watch::Kept;
        self.polls = if watch == Watch::Kept { self.polls.saturating_add(1) } else { 0 };
        self.watched_until = (watch != Watch::No).then_some(until);
    }

    /// Forgets that the queue is to be woken. Returns true if the store still has it so.
    pub(crate) fn stop_watching(&mut self, now: Time) -> bool {
        self.watched_until.take().is_some_and(|until| until > now)
    }

    /// Returns true if a queue behind a holder is to be noted in the store now, and after `again` once more.
    pub(crate) fn is_to_be_noted(&mut self, again: Duration, now: Time) -> bool {
        let due = self.note_again.is_none_or(|at| now >= at);
        if due {
            self.note_again = Some(now + again);
        }
        due
    }

    /// Takes note of a wake-up. Returns when to heed it, or none if one has been put off already.
    pub(crate) fn woken(&mut self, now: Time) -> Option<Time> {
        self.watched_until = None;
        self.unreliable = false;
        if self.woken.is_some_and(|woken| woken > now) {
            return None;
        }
        let at = self.woken.map_or(now, |woken| now.max(woken + PAUSE));
        self.woken = Some(at);
        Some(at)
    }

    /// Returns for how many polls the queue has been watched, or none if wake-ups do not get through.
    pub(crate) fn polls(&self) -> Option<u32> {
        (!self.unreliable).then_some(self.polls)
    }
}

impl WakeupState {
    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        form.until_any([&mut self.watched_until, &mut self.note_again, &mut self.woken].into_iter().flatten());
    }
}
