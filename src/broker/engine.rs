//! The core behind its lock, and the doing of what it says: waking readers, answering calls, and orders for the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use lockbroker_core::env::{Env, Observed};
use lockbroker_core::listing::{Cursor, Kept, SeenWaiter, Which};
use lockbroker_core::rules::Rule;
use lockbroker_core::table::give_back_room;
use lockbroker_core::{Broker as Core, Call, Output, Seen, StreamKey, Time};
use rand::RngExt;
use tokio::sync::{Notify, oneshot, watch};

use super::metrics::{Counted, LockMetrics};
use super::observe::Observers;
use super::streams::Shared;
use super::{Account, Ended, Failure, LeaseRenewal, Look, Mode, Observation, Revoked, Settings, Updated};
use crate::accounts::Accounts;
use crate::clock::Moment;
use crate::etag::etag;
use crate::ids;
use crate::lock::{Etag, GrantId, LeaseId, LingerId, LockId, LockItem, LockName, LockValue};
use crate::metrics::Metrics;
use crate::mutations;
use crate::store::{ItemState, Listed, Order, StoreEvent, StoreTraits};
use crate::times::{moment, now};

/// The number of events that are brought to the core before others have their turn. More than a turn's looks can lead to, or
/// the answers to those would pile up before everybody else's.
const EVENTS_AT_ONCE: usize = 4096;

/// Where the answer to a call comes. It fails if the broker ends first.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, Failure>>;
/// The callers who wait for their answers.
type Callers<T> = HashMap<Call, oneshot::Sender<Result<T, Failure>>>;

/// The core of a broker, and what its outputs need.
#[derive(Debug)]
pub(super) struct Engine {
    state: Mutex<State>,
    settings: Settings,
    counted: Counted,
    accounts: Accounts,
    observers: Observers,
    /// Rung when there are orders, or the core is to be called earlier than was known.
    alarm: Arc<Notify>,
    drained: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    core: Core,
    outside: Outside,
    streams: HashMap<StreamKey, Arc<Shared>>,
    releases: Callers<Ended>,
    renewals: Callers<LeaseRenewal>,
    revocations: Callers<Revoked>,
    looks: Callers<Seen>,
    observations: Callers<Observation>,
    updates: Callers<Updated>,
    last_call: Call,
    /// For the store's task.
    orders: Vec<Order>,
    /// When the core is called next, as far as the store's task knows.
    scheduled: Option<Time>,
}

/// Time, chance and metrics for the core.
#[derive(Debug)]
pub(super) struct Outside {
    metrics: LockMetrics,
    accounts: Accounts,
    observers: Observers,
    /// Read once a turn: all that the core is told in it happens at one time.
    now: Time,
}

impl Engine {
    /// Makes the core of a broker.
    pub(super) fn new(traits: StoreTraits, settings: Settings, metrics: &Metrics) -> Arc<Engine> {
        let accounts = Accounts::new(metrics);
        let metrics = LockMetrics::new(metrics, &settings);
        let counted = metrics.counted();
        let observers = Observers::default();
        let outside = Outside { metrics, accounts: accounts.clone(), observers: observers.clone(), now: now() };
        let state = State {
            core: Core::new(settings, traits, rand::rng().random()),
            outside,
            streams: HashMap::new(),
            releases: HashMap::new(),
            renewals: HashMap::new(),
            revocations: HashMap::new(),
            looks: HashMap::new(),
            observations: HashMap::new(),
            updates: HashMap::new(),
            last_call: 0,
            orders: Vec::new(),
            scheduled: None,
        };
        let alarm = Arc::new(Notify::new());
        let drained = watch::Sender::new(false);
        Arc::new(Engine { state: Mutex::new(state), settings, counted, accounts, observers, alarm, drained })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(super) fn observers(&self) -> &Observers {
        &self.observers
    }

    pub(super) fn alarm(&self) -> Arc<Notify> {
        Arc::clone(&self.alarm)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The core does not panic; if it did in a test, what it left behind is what there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the clock for a turn.
    fn state_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.outside.now = now();
        state
    }

    /// Lets the core take a turn, and does what it says.
    pub(super) fn turn<T>(&self, act: impl FnOnce(&mut Core, &mut Outside) -> T) -> T {
        self.turn_on(|State { core, outside, .. }| act(core, outside))
    }

    /// Does the same with what is kept beside the core.
    fn turn_on<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state_now();
        let result = act(&mut state);
        self.carry_out(&mut state);
        self.ring(&mut state);
        result
    }

