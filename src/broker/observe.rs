//! Observing locks: who holds each, and with which value.
//!
//! One task for each name looks at the store, once a second and whenever this broker has changed something, for all that observe the
//! name here. Its looks come one after the other, and whatever is told comes of one. So what is told never goes back.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Broker, Cause, Failure, Look, Observation};
use crate::lock::{FencingToken, GrantId, LockName, LockValue, Owner, WakeHint};
use crate::store::{ItemState, Label, LockStatus};

/// The time from one look to the next.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// The same after a new holder was seen without a value: it may be on its way.
const LOOKS_AGAIN: Duration = Duration::from_millis(100);
/// The longest that a look may take before what was seen last is not known any more.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time from one look to the next, however often something changes. A lock that is shared is looked at with all its permits:
/// no more often than it is anyway.
const PAUSE: Duration = Duration::from_millis(20);
/// For how many seconds other brokers know that a name is observed here, and how often they are told so.
const NOTED_FOR: u32 = 10;
const NOTED_EVERY: Duration = Duration::from_secs(3);

/// The state of a lock, as an observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its state.
    pub state: ObservedState,
    /// The holder's label.
    pub owner: Owner,
    /// The holder's value, if it has one.
    pub value: Option<LockValue>,
    /// The holder's token, where it is known.
    pub token: Option<FencingToken>,
    /// The item's number, where nothing else tells one holder from the next. It is no one's but this module's.
    item: Option<ItemState>,
    /// When the lock is free if nobody renews it.
    expires: Option<Instant>,
}

/// The state of a lock that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedState {
    /// The store cannot tell.
    Unknown,
    /// Nobody has it.
    Free,
    /// As its item shows.
    Taken(ItemState),
}

impl Observed {
    /// Makes that of a lock of which no more is known.
    fn only(state: ObservedState) -> Observed {
        Observed { state, owner: Owner::default(), value: None, token: None, item: None, expires: None }
    }

    /// Returns the longest time until the lock is free, if nobody renews it.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns true if there is nothing new to tell after `before`.
    fn says_the_same(&self, before: &Observed) -> bool {
        let kind = |observed: &Observed| match observed.state {
            ObservedState::Taken(ItemState::Held(_)) => ObservedKind::Held,
            ObservedState::Taken(ItemState::Lingering(id)) => ObservedKind::Closed(id.is_revocation()),
            ObservedState::Free => ObservedKind::Free,
            ObservedState::Unknown => ObservedKind::Unknown,
        };
        kind(self) == kind(before)
            && (&self.owner, &self.value, self.token, self.item)
                == (&before.owner, &before.value, before.token, before.item)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObservedKind {
    Unknown,
    Free,
    Held,
    Closed(bool),
}

/// All that observe locks at one broker. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Observers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The number of names, to be read without the lock: the core tells of every change.
    names: AtomicUsize,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    by_name: HashMap<LockName, Arc<Name>>,
    /// The same ones, as other brokers name them. If two names have the same hint, one of them is not told at once.
    by_hint: HashMap<WakeHint, Arc<Name>>,
    /// True when the broker is going away.
    has_ended: bool,
}

/// A name that somebody observes.
struct Name {
    seen: watch::Sender<Option<Arc<Observed>>>,
    changed: Notify,
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name").finish_non_exhaustive()
    }
}

/// One that observes a lock.
#[derive(Debug)]
pub struct Observing {
    seen: watch::Receiver<Option<Arc<Observed>>>,
}

impl Observing {
    /// Returns what the lock is, at first as soon as that is known, and then when it has changed: the latest. None: the broker is going
    /// away.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Arc<Observed>> {
        loop {
            self.seen.changed().await.ok()?;
            // The first look may still be under way.
            if let Some(seen) = self.seen.borrow_and_update().clone() {
                return Some(seen);
            }
        }
    }

    /// Returns what was seen last, if anything was.
    pub fn last(&self) -> Option<Arc<Observed>> {
        self.seen.borrow().clone()
    }
}

impl Observers {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Nothing panics while it is locked.
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the observers of a lock. Called by the core, in its turn.
    pub(super) fn changed(&self, name: &LockName) {
        if self.0.names.load(Ordering::Relaxed) > 0
            && let Some(name) = self.watched().by_name.get(name)
        {
            name.changed.notify_one();
        }
    }

    /// Wakes the observers of a lock after a hint. Anybody can send one.
    pub(super) fn changed_elsewhere(&self, hint: WakeHint) {
        if let Some(name) = self.watched().by_hint.get(&hint) {
            name.changed.notify_one();
        }
    }

    pub(super) fn observe(&self, broker: &Broker, name: &LockName) -> Result<Observing, Failure> {
        let mut watched = self.watched();
        if watched.has_ended {
            return Err(going_away());
        }
        let Watched { by_name, by_hint, .. } = &mut *watched;
        let of_name = by_name.entry(name.clone()).or_insert_with(|| {
            self.0.names.fetch_add(1, Ordering::Relaxed);
            let of_name = Arc::new(Name { seen: watch::Sender::new(None), changed: Notify::new() });
            by_hint.insert(WakeHint::of(name), Arc::clone(&of_name));
            tokio::spawn(look_after(broker.clone(), self.clone(), name.clone(), Arc::clone(&of_name)));
            of_name
        });
        // It has something to tell at once.
        let mut seen = of_name.seen.subscribe();
        seen.mark_changed();
        Ok(Observing { seen })
    }

