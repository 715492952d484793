//! The waiters and the holder of each name in this broker. Waiters stand in line in the order in which they came,
//! and only the first one contends, so that what the store has to do does not grow with their number.

mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;

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
/// The least time between two looks of a broker for lines behind holders, so that these are 10,000 a second at the most.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// The least time between two wake-ups of a line that are heeded: what forged ones cost at the most is a poll each.
const WAKE_PAUSE: Duration = Duration::from_millis(20);

/// The lines of all names that are held or waited for here.
#[derive(Debug)]
pub(crate) struct Waiters {
    lines: Mutex<Lines>,
    /// The interval of those who name none.
    poll_interval: Duration,
    /// One count for all lines: a place may outlive the line that it was in, and must not pass for one in the next.
    tickets: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    by_name: HashMap<LockName, Line>,
    /// Those that other brokers have been asked to wake.
    by_hint: HashMap<WakeHint, LockName>,
    /// When the next look for a line behind a holder may be sent.
    next_look: Option<Moment>,
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
    next_poll: NextPoll,
    /// Since when, and how often, the lock has been handed over without being free in between.
    in_a_row: Option<(Moment, u32)>,
    /// Only in lines that other brokers have been asked to wake.
    ear: Option<Box<Ear>>,
}

/// When a line asks the store. Its first tries to get the lock; behind a holder here, the holder's keeper looks for it
/// whether the lock is still held.
#[derive(Debug, Clone, Copy, Default)]
enum NextPoll {
    /// At once: nobody has asked yet.
    #[default]
    Now,
    /// From then on, whoever is first by then: the lock may be free.
    At(Moment),
    /// When the interval of the first in line is over. It begins anew with another first.
    Paced(Moment),
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
    /// The least time between two polls while it is first; none if the broker chooses.
    pub(crate) poll_interval: Option<Duration>,
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
    /// Nobody yet. Those who name no interval poll every `poll_interval`.
    pub(crate) fn new(poll_interval: Duration) -> Waiters {
        Waiters { lines: Mutex::default(), poll_interval, tickets: AtomicU64::new(0) }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the end of the line.
    pub(crate) fn enter(&self, name: &LockName, waiter: Waiter) -> Place<'_> {
        let mut lines = self.lines();
        let line = lines.by_name.entry(name.clone()).or_default();
        // Drawn while the lines are locked, so that tickets rise within each.
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let was_waited_for = line.is_waited_for();
        line.crowd.get_or_insert_default().waiting.insert(ticket, waiter);
        if line.holder.is_some() && !was_waited_for {
            line.pace(self.poll_interval);
            line.ring();
        }
        Place { waiters: self, name: name.clone(), ticket }
    }

