//! A Session with two locks: heartbeats, acks, and a client that reads what it is told when it likes.
//!
//! One shipped core, whose store answers late, and one client. Nobody else asks for its locks: a client that believes in
//! a lock without its item is all that can go wrong, and the item's end comes before any second holder.

mod normal;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::event::{Event, LockRef, Together};
use lockbroker_core::lock::LockName;
use lockbroker_core::rules::Rule;
use lockbroker_core::{Broker as Core, Item as News, Read, RequestId, StreamKey, Time};
use stateright::Property;

use crate::broker::{NOW, Outside, SOON, TICK};
use crate::state::{Id, LINGER, Op};

/// The names of the properties.
pub const STANDS: &str = "a lock that its client believes in has its item";
pub const NO_IDLE_LINGER: &str = "no lock lingers that was given up before its client has read of it";

/// States that must be reached, or the other properties say little. What breaks STANDS rests on the first one; what R19 says of acks,
/// on the next two; R6a, on the last one.
pub const HELD: &str = "a client believes in a lock";
pub const LEFT_OUT: &str = "a client believes in a lock that the latest ack leaves out";
pub const ONE_LEFT_OUT: &str = "a client believes in a lock that the latest ack covers, and another one is left out";
pub const LOST: &str = "a lock is told lost";

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
    /// True if the broker may take it for silent while it believes.
    pub silence: bool,
    /// The client sends a heartbeat only while fewer messages than this are unread.
    pub beats_below: usize,
    /// True if it asks for its locks together.
    pub together: bool,
}

const SMALL: Bounds = Bounds {
    name: "session",
    ttl: 3,
    linger: 0,
    locks: 1,
    beats: 2,
    ends: true,
    silence: true,
    beats_below: 3,
    together: false,
};
const LINGERS: Bounds = Bounds { name: "session, linger", linger: 1, ..SMALL };
/// The client keeps its lock, and reads slowly.
const SLOW: Bounds = Bounds { name: "session, slow", ttl: 4, ends: false, beats_below: 2, ..SMALL };

/// Two locks, and the least ttl. It ends before a broker acknowledges in part.
const TWO: Bounds =
    Bounds { name: "session, two locks", ttl: 2, locks: 2, beats: 1, ends: false, beats_below: 2, ..SMALL };
/// Two locks, which an ack may cover one by one.
const IN_PART: Bounds = Bounds { name: "session, acks in part", ttl: 3, silence: false, beats_below: 1, ..TWO };

/// Two locks that are asked for together.
const TOGETHER: Bounds = Bounds { name: "session, together", together: true, ..TWO };
/// The same, with a heartbeat at any time.
const TOGETHER_BEATS: Bounds =
    Bounds { name: "session, together, beats", ttl: 3, silence: false, beats_below: 3, ..TOGETHER };
/// The same, with a linger, and the client may give them up.
const TOGETHER_ENDS: Bounds = Bounds { name: "session, together, ends", linger: 1, ends: true, ..TOGETHER };
/// The same, and an ack may leave them out.
const TOGETHER_IN_PART: Bounds = Bounds { name: "session, together, in part", together: true, ..IN_PART };

/// The configurations that are explored with every change.
pub const QUICK: &[Bounds] = &[SMALL, LINGERS, SLOW, TWO, TOGETHER];
/// Those that are explored by night alone.
pub const LONG: &[Bounds] = &[IN_PART, TOGETHER_ENDS, TOGETHER_IN_PART, TOGETHER_BEATS];

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
    Mutilation { rule: Rule::AnnouncedAfterHeartbeat, bounds: TOGETHER_BEATS, breaks: STANDS },
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
    /// A look has found this.
    Found(Id),
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
    /// The rest of the validity that it may still have, if somebody else has released it: its client may not know, and no ack may add to
    /// that.
    taken: Option<u8>,
}

impl Client {
    /// The broker takes it for silent. Nobody can tell from now on what it will read.
    fn lose_sight(&mut self) {
        self.connected = false;
        self.locks.iter_mut().for_each(|lock| lock.ended_unread = false);
    }