    /// Ends all of it, and takes no more.
    pub(super) fn end(&self) {
        let mut watched = self.watched();
        watched.has_ended = true;
        watched.by_name.values().for_each(|name| name.changed.notify_one());
    }

    /// Forgets a name that nobody observes any more, or all if the broker is going away. Returns true if so.
    fn forget(&self, name: &LockName, of_name: &Name) -> bool {
        let mut watched = self.watched();
        let is_over = watched.has_ended || of_name.seen.receiver_count() == 0;
        if is_over && watched.by_name.remove(name).is_some() {
            watched.by_hint.remove(&WakeHint::of(name));
            self.0.names.fetch_sub(1, Ordering::Relaxed);
        }
        is_over
    }
}

/// Says what one that observes gets from a broker that drains.
pub(crate) fn going_away() -> Failure {
    let why = "this broker is going away; ask another one".into();
    Failure::Unavailable { why, cause: Cause::BrokerDraining, retry_after: None }
}

/// Looks at a lock again and again for those who observe it, until there are none.
async fn look_after(broker: Broker, observers: Observers, name: LockName, of_name: Arc<Name>) {
    let mut looker = Looker { pause: PAUSE, known: None, highest: None, note_at: Instant::now() };
    loop {
        let began = Instant::now();
        let (seen, again) = looker.look(&broker, &name).await;
        of_name.seen.send_if_modified(|last| {
            let is_new = last.as_ref().is_none_or(|last| !seen.says_the_same(last));
            *last = Some(Arc::new(seen));
            is_new
        });
        sleep_until(began + looker.pause).await;
        tokio::select! {
            () = of_name.changed.notified() => {}
            () = of_name.seen.closed() => {}
            () = sleep_until(began + again) => {}
        }
        if observers.forget(&name, &of_name) {
            return;
        }
    }
}

/// What the looks at one lock have shown so far.
#[derive(Debug)]
struct Looker {
    /// The least time to the next look.
    pause: Duration,
    known: Option<GrantId>,
    /// The highest token that was told.
    highest: Option<FencingToken>,
    /// When other brokers are told again that the name is observed here.
    note_at: Instant,
}

impl Looker {
    /// Looks once. Returns what was seen, and the time to the next look. What takes too long to be seen is not known.
    async fn look(&mut self, broker: &Broker, name: &LockName) -> (Observed, Duration) {
        let seen = timeout(PATIENCE, self.see(broker, name)).await;
        seen.ok().and_then(Result::ok).unwrap_or((Observed::only(ObservedState::Unknown), LOOKS_EVERY))
    }

    async fn see(&mut self, broker: &Broker, name: &LockName) -> Result<(Observed, Duration), Failure> {
        let now = Instant::now();
        let note_for = (now >= self.note_at).then_some(NOTED_FOR);
        if note_for.is_some() {
            self.note_at = now + NOTED_EVERY;
        }
        let Observation { status, value, is_shared } =
            broker.look_to_observe(name, Look { known: self.known, note_for }).await?;
        let (state, label, expires_in) = match status {
            LockStatus::Taken { state, label, expires_in } => (Some(state), *label, expires_in),
            LockStatus::Free => (None, Label::default(), Duration::ZERO),
        };
        self.pause = if is_shared { LOOKS_EVERY } else { PAUSE };
        if is_shared && label.token.is_none() && !matches!(state, Some(ItemState::Lingering(_))) {
            return Ok((shared(broker, name, state.map(|state| (state, expires_in))).await?, LOOKS_EVERY));
        }
        let Some(state) = state else { return Ok((Observed::only(ObservedState::Free), LOOKS_EVERY)) };
        let mut again = LOOKS_EVERY;
        if let ItemState::Held(id) = state {
            // A holder that comes after another has a higher token. Otherwise this memory is not the one that was seen before.
            if label.token.is_some_and(|token| Some(token) < self.highest) {
                return Ok((Observed::only(ObservedState::Unknown), LOOKS_EVERY));
            }
            self.highest = self.highest.max(label.token);
            if self.known.replace(id) != Some(id) && value.is_none() {
                again = LOOKS_AGAIN;
            }
        }
        let observed = Observed {
            state: ObservedState::Taken(state),
            owner: label.owner,
            value,
            token: label.token,
            item: Some(state).filter(|_| label.token.is_none()),
            expires: Some(Instant::now() + expires_in),
        };
        Ok((observed, again))
    }
}

/// Looks at the permits of a lock that several may share. `alone`: the item of who has it alone, or, where there are permits, waits
/// for that.
async fn shared(broker: &Broker, name: &LockName, alone: Option<(ItemState, Duration)>) -> Result<Observed, Failure> {
    let permits = broker.look_at_permits(name).await?.map(|permits| (permits.state, permits.expires_in));
    let Some((state, expires_in)) = permits.or(alone) else { return Ok(Observed::only(ObservedState::Free)) };
    let expires = Some(Instant::now() + expires_in);
    Ok(Observed { expires, ..Observed::only(ObservedState::Taken(state)) })
}

impl Broker {
    /// Looks at a lock, for those who observe it.
    async fn look_to_observe(&self, name: &LockName, look: Look) -> Result<Observation, Failure> {
        let ending = || Err(Failure::unavailable("the broker is ending"));
        self.engine.observe(name, look).await.unwrap_or_else(|_| ending())
    }
}
