//! A Session with two locks: heartbeats, acks, and a client that reads what it is told when it likes.
//!
//! One shipped core, whose store answers late, and one client. Nobody else asks for its locks: a client that believes in
//! a lock without its item is all that can go wrong, and the item's end comes before any second holder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::env::{Env, Mark};
use lockbroker_core::event::{Event, LockRef};
use lockbroker_core::lock::{FencingToken, GrantId, LingerId, LockName, Owner as Label};
use lockbroker_core::normal::Normal;
use lockbroker_core::request::{LockRequest, Mode, Settings, StoreTraits, StreamEnd};
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::machine::Op as Shipped;
use lockbroker_core::store::{Change, Granted, ItemState, LockStatus, Order, Reply};
use lockbroker_core::{Broker as Core, Item as News, Output, Read, RequestId, StreamKey, Time};
use stateright::Property;

use crate::broker::{NOW, PAUSE, SOON, TICK, grant_id, linger_id, of_grant, of_linger, ticks};
use crate::state::{Id, LINGER, Op};

/// The names of the properties.
pub const STANDS: &str = "a lock that its client believes in has its item";
pub const NO_IDLE_LINGER: &str = "no lock lingers that was given up before its client has read of it";

/// The moment of a step: after all that is noted, which is ranked in microseconds.
const STEP: Time = Time::from_nanos(NOW.nanos() + 50_000);
/// The ticks after which nothing makes a difference any more.
const LONG_AGO: u64 = 8;
/// The time by which an item may die before its T is over.
const MARGIN: u8 = 1;

/// The bounds of a configuration. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub name: &'static str,
    pub ttl: u8,
    pub linger: u8,
    /// The number of locks that the client asks for.
    pub locks: usize,
    /// The number of heartbeats that it sends.
    pub beats: u8,
    /// True if it gives locks up of its own accord.
    pub ends: bool,
    /// The most messages that the client leaves unread.
    pub unread: usize,
}

const SMALL: Bounds = Bounds { name: "session", ttl: 3, linger: 0, locks: 1, beats: 2, ends: true, unread: 3 };
const LINGERS: Bounds = Bounds { name: "session, linger", linger: 1, ..SMALL };
/// The client keeps its lock, and reads slowly.
const SLOW: Bounds = Bounds { name: "session, slow", ttl: 4, ends: false, unread: 2, ..SMALL };

/// Two locks, which an ack may cover one by one.
const TWO: Bounds = Bounds { name: "session, two locks", ttl: 2, locks: 2, beats: 1, ends: false, unread: 2, ..SMALL };

/// The configurations that are explored with every change.
pub const ALL: &[Bounds] = &[SMALL, Bounds { name: "session, linger", linger: 1, ..SMALL }, SLOW, TWO];

/// A rule of the core left out, and the property that does not hold then.
#[derive(Clone, Copy, Debug)]
pub struct Mutilation {
    pub rule: Rule,
    pub bounds: Bounds,
    pub breaks: &'static str,
}

/// The rules that Sessions rest on, and that can be seen in whole ticks.
pub const RULES: &[Mutilation] = &[
    Mutilation { rule: Rule::AnnouncedAfterHeartbeat, bounds: SMALL, breaks: STANDS },
    Mutilation { rule: Rule::AnswerInTime, bounds: SMALL, breaks: STANDS },
    Mutilation { rule: Rule::Silence, bounds: TWO, breaks: STANDS },
    Mutilation { rule: Rule::UnreadGoesAtOnce, bounds: LINGERS, breaks: NO_IDLE_LINGER },
];

/// One configuration, with all rules or without one.
#[derive(Clone, Debug)]
pub struct Model {
    pub bounds: Bounds,
    pub rule: Option<Rule>,
    names: [LockName; 2],
}

/// The world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    core: Arc<Core>,
    key: StreamKey,
    items: [Option<Item>; 2],
    flights: Vec<Flight>,
    client: Client,
    ids: u8,
}

