//! The tables of a broker, and what comes in and goes out.
//!
//! A turn takes one input, lets everything that it touches look at what there is to do, and leaves outputs behind. Nothing
//! calls back: who is to look is put in a queue, which the turn works off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::admission::Room;
use crate::env::{Env, Mark, Observed};
use crate::errand::{Errand, ErrandKey, Task};
use crate::event::{Event, LockRef};
use crate::failure::Failure;
use crate::hold::{End, HeldValue, Hold, HoldKey, ReleaseCall, RevokeCall, Stimulus};
use crate::lock::{CallKey, Etag, LeaseId, LockId, LockItem, LockName, LockValue, WakeHint};
use crate::names::Names;
use crate::outbox::{Item, Read};
use crate::request::{
    Account, Ended, LeaseRenewal, LockRequest, Look, Observation, ProtocolError, Purpose, Revoked, Settings,
    StoreTraits, StreamEnd, Updated,
};
use crate::rules::Rule;
use crate::session::{Stream, StreamKey};
use crate::slab::{Key, Slab};
use crate::store::{LockStatus, Order, Reply};
use crate::timers::{Slot, Timed, Timers};

/// A number by which whoever drives the core knows a call again.
pub type Call = u64;

/// Limits how many look by themselves at one time: what many locks have to do at once delays nobody else.
const LOOKS_AT_ONCE: usize = 1024;

/// Names a request to the store, for its answer. An answer that comes after the request was given up finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub(crate) asker: Asker,
    pub(crate) number: u32,
}

impl RequestId {
    /// Names a request of somebody who uses a store without a broker.
    pub fn outside(number: u32) -> RequestId {
        RequestId { asker: Asker::Outside, number }
    }

    /// Returns true if no hold asks, but an errand: to clean up, or to let a lock linger that was in mid-reattach.
    pub fn is_of_errand(self) -> bool {
        matches!(self.asker, Asker::Errand(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Asker {
    Hold(HoldKey),
    Errand(ErrandKey),
    /// Somebody who uses a store without a broker.
    Outside,
}

/// One whose time has come.
enum Due {
    Hold(HoldKey),
    Stream(StreamKey),
    Errand(ErrandKey),
}

/// An order to whoever drives the core.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// There is something to read on a stream, or its end.
    Readable(StreamKey),
    /// A Session's client was not heard for so long that its locks are lost. They are being given up. Whoever drives it says
    /// so to the client, and calls [`Broker::end`]; a few seconds later the stream ends by itself.
    Silent(StreamKey),
    /// Bring the store an order.
    Order(Order),
    /// A Release call is answered.
    Released {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<Ended, Failure>,
    },
    /// A revocation is answered.
    Revoked {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<Revoked, Failure>,
    },
    /// The renewal of a lease is answered.
    LeaseRenewed {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<LeaseRenewal, Failure>,
    },
    /// A look is answered.
    Looked {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<Seen, Failure>,
    },
    /// A look of those who observe is answered.
    Observed {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<Observation, Failure>,
    },
    /// An update of a value is answered.
    Updated {
        /// The call.
        call: Call,
        /// The answer.
        result: Result<Updated, Failure>,
    },
    /// After [`Broker::drain`], the last stream has gone and its releases are done.
    Drained,
}

/// A lock as a look shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// As the store has it.
    pub status: LockStatus,
    /// The end of the lease, if the lock is held by the id that was asked about, and kept here.
    pub lease_end: Option<Time>,
    /// When it was granted or last reattached, if it is kept here.
    pub held_since: Option<Time>,
}

/// The numbers of what clients can make a broker hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Locks that are being acquired, held, released or cleaned up, or that linger.
    pub locks: usize,
    /// Requests to wait that have no grant yet, as `--max-waiters` counts them.
    pub waits: usize,
    /// Locks that are held.
    pub held: usize,
    /// Requests that stand in a queue.
    pub waiting: usize,
    /// Events that wait to be read by clients.
    pub unread: usize,
}

/// Returns the number of those that may look by themselves at a time at which none has.
pub(crate) const fn no_budget_spent(now: Time) -> (Time, usize) {
    (now, LOOKS_AT_ONCE)
}

/// The tables of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) store: StoreTraits,
    pub(crate) holds: Slab<Hold>,
    pub(crate) streams: Slab<Stream>,
    pub(crate) errands: Slab<Errand>,
    /// The values of holds. Beside them, since most have none.
    pub(crate) values: BTreeMap<HoldKey, HeldValue>,
    pub(crate) names: Names,
    pub(crate) timers: Timers,
    /// The holds that are to look at what there is to do, in this turn.
    pub(crate) work: VecDeque<HoldKey>,
    /// The groups that are to look at what there is to do, in this turn, after the holds.
    pub(crate) groups_to_step: VecDeque<(StreamKey, LockRef)>,
    /// The holds that are to hear that the broker is going away, some in each turn.
    to_drain: Vec<HoldKey>,
    /// The number of those that may still look by themselves at this time.
    pub(crate) budget: (Time, usize),
    pub(crate) outputs: VecDeque<Output>,
    /// When the next look for those who wait behind holders may be sent.
    pub(crate) next_look: Option<Time>,
    /// For how long a broker that is going away goes on.
    pub(crate) draining: Option<Duration>,
    /// True when the process is about to end with locks held: nothing is released any more.
    pub(crate) abandoned: bool,
    pub(crate) counts: Counts,
    /// The number of streams, and of releases under way, that have to be finished before the broker may end.
    pub(crate) unfinished: usize,
    drained_told: bool,
    pub(crate) now: Time,
}

