//! A deployment: brokers, clients, shards and connections, and the heap of what is to happen.

use std::collections::{BTreeMap, BinaryHeap};

use lockbroker_core::lock::{GrantId, LeaseId, LockId, LockItem, LockName, Permit, WakeHint};
use lockbroker_core::rules::Rule;

use crate::brokers::Node;
use crate::check::Checker;
use crate::choices::Choices;
use crate::client::{Client, Value};
use crate::event::{Event, Planned};
use crate::exchanges::{Exchange, Link};
use crate::lists::Lists;
use crate::marks::Marks;
use crate::net::Conn;
use crate::operator::{OPERATOR, Operator};
use crate::options::Options;
use crate::report::Report;
use crate::servers::Machine;
use crate::time::{Clock, MS, SEC};

/// A deployment.
#[derive(Debug)]
pub struct World {
    pub options: Options,
    pub choices: Choices,
    pub now: u64,
    pub brokers: Vec<Node>,
    pub clients: Vec<Client>,
    pub machines: Vec<Machine>,
    /// The lists of the servers, one after the other.
    pub lists: Lists,
    pub operator: Operator,
    /// The connections of brokers to servers, those that have ended too.
    pub links: Vec<Link>,
    pub conns: Vec<Conn>,
    pub exchanges: BTreeMap<u64, Exchange>,
    pub calls: BTreeMap<u64, CallUnderWay>,
    pub names: Vec<LockName>,
    pub check: Checker,
    pub marks: Marks,
    pub report: Report,
    /// The rule that brokers leave out.
    pub rule: Option<Rule>,
    /// True once all faults are over, and since when.
    pub calm: bool,
    pub healed: u64,
    /// How many ids have been drawn.
    pub ids: u64,
    pub next_exchange: u64,
    pub next_call: u64,
    trace: Trace,
    heap: BinaryHeap<Planned>,
    seq: u64,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    Release(LockId),
    Look(LockId),
    Revoke,
    Renew(LeaseId),
    Update(LockId, Value),
    Observe(Option<GrantId>),
}

/// A call.
#[derive(Debug, Clone)]
pub struct CallUnderWay {
    pub client: usize,
    pub broker: usize,
    pub name: usize,
    pub asked: Asked,
    /// The place where the client ends the lock too, once the call is answered.
    pub home: Option<crate::client::Place>,
    /// The lock of a shipped client that it releases.
    pub key: Option<u64>,
    /// When it was made, by its client's clock, and when it arrived, by its broker's.
    pub sent: u64,
    pub arrived: u64,
    /// For how long a lease is good from when the call was made; none if it is lost. Not set if nobody knows.
    pub renewed: Option<Option<u64>>,
}

/// What happened: as a number by which two runs are compared, and in words if somebody wants to read it.
#[derive(Debug, Clone)]
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// A run with more events than that does something again and again. The longest has a tenth as many.
const MOST_EVENTS: u64 = 2_000_000;

/// The most permits of a name.
pub(crate) const PERMITS: usize = 3;

/// Returns the number of spots of so many names.
fn spots(names: usize) -> usize {
    names * (1 + PERMITS)
}

