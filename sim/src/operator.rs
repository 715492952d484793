//! An operator who changes the list of the servers while brokers run, by the steps of `lockbroker shard adopt`. The command keeps
//! nothing in mind: it can die before any step, and is run again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lockbroker_core::command::{Command, Key, Reply, Value};
use lockbroker_core::lock::{FencingToken, LockItem, Permit};
use lockbroker_core::shard::state_item::{Epoch, Generation, Made, Stamp, StateItem, Witness};
use lockbroker_core::shard::{ChangeNews, LIVES, READY, Shards, first_token, protocol};
use lockbroker_core::store::{ItemState, Slots};

use crate::event::Event;
use crate::exchanges::Link;
use crate::lists::server_at;
use crate::memcached::{Listed, Restart};
use crate::servers::{DATE, Item};
use crate::time::{MS, SEC};
use crate::world::World;

/// The operator, where a broker is named.
pub(crate) const OPERATOR: usize = usize::MAX;
/// The pause between two rounds.
const PAUSE: u64 = 250 * MS;
/// The time after which a run that has come to nothing is given up.
const PATIENCE: u64 = 90 * SEC;
/// The age in seconds that the note of a broker that runs does not reach.
const RENEWED: u64 = 7;

/// The operator.
#[derive(Debug, Default)]
pub struct Operator {
    /// Counts the runs of the command.
    run: u32,
    /// True once a server may have heard of the next list: then it is completed.
    pub(crate) announced: bool,
    /// The list that every broker has that starts, but for a change that has begun since.
    pub(crate) rolled_out: usize,
    change: Option<Change>,
    /// The exchange that is under way, and the server among those of the change.
    under_way: Option<(u64, usize)>,
}

/// What a run of the command knows.
#[derive(Debug)]
struct Change {
    generation: Generation,
    from: u64,
    to: u64,
    servers: Vec<Server>,
    began: u64,
    /// When the last server was seen in the next list for the first time.
    since: u64,
    copied: bool,
    is_ready: bool,
    step: Step,
    /// What is still to be sent in this step, and to which server.
    queue: VecDeque<(usize, Vec<Command>)>,
    /// True once something of this step was not answered as it should be.
    failed: bool,
}

/// A server, as far as a run has come with it.
#[derive(Debug)]
struct Server {
    number: usize,
    is_present: bool,
    is_next: bool,
    state: StateItem,
    /// The stamp under which it has shown the note of the change.
    prepared: Option<Stamp>,
    /// The stamp under which it was seen in the next list.
    seen: Option<Stamp>,
    token: Option<FencingToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Look,
    Prepare,
    Flip,
    NotePermits,
    Copy,
    Open,
}

impl Change {
    fn has_begun(&self) -> bool {
        self.servers.iter().any(|server| server.is_present && server.seen.is_some())
    }

    /// Takes note of what a server shows. Returns false if another change is under way there.
    fn look(&mut self, at: usize, state: StateItem, now: u64) -> bool {
        let server = &mut self.servers[at];
        server.state = state;
        let seen = match state {
            StateItem::Shows { stamp, fingerprint, .. }
                if fingerprint == self.to && stamp.generation == self.generation =>
            {
                Some(stamp)
            }
            StateItem::Shows { stamp, fingerprint, .. }
                if fingerprint == self.from && stamp.generation < self.generation =>
            {
                server.prepared = server.prepared.filter(|prepared| *prepared == stamp);
                None
            }
            StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. }
                if stamp.generation >= self.generation =>
            {
                return false;
            }
            StateItem::Unusable { .. } => return false,
            StateItem::Missing | StateItem::Shows { .. } | StateItem::Flipped { .. } => {
                server.prepared = server.prepared.filter(|prepared| Some(*prepared) == state.stamp());
                None
            }
        };
        if seen != server.seen {
            server.seen = seen;
            (self.since, self.copied) = (now, false);
        }
        true
    }

    /// Takes note of the answers to what prepares a server.
    fn prepared(&mut self, at: usize, said: &[Reply]) -> bool {
        let [.., early, noted, state] = said else { return false };
        let noted = [early, noted].map(|noted| protocol::read_change_note(noted).ok().flatten());
        let Ok(state) = protocol::read_state(state) else { return false };
        let server = &mut self.servers[at];
        // Each round anew: a flush may spare S, and take N.
        server.prepared = None;
        if let Some(stamp) = server.state.stamp()
            && state.stamp() == Some(stamp)
            && noted == [Some(self.to); 2]
        {
            server.prepared = Some(stamp);
            let fence = said.len().checked_sub(4).map(|at| &said[at]);
            server.token = fence.and_then(|fence| protocol::read_fence(fence).ok().flatten());
        }
        noted.into_iter().flatten().all(|noted| noted == self.to)
    }
}