    fn carry_out(&self, state: &mut State) {
        while let Some(output) = state.core.output() {
            match output {
                Output::Readable(stream) => {
                    if let Some(shared) = state.streams.get(&stream) {
                        shared.wake();
                    }
                }
                Output::Silent(stream) => {
                    if let Some(shared) = state.streams.get(&stream) {
                        shared.fall_silent();
                    }
                }
                Output::Order(order) => state.orders.push(order),
                Output::Released { call, result } => tell(&mut state.releases, call, result),
                Output::LeaseRenewed { call, result } => tell(&mut state.renewals, call, result),
                Output::Revoked { call, result } => tell(&mut state.revocations, call, result),
                Output::Looked { call, result } => tell(&mut state.looks, call, result),
                Output::Observed { call, result } => tell(&mut state.observations, call, result),
                Output::Updated { call, result } => tell(&mut state.updates, call, result),
                Output::Drained => drop(self.drained.send_replace(true)),
            }
        }
        state.outside.metrics.show(&state.core.counts());
    }

    /// Rings the alarm, if there are orders, or the core is to be called earlier than the store's task knows.
    fn ring(&self, state: &mut State) {
        let due = state.core.due();
        let is_earlier = due.is_some_and(|due| state.scheduled.is_none_or(|scheduled| due < scheduled));
        if is_earlier {
            state.scheduled = due;
        }
        if is_earlier || !state.orders.is_empty() {
            self.alarm.notify_one();
        }
    }

    /// Brings the core what came of the store, and the time, and puts its orders into `orders`, which must be empty. Returns
    /// when to come again; from now on the alarm rings for an earlier moment only.
    pub(super) fn exchange(&self, events: &mut Vec<StoreEvent>, orders: &mut Vec<Order>) -> Option<Moment> {
        let mut state = self.state_now();
        let State { core, outside, .. } = &mut *state;
        let is_idle = events.is_empty();
        // Not too many, so that others have the core in between.
        for event in events.drain(..events.len().min(EVENTS_AT_ONCE)) {
            match event {
                StoreEvent::Answer(id, reply) => core.answered(id, reply, outside),
                StoreEvent::Woken(hint) => core.woken(hint, outside),
                StoreEvent::ChangedElsewhere(hint) => self.observers.changed_elsewhere(hint),
                StoreEvent::RevokedElsewhere(name) => core.revoked_elsewhere(&name, outside),
            }
        }
        // With an event, what is due has looked already. No more is to look before that is answered.
        if is_idle && core.due().is_some_and(|due| due <= outside.now) {
            core.timeout(outside);
        }
        self.carry_out(&mut state);
        std::mem::swap(&mut state.orders, orders);
        state.scheduled = state.core.due();
        state.scheduled.map(moment)
    }

    /// Makes a stream that nothing has been asked on.
    pub(super) fn new_stream(&self, caller: Option<Arc<str>>) -> (StreamKey, Arc<Shared>) {
        let mut state = self.state();
        let (key, shared) = (state.core.stream(caller), Arc::new(Shared::default()));
        state.streams.insert(key, Arc::clone(&shared));
        (key, shared)
    }

    /// Returns what the engine shares with the handles of a stream.
    pub(super) fn shared(&self, key: StreamKey) -> Arc<Shared> {
        self.state().streams.get(&key).cloned().unwrap_or_default()
    }

    /// Takes note that nobody reads a stream any more.
    pub(super) fn stop_reading(&self, key: StreamKey) {
        self.turn_on(|State { core, outside, streams, .. }| {
            streams.remove(&key);
            give_back_room(streams, 64);
            core.stop_reading(key, outside);
        });
    }

    /// Takes the next item of a stream, without a turn.
    pub(super) fn read(&self, key: StreamKey) -> lockbroker_core::Read {
        let mut state = self.state();
        let State { core, outside, .. } = &mut *state;
        let read = core.read(key, outside);
        outside.metrics.show(&core.counts());
        read
    }

    pub(super) fn unread(&self, key: StreamKey) -> usize {
        self.state().core.unread(key)
    }

    pub(super) fn has_many_unread(&self) -> bool {
        self.state().core.counts().unread > LockMetrics::MAX_UNREAD
    }

