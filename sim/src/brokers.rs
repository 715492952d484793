//! Brokers: the shipped core, its time and chance, and how it stands still, dies and starts.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use lockbroker_core::env::{Env, Mark, Observed};
use lockbroker_core::failure::Failure;
use lockbroker_core::lock::{GrantId, LingerId};
use lockbroker_core::request::{Account, Mode, Revoked, StreamEnd};
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::{self, Shards};
use lockbroker_core::store::Order;
use lockbroker_core::{Broker, Output, StreamKey, Time};

use crate::choices::Choices;
use crate::event::Event;
use crate::marks::Marks;
use crate::report::Report;
use crate::servers::DATE;
use crate::time::{Clock, MS, SEC, nanos};
use crate::world::World;

/// A broker, dead or alive.
#[derive(Debug)]
pub struct Node {
    pub core: Option<Broker>,
    /// The locks and the waits of the account that all clients share.
    pub charged: Charged,
    pub clock: Clock,
    /// Counts its starts.
    pub life: u32,
    /// Counts its pauses; odd while it stands still.
    pub pause: u32,
    /// What happened to it while it stood still.
    deferred: VecDeque<Event>,
    /// When its core is called next.
    scheduled: Option<u64>,
    /// Its shards, while it lives.
    pub shards: Option<Shards>,
    /// The orders that its task is to take there.
    pub orders: Vec<Order>,
    pub task_planned: bool,
    /// When its shards are called next.
    pub task_due: Option<u64>,
    /// The server of each of its shards.
    pub servers: Vec<usize>,
    /// The fingerprint of the latest list of which it has heard.
    pub list: u64,
    /// The servers that it does not reach.
    pub cut: Vec<bool>,
    pub draining: bool,
    /// The connections of its streams.
    pub streams: BTreeMap<StreamKey, usize>,
    /// When it last was in trouble.
    pub trouble: u64,
}

/// What an account has at a broker.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Charged {
    locks: usize,
    waits: usize,
}

/// The account of all clients.
pub(crate) const ACCOUNT: Account = Account(NonZeroU16::MIN);

impl Node {
    /// Makes one that is dead, where there are so many servers.
    pub fn new(clock: Clock, servers: usize) -> Node {
        Node {
            core: None,
            charged: Charged::default(),
            clock,
            life: 0,
            pause: 0,
            deferred: VecDeque::new(),
            scheduled: None,
            shards: None,
            orders: Vec::new(),
            task_planned: false,
            task_due: None,
            servers: Vec::new(),
            list: 0,
            cut: vec![false; servers],
            draining: false,
            streams: BTreeMap::new(),
            trouble: 0,
        }
    }

    /// Returns the number by which it knows a server, if it does.
    pub fn shard_at(&self, server: usize) -> Option<usize> {
        self.servers.iter().position(|known| *known == server)
    }

    /// Returns true while it stands still.
    pub fn is_paused(&self) -> bool {
        self.pause % 2 == 1
    }
}

/// The outside of a broker's core.
#[derive(Debug)]
pub struct Outside<'a> {
    now: Time,
    charged: &'a mut Charged,
    wall_micros: u64,
    choices: &'a mut Choices,
    ids: &'a mut u64,
    rule: Option<Rule>,
    marks: &'a mut Marks,
    report: &'a mut Report,
}

impl Env for Outside<'_> {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        *self.ids += 1;
        GrantId::from_random(*self.ids)
    }

    fn linger_id(&mut self) -> LingerId {
        *self.ids += 1;
        LingerId::from_random(*self.ids)
    }

    fn spread(&mut self, span: Duration, extra: Duration) -> Duration {
        span + extra / 64 * u32::try_from(self.choices.spread(64)).unwrap_or(0)
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }

    fn charge(&mut self, _: Account, mode: &Mode) -> Result<(), Failure> {
        self.charged.locks += 1;
        self.charged.waits += usize::from(matches!(mode, Mode::Wait { .. }));
        Ok(())
    }

    fn wait_is_over(&mut self, _: Account) {
        self.charged.waits = self.charged.waits.checked_sub(1).expect("each wait is over once");
    }

    fn lock_is_gone(&mut self, _: Account) {
        self.charged.locks = self.charged.locks.checked_sub(1).expect("each lock is gone once");
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.take(mark);
    }

    fn observe(&mut self, observed: Observed<'_>) {
        self.report.observe(&observed);
    }
}

impl shard::Env for Outside<'_> {
    fn now(&self) -> Time {
        self.now
    }

    fn wall_micros(&self) -> Option<u64> {
        Some(self.wall_micros)
    }

    fn random(&mut self) -> u64 {
        *self.ids += 1;
        *self.ids
    }

    fn spread(&mut self, span: Duration, extra: Duration) -> Duration {
        Env::spread(self, span, extra)
    }

    fn breaks(&self, rule: Rule) -> bool {
        Env::breaks(self, rule)
    }
}

