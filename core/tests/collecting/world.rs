//! Two brokers on one store, their clients, and what those believe.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lockbroker_core::env::Env;
use lockbroker_core::event::{Event, Together};
use lockbroker_core::lock::{GrantId, LingerId, LockId, LockName, Owner, Permit};
use lockbroker_core::request::{Access, LockRequest, Mode, OnDisconnect, Settings, StoreTraits, StreamEnd};
use lockbroker_core::store::Order;
use lockbroker_core::{Broker, Item, Output, Read, StreamKey, Time};

use crate::store::{Store, Under, failed};

pub(crate) const LIMIT: u16 = 3;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub(crate) struct Outside {
    pub(crate) now: Time,
    pub(crate) random: Random,
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        GrantId::from_random(self.random.next())
    }

    fn linger_id(&mut self) -> LingerId {
        LingerId::from_random(self.random.next())
    }

    fn spread(&mut self, span: Duration, _: Duration) -> Duration {
        span
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Belief {
    /// Asked for, and not answered.
    Asked,
    Alone(LockId),
    Shares(Vec<LockId>),
    /// A downgrade is under way.
    Stopped,
}

pub(crate) struct Client {
    pub(crate) broker: usize,
    pub(crate) stream: StreamKey,
    pub(crate) last_ref: i64,
    pub(crate) seq: i64,
    pub(crate) beliefs: BTreeMap<i64, Belief>,
    pub(crate) open: bool,
}

pub(crate) struct World {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) outside: Outside,
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) under: Vec<Under>,
    pub(crate) clients: Vec<Client>,
    pub(crate) log: Vec<String>,
    pub(crate) faults: bool,
    pub(crate) ttl: Duration,
}

fn request(ttl: Duration, access: Access, mode: Mode) -> LockRequest {
    LockRequest {
        name: LockName::new("pool").unwrap(),
        ttl,
        linger: Duration::ZERO,
        min_hold: Duration::ZERO,
        owner: Owner::default(),
        value: None,
        access,
        mode,
        account: None,
        on_disconnect: OnDisconnect::default(),
    }
}

