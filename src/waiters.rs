//! The waiters and the holder of each name in this broker. Waiters stand in line in the order in which they came,
//! and only the first one contends, so that what the store has to do does not grow with their number.

mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bell::{Bell, End};
use crate::clock::Moment;
use crate::lock::{GrantId, LockName, Owner, WakeHint};
use crate::store::Watch;

use self::queue::Queue;

/// Hand-overs in a row end, to be fair to the waiters of other brokers, when there have been this many…
const FAIR_COUNT: u32 = 16;
/// …and they have gone on for this long.
const FAIR_TIME: Duration = Duration::from_secs(2);

/// The longest pause between two polls of a line that is woken.
const LONGEST_POLL: Duration = Duration::from_secs(1);
/// The least time between two wake-ups of a line that are heeded: what forged ones cost at the most is a poll each.
const WAKE_PAUSE: Duration = Duration::from_millis(20);

/// The lines of all names that are held or waited for here.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    lines: Mutex<Lines>,
    /// One count for all lines: a place may outlive the line that it was in, and must not pass for one in the next.
    tickets: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    by_name: HashMap<LockName, Line>,
    /// Those that other brokers have been asked to wake.
    by_hint: HashMap<WakeHint, LockName>,
}

#[derive(Debug, Default)]
struct Line {
    holder: Option<Holder>,
    /// None until somebody waits, which for most locks nobody ever does, and each lock that is held has a line.
    crowd: Option<Box<Crowd>>,
}

/// Those who wait for a lock, and what is known on their behalf.
#[derive(Debug, Default)]
struct Crowd {
    waiting: Queue<Waiter>,
    /// When the first in line may try the store again.
    next_poll: Option<Moment>,
    /// Since when, and how often, the lock has been handed over without being free in between.
    in_a_row: Option<(Moment, u32)>,
    /// Only in lines that other brokers have been asked to wake.
    ear: Option<Box<Ear>>,
}

/// What is known of the wake-ups of a line.
#[derive(Debug, Default)]
struct Ear {
    /// Until when the store has it that the line is to be woken. None once it has been.
    watches_until: Option<Moment>,
    /// For how many polls that has been so.
    polls: u32,
    /// A note has vanished from the store and nobody has rung: wake-ups do not get through.
    deaf: bool,
    /// When a line behind a holder is to be noted again.
    note_again: Option<Moment>,
    /// The moment of the last wake-up that was heeded, or for which the next one is put off.
    woken: Option<Moment>,
}

#[derive(Debug)]
struct Holder {
    id: GrantId,
    owner: Owner,
    bell: Arc<Bell>,
}

/// One that waits, as whoever hands over sees it.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) bell: Arc<Bell>,
    pub(crate) owner: Owner,
    /// The ttl of its grant and the T of its item.
    pub(crate) ttl: Duration,
    pub(crate) item_ttl: u32,
}

/// What the one that asks may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Others come first, or the lock is held here: whoever ends that rings.
    Wait,
    /// It may try the store from then on.
    Contend(Moment),
}

/// A place in line, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiters: &'a Waiters,
    name: LockName,
    ticket: u64,
}

/// The next in line, taken out of it while a hand-over to it is under way.
#[derive(Debug)]
pub(crate) struct Next {
    ticket: u64,
    pub(crate) waiter: Waiter,
}