    /// Returns true if it believes in one of these locks.
    fn believes(&self, is_one: impl Fn(&Lock) -> bool) -> bool {
        self.locks.iter().any(|lock| is_one(lock) && self.valid(lock) > 0)
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
    /// Somebody releases the lock by its id.
    Taken(u8),
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
            // Which of them is asked for first makes no difference.
            let is_next = known.handle == 0 && client.locks[..lock].iter().all(|before| before.handle != 0);
            // Of locks that are had together, the first stands for all.
            let is_first = lock == 0 || !self.bounds.together;
            if client.connected && is_next && is_first {
                actions.push(Action::Begin(lock as u8));
            }
            if client.connected && self.bounds.ends && is_first && known.handle != 0 && !known.over {
                actions.push(Action::End(lock as u8));
            }
            // It makes a difference to the others of a group.
            if self.bounds.together
                && lock == 0
                && known.id != 0
                && state.items[lock].is_some_and(|item| item.id == known.id)
            {
                actions.push(Action::Taken(lock as u8));
            }
            if state.items[lock].is_some_and(|item| item.left <= MARGIN) {
                actions.push(Action::ItemDies(lock as u8));
            }
        }
        let unread = state.core.unread(state.key);
        if client.connected && client.last_beat < self.bounds.beats && unread < self.bounds.beats_below {
            actions.push(Action::Beat);
        }
        if client.connected && unread > 0 {
            actions.push(Action::Read);
        }
        if client.connected && self.bounds.silence {
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
            Action::Taken(lock) => {
                let left = state.items[lock as usize].take().map_or(0, |item| item.left.saturating_sub(MARGIN));
                state.client.locks[lock as usize].taken = Some(left.saturating_sub(self.bounds.linger));
            }
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
        let mut properties = vec![
            Property::always(STANDS, |_, state: &State| stands(state)),
            Property::always(NO_IDLE_LINGER, |_, state: &State| {
                let lingers = |item: &Option<Item>| item.is_some_and(|item| item.id & LINGER > 0);
                state.items.iter().zip(&state.client.locks).all(|(item, lock)| {
                    !(lingers(item) && lock.ended_unread && state.has_unread_grant(lock.handle.into()))
                })
            }),
            Property::sometimes(HELD, |_, state: &State| state.client.believes(|_| true)),
            Property::sometimes(LOST, |_, state: &State| {
                state.unread().iter().any(|news| match news {
                    News::Event(_, Event::Lost(_)) => true,
                    News::Event(_, Event::Together(together)) => matches!(**together, Together::Lost { .. }),
                    _ => false,
                })
            }),
        ];
        if self.bounds.ttl > TWO.ttl {
            properties.push(Property::sometimes(LEFT_OUT, |_, state: &State| {
                state.client.believes(|lock| lock.behind.is_some())
            }));
        }
        if self.bounds.ttl > TWO.ttl && self.bounds.locks > 1 && !self.bounds.together {
            properties.push(Property::sometimes(ONE_LEFT_OUT, |_, state: &State| {
                let client = &state.client;
                client.locks.iter().any(|lock| lock.behind.is_some()) && client.believes(|lock| lock.behind.is_none())
            }));
        }
        properties
    }
}

impl State {
    /// Returns what waits to be read.
    fn unread(&self) -> Vec<News> {
        let mut core = self.core.as_ref().clone();
        let (mut ids, mut marks) = (self.ids, 0);
        let mut outside = Outside { now: STEP, ids: &mut ids, marks: &mut marks, rules: &None };
        let next = || match core.read(self.key, &mut outside) {
            Read::Item(news) => Some(news),
            Read::Nothing | Read::End => None,
        };
        std::iter::from_fn(next).collect()
    }

    /// Returns true if the grant of a lock waits to be read, and its end does not.
    fn has_unread_grant(&self, handle: LockRef) -> bool {
        self.unread().iter().fold(false, |granted, news| match news {
            News::Event(of, event) if *of == handle => {
                let is_grant = match event {
                    Event::Acquired { .. } => true,
                    Event::Together(together) => matches!(**together, Together::Acquired { .. }),
                    _ => false,
                };
                is_grant || granted && !event.is_last()
            }
            _ => granted,
        })
    }
}

fn stands(state: &State) -> bool {
    let client = &state.client;
    let carries = |item: &Option<Item>, id: Id| item.is_some_and(|item| item.id == id);
    let stands = |(lock, item): (&Lock, _)| match lock.taken {
        Some(left) => client.valid(lock) <= left,
        None => client.valid(lock) == 0 || carries(item, lock.id),
    };
    client.locks.iter().zip(&state.items).all(stands)
}