impl World {
    /// Lets the operator go on.
    pub fn operate(&mut self, run: u32) {
        if self.operator.run != run || self.operator.under_way.is_some() {
            return;
        }
        let Some(change) = &mut self.operator.change else { return self.begin_run() };
        let is_late = self.now > change.began + PATIENCE;
        let next = change.queue.pop_front();
        if self.odd(self.options.operator_dies) || (is_late && !self.calm) {
            return self.operator_dies();
        }
        match next {
            Some((at, commands)) => self.operator_sends(at, commands),
            None => self.decide(),
        }
    }

    fn operate_in(&mut self, delay: u64) {
        let run = self.operator.run;
        self.plan_in(delay, Event::Operate { run });
    }

    fn operator_dies(&mut self) {
        self.note("operator dies", [self.operator.run.into(), self.operator.announced.into(), 0]);
        let resumes = self.operator.announced;
        self.report.resumed += u64::from(resumes);
        self.end_run();
        let pause = (1 + self.choices.spread(20)) * SEC;
        self.operate_in(pause);
    }

    fn end_run(&mut self) {
        let Operator { run, announced, change, under_way, .. } = &mut self.operator;
        *run += 1;
        (*change, *under_way) = (None, None);
        if !*announced && self.lists.next().is_some() {
            self.lists.withdraw();
        }
    }

    /// Lets the operator complete what was begun, and begin nothing more. Returns how long that may take.
    pub fn end_changes(&mut self) -> u64 {
        if self.options.spares == 0 {
            return 0;
        }
        self.end_run();
        self.operate_in(SEC);
        self.max_ttl() + 45 * SEC
    }

    fn begin_run(&mut self) {
        self.take_up_again();
        let (present, list) = (self.lists.present(), self.list_to_roll_out());
        if self.roll_out(list, self.lists.next().unwrap_or(present)) {
            return self.operate_in(3 * SEC);
        }
        self.restart_foreign_servers();
        if self.lists.next().is_none() && (self.calm || !self.draw_list()) {
            return self.operate_in(5 * SEC);
        }
        let (from, to) = (self.lists.present(), self.lists.present() + 1);
        let generation = self.lists.generation(to);
        let next = self.lists.servers(to).to_vec();
        if next.iter().any(|server| self.is_open_since(*server, generation)) {
            // Brokers see to the rest.
            return self.change_is_through();
        }
        let present = self.lists.servers(from).to_vec();
        let new = next.iter().filter(|server| !present.contains(server));
        let server = |number: usize| Server {
            number,
            is_present: present.contains(&number),
            is_next: next.contains(&number),
            state: StateItem::Missing,
            prepared: None,
            seen: None,
            token: None,
        };
        let servers = present.iter().chain(new).map(|number| server(*number)).collect();
        self.note("operator begins", [self.operator.run.into(), generation.get().into(), 0]);
        self.say(|| format!("operator: from {present:?} to {next:?}"));
        self.operator.change = Some(Change {
            generation,
            from: self.lists.fingerprint(from),
            to: self.lists.fingerprint(to),
            servers,
            began: self.now,
            since: self.now,
            copied: false,
            is_ready: false,
            step: Step::Look,
            queue: VecDeque::new(),
            failed: false,
        });
        self.begin_round(0);
    }