/// One turn: the tables, the outside, and what time it is.
pub(crate) struct Cx<'a, E> {
    pub(crate) core: &'a mut Core,
    pub(crate) env: &'a mut E,
    pub(crate) now: Time,
}

/// Hands out the locks of one store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broker {
    pub(crate) core: Core,
}

impl Broker {
    /// Makes a broker that has no locks. `seed` must be unknown to clients: it spreads the names that they choose.
    pub fn new(settings: Settings, store: StoreTraits, seed: u64) -> Broker {
        let core = Core {
            settings,
            store,
            holds: Slab::new(),
            streams: Slab::new(),
            errands: Slab::new(),
            values: BTreeMap::new(),
            names: Names::new(seed),
            timers: Timers::new(),
            work: VecDeque::new(),
            groups_to_step: VecDeque::new(),
            to_drain: Vec::new(),
            budget: no_budget_spent(Time::from_nanos(0)),
            outputs: VecDeque::new(),
            next_look: None,
            draining: None,
            abandoned: false,
            counts: Counts::default(),
            unfinished: 0,
            drained_told: false,
            now: Time::from_nanos(0),
        };
        Broker { core }
    }

    /// Takes a turn. Streams and errands that are due go first. Holds that are due look after `act`, so what that tells them
    /// counts first.
    fn turn<E: Env, T>(&mut self, env: &mut E, act: impl FnOnce(&mut Cx<'_, E>) -> T) -> T {
        // Never back, whatever the driver says.
        let now = env.now().max(self.core.now);
        self.core.now = now;
        let mut cx = Cx { core: &mut self.core, env, now };
        cx.fire();
        let result = act(&mut cx);
        cx.settle();
        result
    }

    /// Lets what is due look at what there is to do. Where that is much, [`Broker::due`] says that this is to be called again:
    /// when others have had their turn.
    pub fn timeout(&mut self, env: &mut impl Env) {
        self.core.budget.1 = LOOKS_AT_ONCE;
        self.turn(env, |_| ());
    }

    /// Returns when [`Broker::timeout`] is to be called.
    pub fn due(&self) -> Option<Time> {
        if self.core.to_drain.is_empty() { self.core.timers.first() } else { Some(self.core.now) }
    }

    /// Takes the next thing that is to be done outside. All are to be taken before anything is waited for.
    pub fn output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// Makes a stream on which nothing has been asked yet. `caller` is who its client is, for the audit.
    pub fn stream(&mut self, caller: Option<Arc<str>>) -> StreamKey {
        self.core.streams.insert(Stream::new(caller))
    }

    /// Begins to get a lock for a stream of its own. What comes of it is told there.
    ///
    /// # Errors
    /// There is no room, or the broker is going away.
    pub fn begin_alone(
        &mut self,
        stream: StreamKey,
        request: LockRequest,
        purpose: Purpose,
        env: &mut impl Env,
    ) -> Result<(), Failure> {
        self.turn(env, |cx| {
            let room = cx.admit(stream, &request)?;
            cx.core.unfinished += 1;
            cx.begin(stream, crate::event::SESSION, request, room);
            let hold = cx.core.streams.get(stream).and_then(Stream::alone);
            if let Some(hold) = hold.and_then(|hold| cx.core.holds.get_mut(hold)) {
                hold.is_for_lease = purpose == Purpose::Lease;
            }
            Ok(())
        })
    }

    /// Opens a Session whose locks have this ttl.
    ///
    /// # Errors
    /// The broker is going away.
    pub fn open(&mut self, stream: StreamKey, ttl: Duration, env: &mut impl Env) -> Result<(), Failure> {
        self.turn(env, |cx| cx.open_session(stream, ttl))
    }

    /// Takes note of a new lock's handle on a Session. [`Broker::begin`] or [`Broker::turn_back`] follows.
    ///
    /// # Errors
    /// The handle does not rise.
    pub fn take_ref(&mut self, stream: StreamKey, lock_ref: LockRef, env: &mut impl Env) -> Result<(), ProtocolError> {
        self.turn(env, |cx| cx.take_ref(stream, lock_ref))
    }

    /// Begins to get a lock on a Session. What comes of it is told there.
    pub fn begin(&mut self, stream: StreamKey, lock_ref: LockRef, request: LockRequest, env: &mut impl Env) {
        self.turn(env, |cx| {
            if !cx.may_begin(stream) {
                return;
            }
            match cx.admit(stream, &request) {
                Ok(room) => cx.begin(stream, lock_ref, request, room),
                Err(failure) => drop(cx.push(stream, Item::Event(lock_ref, Event::Failed(failure)))),
            }
        });
    }

    /// Begins to get several locks on a Session together, up to [`MOST_TOGETHER`](crate::MOST_TOGETHER): different ones, or
    /// permits of one. All want it in the same way: once, with the same wait, or each as it is held already. What comes of it is told there.
    pub fn begin_together(
        &mut self,
        stream: StreamKey,
        lock_ref: LockRef,
        requests: Vec<LockRequest>,
        env: &mut impl Env,
    ) {
        self.turn(env, |cx| {
            if cx.may_begin(stream) {
                cx.begin_group(stream, lock_ref, requests);
            }
        });
    }

    /// Turns back a lock whose request does not do.
    pub fn turn_back(&mut self, stream: StreamKey, lock_ref: LockRef, failure: Failure, env: &mut impl Env) {
        self.turn(env, |cx| {
            cx.env.observe(Observed::TurnedBack { failure: &failure });
            cx.push(stream, Item::Event(lock_ref, Event::Failed(failure)));
        });
    }

    /// Takes note of a heartbeat: all locks of the Session are renewed, and then it is acknowledged.
    ///
    /// # Errors
    /// Its number does not rise.
    pub fn heartbeat(&mut self, stream: StreamKey, seq: i64, env: &mut impl Env) -> Result<(), ProtocolError> {
        self.turn(env, |cx| cx.heartbeat(stream, seq))
    }

    /// Gives up a lock of a Session, or the wait for it. Ending what has already ended does nothing.
    ///
    /// # Errors
    /// There never was such a handle.
    pub fn end_lock(&mut self, stream: StreamKey, lock_ref: LockRef, env: &mut impl Env) -> Result<(), ProtocolError> {
        self.turn(env, |cx| cx.end_lock(stream, lock_ref))
    }

    /// Ends a stream. A stream of one lock whose client was unresponsive may still be closed by it.
    pub fn end(&mut self, stream: StreamKey, by: StreamEnd, env: &mut impl Env) {
        self.turn(env, |cx| cx.end_stream(stream, by));
    }

    /// Takes note that nobody reads a stream any more.
    pub fn stop_reading(&mut self, stream: StreamKey, env: &mut impl Env) {
        self.turn(env, |cx| cx.stop_reading(stream));
    }

    /// Takes the next item that waits to be read on a stream.
    pub fn read(&mut self, stream: StreamKey, env: &mut impl Env) -> Read {
        let now = self.core.now;
        Cx { core: &mut self.core, env, now }.read(stream)
    }

    /// Returns how many events wait to be read on a stream. An ack counts as one more for each lock that it leaves out.
    pub fn unread(&self, stream: StreamKey) -> usize {
        self.core.streams.get(stream).map_or(0, |stream| stream.outbox.unread())
    }

    /// Brings the store's answer to a request. One to a request that was given up is passed over.
    pub fn answered(&mut self, id: RequestId, reply: Reply, env: &mut impl Env) {
        self.turn(env, |cx| match id.asker {
            Asker::Hold(key) => {
                let hold = cx.core.holds.get_mut(key);
                if let Some(hold) = hold.filter(|hold| hold.asks && hold.request == id.number) {
                    hold.asks = false;
                    cx.step(key, Stimulus::Answer(reply));
                }
            }
            Asker::Errand(errand) if cx.core.errands.get(errand).is_some_and(|errand| errand.request == id.number) => {
                cx.step_errand(errand, Some(reply));
            }
            Asker::Errand(_) | Asker::Outside => {}
        });
    }

    /// Releases the grant that `lock_id` names, wherever it is kept. [`Output::Released`] has the answer.
    pub fn release(&mut self, call: Call, name: &LockName, lock_id: LockId, env: &mut impl Env) {
        self.turn(env, |cx| {
            let holder = cx.holder(&LockItem { name: name.clone(), permit: lock_id.permit }, lock_id.grant);
            match holder.filter(|hold| cx.note_end(*hold, End::Release(Box::new(ReleaseCall { call, lock_id })))) {
                Some(hold) => cx.look_later(hold),
                None => cx.release_by_id(call, name, lock_id),
            }
        });
    }

    /// Takes a lock from its holder, wherever it is kept, and keeps it closed until the holder can no longer believe in it.
    /// `only`: the one grant that is meant. `immediate`: frees it at once, also if it lingers, or was revoked before and is
    /// still closed, though that can make two holders. [`Output::Revoked`] has the answer.
    pub fn revoke(&mut self, call: Call, item: LockItem, (only, immediate): (Option<Etag>, bool), env: &mut impl Env) {
        self.turn(env, |cx| cx.revoke(RevokeCall { call, only, immediate }, item));
    }

    /// Makes the lock that was announced on a stream of its own a lease: from now on its client has no stream, and renews it by
    /// calls. `call`: the call that it came from, if that had a request id. The stream is over. Returns false if the lock is not
    /// held any more: what became of it is told there.
    pub fn make_lease(&mut self, stream: StreamKey, call: Option<CallKey>, env: &mut impl Env) -> bool {
        self.turn(env, |cx| {
            let hold = cx.core.streams.get(stream).and_then(Stream::alone);
            hold.is_some_and(|hold| cx.make_lease(hold, call))
        })
    }

    /// Renews a lease, whichever broker has granted it. [`Output::LeaseRenewed`] has the answer.
    pub fn renew_lease(
        &mut self,
        call: Call,
        name: &LockName,
        (lease, account): (LeaseId, Option<Account>),
        env: &mut impl Env,
    ) {
        self.turn(env, |cx| cx.renew_lease(call, name, lease, account));
    }

    /// Heeds what another broker says of a lock that is held here: it may have been revoked.
    pub fn revoked_elsewhere(&mut self, name: &LockName, env: &mut impl Env) {
        self.turn(env, |cx| cx.revoked_elsewhere(name));
    }

    /// Looks at a lock, or at a permit. [`Output::Looked`] has the answer.
    pub fn look(&mut self, call: Call, item: LockItem, lock_id: Option<LockId>, env: &mut impl Env) {
        self.turn(env, |cx| cx.look_for(call, item, lock_id));
    }

    /// Looks at a lock for those who observe it. [`Output::Observed`] has the answer.
    pub fn observe(&mut self, call: Call, name: &LockName, look: Look, env: &mut impl Env) {
        self.turn(env, |cx| cx.observe(call, name, look));
    }

    /// Gives the grant that `lock_id` names another value, wherever it is kept. [`Output::Updated`] has the answer.
    pub fn update(&mut self, call: Call, name: &LockName, lock_id: LockId, value: LockValue, env: &mut impl Env) {
        self.turn(env, |cx| cx.update(call, name, lock_id, value));
    }

    /// Heeds what another broker says of a lock that may be free.
    pub fn woken(&mut self, hint: WakeHint, env: &mut impl Env) {
        self.turn(env, |cx| cx.woken(hint));
    }

    /// Takes no new work and tells every stream, so that clients reattach elsewhere. Releases nothing (R9). Locks are renewed for as long as this
    /// process runs; it should be `grace` at the most.
    pub fn drain(&mut self, grace: Duration, env: &mut impl Env) {
        self.turn(env, |cx| {
            if cx.core.draining.replace(grace).is_none() {
                cx.tell_all_draining(grace);
                cx.core.to_drain = cx.core.holds.keys().collect();
            }
        });
    }

    /// Releases nothing from now on, whatever becomes of the streams: said before the process ends with locks still held,
    /// which then stand for their ttl.
    pub fn abandon(&mut self) {
        self.core.abandoned = true;
    }

    /// Returns how many there are of what clients can make a broker hold.
    pub fn counts(&self) -> Counts {
        self.core.counts
    }

    /// Returns true until a stream is forgotten: until it has ended, nobody reads it, and nothing is left to tell on it.
    pub fn has_stream(&self, stream: StreamKey) -> bool {
        self.core.streams.get(stream).is_some()
    }

    /// Returns true if nothing is left of any client: all tables are empty.
    pub fn is_empty(&self) -> bool {
        let core = &self.core;
        core.holds.len() + core.streams.len() + core.errands.len() + core.names.len() + core.timers.len() == 0
            && core.values.is_empty()
            && core.counts == Counts::default()
            && core.unfinished == 0
    }
}

impl Core {
    /// Takes out the next that is due, and its time.
    fn next_due(&mut self) -> Option<Due> {
        Some(match self.timers.pop(self.now)?.slot() {
            Slot::Hold(slot) => Due::Hold(taken(&mut self.holds, slot, |hold| &mut hold.due)?),
            Slot::Stream(slot) => Due::Stream(taken(&mut self.streams, slot, |stream| &mut stream.due)?),
            Slot::Errand(slot) => Due::Errand(taken(&mut self.errands, slot, |errand| &mut errand.due)?),
        })
    }