impl World {
    pub(crate) fn new(seed: u64, faults: bool, (ttl, max_ttl): (Duration, Duration)) -> World {
        let settings = Settings {
            default_ttl: ttl,
            max_ttl,
            poll_interval: Duration::from_millis(50),
            max_locks: NonZeroUsize::MAX,
            max_waiters: NonZeroUsize::MAX,
        };
        let traits = StoreTraits { is_shared: true, can_be_woken: false };
        World {
            brokers: (0..2).map(|_| Broker::new(settings, traits, 1)).collect(),
            outside: Outside { now: Time::from_nanos(1_000_000_000), random: Random(seed | 1) },
            random: Random((seed ^ 0x9E37_79B9_7F4A_7C15) | 1),
            store: Store::default(),
            under: Vec::new(),
            clients: Vec::new(),
            log: Vec::new(),
            faults,
            ttl,
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        self.log.push(format!("{:?}: {text}", self.outside.now));
    }

    pub(crate) fn collect(&mut self, broker: usize) {
        while let Some(output) = self.brokers[broker].output() {
            match output {
                Output::Order(Order::Ask { id, item, request, .. }) => {
                    let permit = item.permit;
                    let (step, created, reply, given_up) = (0, false, None, false);
                    self.under.push(Under { broker, id, permit, request, step, created, reply, given_up });
                }
                Output::Order(Order::GiveUp(id)) => {
                    for under in self.under.iter_mut().filter(|under| under.broker == broker && under.id == id) {
                        under.given_up = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// Lets the store, or the way back from it, take a step.
    pub(crate) fn step_store(&mut self) {
        if self.under.is_empty() {
            return;
        }
        let at = self.random.below(self.under.len() as u64) as usize;
        let now = self.outside.now;
        if self.under[at].reply.is_none() {
            let mut under = self.under.swap_remove(at);
            let given_up = under.given_up && under.step == 0 && self.random.one_in(2);
            if !given_up {
                self.store.carry(&mut under, now);
                let Under { broker, permit, request, step, reply, .. } = &under;
                let text = format!("{broker} {permit:?} {request:?} {step} -> {reply:?}");
                self.note(text);
                self.under.push(under);
            }
            return;
        }
        let under = self.under.swap_remove(at);
        let lost = self.faults && self.random.one_in(12);
        if lost {
            self.note(format!("{} {:?} the answer is lost", under.broker, under.permit));
        }
        let reply = if lost { failed(&under.request) } else { under.reply.unwrap() };
        self.brokers[under.broker].answered(under.id, reply, &mut self.outside);
        self.collect(under.broker);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.outside.now = self.outside.now + time;
        for broker in 0..2 {
            let mut turns = 0;
            while self.brokers[broker].due().is_some_and(|due| due <= self.outside.now) && turns < 50 {
                self.brokers[broker].timeout(&mut self.outside);
                turns += 1;
            }
            self.collect(broker);
        }
    }

    pub(crate) fn open(&mut self, broker: usize) {
        let stream = self.brokers[broker].stream(None);
        self.brokers[broker].open(stream, self.ttl, &mut self.outside).unwrap();
        self.clients.push(Client { broker, stream, last_ref: 0, seq: 0, beliefs: BTreeMap::new(), open: true });
        self.note(format!("client {} opens at {broker}", self.clients.len() - 1));
    }

    pub(crate) fn ask(&mut self, at: usize, access: Access, mode: Mode) {
        let ttl = self.ttl;
        self.note(format!("client {at} asks {access:?} {mode:?}"));
        let client = &mut self.clients[at];
        client.last_ref += 1;
        let lock_ref = client.last_ref;
        client
            .beliefs
            .insert(lock_ref, if matches!(mode, Mode::Reattach(_)) { Belief::Stopped } else { Belief::Asked });
        let broker = &mut self.brokers[client.broker];
        broker.take_ref(client.stream, lock_ref, &mut self.outside).unwrap();
        match access {
            Access::Shared { limit, weight: weight @ 2.. } => {
                let mut all = vec![request(ttl, Access::Shared { limit, weight: 1 }, mode); weight.into()];
                all[0] = request(ttl, access, mode);
                broker.begin_together(client.stream, lock_ref, all, &mut self.outside);
            }
            _ => broker.begin(client.stream, lock_ref, request(ttl, access, mode), &mut self.outside),
        }
        let broker = self.clients[at].broker;
        self.collect(broker);
    }

    pub(crate) fn read(&mut self, at: usize) {
        loop {
            let client = &mut self.clients[at];
            let read = self.brokers[client.broker].read(client.stream, &mut self.outside);
            let Read::Item(item) = read else { break };
            let Item::Event(lock_ref, event) = item else { continue };
            if !client.beliefs.contains_key(&lock_ref) {
                continue;
            }
            self.log.push(format!("{:?}: client {at} hears of {lock_ref}: {event:?}", self.outside.now));
            let client = &mut self.clients[at];
            match event {
                Event::Acquired { lock_id, .. } => {
                    let belief =
                        if lock_id.permit.is_some() { Belief::Shares(vec![lock_id]) } else { Belief::Alone(lock_id) };
                    client.beliefs.insert(lock_ref, belief);
                }
                Event::Together(together) => match *together {
                    Together::Acquired { locks } => {
                        client.beliefs.insert(lock_ref, Belief::Shares(locks));
                    }
                    _ => {
                        client.beliefs.remove(&lock_ref);
                    }
                },
                event if event.is_last() => {
                    client.beliefs.remove(&lock_ref);
                }
                _ => {}
            }
            self.check();
        }
    }

    pub(crate) fn check(&self) {
        let all = || self.clients.iter().filter(|client| client.open).flat_map(|client| client.beliefs.values());
        let alone = all().filter(|belief| matches!(belief, Belief::Alone(_))).count();
        let mut permits: Vec<Permit> = all()
            .filter_map(|belief| if let Belief::Shares(ids) = belief { Some(ids) } else { None })
            .flatten()
            .map(|id| id.permit.unwrap())
            .collect();
        let count = permits.len();
        permits.sort_unstable();
        permits.dedup();
        let fine = alone <= 1 && (alone == 0 || count == 0) && permits.len() == count && count <= LIMIT.into();
        if !fine {
            self.fail(&format!("{alone} alone, permits {permits:?} of {count}"));
        }
    }

    pub(crate) fn fail(&self, why: &str) -> ! {
        let last = self.log.len().saturating_sub(120);
        panic!("{}\n{why}", self.log[last..].join("\n"));
    }

    pub(crate) fn end(&mut self, at: usize, lock_ref: i64) {
        self.note(format!("client {at} ends {lock_ref}"));
        self.clients[at].beliefs.remove(&lock_ref);
        let Client { broker, stream, .. } = self.clients[at];
        self.brokers[broker].end_lock(stream, lock_ref, &mut self.outside).unwrap();
        self.collect(broker);
    }

    pub(crate) fn close(&mut self, at: usize, reads: bool) {
        self.note(format!("client {at} closes, reads {reads}"));
        let Client { broker, stream, .. } = self.clients[at];
        self.clients[at].open = false;
        self.clients[at].beliefs.clear();
        let broken = &mut self.brokers[broker];
        if reads {
            broken.end(stream, StreamEnd::Closed, &mut self.outside);
        } else if self.random.one_in(2) {
            broken.stop_reading(stream, &mut self.outside);
            broken.end(stream, StreamEnd::Closed, &mut self.outside);
        } else {
            broken.end(stream, StreamEnd::Closed, &mut self.outside);
            broken.stop_reading(stream, &mut self.outside);
        }
        self.collect(broker);
    }

    pub(crate) fn beat(&mut self) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.open {
                client.seq += 1;
                let _ = self.brokers[client.broker].heartbeat(client.stream, client.seq, &mut self.outside);
                let broker = client.broker;
                self.collect(broker);
            }
        }
    }

    pub(crate) fn quiet(&mut self, time: Duration) {
        let end = self.outside.now + time;
        while self.outside.now < end {
            for _ in 0..40 {
                self.step_store();
            }
            self.pass(Duration::from_millis(5));
        }
    }
}