    /// Draws the next list. Returns false if that cannot be had now.
    fn draw_list(&mut self) -> bool {
        let mut weights = self.lists.weights(self.lists.present());
        let spare = |server: &usize| weights.iter().all(|(other, _)| other != server);
        let spares: Vec<usize> = (0..self.machines.len()).filter(spare).collect();
        let (kind, spare) = (self.among(4), spares[self.among(spares.len())]);
        let at = self.among(weights.len());
        let fresh = match kind {
            // One stays to take another's place.
            0 if spares.len() > 1 => {
                weights.push((spare, 1));
                Some(spare)
            }
            1 if weights.len() > 1 => {
                weights.remove(at);
                None
            }
            3 if weights.len() > 1 => {
                weights[at].1 = 1 + weights[at].1 % 3;
                None
            }
            _ => {
                weights[at] = (spare, 1);
                Some(spare)
            }
        };
        if let Some(spare) = fresh {
            let stopped = self.machines[spare].server.clock().is_stopped();
            if self.machines[spare].down || stopped || !self.may_lose(spare) {
                return false;
            }
            self.start_afresh(spare);
        }
        // With what else changes, the longest ttl may be raised.
        let more = if self.among(6) == 1 { Duration::from_secs(1 + self.choices.spread(3)) } else { Duration::ZERO };
        self.lists.add(&weights, self.lists.max_ttl() + more)
    }

    /// Starts a server that is in no list anew, so that it is empty.
    fn start_afresh(&mut self, server: usize) {
        let now = self.now;
        let machine = &mut self.machines[server];
        machine.process += 1;
        machine.began = DATE + now / SEC;
        machine.trouble = now;
        machine.server.restart(Restart::Cold, machine.clock.time(now), DATE + now / SEC, &mut self.choices);
        self.break_links(server);
        self.check.items[server].fill(None);
    }

    fn begin_round(&mut self, pause: u64) {
        let Some(change) = &self.operator.change else { return };
        let mut look = Vec::new();
        let mut generation = Some(Generation::FIRST);
        while let Some(next) = generation.filter(|generation| *generation <= change.generation) {
            look.push(protocol::look_for_change(next));
            generation = next.next();
        }
        look.push(protocol::probe());
        let queue = (0..change.servers.len()).map(|at| (at, look.clone())).collect();
        self.begin_step(Step::Look, queue, pause);
    }

    fn begin_step(&mut self, step: Step, queue: VecDeque<(usize, Vec<Command>)>, pause: u64) {
        let Some(change) = &mut self.operator.change else { return };
        (change.step, change.queue, change.failed) = (step, queue, false);
        self.operate_in(pause);
    }

    fn operator_sends(&mut self, at: usize, commands: Vec<Command>) {
        let Some(change) = &mut self.operator.change else { return };
        let (step, server) = (change.step, change.servers[at].number);
        let machine = &self.machines[server];
        if machine.down {
            change.failed = true;
            return self.operate_in(MS);
        }
        self.operator.announced |= step == Step::Prepare;
        let (life, process) = (self.operator.run, machine.process);
        self.links.push(Link { broker: OPERATOR, life, shard: server, process });
        self.say(|| format!("operator: {step:?} at server {server}"));
        self.operator.under_way = Some((self.next_exchange + 1, at));
        self.send_commands(self.links.len() as u64 - 1, commands);
    }