    /// Takes one of those that may look by themselves at this time. Returns false if there have been enough.
    pub(crate) fn has_budget(&mut self, now: Time) -> bool {
        if self.budget.0 != now {
            self.budget = no_budget_spent(now);
        }
        let left = self.budget.1.checked_sub(1);
        self.budget.1 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Returns the key of what stands in a slot, whose time has been taken out.
fn taken<T>(table: &mut Slab<T>, slot: u32, due: impl FnOnce(&mut T) -> &mut Option<Time>) -> Option<Key<T>> {
    let key = table.key_in(slot);
    debug_assert!(key.is_some(), "whatever is removed takes its time along");
    *due(table.get_mut(key?)?) = None;
    key
}

impl<E: Env> Cx<'_, E> {
    /// Lets what is due look at what there is to do. What sets a time that has come already has its turn in the next one.
    fn fire(&mut self) {
        let mut due = Vec::new();
        while self.core.timers.first().is_some_and(|first| first <= self.now) && self.core.has_budget(self.now) {
            due.extend(self.core.next_due());
        }
        while !self.core.to_drain.is_empty() && self.core.has_budget(self.now) {
            let drained = self.core.to_drain.pop();
            self.core.work.extend(drained);
        }
        for due in due {
            match due {
                Due::Hold(key) => self.core.work.push_back(key),
                Due::Stream(key) => self.step_stream(key),
                Due::Errand(key) => self.step_errand(key, None),
            }
        }
    }

    /// Works off the queue of those who are to look.
    fn settle(&mut self) {
        loop {
            if let Some(hold) = self.core.work.pop_front() {
                self.step(hold, Stimulus::Look);
            } else if let Some((stream, group)) = self.core.groups_to_step.pop_front() {
                self.step_group(stream, group);
            } else {
                break;
            }
        }
        if self.core.draining.is_some() && self.core.unfinished == 0 && !self.core.drained_told {
            self.core.drained_told = true;
            self.core.outputs.push_back(Output::Drained);
        }
    }

    /// Returns true if a Session takes requests. Its client may have been found silent in this very turn: nobody would end what it
    /// asks for.
    fn may_begin(&mut self, stream: StreamKey) -> bool {
        let listens = self.core.streams.get_mut(stream).and_then(Stream::listening).is_some();
        let takes = listens || self.env.breaks(Rule::SilentTakesNothing);
        if !takes {
            self.env.mark(Mark::SilentTookNothing);
        }
        takes
    }

    /// Sets when a hold looks anew by itself.
    pub(crate) fn wake_hold_at(&mut self, me: HoldKey, at: Option<Time>) {
        let Core { timers, holds, .. } = &mut *self.core;
        if let Some(hold) = holds.get_mut(me) {
            timers.set(Timed::hold(me), &mut hold.due, at);
        }
    }

    /// Sets when a stream looks anew by itself.
    pub(crate) fn wake_stream_at(&mut self, key: StreamKey, at: Option<Time>) {
        let Core { timers, streams, .. } = &mut *self.core;
        if let Some(stream) = streams.get_mut(key) {
            timers.set(Timed::stream(key), &mut stream.due, at);
        }
    }

    /// Sets when an errand looks anew by itself.
    pub(crate) fn wake_errand_at(&mut self, key: ErrandKey, at: Option<Time>) {
        let Core { timers, errands, .. } = &mut *self.core;
        if let Some(errand) = errands.get_mut(key) {
            timers.set(Timed::errand(key), &mut errand.due, at);
        }
    }

    /// Lets a hold look at what there is to do, later in this turn.
    pub(crate) fn look_later(&mut self, hold: HoldKey) {
        self.core.work.push_back(hold);
    }

    /// Returns the record of a hold that is there: the one that takes its turn, or one that a table names.
    pub(crate) fn hold(&self, me: HoldKey) -> &Hold {
        self.core.holds.get(me).expect("a hold takes its turn only while it is there")
    }

    /// Returns the record of a hold that is there, to change it.
    pub(crate) fn hold_mut(&mut self, me: HoldKey) -> &mut Hold {
        self.core.holds.get_mut(me).expect("a hold takes its turn only while it is there")
    }

    /// Forgets a hold that is done. Its room is free for another.
    pub(crate) fn remove_hold(&mut self, me: HoldKey) {
        if let Some(end) = self.hold_mut(me).end.take() {
            self.fall_back(me, end);
        }
        self.give_up(me);
        self.forget_value(me);
        self.detach(me);
        self.wake_hold_at(me, None);
        self.give_up_wait(me);
        if let Some(hold) = self.core.holds.remove(me) {
            self.core.counts.locks -= usize::from(hold.room == Some(Room::Lock));
            if let Some(account) = hold.account {
                self.env.lock_is_gone(account);
            }
        }
    }

    pub(crate) fn insert_errand(&mut self, item: LockItem, has_room: bool, task: Task) -> ErrandKey {
        self.core.errands.insert(Errand { item, has_room, request: 0, due: None, task })
    }

    pub(crate) fn remove_errand(&mut self, key: ErrandKey) {
        self.wake_errand_at(key, None);
        if let Some(errand) = self.core.errands.remove(key) {
            self.core.counts.locks -= usize::from(errand.has_room);
        }
    }
}