impl World {
    /// Makes the deployment that the choices draw. `traced` keeps what happens in words.
    pub fn new(mut choices: Choices, rule: Option<Rule>, traced: bool) -> World {
        let options = Options::draw(&mut choices);
        let names: Vec<LockName> =
            (0..options.names).map(|name| LockName::new(&format!("n{name}")).expect("it is short")).collect();
        let mut clock = |at: u64| {
            let ppm = if options.drift { [0, 100, -100][choices.spread(3) as usize] } else { 0 };
            Clock::new(at * 1_000 * SEC, ppm)
        };
        let brokers =
            (0..options.brokers).map(|b| Node::new(clock(1 + b as u64), options.shards + options.spares)).collect();
        let mut clients: Vec<Client> = (0..options.clients).map(|c| Client::new(clock(50 + c as u64))).collect();
        for client in &mut clients {
            client.shipped = options.draw_shipped(client.clock.at(0), &mut choices);
        }
        let first = (0..options.shards).map(|server| (server, 1)).collect::<Vec<_>>();
        let servers = options.shards + options.spares;
        let mut world = World {
            brokers,
            clients,
            machines: Vec::new(),
            lists: Lists::new(&first, options.settings.max_ttl, &names),
            operator: Operator::default(),
            links: Vec::new(),
            conns: Vec::new(),
            exchanges: BTreeMap::new(),
            calls: BTreeMap::new(),
            check: Checker::new(spots(options.names), servers),
            names,
            marks: Marks::default(),
            report: Report::default(),
            rule,
            calm: false,
            healed: 0,
            ids: 0,
            next_exchange: 0,
            next_call: 0,
            now: 0,
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, lines: traced.then(Vec::new) },
            heap: BinaryHeap::new(),
            seq: 0,
            options,
            choices,
        };
        world.start_servers();
        for broker in 0..world.brokers.len() {
            world.start(broker);
        }
        world.plan(SEC, Event::Sweep);
        for client in 0..world.clients.len() {
            world.plan(client as u64 * 7 * MS, Event::Act { client });
        }
        if let Some(every) = world.options.revokes_every {
            world.plan(every, Event::Revoke);
        }
        if !world.options.faults.is_empty() {
            world.plan(world.options.fault_every, Event::Fault);
        }
        if world.options.spares > 0 {
            world.plan(5 * SEC, Event::Operate { run: 0 });
        }
        world.plan(world.options.length, Event::Heal);
        world
    }

    /// Runs to the end, or to the first violation. Returns what was violated.
    pub fn run(&mut self) -> Option<String> {
        while let Some(Planned { at, event, .. }) = self.heap.pop() {
            self.now = at;
            if event == Event::End {
                self.judge_tables();
                self.report.nanos += self.now;
                return self.check.violation.clone();
            }
            self.happen(event);
            self.check_beliefs();
            if self.report.events > MOST_EVENTS {
                self.check.fail("the run does not come to an end".to_owned());
            }
            if self.check.violation.is_some() {
                self.report.nanos += self.now;
                return self.check.violation.clone();
            }
        }
        None
    }

    fn happen(&mut self, event: Event) {
        self.report.events += 1;
        if let Some(broker) = event.broker().filter(|broker| *broker != OPERATOR) {
            self.stall(broker);
            if self.defer(broker, &event) {
                return;
            }
        }
        match event {
            Event::Timer { broker, life, due } => self.timer(broker, life, due),
            Event::Resume { broker, pause } => self.resume(broker, pause),
            Event::Start { broker } => self.start(broker),
            Event::Stop { broker, life } => self.stop(broker, life),
            Event::Task { broker, life } => self.task(broker, life),
            Event::TaskDue { broker, life, due } => self.task_due(broker, life, due),
            Event::Dialled { broker, life, shard, until } => self.dialled(broker, life, shard, until),
            Event::Compared { broker, life, shard } => self.compared(broker, life, shard),
            Event::Carry { exchange } => self.carry_exchange(exchange),
            Event::Said { exchange, .. } => self.said(exchange),
            Event::Broke { exchange, .. } => self.broke(exchange, "the connection broke"),
            Event::GivenUp { exchange, .. } => self.broke(exchange, "no answer came in time"),
            Event::Sweep => {
                (0..self.spots()).for_each(|spot| self.expire_item(spot));
                self.plan_in(SEC, Event::Sweep);
            }
            Event::Hint { broker, name } => self.hint(broker, name),
            Event::Told { broker, name } => self.told_of_revocation(broker, name),
            Event::Revoke => self.revoke(),
            Event::Up { conn } => self.up(conn),
            Event::Down { conn } => self.down(conn),
            Event::Read { conn } => self.read(conn),
            Event::Unanswered { conn } => self.unanswered(conn),
            Event::Settled { broker, life, stream, by } => self.settled(broker, life, stream, by),
            Event::Unread { broker, life, stream } => self.unread(broker, life, stream),
            Event::Call { call } => self.call(call),
            Event::Called { call, done } => self.called(call, done),
            Event::Act { client } => self.act(client),
            Event::ClientDue { client, due } => self.client_due(client, due),
            Event::ClientDialled { client, conn } => self.client_dialled(client, conn),
            Event::ClientResume { client, pause } => self.client_resume(client, pause),
            Event::Operate { run } => self.operate(run),
            Event::Fault => self.fault(),
            Event::Mend { mend } => self.mend(mend),
            Event::Heal => self.heal(),
            Event::Judge => self.judge_names(),
            Event::End => {}
        }
    }

    /// Plans what happens at a moment.
    pub fn plan(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.heap.push(Planned { at: at.max(self.now), seq: self.seq, event });
    }

    /// Plans what happens after a while.
    pub fn plan_in(&mut self, delay: u64, event: Event) {
        self.plan(self.now + delay, event);
    }

    /// Says if something odd happens, which it does so often in a million.
    pub fn odd(&mut self, in_a_million: u32) -> bool {
        if self.calm || in_a_million == 0 {
            return false;
        }
        self.choices.spread(1_000_000) >= 1_000_000 - u64::from(in_a_million)
    }

    /// Returns one of so many; the first is the plainest.
    pub fn among(&mut self, count: usize) -> usize {
        if count < 2 { 0 } else { self.choices.spread(count as u64) as usize }
    }

    /// Returns how long a message is under way.
    pub fn delay(&mut self) -> u64 {
        match self.odd(self.options.dawdle) {
            true => 200_000 + self.choices.spread(20) * self.choices.spread(20) * 5 * MS,
            false => 200_000,
        }
    }

    /// Returns how late something comes that dawdles now and then: by so many milliseconds at the most.
    pub fn lateness(&mut self, most: u64) -> u64 {
        if self.odd(self.options.dawdle) { self.choices.spread(most) * MS } else { 0 }
    }

    /// Returns the server that keeps a spot now.
    pub fn shard_of(&self, spot: usize) -> usize {
        self.lists.home(self.name_of(spot))
    }

    /// Returns the number of the item of a lock, or of a permit: the locks' come first, and have the numbers of their names.
    pub fn spot_of(&self, name: usize, permit: Option<Permit>) -> usize {
        permit.map_or(name, |permit| self.names.len() + name * PERMITS + usize::from(permit.get()))
    }

    /// Returns the name to which a spot belongs.
    pub fn name_of(&self, spot: usize) -> usize {
        spot.checked_sub(self.names.len()).map_or(spot, |of_permit| of_permit / PERMITS)
    }

    /// Returns the item of a spot.
    pub fn item_at(&self, spot: usize) -> LockItem {
        let name = self.names[self.name_of(spot)].clone();
        let permit = spot.checked_sub(self.names.len()).and_then(|of_permit| Permit::new((of_permit % PERMITS) as u16));
        LockItem { name, permit }
    }

    /// Returns the number of all spots.
    pub fn spots(&self) -> usize {
        spots(self.names.len())
    }

    /// Returns the spots that nobody may have at the same time as this one.
    pub fn rivals(&self, spot: usize) -> impl Iterator<Item = usize> + use<> {
        let (name, names) = (self.name_of(spot), self.names.len());
        let permits = names + name * PERMITS..names + (name + 1) * PERMITS;
        std::iter::once(name).chain(permits.filter(move |permit| spot == name || spot == *permit))
    }

    /// Returns the number of a name.
    pub fn number_of(&self, name: &LockName) -> usize {
        self.names.iter().position(|other| other == name).expect("nobody asks for another")
    }

    /// Returns the hint of a name.
    pub fn hint_of(&self, name: usize) -> WakeHint {
        WakeHint::of(&self.names[name])
    }

    /// Takes note of what happened.
    pub fn note(&mut self, what: &str, numbers: [u64; 3]) {
        let Trace { hash, lines } = &mut self.trace;
        let mut mix = |number: u64| *hash = (*hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        mix(self.now);
        what.bytes().for_each(|byte| mix(byte.into()));
        numbers.into_iter().for_each(mix);
        if let Some(lines) = lines {
            let [a, b, c] = numbers;
            lines.push(format!("{:>12.6} {what} {a} {b} {c}", self.now as f64 / SEC as f64));
        }
    }

    /// Adds words to the trace that are no part of its number.
    pub fn say(&mut self, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace.lines {
            lines.push(format!("{:>12.6}     {}", self.now as f64 / SEC as f64, words()));
        }
    }

    /// Returns the number of the trace.
    pub fn hash(&self) -> u64 {
        self.trace.hash
    }

    /// Returns the trace in words.
    pub fn lines(&self) -> &[String] {
        self.trace.lines.as_deref().unwrap_or_default()
    }
}