    /// Brings an answer, or none, to the operator.
    pub fn operator_answered(&mut self, exchange: u64, said: Option<Vec<Reply>>) {
        let Some((_, at)) = self.operator.under_way.take_if(|(number, _)| *number == exchange) else { return };
        let now = self.now;
        let Some(change) = &mut self.operator.change else { return };
        let is_well = match (&said, change.step) {
            (None, _) => false,
            // A full server opens nothing, and takes no copy.
            (Some(said), _) if said.iter().any(|said| matches!(said, Reply::Refused(_))) => false,
            (Some(said), Step::Look) => match read_look(said) {
                Some(state) => change.look(at, state, now),
                None => false,
            },
            (Some(said), Step::Prepare) => change.prepared(at, said),
            (Some(_), Step::Flip | Step::Copy) => true,
            (Some(said), Step::NotePermits) => said.last().is_some_and(|said| protocol::read_slots(said).is_ok()),
            (Some(said), Step::Open) => {
                let shown = said.last().and_then(|said| protocol::read_witness(said).ok());
                shown == change.servers[at].seen.map(Witness::Shows)
            }
        };
        change.failed |= !is_well;
        if !is_well {
            let (step, state) = (change.step, change.servers[at].state);
            self.say(|| format!("operator: {step:?} has failed: {state:?}"));
        }
        let pause = if self.odd(20_000) { self.choices.spread(3_000) * MS } else { MS / 10 };
        self.operate_in(pause);
    }

    /// Begins the next step when one is through.
    fn decide(&mut self) {
        let Some(change) = &mut self.operator.change else { return };
        match (change.step, change.failed) {
            (Step::Look, false) => self.prepare(),
            (Step::Prepare, false) => self.go_further(),
            (Step::NotePermits, false) => self.copy_items(),
            (Step::Copy, false) => {
                change.copied = true;
                self.begin_round(PAUSE);
            }
            (Step::Open, false) => self.change_is_through(),
            (_, true) | (Step::Flip, _) => self.begin_round(PAUSE),
        }
    }

    fn fresh(&mut self, generation: Generation) -> Stamp {
        self.ids += 1;
        Stamp { epoch: Epoch::from_random(self.ids), generation }
    }

    /// Notes the change on every server that is to be flipped, and gives S to those that are new.
    fn prepare(&mut self) {
        let (from, to) = (self.lists.present(), self.lists.present() + 1);
        let (from, to) = (self.lists.topology(from).clone(), self.lists.topology(to).clone());
        let Some(change) = &self.operator.change else { return };
        // Who runs it knows that it has begun, if nothing else does any more.
        let begun = change.has_begun() || self.lists.latest_begun() > self.lists.present();
        let generation = change.generation;
        let left = change.servers.iter().enumerate();
        let left = left.filter(|(_, server)| server.seen.is_none());
        let left: Vec<_> = left.map(|(at, server)| (at, server.state, server.is_present, server.prepared)).collect();
        let mut queue = VecDeque::new();
        for (at, state, is_present, prepared) in left {
            let mut batch = vec![protocol::note_former(generation, &from), protocol::note_topology(&to)];
            let own = state.stamp().filter(|_| is_present).and_then(|stamp| stamp.generation.next());
            let first = own.unwrap_or(generation);
            let mut noted_for = first;
            while noted_for < generation {
                batch.push(protocol::note_change(noted_for, to.fingerprint()));
                noted_for = noted_for.next().unwrap_or(generation);
            }
            batch.push(protocol::note_change(generation, to.fingerprint()));
            match state.stamp() {
                None if !is_present || begun => {
                    batch.push(protocol::begin(self.fresh(generation), to.fingerprint(), Made::ByChange));
                }
                // Once it has shown N: without that nobody could tell whose it is.
                Some(stamp) if !is_present && prepared == Some(stamp) => {
                    batch.push(protocol::flip(stamp, self.fresh(generation)));
                }
                _ => {}
            }
            if let StateItem::Shows { stamp, .. } = state {
                batch.push(protocol::highest_token(stamp.epoch));
            }
            batch.extend([protocol::look_for_change(first), protocol::look_for_change(generation), protocol::probe()]);
            queue.push_back((at, batch));
        }
        match queue.is_empty() {
            true => self.go_further(),
            false => self.begin_step(Step::Prepare, queue, 0),
        }
    }

