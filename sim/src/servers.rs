//! The memcached servers: their processes, their machines' clocks, and what brokers' commands do to them.

use lockbroker_core::command::{Cas, Command, Key, Reply, Ttl};
use lockbroker_core::shard::protocol;
use lockbroker_core::shard::state_item::{Epoch, Generation, Made, Stamp};
use lockbroker_core::store::ItemState;

use crate::memcached::{Restart, Server, Settings};
use crate::time::{Clock, SEC};
use crate::world::{PERMITS, World};

/// The date at which a simulation begins, in seconds since 1970.
pub(crate) const DATE: u64 = 1_800_000_000;

/// A server, and what has been done to it.
#[derive(Debug)]
pub struct Machine {
    pub server: Server,
    pub clock: Clock,
    /// Counts its processes. A connection leads to one of them.
    pub process: u64,
    /// The beginning of the present one.
    pub began: u64,
    /// Counts the losses of memory.
    pub losses: u64,
    /// True while no process runs.
    pub down: bool,
    /// True while answers are lost and commands land late.
    pub uncertain: bool,
    /// True while it is slow.
    pub slow: bool,
    /// True while it has no memory.
    pub full: bool,
    /// The exchanges that wait for a process that is stopped.
    pub waiting: Vec<u64>,
    /// When it last was in trouble.
    pub trouble: u64,
}

/// The item of a lock, as the checks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub state: ItemState,
    /// The command that set its life was sent at this time, for so long.
    pub sent: u64,
    pub ttl: u32,
    /// True if the server's clock was right when that was carried out, and soon after it was sent.
    pub whole: bool,
}

impl Item {
    /// Returns until when it is certain to live (R2).
    pub fn sure(&self) -> u64 {
        self.sent + (u64::from(self.ttl) * SEC).saturating_sub(3 * SEC)
    }
}

impl World {
    /// Starts the servers, with epochs that are open.
    pub fn start_servers(&mut self) {
        for shard in 0..self.options.shards + self.options.spares {
            let ppm = if self.options.drift { [0, 100, -100][self.among(3)] } else { 0 };
            let clock = Clock::new((100 + shard as u64) * 1_000 * SEC + self.choices.spread(SEC), ppm);
            let scarce = self.options.scarce;
            let server = Server::new(Settings::default(), clock.time(0), DATE, &mut self.choices);
            self.machines.push(Machine {
                server,
                clock,
                process: 1,
                began: DATE,
                losses: 0,
                down: false,
                uncertain: false,
                slow: false,
                full: scarce,
                waiting: Vec::new(),
                trouble: 0,
            });
            if shard >= self.options.shards {
                continue;
            }
            self.ids += 1;
            let stamp = Stamp { epoch: Epoch::from_random(self.ids), generation: Generation::FIRST };
            let opens = [
                protocol::open(stamp.epoch, DATE * 1_000_000),
                protocol::begin(stamp, self.lists.fingerprint(0), Made::InForce),
            ];
            opens.iter().for_each(|command| drop(self.execute(shard, command)));
            self.machines[shard].server.set_shared(scarce);
        }
    }

    /// Carries out a command.
    pub fn execute(&mut self, shard: usize, command: &Command) -> Reply {
        let machine = &mut self.machines[shard];
        let reply = machine.server.execute(command, machine.clock.time(self.now), &mut self.choices);
        machine.server.answers_left();
        reply
    }

    /// Reads an item's number without leaving a trace.
    pub fn peek(&mut self, shard: usize, key: &Key) -> Option<u64> {
        let machine = &mut self.machines[shard];
        machine.server.peek(key, machine.clock.time(self.now), &mut self.choices)
    }

    /// Returns the state of an item, where it is kept now.
    pub fn item_state(&mut self, spot: usize) -> Option<ItemState> {
        self.item_state_at(self.shard_of(spot), spot)
    }

    fn item_state_at(&mut self, shard: usize, spot: usize) -> Option<ItemState> {
        let key = Key::Lock(self.item_at(spot));
        self.peek(shard, &key).and_then(ItemState::of_number)
    }

    /// Returns how many memories have been lost with which the item of a spot may have gone.
    pub fn losses(&self, spot: usize) -> u64 {
        match self.options.spares {
            0 => self.machines[self.shard_of(spot)].losses,
            _ => self.machines.iter().map(|machine| machine.losses).sum(),
        }
    }

    /// Returns true if a shard grants locks.
    pub fn is_open(&mut self, shard: usize) -> bool {
        let stamp = self.peek(shard, &Key::State).and_then(Stamp::of_cas);
        stamp.is_some_and(|stamp| self.peek(shard, &Key::Fence(stamp.epoch.get())).is_some())
    }