impl Waiters {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the end of the line.
    pub(crate) fn enter(&self, name: &LockName, waiter: Waiter) -> Place<'_> {
        let mut lines = self.lines();
        let line = lines.by_name.entry(name.clone()).or_default();
        // Drawn while the lines are locked, so that tickets rise within each.
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        line.crowd.get_or_insert_default().waiting.insert(ticket, waiter);
        Place { waiters: self, name: name.clone(), ticket }
    }

    /// Notes that a keeper here holds the lock. Whoever held it here before does so no longer, and is told.
    pub(crate) fn hold(&self, name: &LockName, id: GrantId, owner: &Owner, bell: &Arc<Bell>) {
        let before = {
            let mut lines = self.lines();
            let holder = Holder { id, owner: owner.clone(), bell: Arc::clone(bell) };
            lines.by_name.entry(name.clone()).or_default().holder.replace(holder)
        };
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(&before.bell, bell)) {
            before.bell.end(End::Superseded);
        }
    }

    /// Notes that this waiter holds the lock, by a hand-over from the one that held it.
    pub(crate) fn pass(&self, name: &LockName, id: GrantId, to: &Waiter) {
        let holder = Holder { id, owner: to.owner.clone(), bell: Arc::clone(&to.bell) };
        self.lines().by_name.entry(name.clone()).or_default().holder = Some(holder);
    }

    /// Notes that the grant is over, and lets the first in line try the store from `next_poll` on.
    pub(crate) fn let_go(&self, name: &LockName, id: GrantId, next_poll: Moment) {
        self.change(name, |line| {
            if line.holder.as_ref().is_some_and(|holder| holder.id == id) {
                line.holder = None;
                if let Some(crowd) = &mut line.crowd {
                    crowd.in_a_row = None;
                    crowd.next_poll = Some(next_poll);
                    crowd.ring_first();
                }
            }
        });
    }

    /// Lets the first in line try the store at once: the lock was released by somebody else.
    pub(crate) fn released_elsewhere(&self, name: &LockName) {
        self.change(name, |line| {
            if let Some(crowd) = &mut line.crowd {
                crowd.next_poll = None;
                crowd.ring_first();
            }
        });
    }

    /// Notes that the first in line has tried the store by a command sent then, and when it may do so again.
    pub(crate) fn polled(&self, name: &LockName, sent: Moment, next_poll: Moment) {
        self.change(name, |line| {
            let Some(crowd) = &mut line.crowd else { return };
            // The lock may have been let go after the command was carried out.
            let woken = crowd.ear.as_ref().and_then(|ear| ear.woken).filter(|woken| *woken > sent);
            crowd.next_poll = Some(woken.map_or(next_poll, |woken| woken.min(next_poll)));
        });
    }

    /// For how long the first in line leaves the store alone: `interval`, and longer from poll to poll where another
    /// broker will wake it.
    pub(crate) fn pause(&self, name: &LockName, interval: Duration) -> Duration {
        let lines = self.lines();
        let ear = lines.by_name.get(name).and_then(|line| line.crowd.as_ref()?.ear.as_ref());
        let polls = ear.filter(|ear| !ear.deaf).map_or(0, |ear| ear.polls);
        interval.saturating_mul(2_u32.saturating_pow(polls)).min(LONGEST_POLL.max(interval))
    }

    /// Listens for wake-ups of this line, before other brokers are asked for them. Returns whether they have been asked
    /// before, and need only be reminded.
    pub(crate) fn listen(&self, name: &LockName) -> bool {
        self.hear(name, |ear| ear.watches_until.is_some_and(|until| !until.has_passed())).unwrap_or_default()
    }

    /// Takes note of what became of asking to be woken, up to `until`.
    pub(crate) fn watched(&self, name: &LockName, watch: Watch, until: Moment) {
        self.hear(name, |ear| {
            let unheard = ear.watches_until.is_some_and(|until| !until.has_passed()) && watch != Watch::Kept;
            ear.deaf |= unheard;
            ear.polls = if watch == Watch::Kept { ear.polls.saturating_add(1) } else { 0 };
            ear.watches_until = (watch != Watch::No).then_some(until);
        });
    }

    /// Whether other brokers are still asked to wake this line, which no longer needs it.
    pub(crate) fn stop_watching(&self, name: &LockName) -> bool {
        let mut lines = self.lines();
        let ear = lines.by_name.get_mut(name).and_then(|line| line.crowd.as_mut()?.ear.as_mut());
        ear.and_then(|ear| ear.watches_until.take()).is_some_and(|until| !until.has_passed())
    }

    /// Whether a line stands here behind a holder and is to be noted in the store now. It is asked again after `again`.
    pub(crate) fn line_to_note(&self, name: &LockName, again: Duration) -> bool {
        let stands = |line: &Line| line.holder.is_some() && line.is_waited_for();
        if !self.lines().by_name.get(name).is_some_and(stands) {
            return false;
        }
        let due = self.hear(name, |ear| {
            let due = ear.note_again.is_none_or(Moment::has_passed);
            if due {
                ear.note_again = Some(Moment::now() + again);
            }
            due
        });
        due.unwrap_or_default()
    }

    /// Somebody says that a lock may be free. Its line looks, or its holder, at once or a little later; what is said
    /// of a lock for which no wake-up was asked is passed over.
    pub(crate) fn wake(&self, hint: WakeHint) {
        let mut lines = self.lines();
        let Lines { by_name, by_hint } = &mut *lines;
        let Some(Line { holder, crowd: Some(crowd) }) = by_hint.get(&hint).and_then(|name| by_name.get_mut(name))
        else {
            return;
        };
        let Some(ear) = &mut crowd.ear else { return };
        ear.watches_until = None;
        ear.deaf = false;
        let now = Moment::now();
        if ear.woken.is_some_and(|woken| woken > now) {
            // One has been put off already.
            return;
        }
        let at = ear.woken.map_or(now, |woken| now.max(woken + WAKE_PAUSE));
        ear.woken = Some(at);
        match holder {
            Some(holder) => holder.bell.doubt(at),
            None => {
                crowd.next_poll = Some(crowd.next_poll.map_or(at, |next_poll| next_poll.min(at)));
                crowd.ring_first();
            }
        }
    }

    /// Changes what is known of a line's wake-ups, if there is such a line and somebody has waited in it.
    fn hear<T>(&self, name: &LockName, change: impl FnOnce(&mut Ear) -> T) -> Option<T> {
        let mut lines = self.lines();
        let Lines { by_name, by_hint } = &mut *lines;
        let ear = &mut by_name.get_mut(name)?.crowd.as_mut()?.ear;
        if ear.is_none() {
            by_hint.insert(WakeHint::of(name), name.clone());
        }
        Some(change(ear.get_or_insert_default()))
    }

    /// The label of the one that holds this grant, if it is here.
    pub(crate) fn owner(&self, name: &LockName, id: GrantId) -> Option<Owner> {
        let lines = self.lines();
        let holder = lines.by_name.get(name)?.holder.as_ref().filter(|holder| holder.id == id)?;
        Some(holder.owner.clone())
    }

    /// The bell of the keeper that holds this grant, if it is here.
    pub(crate) fn holder(&self, name: &LockName, id: GrantId) -> Option<Arc<Bell>> {
        let lines = self.lines();
        let holder = lines.by_name.get(name)?.holder.as_ref().filter(|holder| holder.id == id)?;
        Some(Arc::clone(&holder.bell))
    }

    /// Takes the first out of the line for a hand-over, unless there have been too many in a row.
    pub(crate) fn next(&self, name: &LockName) -> Option<Next> {
        let mut lines = self.lines();
        let crowd = lines.by_name.get_mut(name)?.crowd.as_mut()?;
        let (since, count) = *crowd.in_a_row.get_or_insert_with(|| (Moment::now(), 0));
        if count >= FAIR_COUNT && since.elapsed() >= FAIR_TIME {
            return None;
        }
        let (ticket, waiter) = crowd.waiting.pop_first()?;
        crowd.in_a_row = Some((since, count + 1));
        Some(Next { ticket, waiter })
    }

    /// Whether somebody stands in line.
    pub(crate) fn has_waiters(&self, name: &LockName) -> bool {
        self.lines().by_name.get(name).is_some_and(Line::is_waited_for)
    }

    /// Puts one back where it stood: the hand-over came to nothing.
    pub(crate) fn put_back(&self, name: &LockName, next: Next) {
        // Under the lock of the lines, so that a waiter that leaves either is not put back or finds itself in line.
        let mut lines = self.lines();
        if !next.waiter.bell.has_left() {
            let line = lines.by_name.entry(name.clone()).or_default();
            line.crowd.get_or_insert_default().waiting.insert(next.ticket, next.waiter);
        }
    }

    /// Wakes every keeper that holds or waits.
    pub(crate) fn ring_all(&self) {
        for line in self.lines().by_name.values() {
            line.holder.iter().for_each(|holder| holder.bell.ring());
            let waiters = line.crowd.iter().flat_map(|crowd| crowd.waiting.values());
            waiters.for_each(|waiter| waiter.bell.ring());
        }
    }

    /// Changes a line, and forgets it if nobody is left in it.
    fn change(&self, name: &LockName, change: impl FnOnce(&mut Line)) {
        let mut lines = self.lines();
        if let Some(line) = lines.by_name.get_mut(name) {
            change(line);
            if line.holder.is_none() && !line.is_waited_for() {
                let Lines { by_name, by_hint } = &mut *lines;
                if by_name.remove(name).and_then(|line| line.crowd?.ear).is_some() {
                    by_hint.remove(&WakeHint::of(name));
                }
                if by_name.is_empty() {
                    by_name.shrink_to(64);
                    by_hint.shrink_to(64);
                }
            }
        }
    }
}

