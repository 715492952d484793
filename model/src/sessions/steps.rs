//! The steps of the client, of the core and of the store.

use std::sync::Arc;

use lockbroker_core::event::{Event, LockRef, Together};
use lockbroker_core::lock::{FencingToken, LockName, Owner};
use lockbroker_core::request::{Access, LockRequest, Mode, OnDisconnect, Settings, StoreTraits, StreamEnd};
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::machine::Op as Shipped;
use lockbroker_core::store::{Change, Granted, LockStatus, Order, Reply};
use lockbroker_core::{Broker as Core, Item as News, Output, Read, StreamKey, Time};

use super::{Bounds, Client, Flight, Item, Lock, MARGIN, Model, STEP, Said, State};
use crate::broker::{NOW, Outside, PAUSE, TICK, of_grant, ticks};
use crate::state::{Id, Op, item_of};

impl Model {
    pub fn new(bounds: Bounds, rule: Option<Rule>) -> Model {
        let names = ["first", "second"].map(|name| LockName::new(name).expect("a name"));
        Model { bounds, rule, names }
    }

    pub(super) fn initial(&self) -> State {
        let settings = Settings {
            default_ttl: ticks(self.bounds.ttl),
            max_ttl: ticks(self.bounds.ttl),
            poll_interval: PAUSE,
            max_locks: std::num::NonZeroUsize::MAX,
            max_waiters: std::num::NonZeroUsize::MAX,
        };
        let mut core = Core::new(settings, StoreTraits { is_shared: true, can_be_woken: false }, 1);
        let key = core.stream(None);
        let (mut ids, mut marks) = (0, 0);
        let mut outside = Outside { now: NOW, ids: &mut ids, marks: &mut marks, rules: &None };
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
    pub(super) fn turn(
        &self,
        state: &mut State,
        now: Time,
        act: impl FnOnce(&mut Core, StreamKey, &mut Outside<'_, Option<Rule>>),
    ) {
        let key = state.key;
        let core = Arc::make_mut(&mut state.core);
        let mut marks = 0;
        let mut outside = Outside { now, ids: &mut state.ids, marks: &mut marks, rules: &self.rule };
        act(core, key, &mut outside);
        while let Some(output) = core.output() {
            match output {
                Output::Order(Order::Ask { id, item, request, .. }) => {
                    let op = Op::packed(&Shipped::of(request, false));
                    let lock = u8::from(item.name == self.names[1]);
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

    pub(super) fn begin(&self, state: &mut State, lock: usize) {
        let handle = state.client.locks.iter().map(|lock| lock.handle).max().unwrap_or(0) + 1;
        let last = if self.bounds.together { self.bounds.locks } else { lock + 1 };
        state.client.locks[lock..last].iter_mut().for_each(|lock| lock.handle = handle);
        let request = |name: &LockName| LockRequest {
            name: name.clone(),
            ttl: ticks(self.bounds.ttl),
            linger: ticks(self.bounds.linger),
            min_hold: std::time::Duration::ZERO,
            owner: Owner::default(),
            value: None,
            access: Access::Alone,
            // Several are tried for once, since nobody else is in their way.
            mode: if self.bounds.together { Mode::Once } else { Mode::Wait { max_wait: None, poll_interval: None } },
            account: None,
            on_disconnect: OnDisconnect::default(),
        };
        self.turn(state, STEP, |core, key, outside| {
            core.take_ref(key, handle.into(), outside).expect("handles rise");
            match &self.names[lock..last] {
                [name] => core.begin(key, handle.into(), request(name), outside),
                names => core.begin_together(key, handle.into(), names.iter().map(request).collect(), outside),
            }
        });
    }

    pub(super) fn end(&self, state: &mut State, lock: usize) {
        let handle: LockRef = state.client.locks[lock].handle.into();
        let ended_unread = state.has_unread_grant(handle);
        for lock in state.client.locks.iter_mut().filter(|lock| i64::from(lock.handle) == handle) {
            (lock.over, lock.ended_unread) = (true, ended_unread);
        }
        self.turn(state, STEP, |core, key, outside| core.end_lock(key, handle, outside).expect("it was begun"));
    }

    pub(super) fn beat(&self, state: &mut State) {
        state.client.last_beat += 1;
        let seq = state.client.last_beat;
        state.client.beats.push((seq, 0));
        self.turn(state, STEP, |core, key, outside| core.heartbeat(key, seq.into(), outside).expect("they rise"));
    }

    /// Reads what comes next, as the client takes it.
    pub(super) fn read(&self, state: &mut State) {
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
                let ids = match &event {
                    Event::Acquired { lock_id, .. } => vec![*lock_id],
                    Event::Together(together) => match &**together {
                        Together::Acquired { locks } => locks.clone(),
                        Together::NotAcquired { .. } | Together::Lost { .. } => Vec::new(),
                    },
                    _ => Vec::new(),
                };
                let mut locks = client.locks.iter_mut().filter(|lock| i64::from(lock.handle) == handle);
                if event.is_last() {
                    locks.for_each(|lock| lock.over = true);
                } else {
                    locks.by_ref().zip(ids).for_each(|(lock, id)| lock.id = of_grant(id.grant));
                }
            }
            News::Opened { .. } => {}
        }
    }

    pub(super) fn fall_silent(&self, state: &mut State) {
        state.client.lose_sight();
        self.turn(state, STEP, |core, key, outside| {
            core.end(key, StreamEnd::Unresponsive, outside);
            core.stop_reading(key, outside);
        });
    }

    /// Carries out a request.
    pub(super) fn carry_out(&self, state: &mut State, index: usize) {
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
            Op::Look => slot.map_or(Said::Missing, |item| Said::Found(item.id)),
            Op::Occupy { .. } | Op::Share { .. } | Op::Find { .. } | Op::Cover { .. } => {
                unreachable!("nobody asks for permits")
            }
            Op::LookIfRevoked | Op::Probe | Op::Begin(_) | Op::Open(..) => {
                unreachable!("the store has no shards")
            }
        };
        state.flights[index].done = Some(done);
    }

    /// Brings the answer to a request.
    pub(super) fn answer(&self, state: &mut State, index: usize) {
        let Flight { op, done, id, .. } = state.flights.remove(index);
        let done = done.expect("it was carried out");
        let reply = match op {
            Op::Grant { .. } | Op::HandOver { .. } => Reply::Granted(Ok(match done {
                Said::Done => Granted::Yes(FencingToken::FIRST),
                _ => Granted::No,
            })),
            Op::Look => Reply::Status(Ok(status(done))),
            Op::Stands { .. } => Reply::Stands(Ok(done == Said::Done)),
            _ => Reply::Changed(Ok(match done {
                Said::Done => Change::Done,
                Said::Exists | Said::Found(_) => Change::TakenOver,
                Said::Missing => Change::Gone,
            })),
        };
        if let Some(id) = id {
            self.turn(state, STEP, |core, _, outside| core.answered(id, reply, outside));
        }
    }

    pub(super) fn tick(&self, state: &mut State) {
        for item in &mut state.items {
            *item = item.map(|item| Item { left: item.left - 1, ..item }).filter(|item| item.left > 0);
        }
        let client = &mut state.client;
        client.beats.iter_mut().for_each(|(_, age)| *age = (*age + 1).min(self.bounds.ttl));
        client.covered = client.covered.saturating_sub(1);
        for lock in &mut client.locks {
            lock.behind = lock.behind.map(|left| left.saturating_sub(1));
            lock.taken = lock.taken.map(|left| left.saturating_sub(1));
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

    pub(super) fn is_idle_clean_up(state: &State, flight: &Flight) -> bool {
        let finds = |id| state.items[usize::from(flight.lock)].is_some_and(|item| item.id == id);
        matches!(flight.op, Op::Remove { id } if flight.is_of_errand() && flight.done.is_none() && !finds(id))
    }
}

/// Returns what a look has found, which may be over by now.
fn status(found: Said) -> LockStatus {
    match found {
        Said::Found(id) => LockStatus::Taken { state: item_of(id), label: Box::default(), expires_in: TICK },
        _ => LockStatus::Free,
    }
}
