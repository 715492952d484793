//! The end of a run: all faults are over, all clients leave, every name can be had, and nothing is left of anybody.

use std::time::Duration;

use lockbroker_core::request::Mode;

use crate::brokers::Charged;
use crate::client::{Client, Lock};
use crate::event::{Event, Mend};
use crate::time::{SEC, nanos, plus_drift};
use crate::world::World;

impl World {
    /// Ends all faults, lets all clients leave, and lets others ask for every name.
    pub fn heal(&mut self) {
        self.note("heal", [0, 0, 0]);
        for client in 0..self.clients.len() {
            let way = self.among(3);
            self.replace_client(client, way);
            self.clients[client].alive = false;
        }
        self.calm = true;
        self.healed = self.now;
        for shard in 0..self.machines.len() {
            self.mend(Mend::Stop { shard });
            self.mend(Mend::Down { shard });
            self.mend(Mend::Uncertain { shard });
            self.mend(Mend::Slow { shard });
            self.mend(Mend::Full { shard });
            for broker in 0..self.brokers.len() {
                self.mend(Mend::Cut { broker, shard });
            }
        }
        for broker in 0..self.brokers.len() {
            let pause = self.brokers[broker].pause;
            self.resume(broker, pause);
            let life = self.brokers[broker].life;
            if self.brokers[broker].draining {
                self.plan(self.now, Event::Stop { broker, life });
            }
            self.plan_in(SEC / 2, Event::Start { broker });
        }
        self.calls.clear();
        // The item of a revoked lock whose broker has died lives for so much longer.
        let revoked = if self.options.revokes_every.is_some() { self.max_ttl() } else { 0 };
        let life = self.max_ttl() + revoked + nanos(self.options.longest_linger().max(self.options.longest_min_hold()));
        let bound = plus_drift(life) + 9 * SEC + self.ping_time() + SEC;
        for name in 0..self.names.len() {
            self.plan_probe(name);
        }
        let bound = bound + self.end_changes();
        self.plan_in(bound, Event::Judge);
        self.plan_in(3 * bound + 20 * SEC, Event::End);
    }

    /// Lets a client ask for a name, once all brokers are there.
    fn plan_probe(&mut self, name: usize) {
        let clock = self.clients[0].clock;
        let client = self.clients.len();
        self.clients.push(Client { probes: Some(name), ..Client::new(clock) });
        self.plan_in(SEC, Event::Act { client });
    }

    /// Lets a client ask that has not had its name yet, and asks for nothing now.
    pub fn ask_for_probe(&mut self, client: usize) {
        if self.calm && self.now > self.healed + 12 * SEC {
            self.check_waiters();
        }
        let Some(name) = self.clients[client].probes.filter(|name| !self.check.had[*name]) else { return };
        if !self.clients[client].locks.is_empty() {
            return;
        }
        let ttl = self.options.ttls[0];
        let conn = match self.clients[client].session() {
            Some(conn) => conn,
            None => self.open_session(client, ttl),
        };
        let mut lock = Lock::wanted(name, ttl, Duration::ZERO);
        lock.home = self.begin(client, Some(conn), &lock, Mode::Wait { max_wait: None, poll_interval: None });
        let client = &mut self.clients[client];
        client.next_key += 1;
        client.locks.insert(client.next_key, lock);
    }

    /// Checks that every name could be had.
    pub fn judge_names(&mut self) {
        self.note("judge", [0, 0, 0]);
        for name in 0..self.names.len() {
            if !self.check.had[name] {
                let item = self.item_state(name).map(crate::words::state);
                self.check.fail(format!("n{name} could not be had: its item is {item:?}"));
            }
        }
        for client in 0..self.clients.len() {
            self.replace_client(client, 0);
            self.clients[client].alive = false;
        }
    }

    /// Checks that nothing is left of any client.
    pub fn judge_tables(&mut self) {
        for broker in 0..self.brokers.len() {
            if let Some(core) = &self.brokers[broker].core
                && (!core.is_empty() || self.brokers[broker].charged != Charged::default())
            {
                let left = format!("{core:#?}");
                let (counts, charged) = (core.counts(), self.brokers[broker].charged);
                self.say(|| left);
                self.check.fail(format!("broker {broker} is not empty at the end: {counts:?}, {charged:?}"));
            }
        }
    }
}