impl Line {
    fn is_waited_for(&self) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| !crowd.waiting.is_empty())
    }
}

impl Crowd {
    fn ring_first(&self) {
        if let Some((_, first)) = self.waiting.first() {
            first.bell.ring();
        }
    }
}

impl Place<'_> {
    /// What may be done now from this place.
    pub(crate) fn turn(&self) -> Turn {
        let lines = self.waiters.lines();
        match lines.by_name.get(&self.name) {
            Some(Line { holder: None, crowd: Some(crowd) }) if crowd.waiting.is_first(self.ticket) => {
                Turn::Contend(crowd.next_poll.unwrap_or_else(Moment::now))
            }
            _ => Turn::Wait,
        }
    }

    /// The place, the first being 1.
    pub(crate) fn position(&self) -> usize {
        let lines = self.waiters.lines();
        let crowd = lines.by_name.get(&self.name).and_then(|line| line.crowd.as_ref());
        crowd.map_or(1, |crowd| crowd.waiting.before(self.ticket) + 1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiters.change(&self.name, |line| {
            let Some(crowd) = &mut line.crowd else { return };
            let was_first = crowd.waiting.is_first(self.ticket);
            crowd.waiting.remove(self.ticket);
            if was_first {
                crowd.ring_first();
            }
        });
    }
}