    /// Notes that a keeper here holds the lock. Whoever held it here before does so no longer, and is told.
    pub(crate) fn hold(&self, name: &LockName, id: GrantId, owner: &Owner, bell: &Arc<Bell>) {
        let before = {
            let mut lines = self.lines();
            let line = lines.by_name.entry(name.clone()).or_default();
            let before = line.holder.replace(Holder { id, owner: owner.clone(), bell: Arc::clone(bell) });
            line.pace(self.poll_interval);
            before
        };
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(&before.bell, bell)) {
            before.bell.end(End::Superseded);
        }
    }

    /// Notes that this waiter holds the lock, by a hand-over from the one that held it.
    pub(crate) fn pass(&self, name: &LockName, id: GrantId, to: &Waiter) {
        let holder = Holder { id, owner: to.owner.clone(), bell: Arc::clone(&to.bell) };
        let mut lines = self.lines();
        let line = lines.by_name.entry(name.clone()).or_default();
        line.holder = Some(holder);
        line.pace(self.poll_interval);
    }

    /// Notes that the grant is over, and lets the first in line try the store from `next_poll` on.
    pub(crate) fn let_go(&self, name: &LockName, id: GrantId, next_poll: Moment) {
        self.change(name, |line| {
            if line.holder.as_ref().is_some_and(|holder| holder.id == id) {
                line.holder = None;
                if let Some(crowd) = &mut line.crowd {
                    crowd.in_a_row = None;
                    crowd.next_poll = NextPoll::At(next_poll);
                }
                line.ring();
            }
        });
    }

    /// Lets the line ask the store at once: the lock was released by somebody else. That may be the one that is held
    /// here, as far as is known.
    pub(crate) fn released_elsewhere(&self, name: &LockName) {
        self.change(name, |line| line.ask_at(Moment::now()));
    }

    /// Notes that the store was asked for the line by a command sent then, in vain. Returns for how long it is left
    /// alone now: `pause`, or, if there is none, the interval of the first in line.
    pub(crate) fn polled(&self, name: &LockName, sent: Moment, pause: Option<Duration>) -> Duration {
        let mut lines = self.lines();
        let line = lines.by_name.get_mut(name).filter(|line| line.is_waited_for());
        let pause = pause.unwrap_or_else(|| {
            let interval = line.as_ref().map_or(self.poll_interval, |line| line.interval(self.poll_interval));
            jittered(interval)
        });
        let next_poll = Moment::now() + pause;
        if let Some(crowd) = line.and_then(|line| line.crowd.as_mut()) {
            crowd.next_poll = match crowd.next_poll {
                // The lock may have been let go after the command was carried out.
                NextPoll::At(at) if at > sent => NextPoll::At(at.min(next_poll)),
                _ => NextPoll::Paced(next_poll),
            };
        }
        pause
    }

    /// When the keeper that holds this grant is to look at the store for the line behind it, if there is one.
    pub(crate) fn look_at(&self, name: &LockName, id: GrantId) -> Option<Moment> {
        let lines = self.lines();
        let line = lines.by_name.get(name).filter(|line| line.is_waited_for())?;
        line.holder.as_ref().filter(|holder| holder.id == id)?;
        line.crowd.as_ref().map(|crowd| crowd.next_poll.moment())
    }

    /// Takes a turn among the looks of this broker. Returns when it is.
    pub(crate) fn turn_to_look(&self) -> Moment {
        let mut lines = self.lines();
        let now = Moment::now();
        let turn = lines.next_look.map_or(now, |next| next.max(now));
        lines.next_look = Some(turn + LOOK_EVERY);
        turn
    }

    /// Listens for wake-ups of this line, before other brokers are asked for them. Returns whether they have been asked
    /// before, and need only be reminded.
    pub(crate) fn listen(&self, name: &LockName) -> bool {
        self.hear(name, |ear| ear.watches_until.is_some_and(|until| !until.has_passed())).unwrap_or_default()
    }

    /// Takes note of what became of asking to be woken, up to `until`. Returns whether somebody is still in line.
    pub(crate) fn watched(&self, name: &LockName, watch: Watch, until: Moment) -> bool {
        let heard = self.hear(name, |ear| {
            let unheard = ear.watches_until.is_some_and(|until| !until.has_passed()) && watch != Watch::Kept;
            ear.deaf |= unheard;
            ear.polls = if watch == Watch::Kept { ear.polls.saturating_add(1) } else { 0 };
            ear.watches_until = (watch != Watch::No).then_some(until);
        });
        heard.is_some()
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

    /// Somebody says that a lock may be free. Its line asks the store, at once or a little later; what is said of a lock
    /// for which no wake-up was asked is passed over.
    pub(crate) fn wake(&self, hint: WakeHint) {
        let mut lines = self.lines();
        let Lines { by_name, by_hint, .. } = &mut *lines;
        let Some(line) = by_hint.get(&hint).and_then(|name| by_name.get_mut(name)) else { return };
        let Some(ear) = line.crowd.as_mut().and_then(|crowd| crowd.ear.as_mut()) else { return };
        ear.watches_until = None;
        ear.deaf = false;
        let now = Moment::now();
        if ear.woken.is_some_and(|woken| woken > now) {
            // One has been put off already.
            return;
        }
        let at = ear.woken.map_or(now, |woken| now.max(woken + WAKE_PAUSE));
        ear.woken = Some(at);
        line.ask_at(at);
    }

    /// Changes what is known of a line's wake-ups, if there is such a line and somebody has waited in it.
    fn hear<T>(&self, name: &LockName, change: impl FnOnce(&mut Ear) -> T) -> Option<T> {
        let mut lines = self.lines();
        let Lines { by_name, by_hint, .. } = &mut *lines;
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
                let Lines { by_name, by_hint, .. } = &mut *lines;
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

    /// Rings for the one that asks the store for the line.
    fn ring(&self) {
        let first = || Some(&self.crowd.as_ref()?.waiting.first()?.1.bell);
        if let Some(bell) = self.holder.as_ref().map(|holder| &holder.bell).or_else(first) {
            bell.ring();
        }
    }

    /// Lets the line ask the store at `at`, or before if it is about to.
    fn ask_at(&mut self, at: Moment) {
        if let Some(crowd) = &mut self.crowd {
            crowd.next_poll = match crowd.next_poll {
                NextPoll::At(next) | NextPoll::Paced(next) if !next.has_passed() => NextPoll::At(next.min(at)),
                // It may be asking already, and be answered as things were before.
                _ => NextPoll::At(at),
            };
            self.ring();
        }
    }

    /// Lets the interval of the first in line begin now, if there is one.
    fn pace(&mut self, default: Duration) {
        let interval = self.interval(default);
        if let Some(crowd) = self.crowd.as_mut().filter(|crowd| !crowd.waiting.is_empty()) {
            crowd.next_poll = NextPoll::Paced(Moment::now() + jittered(interval));
        }
    }

    /// For how long the first in line leaves the store alone, before jitter: for `default` if it names no interval, and
    /// longer from poll to poll where another broker will wake the line.
    fn interval(&self, default: Duration) -> Duration {
        let Some(crowd) = &self.crowd else { return default };
        let named = crowd.waiting.first().and_then(|(_, first)| first.poll_interval);
        let woken = match crowd.ear.as_ref().filter(|ear| !ear.deaf) {
            None => default,
            Some(_) if self.holder.is_some() => LONGEST_POLL,
            Some(ear) => default.saturating_mul(2_u32.saturating_pow(ear.polls)).min(LONGEST_POLL),
        };
        named.unwrap_or(woken.max(default))
    }
}

impl NextPoll {
    fn moment(self) -> Moment {
        match self {
            NextPoll::Now => Moment::now(),
            NextPoll::At(at) | NextPoll::Paced(at) => at,
        }
    }
}

/// 1.0 to 1.2 times `interval`, so that waiters do not poll in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(1.0..1.2))
}

impl Place<'_> {
    /// What may be done now from this place.
    pub(crate) fn turn(&self) -> Turn {
        let lines = self.waiters.lines();
        match lines.by_name.get(&self.name) {
            Some(Line { holder: None, crowd: Some(crowd) }) if crowd.waiting.is_first(self.ticket) => {
                Turn::Contend(crowd.next_poll.moment())
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

    /// Whether nobody else stands in line.
    pub(crate) fn is_alone(&self) -> bool {
        let lines = self.waiters.lines();
        let crowd = lines.by_name.get(&self.name).and_then(|line| line.crowd.as_ref());
        crowd.is_some_and(|crowd| crowd.waiting.values().take(2).count() == 1 && crowd.waiting.is_first(self.ticket))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiters.change(&self.name, |line| {
            let Some(crowd) = &mut line.crowd else { return };
            let was_first = crowd.waiting.is_first(self.ticket);
            crowd.waiting.remove(self.ticket);
            if was_first {
                if let NextPoll::Paced(_) = crowd.next_poll {
                    line.pace(self.waiters.poll_interval);
                }
                line.ring();
            }
        });
    }
}