    pub(super) fn release(&self, name: &LockName, lock_id: LockId) -> Answer<Ended> {
        self.call(|state| &mut state.releases, |core, call, outside| core.release(call, name, lock_id, outside))
    }

    pub(super) fn renew_lease(&self, name: &LockName, lease: (LeaseId, Option<Account>)) -> Answer<LeaseRenewal> {
        self.call(|state| &mut state.renewals, |core, call, outside| core.renew_lease(call, name, lease, outside))
    }

    pub(super) fn revoke(&self, item: LockItem, only: Option<Etag>, immediate: bool) -> Answer<Revoked> {
        self.call(
            |state| &mut state.revocations,
            |core, call, outside| core.revoke(call, item, (only, immediate), outside),
        )
    }

    pub(super) fn look(&self, item: LockItem, lock_id: Option<LockId>) -> Answer<Seen> {
        self.call(|state| &mut state.looks, |core, call, outside| core.look(call, item, lock_id, outside))
    }

    pub(super) fn observe(&self, name: &LockName, look: Look) -> Answer<Observation> {
        self.call(|state| &mut state.observations, |core, call, outside| core.observe(call, name, look, outside))
    }

    pub(super) fn update(&self, name: &LockName, lock_id: LockId, value: LockValue) -> Answer<Updated> {
        self.call(|state| &mut state.updates, |core, call, outside| core.update(call, name, lock_id, value, outside))
    }

    /// Brings a call to the core. `waiting`: where its caller waits for the answer.
    fn call<T>(
        &self,
        waiting: fn(&mut State) -> &mut Callers<T>,
        bring: impl FnOnce(&mut Core, Call, &mut Outside),
    ) -> Answer<T> {
        let (caller, answer) = oneshot::channel();
        self.turn_on(|state| {
            state.last_call += 1;
            let call = state.last_call;
            waiting(state).insert(call, caller);
            bring(&mut state.core, call, &mut state.outside);
        });
        answer
    }

    /// Adds a part of those who wait to `found`, without a turn. Returns where the next part begins.
    pub(super) fn waiters(&self, which: &Which, from: Cursor, found: &mut Vec<SeenWaiter>) -> Option<Cursor> {
        self.state().core.waiters(which, from, found)
    }

    /// Returns what is known of these locks where they are kept here, without a turn, and corrects the time until a linger ends that this broker
    /// keeps: its item outlives it.
    pub(super) fn kept(&self, locks: &mut [Listed]) -> Vec<Option<Kept>> {
        let (state, now) = (self.state(), now());
        let kept = |lock: &mut Listed| match lock.state {
            ItemState::Held(id) => state.core.kept(&lock.item, id),
            ItemState::Lingering(id) => {
                if let Some(until) = state.core.closed_until(&lock.item, id) {
                    lock.expires_in = lock.expires_in.min(until.since(now));
                }
                None
            }
        };
        locks.iter_mut().map(kept).collect()
    }

    pub(super) async fn drained(&self) {
        // It cannot fail while the sender is here.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
    }
}

/// Answers a call. Whoever called may have left.
fn tell<T>(callers: &mut Callers<T>, call: Call, result: Result<T, Failure>) {
    if let Some(caller) = callers.remove(&call) {
        let _ = caller.send(result);
    }
}

impl Drop for Engine {
    /// Lets the store's task see that there is nothing to do any more.
    fn drop(&mut self) {
        self.alarm.notify_one();
    }
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        ids::grant_id()
    }

    fn linger_id(&mut self) -> LingerId {
        ids::linger_id()
    }

    fn etag(&self, state: ItemState) -> Etag {
        etag(state)
    }

    fn spread(&mut self, span: Duration, extra: Duration) -> Duration {
        span + extra.mul_f64(rand::rng().random_range(0.0..1.0))
    }

    fn breaks(&self, rule: Rule) -> bool {
        mutations::breaks(rule)
    }

    fn charge(&mut self, account: Account, mode: &Mode) -> Result<(), Failure> {
        self.accounts.charge(account, mode)
    }

    fn wait_is_over(&mut self, account: Account) {
        self.accounts.wait_is_over(account);
    }

    fn lock_is_gone(&mut self, account: Account) {
        self.accounts.lock_is_gone(account);
    }

    fn changed(&mut self, name: &LockName) {
        self.observers.changed(name);
    }

    fn observe(&mut self, observed: Observed<'_>) {
        self.metrics.observe(observed);
    }
}
