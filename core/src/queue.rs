//! Who waits for a lock here, in the order in which they came, and when the queue may ask the store. Only the first one
//! contends, so that what the store has to do does not grow with their number.

use std::time::Duration;

use crate::Time;
use crate::hold::HoldKey;
use crate::normal::{Form, Normal};
use crate::tickets::Tickets;
use crate::wakeups::WakeupState;

/// Hand-overs in a row end, to be fair to the waiters of other brokers, when there have been this many…
const FAIR_COUNT: u32 = 16;
/// …and they have gone on for this long.
const FAIR_TIME: Duration = Duration::from_secs(2);
/// The longest pause between two polls of a queue that is woken.
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// A number that says who came first. One count for all queues: a ticket may outlive the queue that it was in, and must
/// not pass for one in the next.
pub(crate) type Ticket = u64;

/// Those who wait for a lock, and what is known on their behalf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct WaitQueue {
    waiters: Tickets<Waiter>,
    next_poll: NextPoll,
    /// Since when, and how often, the lock has been handed over without being free in between.
    in_a_row: Option<(Time, u32)>,
    /// Only in queues that other brokers have been asked to wake.
    pub(crate) wakeups: Option<Box<WakeupState>>,
}

/// One that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Waiter {
    pub(crate) hold: HoldKey,
    /// The least time between two polls while it is first; none if the broker chooses.
    pub(crate) poll_interval: Option<Duration>,
    /// True if it wants a permit. The lock is not handed over to it.
    pub(crate) shares: bool,
}

/// When a queue asks the store. Its first tries to get the lock; behind a holder here, the holder looks for it if the
/// lock is still held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum NextPoll {
    /// At once: nobody has asked yet.
    #[default]
    Now,
    /// From then on, whoever is first by then: the lock may be free.
    At(Time),
    /// When the interval of the first is over. It begins anew with another first.
    Paced(Time),
}

impl NextPoll {
    fn time(self, now: Time) -> Time {
        match self {
            NextPoll::Now => now,
            NextPoll::At(at) | NextPoll::Paced(at) => at,
        }
    }
}

impl WaitQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Adds one at its place: the end for a new ticket, its old place for one that comes back.
    pub(crate) fn insert(&mut self, ticket: Ticket, waiter: Waiter) {
        self.waiters.insert(ticket, waiter);
    }

    /// Takes one out. Returns true if it was the first, and if its interval was under way.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> (bool, bool) {
        let was_first = self.waiters.is_first(ticket);
        self.waiters.remove(ticket);
        (was_first, matches!(self.next_poll, NextPoll::Paced(_)))
    }

    /// Returns when the store may be asked from this place, if it is the first.
    pub(crate) fn turn(&self, ticket: Ticket, now: Time) -> Option<Time> {
        self.waiters.is_first(ticket).then(|| self.next_poll.time(now))
    }

    /// Returns when the queue may ask.
    pub(crate) fn next_poll(&self, now: Time) -> Time {
        self.next_poll.time(now)
    }

    /// Returns the place of a ticket, the first being 1.
    pub(crate) fn position(&self, ticket: Ticket) -> usize {
        self.waiters.before(ticket) + 1
    }

    /// Returns true if nobody else waits.
    pub(crate) fn is_alone(&self, ticket: Ticket) -> bool {
        self.waiters.values().take(2).count() == 1 && self.waiters.is_first(ticket)
    }

    pub(crate) fn first(&self) -> Option<Waiter> {
        self.waiters.first().map(|(_, waiter)| *waiter)
    }

    /// Takes out the first for a hand-over, unless it wants a permit, or there have been too many in a row.
    pub(crate) fn next(&mut self, now: Time) -> Option<(Ticket, Waiter)> {
        let (since, count) = *self.in_a_row.get_or_insert((now, 0));
        if count >= FAIR_COUNT && now.since(since) >= FAIR_TIME {
            return None;
        }
        let next = self.waiters.pop_first_if(|waiter| !waiter.shares)?;
        self.in_a_row = Some((since, count + 1));
        Some(next)
    }

    /// The lock is free from here: the first may ask from `next_poll` on.
    pub(crate) fn let_go(&mut self, next_poll: Time) {
        self.in_a_row = None;
        self.next_poll = NextPoll::At(next_poll);
    }

    /// Lets the queue ask the store at `at`, or before if it is about to.
    pub(crate) fn ask_at(&mut self, at: Time, now: Time) {
        self.next_poll = match self.next_poll {
            NextPoll::At(next) | NextPoll::Paced(next) if next > now => NextPoll::At(next.min(at)),
            // It may be asking already, and be answered as things were before.
            _ => NextPoll::At(at),
        };
    }

    /// Lets the interval of the first begin now, and end at `until`.
    pub(crate) fn pace(&mut self, until: Time) {
        self.next_poll = NextPoll::Paced(until);
    }

    /// Takes note that the store was asked in vain, by commands from `began` on, and is left alone until `next`.
    pub(crate) fn polled(&mut self, began: Time, next: Time) {
        self.next_poll = match self.next_poll {
            // The lock may have been let go after the first of them was carried out.
            NextPoll::At(at) if at > began => NextPoll::At(at.min(next)),
            _ => NextPoll::Paced(next),
        };
    }

    /// Returns for how long the first leaves the store alone, before jitter: for `default` if it names no interval, and
    /// longer from poll to poll where another broker will wake the queue.
    pub(crate) fn interval(&self, default: Duration, behind_a_holder: bool) -> Duration {
        let named = self.first().and_then(|first| first.poll_interval);
        let woken = match self.wakeups.as_ref().and_then(|wakeups| wakeups.polls()) {
            None => default,
            Some(_) if behind_a_holder => LONGEST_POLL,
            Some(polls) => default.saturating_mul(2_u32.saturating_pow(polls)).min(LONGEST_POLL),
        };
        named.unwrap_or(woken.max(default))
    }
}

impl WaitQueue {
    /// Brings it into its normal form. That a lock is handed over again and again is forgotten.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        for (mut ticket, mut waiter) in self.waiters.take_all() {
            form.ticket(&mut ticket);
            form.hold(&mut waiter.hold);
            self.waiters.insert(ticket, waiter);
        }
        let mut at = self.next_poll.time(form.now);
        form.pause([&mut at]);
        self.next_poll = NextPoll::Paced(at);
        self.in_a_row = None;
        if let Some(wakeups) = &mut self.wakeups {
            wakeups.normalise(form);
        }
    }
}