impl World {
    /// Lets a broker's core take a turn, and does what it says.
    pub fn turn<T>(&mut self, broker: usize, act: impl FnOnce(&mut Broker, &mut Outside<'_>) -> T) -> Option<T> {
        // Taken out for as long as it takes its turn, since its outside is the rest of the world.
        let mut core = self.brokers[broker].core.take()?;
        let result = act(&mut core, &mut self.outside(broker));
        self.brokers[broker].core = Some(core);
        self.carry_out(broker);
        Some(result)
    }

    /// Returns time and chance as a broker has them.
    pub fn outside(&mut self, broker: usize) -> Outside<'_> {
        let node = &mut self.brokers[broker];
        Outside {
            now: node.clock.time(self.now),
            charged: &mut node.charged,
            // Their clocks are set a little differently.
            wall_micros: DATE * 1_000_000 + self.now / 1_000 + broker as u64 * 700_000,
            choices: &mut self.choices,
            ids: &mut self.ids,
            rule: self.rule,
            marks: &mut self.marks,
            report: &mut self.report,
        }
    }

    fn carry_out(&mut self, broker: usize) {
        while let Some(output) = self.brokers[broker].core.as_mut().and_then(Broker::output) {
            match output {
                Output::Order(order) => self.order(broker, order),
                Output::Readable(stream) => self.readable(broker, stream),
                Output::Silent(stream) => self.silent(broker, stream),
                Output::Released { call, result } => self.answer_call(call, result.is_ok()),
                Output::Looked { call, result } => self.answer_call(call, result.is_ok()),
                Output::Updated { call, result } => self.answer_call(call, result.is_ok()),
                Output::Observed { call, result } => {
                    if let (Ok(observation), Some(under_way)) = (&result, self.calls.get(&call)) {
                        let (client, name) = (under_way.client, under_way.name);
                        self.check.observed(client, name, observation);
                    }
                    self.answer_call(call, result.is_ok());
                }
                Output::LeaseRenewed { call, result } => self.answer_renewal(call, &result),
                Output::Revoked { call, result } => {
                    self.report.revoked += u64::from(matches!(result, Ok(Revoked::Revoked { .. })));
                    self.answer_call(call, result.is_ok());
                }
                Output::Drained => {
                    let life = self.brokers[broker].life;
                    self.plan_in(MS, Event::Stop { broker, life });
                }
            }
        }
        self.check_bounds(broker);
        let node = &mut self.brokers[broker];
        let Some(due) = node.core.as_ref().and_then(Broker::due) else { return };
        if node.scheduled.is_none_or(|scheduled| due.nanos() < scheduled) {
            let due = due.nanos();
            node.scheduled = Some(due);
            let (at, life) = (node.clock.when(due), node.life);
            let late = self.lateness(400);
            self.plan(at + late, Event::Timer { broker, life, due });
        }
    }

    /// Calls a broker's core, if its time has come: `due` is what was planned last.
    pub fn timer(&mut self, broker: usize, life: u32, due: u64) {
        let node = &mut self.brokers[broker];
        if node.life == life && node.scheduled == Some(due) {
            node.scheduled = None;
            self.turn(broker, |core, outside| core.timeout(outside));
        }
    }

    /// Lets a broker stand still before an event, now and then.
    pub fn stall(&mut self, broker: usize) {
        if !self.brokers[broker].is_paused() && self.odd(self.options.stall) {
            let span = [50 * MS, 500 * MS, 3 * SEC, 12 * SEC, 40 * SEC][self.among(5)];
            self.pause_broker(broker, span);
        }
    }

    /// Lets a broker stand still for a while.
    pub fn pause_broker(&mut self, broker: usize, span: u64) {
        let node = &mut self.brokers[broker];
        if node.core.is_none() || node.is_paused() {
            return;
        }
        node.pause += 1;
        node.trouble = self.now + span;
        let pause = node.pause;
        self.note("pause", [broker as u64, span, 0]);
        self.plan_in(span, Event::Resume { broker, pause });
    }

    /// Puts an event off while its broker stands still.
    pub fn defer(&mut self, broker: usize, event: &Event) -> bool {
        let node = &mut self.brokers[broker];
        if node.is_paused() {
            node.deferred.push_back(event.clone());
        }
        node.is_paused()
    }

    /// Lets a broker go on.
    pub fn resume(&mut self, broker: usize, pause: u32) {
        let node = &mut self.brokers[broker];
        if node.pause != pause || !node.is_paused() {
            return;
        }
        node.pause += 1;
        node.trouble = self.now;
        let mut deferred: Vec<Event> = node.deferred.drain(..).collect();
        self.note("resume", [broker as u64, deferred.len() as u64, 0]);
        // Which of its sockets it reads first is open; within one, order is kept, for an event says only that there is
        // something.
        if self.odd(500_000) {
            deferred.reverse();
        }
        for event in deferred {
            self.plan(self.now, event);
        }
    }