    /// Flips, copies, waits and opens, once all is prepared.
    fn go_further(&mut self) {
        let is_ready = self.brokers_are_ready();
        let max_ttl = self.max_ttl();
        // Its clock may be fast.
        let wait = if self.options.drift { max_ttl - max_ttl / 10_000 } else { max_ttl };
        let Some(change) = &mut self.operator.change else { return };
        let is_prepared = |server: &Server| server.seen.is_some() || server.is_present && server.prepared.is_some();
        if !change.servers.iter().all(is_prepared) {
            let servers = format!("{:?}", change.servers);
            self.say(|| format!("operator: not all is prepared: {servers}"));
            return self.begin_round(PAUSE);
        }
        if change.servers.iter().any(|server| server.seen.is_none()) {
            if change.has_begun() || is_ready && std::mem::replace(&mut change.is_ready, is_ready) {
                return self.flip();
            }
            self.say(|| format!("operator: brokers are ready: {is_ready}"));
            return self.begin_round(PAUSE);
        }
        if !change.copied {
            return self.note_permits();
        }
        if self.now < change.since + wait {
            return self.begin_round(PAUSE);
        }
        self.open();
    }

    fn flip(&mut self) {
        let Some(change) = &self.operator.change else { return };
        let generation = change.generation;
        let left = change.servers.iter().enumerate().filter(|(_, server)| server.seen.is_none());
        let left: Vec<(usize, Stamp)> = left.filter_map(|(at, server)| Some((at, server.prepared?))).collect();
        let queue = left
            .into_iter()
            .map(|(at, prepared)| (at, vec![protocol::flip(prepared, self.fresh(generation))]))
            .collect();
        self.begin_step(Step::Flip, queue, 0);
    }

    /// Returns true if all brokers that have noted themselves at the servers in force can follow.
    fn brokers_are_ready(&mut self) -> bool {
        let Some(change) = &self.operator.change else { return false };
        let to = change.to.to_string();
        let present = self.lists.servers(self.lists.present()).to_vec();
        // Of each broker the latest note, and when it was written.
        let mut notes: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        for server in present {
            let Some((listed, date)) = self.list_items(server) else { return false };
            for item in listed {
                let (Key::Broker(_), Value::Text(text)) = (&item.key, &item.value) else { continue };
                let (broker, ready) = text.split_once(READY).unwrap_or((text, ""));
                let written = (item.until + 60).saturating_sub(u64::from(LIVES) + date);
                let latest = notes.entry(broker.trim_end().to_owned()).or_default();
                *latest = (*latest).max((written, ready == to));
            }
        }
        let is_late = |(written, is_ready): &(u64, bool)| !is_ready && written + RENEWED >= 60;
        let late = notes.iter().filter(|(_, note)| is_late(note));
        let late: Vec<String> = late.map(|(broker, _)| broker.clone()).collect();
        self.say(|| format!("operator: not ready: {late:?}"));
        late.is_empty()
    }

    fn list_items(&mut self, server: usize) -> Option<(Vec<Listed>, u64)> {
        let machine = &mut self.machines[server];
        if machine.down || machine.server.clock().is_stopped() {
            return None;
        }
        let now = machine.clock.time(self.now);
        let listed = machine.server.list(now, &mut self.choices);
        Some((listed, machine.server.date(now, &mut self.choices)))
    }

    /// Lists what moves: where to, until when by the clock there, and what.
    fn moving_items(&mut self) -> Option<Vec<(usize, u32, LockItem, ItemState)>> {
        let (from, to) = (self.lists.present(), self.lists.present() + 1);
        let mut moving = Vec::new();
        for source in self.lists.servers(from).to_vec() {
            let (listed, date) = self.list_items(source)?;
            for listed in listed {
                let Key::Lock(item) = listed.key else { continue };
                let name = self.number_of(&item.name);
                let (before, target) = (self.lists.home_by(from, name), self.lists.home_by(to, name));
                let Some(state) = ItemState::of_number(listed.cas).filter(|_| before == source && target != source)
                else {
                    continue;
                };
                let (_, there) = self.list_items(target)?;
                let until = u32::try_from((listed.until + there + 1).saturating_sub(date)).unwrap_or(u32::MAX);
                moving.push((target, until, item, state));
            }
        }
        Some(moving)
    }