/// The item of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Item {
    id: Id,
    /// The rest of its T.
    left: u8,
}

/// A request to the store that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    lock: u8,
    op: Op,
    /// None until it has been carried out.
    done: Option<Said>,
    /// None if nobody waits for the answer any more.
    id: Option<RequestId>,
}

impl Flight {
    fn is_of_errand(&self) -> bool {
        self.id.is_some_and(RequestId::is_of_errand)
    }
}

/// An answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Said {
    Done,
    Exists,
    Missing,
}

/// The client, as clients/rust counts its validities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    /// The heartbeats that may still be acknowledged, with the ticks since they were sent.
    beats: Vec<(u8, u8)>,
    last_beat: u8,
    /// The rest of the validity of all locks that are not behind.
    covered: u8,
    /// False once its validity is over, or the broker has found it silent: it uses the stream no more.
    connected: bool,
    locks: [Lock; 2],
}

/// A lock, as the client knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Lock {
    /// Its handle; 0 before it is asked for.
    handle: u8,
    /// The id that it holds, if it holds it.
    id: Id,
    /// The rest of its validity, where the latest ack has left it out.
    behind: Option<u8>,
    /// True once the client wants it no more, or was told its last event.
    over: bool,
    /// True if it was given up while its grant was unread.
    ended_unread: bool,
}

impl Client {
    /// The broker takes it for silent. Nobody can tell from now on what it will read.
    fn lose_sight(&mut self) {
        self.connected = false;
        self.locks.iter_mut().for_each(|lock| lock.ended_unread = false);
    }

    fn valid(&self, lock: &Lock) -> u8 {
        if lock.id == 0 || lock.over { 0 } else { lock.behind.unwrap_or(self.covered) }
    }
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    ItemDies(u8),
    /// The broker takes the client for silent, which believes on.
    Silent,
    Begin(u8),
    End(u8),
    Beat,
    Read,
    TimeOut,
    Command(u8),
    Answer(u8),
}

/// The outside of the core.
struct Outside<'a> {
    now: Time,
    ids: &'a mut u8,
    rule: Option<Rule>,
}

impl Env for Outside<'_> {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        *self.ids += 1;
        grant_id(*self.ids)
    }

    fn linger_id(&mut self) -> LingerId {
        *self.ids += 1;
        linger_id(*self.ids)
    }

    fn spread(&mut self, _: Duration, _: Duration) -> Duration {
        PAUSE
    }

    fn mark(&mut self, _: Mark) {}

    fn breaks(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }
}

impl Model {
    pub fn new(bounds: Bounds, rule: Option<Rule>) -> Model {
        let names = ["first", "second"].map(|name| LockName::new(name).expect("a name"));
        Model { bounds, rule, names }
    }

    fn initial(&self) -> State {
        let settings = Settings {
            default_ttl: ticks(self.bounds.ttl),
            max_ttl: ticks(self.bounds.ttl),
            poll_interval: PAUSE,
            max_locks: std::num::NonZeroUsize::MAX,
            max_waiters: std::num::NonZeroUsize::MAX,
        };
        let mut core = Core::new(settings, StoreTraits { is_shared: true, can_be_woken: false }, 1);
        let key = core.stream(None);
        let mut ids = 0;
        let mut outside = Outside { now: NOW, ids: &mut ids, rule: None };
        core.open(key, ticks(self.bounds.ttl), &mut outside).expect("there is room");
        while core.output().is_some() {}
        while let Read::Item(_) = core.read(key, &mut outside) {}
        let client = Client {
            beats: Vec::new(),
            last_beat: 0,
            covered: self.bounds.ttl - MARGIN,
            connected: true,
            locks: [Lock::default(); 2],
        };
        State { core: Arc::new(core), key, items: [None; 2], flights: Vec::new(), client, ids }
    }