    /// Starts a broker.
    pub fn start(&mut self, broker: usize) {
        let (settings, traits) = (self.options.settings, self.options.traits);
        let node = &mut self.brokers[broker];
        if node.core.is_some() {
            return;
        }
        node.life += 1;
        node.charged = Charged::default();
        node.core = Some(Broker::new(settings, traits, broker as u64 + 7));
        node.scheduled = None;
        node.draining = false;
        node.trouble = self.now;
        let life = node.life;
        self.note("start", [broker as u64, life.into(), 0]);
        let list = self.list_for_start();
        let (topology, servers) = (self.lists.topology(list).clone(), self.lists.servers(list).to_vec());
        let watcher = traits.can_be_woken.then(|| self.watcher(broker, life));
        let settings = shard::Settings {
            members: topology.members,
            max_ttl: topology.max_ttl,
            note: Some(format!("broker {broker} in its life {life}").into()),
            watcher,
        };
        let shards = Shards::new(settings, broker as u64 + 11, &mut self.outside(broker));
        let fingerprint = self.lists.fingerprint(list);
        let node = &mut self.brokers[broker];
        (node.servers, node.list) = (servers, fingerprint);
        let due = node.clock.at(self.now);
        (node.shards, node.task_due, node.task_planned) = (Some(shards), Some(due), false);
        node.orders.clear();
        self.plan(self.now, Event::TaskDue { broker, life, due });
    }

    /// Drains a broker, which ends when it has drained, or when the grace is over.
    pub fn drain(&mut self, broker: usize, grace: u64) {
        let node = &mut self.brokers[broker];
        if node.core.is_none() || node.draining {
            return;
        }
        node.draining = true;
        let life = node.life;
        self.note("drain", [broker as u64, grace, 0]);
        self.plan_in(grace, Event::Stop { broker, life });
        self.turn(broker, |core, outside| core.drain(Duration::from_nanos(grace), outside));
    }

    /// Ends a broker that drains.
    pub fn stop(&mut self, broker: usize, life: u32) {
        if self.brokers[broker].life != life || !self.brokers[broker].draining {
            return;
        }
        if let Some(core) = &mut self.brokers[broker].core {
            core.abandon();
        }
        // Its streams end one after the other, which its core may still hear.
        let streams: Vec<StreamKey> = self.brokers[broker].streams.keys().copied().collect();
        for stream in streams {
            self.turn(broker, |core, outside| core.end(stream, StreamEnd::Unresponsive, outside));
        }
        self.kill(broker, true);
    }

    /// Ends a broker's process. What it asked for may still land. `told`: its clients hear of it.
    pub fn kill(&mut self, broker: usize, told: bool) {
        let node = &mut self.brokers[broker];
        if node.core.take().is_none() {
            return;
        }
        self.note("kill", [broker as u64, told.into(), 0]);
        let node = &mut self.brokers[broker];
        node.trouble = self.now;
        node.shards = None;
        node.orders.clear();
        node.streams.clear();
        node.deferred.clear();
        node.pause += node.pause % 2;
        for conn in 0..self.conns.len() {
            if self.conns[conn].broker == broker && self.conns[conn].broker_open {
                self.conns[conn].broker_open = false;
                self.conns[conn].trouble = self.now;
                self.conns[conn].up.clear();
                if told {
                    self.send_down(conn, crate::net::Down::Broken);
                }
            }
        }
        let span = if self.calm { SEC } else { [SEC, 100 * MS, 5 * SEC, 20 * SEC][self.among(4)] };
        self.plan_in(span, Event::Start { broker });
    }

    /// Brings a hint.
    pub fn hint(&mut self, broker: usize, name: usize) {
        let hint = self.hint_of(name);
        self.note("hint", [broker as u64, name as u64, 0]);
        self.turn(broker, |core, outside| core.woken(hint, outside));
    }

    /// Lets a broker hear that a lock was revoked which it keeps.
    pub fn told_of_revocation(&mut self, broker: usize, name: usize) {
        let revoked = self.names[name].clone();
        self.note("told", [broker as u64, name as u64, 0]);
        self.turn(broker, |core, outside| core.revoked_elsewhere(&revoked, outside));
    }

    /// Returns when a broker was last in trouble.
    pub fn broker_trouble(&self, broker: usize) -> u64 {
        let node = &self.brokers[broker];
        let busy = node.core.is_none() || node.is_paused() || node.draining;
        if busy { self.now } else { node.trouble }
    }

    /// Returns the longest ttl.
    pub fn max_ttl(&self) -> u64 {
        nanos(self.lists.max_ttl())
    }
}