    /// Notes which permits exist where they are copied to.
    fn note_permits(&mut self) {
        let Some(moving) = self.moving_items() else { return self.begin_round(PAUSE) };
        let mut permits: BTreeMap<(usize, usize), Permit> = BTreeMap::new();
        for (target, _, item, _) in &moving {
            if let Some(permit) = item.permit {
                let highest = permits.entry((*target, self.number_of(&item.name))).or_insert(permit);
                *highest = permit.max(*highest);
            }
        }
        let mut queue = VecDeque::new();
        for ((target, name), permit) in permits {
            let name = self.names[name].clone();
            let slots = match self.peek(target, &Key::Slots(name.clone())) {
                None => Slots::Ensure,
                Some(noted) if noted > u64::from(permit.get()) => continue,
                Some(noted) => Slots::Raise(noted as u16),
            };
            let Some(at) = self.place_of(target) else { continue };
            let notes = protocol::note_permits().into_iter().chain(protocol::note_slots(&name, slots, permit));
            queue.push_back((at, notes.collect()));
        }
        self.begin_step(Step::NotePermits, queue, 0);
    }

    fn place_of(&self, server: usize) -> Option<usize> {
        self.operator.change.as_ref()?.servers.iter().position(|known| known.number == server)
    }

    fn copy_items(&mut self) {
        let Some(moving) = self.moving_items() else { return self.begin_round(PAUSE) };
        let mut batches: BTreeMap<usize, Vec<Command>> = BTreeMap::new();
        for (target, until, item, state) in moving {
            if let Some(permit) = item.permit {
                let noted = self.peek(target, &Key::Slots(item.name.clone()));
                if noted.is_none_or(|noted| noted <= u64::from(permit.get())) {
                    return self.begin_round(PAUSE);
                }
            }
            self.report.copied += 1;
            let Some(at) = self.place_of(target) else { continue };
            batches.entry(at).or_default().push(protocol::copy(&item, state, until));
        }
        self.begin_step(Step::Copy, batches.into_iter().collect(), 0);
    }

    fn open(&mut self) {
        let Some(change) = &self.operator.change else { return };
        let tokens = change.servers.iter().filter_map(|server| server.token);
        let highest = tokens.map(FencingToken::get).max().unwrap_or(0);
        let start = first_token(Some(DATE * 1_000_000 + self.now / 1_000), highest).expect("the date is right");
        let (from, to) = (self.lists.present(), self.lists.present() + 1);
        let (former, next) = (self.lists.topology(from), self.lists.topology(to));
        let opens = |(at, server): (usize, &Server)| {
            let stamp = server.seen.filter(|_| server.is_next)?;
            let notes = [protocol::note_former(change.generation, former), protocol::note_topology(next)];
            let open = [protocol::open(stamp.epoch, start), protocol::witness()];
            Some((at, notes.into_iter().chain(open).collect()))
        };
        let queue = change.servers.iter().enumerate().filter_map(opens).collect();
        self.begin_step(Step::Open, queue, 0);
    }

    fn change_is_through(&mut self) {
        let list = self.lists.present() + 1;
        let generation = self.lists.generation(list);
        let has_moved = |shards: &Shards| shards.generation() >= Some(generation);
        if !self.brokers.iter().any(|node| node.shards.as_ref().is_some_and(has_moved)) {
            // What was opened may be lost again before anybody has seen it. Then all is closed until the command is run again.
            self.end_run();
            self.roll_out(list, list);
            return self.operate_in(4 * SEC);
        }
        self.note("list in force", [list as u64, 0, 0]);
        self.report.changes += 1;
        self.lists.advance();
        self.operator.announced = false;
        self.end_run();
        let pause = if self.calm { 1 } else { 1 + self.choices.spread(50) };
        self.operate_in(pause * SEC);
    }

    /// Returns true if a server is open, and shows this generation or a later one.
    pub(crate) fn is_open_since(&mut self, server: usize, generation: Generation) -> bool {
        let stamp = self.peek(server, &Key::State).and_then(Stamp::of_cas);
        stamp.is_some_and(|stamp| stamp.generation >= generation) && self.is_open(server)
    }