    /// Lets the core take a turn, and does what it says.
    fn turn(&self, state: &mut State, now: Time, act: impl FnOnce(&mut Core, StreamKey, &mut Outside<'_>)) {
        let key = state.key;
        let core = Arc::make_mut(&mut state.core);
        let mut outside = Outside { now, ids: &mut state.ids, rule: self.rule };
        act(core, key, &mut outside);
        while let Some(output) = core.output() {
            match output {
                Output::Order(Order::Ask(id, name, request)) => {
                    let op = Op::packed(&Shipped::of(request, false));
                    let lock = u8::from(name == self.names[1]);
                    state.flights.push(Flight { lock, op, done: None, id: Some(id) });
                }
                Output::Order(Order::GiveUp(id)) => {
                    let given_up = state.flights.iter_mut().filter(|flight| flight.id == Some(id));
                    given_up.for_each(|flight| flight.id = None);
                }
                Output::Silent(key) => {
                    state.client.lose_sight();
                    core.end(key, StreamEnd::Unresponsive, &mut outside);
                    core.stop_reading(key, &mut outside);
                }
                _ => {}
            }
        }
    }

    fn begin(&self, state: &mut State, lock: usize) {
        let handle = state.client.locks.iter().map(|lock| lock.handle).max().unwrap_or(0) + 1;
        state.client.locks[lock].handle = handle;
        let request = LockRequest {
            name: self.names[lock].clone(),
            ttl: ticks(self.bounds.ttl),
            linger: ticks(self.bounds.linger),
            owner: Label::default(),
            mode: Mode::Wait { max_wait: None, poll_interval: None },
        };
        self.turn(state, STEP, |core, key, outside| {
            core.take_ref(key, handle.into(), outside).expect("handles rise");
            core.begin(key, handle.into(), request, outside);
        });
    }

    fn end(&self, state: &mut State, lock: usize) {
        let handle: LockRef = state.client.locks[lock].handle.into();
        let ended_unread = state.has_unread_grant(handle);
        let lock = &mut state.client.locks[lock];
        (lock.over, lock.ended_unread) = (true, ended_unread);
        self.turn(state, STEP, |core, key, outside| core.end_lock(key, handle, outside).expect("it was begun"));
    }

    fn beat(&self, state: &mut State) {
        state.client.last_beat += 1;
        let seq = state.client.last_beat;
        state.client.beats.push((seq, 0));
        self.turn(state, STEP, |core, key, outside| core.heartbeat(key, seq.into(), outside).expect("they rise"));
    }

    /// Reads what comes next, as the client takes it.
    fn read(&self, state: &mut State) {
        let mut read = Read::Nothing;
        self.turn(state, STEP, |core, key, outside| read = core.read(key, outside));
        let Read::Item(news) = read else { return };
        let client = &mut state.client;
        match news {
            News::Ack(ack) => {
                let Some((_, age)) = client.beats.iter().copied().find(|(seq, _)| i64::from(*seq) == ack.seq) else {
                    return;
                };
                client.beats.retain(|(seq, _)| i64::from(*seq) >= ack.seq);
                let covered = client.covered;
                for lock in &mut client.locks {
                    let is_behind = ack.not_renewed.contains(&lock.handle.into());
                    lock.behind = is_behind.then(|| lock.behind.unwrap_or(covered));
                }
                client.covered = (self.bounds.ttl - MARGIN).saturating_sub(age);
            }
            News::Event(handle, event) => {
                let lock = client.locks.iter_mut().find(|lock| i64::from(lock.handle) == handle);
                let Some(lock) = lock else { return };
                match event {
                    Event::Acquired { lock_id, .. } => {
                        lock.id = of_grant(lock_id.grant);
                    }
                    event => lock.over |= event.is_last(),
                }
            }
            News::Opened { .. } => {}
        }
    }

    fn fall_silent(&self, state: &mut State) {
        state.client.lose_sight();
        self.turn(state, STEP, |core, key, outside| {
            core.end(key, StreamEnd::Unresponsive, outside);
            core.stop_reading(key, outside);
        });
    }

    /// Carries out a request.
    fn carry_out(&self, state: &mut State, index: usize) {
        let Flight { lock, op, .. } = state.flights[index];
        let slot = &mut state.items[usize::from(lock)];
        let carries = |item: &Option<Item>, id: Id| match item {
            Some(item) if item.id == id => Said::Done,
            Some(_) => Said::Exists,
            None => Said::Missing,
        };
        let done = match op {
            Op::Grant { id, ttl } | Op::Reassert { id, ttl } => match slot {
                Some(_) => Said::Exists,
                None => {
                    *slot = Some(Item { id, left: ttl });
                    Said::Done
                }
            },
            Op::HandOver { from, to, ttl } | Op::Replace { from, to, ttl, .. } => {
                let said = carries(slot, from);
                if said == Said::Done {
                    *slot = Some(Item { id: to, left: ttl });
                }
                said
            }
            Op::Remove { id } => {
                let said = carries(slot, id);
                if said == Said::Done {
                    *slot = None;
                }
                said
            }
            Op::Stands { id } => carries(slot, id),
            Op::Look if slot.is_some() => Said::Exists,
            Op::Look => Said::Missing,
            Op::Probe | Op::Begin(_) | Op::Open(..) => unreachable!("the store has no shards"),
        };
        state.flights[index].done = Some(done);
    }

    /// Brings the answer to a request.
    fn answer(&self, state: &mut State, index: usize) {
        let Flight { lock, op, done, id } = state.flights.remove(index);
        let done = done.expect("it was carried out");
        let reply = match op {
            Op::Grant { .. } | Op::HandOver { .. } => Reply::Granted(Ok(match done {
                Said::Done => Granted::Yes(FencingToken::FIRST),
                _ => Granted::No,
            })),
            Op::Look => Reply::Status(Ok(self.status(state.items[usize::from(lock)]))),
            Op::Stands { .. } => Reply::Stands(Ok(done == Said::Done)),
            _ => Reply::Changed(Ok(match done {
                Said::Done => Change::Done,
                Said::Exists => Change::TakenOver,
                Said::Missing => Change::Gone,
            })),
        };
        if let Some(id) = id {
            self.turn(state, STEP, |core, _, outside| core.answered(id, reply, outside));
        }
    }

    fn status(&self, item: Option<Item>) -> LockStatus {
        match item {
            None => LockStatus::Free,
            Some(item) => {
                let state = match item.id & LINGER {
                    0 => ItemState::Held(grant_id(item.id)),
                    _ => ItemState::Lingering(linger_id(item.id)),
                };
                LockStatus::Taken { state, owner: Label::default(), expires_in: TICK }
            }
        }
    }

    fn tick(&self, state: &mut State) {
        for item in &mut state.items {
            *item = item.map(|item| Item { left: item.left - 1, ..item }).filter(|item| item.left > 0);
        }
        let client = &mut state.client;
        client.beats.iter_mut().for_each(|(_, age)| *age = (*age + 1).min(self.bounds.ttl));
        client.covered = client.covered.saturating_sub(1);
        for lock in &mut client.locks {
            lock.behind = lock.behind.map(|left| left.saturating_sub(1));
        }
        if client.covered == 0 {
            // It has lost all its locks, and uses the stream no more.
            client.connected = false;
        }
        if !client.connected {
            client.beats.clear();
        }
        for lock in &mut client.locks {
            // What has run out does not become valid again.
            lock.over |= lock.id != 0 && lock.behind.unwrap_or(client.covered) == 0;
            if lock.over {
                (lock.id, lock.behind) = (0, None);
            }
        }
    }

    fn is_idle_clean_up(state: &State, flight: &Flight) -> bool {
        let finds = |id| state.items[usize::from(flight.lock)].is_some_and(|item| item.id == id);
        matches!(flight.op, Op::Remove { id } if flight.is_of_errand() && flight.done.is_none() && !finds(id))
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial().canonical(Duration::ZERO)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !stands(state) {
            return;
        }
        actions.push(Action::Tick);
        let client = &state.client;
        for (lock, known) in client.locks.iter().enumerate().take(self.bounds.locks) {
            if client.connected && known.handle == 0 {
                actions.push(Action::Begin(lock as u8));
            }
            if client.connected && self.bounds.ends && known.handle != 0 && !known.over {
                actions.push(Action::End(lock as u8));
            }
            if state.items[lock].is_some_and(|item| item.left <= MARGIN) {
                actions.push(Action::ItemDies(lock as u8));
            }
        }
        let unread = state.core.unread(state.key);
        if client.connected && client.last_beat < self.bounds.beats && unread < self.bounds.unread {
            actions.push(Action::Beat);
        }
        if client.connected && unread > 0 {
            actions.push(Action::Read);
        }
        if client.connected {
            actions.push(Action::Silent);
        }
        if state.core.due().is_some_and(|due| due <= NOW + SOON) {
            actions.push(Action::TimeOut);
        }
        for (index, flight) in state.flights.iter().enumerate() {
            match flight.done {
                Some(_) => actions.push(Action::Answer(index as u8)),
                None if Model::is_idle_clean_up(state, flight) => {}
                None => actions.push(Action::Command(index as u8)),
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => self.tick(&mut state),
            Action::ItemDies(lock) => state.items[lock as usize] = None,
            Action::Silent => self.fall_silent(&mut state),
            Action::Begin(lock) => self.begin(&mut state, lock as usize),
            Action::End(lock) => self.end(&mut state, lock as usize),
            Action::Beat => self.beat(&mut state),
            Action::Read => self.read(&mut state),
            Action::TimeOut => self.turn(&mut state, NOW + SOON, |core, _, outside| core.timeout(outside)),
            Action::Command(flight) => self.carry_out(&mut state, flight as usize),
            Action::Answer(flight) => self.answer(&mut state, flight as usize),
        }
        let passes = if action == Action::Tick { TICK } else { Duration::ZERO };
        let after = state.canonical(passes);
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Model>> {
        vec![
            Property::always(STANDS, |_, state: &State| stands(state)),
            Property::always(NO_IDLE_LINGER, |_, state: &State| {
                let lingers = |item: &Option<Item>| item.is_some_and(|item| item.id & LINGER > 0);
                state.items.iter().zip(&state.client.locks).all(|(item, lock)| {
                    !(lingers(item) && lock.ended_unread && state.has_unread_grant(lock.handle.into()))
                })
            }),
        ]
    }
}

impl State {
    /// Returns true if the grant of a lock waits to be read, and its end does not.
    fn has_unread_grant(&self, handle: LockRef) -> bool {
        let mut core = self.core.as_ref().clone();
        let mut ids = self.ids;
        let mut outside = Outside { now: STEP, ids: &mut ids, rule: None };
        let mut granted = false;
        while let Read::Item(news) = core.read(self.key, &mut outside) {
            if let News::Event(of, event) = news
                && of == handle
            {
                granted = matches!(event, Event::Acquired { .. }) || granted && !event.is_last();
            }
        }
        granted
    }
}

fn stands(state: &State) -> bool {
    let client = &state.client;
    let carries = |item: &Option<Item>, id: Id| item.is_some_and(|item| item.id == id);
    client.locks.iter().zip(&state.items).all(|(lock, item)| client.valid(lock) == 0 || carries(item, lock.id))
}

/// New names for ids, and moments in whole ticks. Within a tick moments keep their order, since a heartbeat covers what was
/// sent after it.
struct Names {
    ids: [Id; 256],
    last: u8,
    may_stand: [bool; 256],
    passes: Duration,
    /// The new moments, once they are known; until then those that were met.
    times: BTreeMap<Time, Time>,
    is_known: bool,
}

impl Names {
    fn rename(&mut self, id: &mut Id) {
        if *id == 0 || !self.is_known {
            return;
        }
        let new = &mut self.ids[*id as usize];
        if *new == 0 {
            self.last += 1;
            *new = self.last | *id & LINGER;
        }
        *id = *new;
    }

    /// Ranks the moments that were met.
    fn rank(&mut self) {
        let mut next = BTreeMap::new();
        for (time, new) in &mut self.times {
            let ago = (NOW + self.passes).since(*time).as_nanos().div_ceil(TICK.as_nanos()) as u64;
            let tick = ago.min(LONG_AGO);
            let rank: &mut u64 = next.entry(tick).or_default();
            *new = NOW - TICK * tick as u32 + Duration::from_micros(*rank);
            *rank += 1;
        }
        self.is_known = true;
    }
}

impl Normal for Names {
    fn now(&self) -> Time {
        STEP
    }

    fn since(&mut self, time: &mut Time, _: Duration) {
        match self.is_known {
            true => *time = self.times[time],
            false => drop(self.times.insert(*time, *time)),
        }
    }

    fn until(&mut self, time: &mut Time) {
        if *time == Time::NEVER {
            return;
        }
        let left = time.since(NOW + self.passes).as_nanos();
        let rest = left % TICK.as_nanos() > 2 * SOON.as_nanos();
        *time = NOW + TICK * ((left / TICK.as_nanos()) as u32 + u32::from(rest));
    }

    fn pause(&mut self, time: &mut Time) {
        self.until(time);
        *time = (*time).max(NOW + PAUSE);
    }

    fn effort(&mut self, time: &mut Time) {
        *time = Time::NEVER;
    }

    fn grant(&mut self, id: &mut GrantId) {
        let mut name = of_grant(*id);
        self.rename(&mut name);
        *id = grant_id(name);
    }

    fn linger(&mut self, id: &mut LingerId) {
        let mut name = of_linger(*id);
        self.rename(&mut name);
        *id = linger_id(name);
    }

    fn may_stand(&self, id: GrantId) -> bool {
        self.may_stand[of_grant(id) as usize]
    }
}

impl State {
    /// Returns the one state that stands for all that differ from this one in names only, when so much time has passed.
    fn canonical(mut self, passes: Duration) -> State {
        let mut may_stand = [false; 256];
        let made = self.flights.iter().filter(|flight| flight.done.is_none()).filter_map(|flight| match flight.op {
            Op::Grant { id, .. } | Op::Reassert { id, .. } => Some(id),
            Op::HandOver { to, .. } | Op::Replace { to, .. } => Some(to),
            _ => None,
        });
        made.chain(self.items.iter().flatten().map(|item| item.id)).for_each(|id| may_stand[id as usize] = true);
        let stands = |flight: &Flight| match flight.op {
            Op::Remove { id } if flight.is_of_errand() => may_stand[id as usize] || flight.done.is_some(),
            _ => true,
        };
        self.flights.retain(|flight| stands(flight) && (flight.id.is_some() || flight.done.is_none()));
        let mut names = Names { ids: [0; 256], last: 0, may_stand, passes, times: BTreeMap::new(), is_known: false };
        self.core.as_ref().clone().normalise(&mut names, &mut [Some(self.key)], std::iter::empty());
        names.rank();
        self.items.iter_mut().flatten().for_each(|item| names.rename(&mut item.id));
        let mut keys = [Some(self.key)];
        let requests = self.flights.iter_mut().filter_map(|flight| flight.id.as_mut());
        Arc::make_mut(&mut self.core).normalise(&mut names, &mut keys, requests);
        self.key = keys[0].unwrap_or(self.key);
        self.client.locks.iter_mut().for_each(|lock| names.rename(&mut lock.id));
        for flight in &mut self.flights {
            match &mut flight.op {
                Op::Grant { id, .. } | Op::Reassert { id, .. } | Op::Remove { id } | Op::Stands { id } => {
                    names.rename(id)
                }
                Op::HandOver { from, to, .. } | Op::Replace { from, to, .. } => {
                    names.rename(from);
                    names.rename(to);
                }
                Op::Look | Op::Probe | Op::Begin(_) | Op::Open(..) => {}
            }
        }
        self.flights.sort_unstable();
        self.ids = names.last;
        self
    }
}