    /// Carries out a command of a broker's that was sent at `sent`, and takes note of what it did to a lock.
    pub fn carry(&mut self, broker: usize, shard: usize, command: &Command, sent: u64) -> Reply {
        let Key::Lock(item) = command.key() else { return self.execute(shard, command) };
        if item.permit.is_some_and(|permit| usize::from(permit.get()) >= PERMITS) {
            // Nobody asks for it, but it is looked for.
            return self.execute(shard, command);
        }
        let name = self.spot_of(self.number_of(&item.name), item.permit);
        self.expire_item_at(shard, name);
        let lags = self.machines[shard].server.clock().lags(self.machines[shard].clock.time(self.now));
        let reply = self.execute(shard, command);
        let done = matches!(reply, Reply::Done(_));
        let whole = !lags && self.now < sent + 3 * SEC;
        let (state, ttl) = match command {
            Command::Arithmetic { create: Some(create), new_cas: Some(Cas(cas)), .. } if done => (*cas, create.ttl),
            Command::Delete { in_place: Some(change), .. } if done => match (change.new_cas, change.ttl) {
                (Some(Cas(cas)), Some(ttl)) => (cas, ttl),
                _ => return reply,
            },
            Command::Delete { in_place: None, .. } if done => {
                self.say(|| format!("n{name} is deleted"));
                self.check.items[shard][name] = None;
                if shard == self.shard_of(name) {
                    self.check.changed[name] = self.now;
                }
                return reply;
            }
            _ => return reply,
        };
        let Some(state) = ItemState::of_number(state) else { return reply };
        let Ttl::Seconds(ttl) = ttl else {
            self.note_copy(shard, name, state);
            return reply;
        };
        let before = self.check.items[shard][name].map(|item| item.state);
        let mut others = self.check.items.iter().enumerate().filter(|(other, _)| *other != shard);
        let mut is_of_another = || others.any(|(_, items)| items[name].is_some_and(|item| item.state == state));
        if matches!(command, Command::Arithmetic { .. }) && matches!(state, ItemState::Held(_)) && is_of_another() {
            self.report.changing.reasserted += 1;
        }
        if before != Some(state) && shard == self.shard_of(name) {
            self.check.changed[name] = self.now;
            if matches!(state, ItemState::Lingering(id) if id.is_revocation()) {
                (self.check.moved[name], self.check.revoked[name]) = (self.now, Some(self.now));
            }
            self.note("item", [broker as u64, name as u64, ttl.into()]);
        }
        self.say(|| format!("n{name} is {} for {ttl} s", crate::words::state(state)));
        // The server's clock never goes back: a later command of the same T shortens nothing.
        let sent = match self.check.items[shard][name] {
            Some(item) if item.ttl <= ttl => sent.max(item.sent),
            _ => sent,
        };
        self.check.items[shard][name] = Some(Item { state, sent, ttl, whole });
        reply
    }

    /// Takes note of a copy of an item: it lives as long as that.
    fn note_copy(&mut self, shard: usize, name: usize, state: ItemState) {
        self.say(|| format!("n{name} is copied to server {shard}, {}", crate::words::state(state)));
        self.report.changing.lingers += u64::from(matches!(state, ItemState::Lingering(_)));
        let items = self.check.items.iter().filter_map(|items| items[name]);
        let Some(copied) = items.filter(|item| item.state == state).max_by_key(Item::sure) else { return };
        self.check.items[shard][name] = Some(Item { whole: false, ..copied });
        if matches!(state, ItemState::Lingering(id) if id.is_revocation()) {
            self.check.moved[name] = self.now;
            self.check.revoked[name].get_or_insert(copied.sent);
        }
    }

    /// Takes note of an item that has expired, where it is kept now.
    pub fn expire_item(&mut self, name: usize) {
        self.expire_item_at(self.shard_of(name), name);
    }

    fn expire_item_at(&mut self, shard: usize, name: usize) {
        let Some(item) = self.check.items[shard][name] else { return };
        if self.item_state_at(shard, name).is_none() {
            self.check.items[shard][name] = None;
            if shard == self.shard_of(name) {
                self.check_expired(name, &item);
            }
        }
    }

    /// Lets a server lose its memory: by a flush if `flushes`, else by a restart. One that is stopped restarts.
    pub fn lose_memory(&mut self, shard: usize, flushes: bool) {
        self.machines[shard].losses += 1;
        self.machines[shard].trouble = self.now;
        self.note("loss", [shard as u64, self.machines[shard].losses, flushes.into()]);
        for name in 0..self.spots() {
            self.expire_item(name);
        }
        let machine = &mut self.machines[shard];
        let now = machine.clock.time(self.now);
        if flushes && !machine.server.clock().is_stopped() {
            // It is allowed: brokers are told to take such a server all the same.
            let _ = machine.server.flush_all(now, &mut self.choices);
        } else {
            machine.process += 1;
            machine.began = DATE + self.now / SEC;
            machine.server.restart(Restart::Cold, now, DATE + self.now / SEC, &mut self.choices);
            self.break_links(shard);
        }
        for name in 0..self.spots() {
            let is_known = self.shard_of(name) == shard || self.check.items[shard][name].is_some();
            if is_known && self.item_state_at(shard, name).is_none() {
                self.check.items[shard][name] = None;
            }
        }
    }

    /// Stops a server's process (SIGSTOP).
    pub fn stop_server(&mut self, shard: usize) {
        let machine = &mut self.machines[shard];
        machine.trouble = self.now;
        machine.server.stop(machine.clock.time(self.now), &mut self.choices);
        self.note("stop", [shard as u64, 0, 0]);
    }

    /// Lets it go on. What was sent to it meanwhile is carried out.
    pub fn resume_server(&mut self, shard: usize) {
        let machine = &mut self.machines[shard];
        if !machine.server.clock().is_stopped() {
            return;
        }
        machine.trouble = self.now;
        machine.server.resume(machine.clock.time(self.now), &mut self.choices);
        let waiting = std::mem::take(&mut machine.waiting);
        self.note("go on", [shard as u64, waiting.len() as u64, 0]);
        for exchange in waiting {
            self.plan(self.now, crate::event::Event::Carry { exchange });
        }
    }
}