    /// Returns true if the server that keeps a spot grants locks, by the list by which it keeps it.
    pub fn keeps_openly(&mut self, server: usize, spot: usize) -> bool {
        let present = self.lists.present();
        let has_moved = self.lists.latest_begun() > present
            && self.lists.is_flipped(self.lists.home_by(present, self.name_of(spot)));
        match has_moved {
            true => self.is_open_since(server, self.lists.generation(present + 1)),
            false => self.is_open(server),
        }
    }

    /// Takes note of a server that a command has flipped.
    pub fn note_flip(&mut self, server: usize, command: &Command) {
        let Some(next) = self.lists.next().filter(|_| *command.key() == Key::State) else { return };
        let generation = self.lists.generation(next);
        let stamp = self.peek(server, &Key::State).and_then(Stamp::of_cas);
        let is_flipped = stamp.is_some_and(|stamp| stamp.generation >= generation);
        let is_present = self.lists.servers(self.lists.present()).contains(&server);
        if is_flipped && is_present && self.lists.flip(server) {
            self.note("flipped", [server as u64, 0, 0]);
            self.report.changing.begun += 1;
            self.note_moves(server);
        }
    }

    /// Takes note that the names of a server are kept elsewhere from now on. Nobody keeps alive what an earlier change has left there.
    fn note_moves(&mut self, server: usize) {
        let (from, to) = (self.lists.present(), self.lists.present() + 1);
        for spot in 0..self.spots() {
            let name = self.name_of(spot);
            let home = self.lists.home_by(to, name);
            if self.lists.home_by(from, name) != server || home == server {
                continue;
            }
            let is_there = self.item_state(spot).is_some();
            let item = &mut self.check.items[home][spot];
            *item = item.filter(|_| is_there).map(|item| Item { whole: false, ..item });
        }
    }

    /// Lets a broker meet a server that has come.
    pub fn meet(&mut self, broker: usize, shard: usize, address: &str) {
        let (server, servers) = (server_at(address), &mut self.brokers[broker].servers);
        match servers.get_mut(shard) {
            Some(known) => *known = server,
            None => servers.push(server),
        }
    }

    /// Takes note of what a broker has heard of a change.
    pub fn heard_of_change(&mut self, broker: usize, news: &ChangeNews) {
        self.say(|| format!("broker {broker}: {news:?}"));
        match news {
            ChangeNews::Announced { .. } => self.report.changing.announced += 1,
            ChangeNews::InForce { .. } => self.report.changing.moved_on += 1,
        }
        let (ChangeNews::Announced { topology, .. } | ChangeNews::InForce { topology, .. }) = news;
        self.brokers[broker].list = topology.fingerprint();
    }

    /// Returns true if nothing went wrong lately with any of the servers among which names have moved.
    pub fn are_well(&mut self, shard: usize, since: u64) -> bool {
        let moves = self.lists.latest_begun() > self.lists.present();
        if !moves && !self.is_open(shard) {
            return false;
        }
        let lists = self.lists.present().saturating_sub(1)..=self.lists.latest_begun();
        lists.flat_map(|list| self.lists.servers(list)).all(|server| {
            let machine = &self.machines[*server];
            let stopped = machine.down || machine.server.clock().is_stopped();
            let busy = machine.slow || machine.uncertain || machine.full || stopped;
            let cut = self.brokers.iter().any(|node| node.cut[*server]);
            !busy && !cut && self.now > since && machine.trouble + since < self.now
        })
    }
}

/// Reads what a look at a server has found: S, and the notes of all generations.
fn read_look(said: &[Reply]) -> Option<StateItem> {
    let (state, notes) = said.split_last()?;
    let state = protocol::read_state(state).ok()?;
    let StateItem::Flipped { stamp, .. } = state else { return Some(state) };
    let noted = protocol::read_change_note(notes.get(stamp.generation.get() as usize - 1)?).ok()?;
    Some(state.with_notice(noted))
}
