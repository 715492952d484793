//! The end of a run: all faults are over, all clients leave, every name can be had, and nothing is left of anybody.

use std::time::Duration;

use lockbroker_core::request::Mode;

use crate::client::{Lock, Phase, Place};
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
        for shard in 0..self.shards.len() {
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
        let bound = plus_drift(self.max_ttl() + nanos(self.options.longest_linger())) + 6 * SEC;
        for name in 0..self.names.len() {
            self.plan_probe(name, bound);
        }
        self.plan_in(bound, Event::Judge);
        self.plan_in(3 * bound + 20 * SEC, Event::End);
    }

    /// Lets a client ask for a name, with a wait, once all brokers are there.
    fn plan_probe(&mut self, name: usize, bound: u64) {
        let clock = self.clients[0].clock;
        let client = self.clients.len();
        self.clients.push(crate::client::Client::new(clock));
        let ttl = self.options.ttls[0];
        let local = clock.at(self.now);
        let mut lock = Lock {
            name,
            ttl,
            linger: Duration::ZERO,
            phase: Phase::Asked,
            id: None,
            until: 0,
            home: Place { conn: 0, lock_ref: 0 },
            moving: None,
            settled: false,
            let_go: local + bound,
            asked: local,
        };
        // Known to nobody yet: it asks as soon as it acts.
        lock.home.conn = usize::MAX;
        self.clients[client].locks.insert(1, lock);
        self.plan_in(SEC, Event::Act { client });
    }

    /// Lets a probe ask that has not asked yet, or whose stream broke.
    pub fn ask_for_probe(&mut self, client: usize) {
        let unasked = |lock: &&Lock| lock.phase == Phase::Asked && lock.home.conn == usize::MAX;
        let Some(lock) = self.clients[client].locks.get(&1).filter(unasked).cloned() else { return };
        let conn = self.open_session(client, lock.ttl);
        let home = self.begin(client, Some(conn), &lock, Mode::Wait { max_wait: None, poll_interval: None });
        if let Some(lock) = self.clients[client].locks.get_mut(&1) {
            lock.home = home;
        }
    }

    /// Checks that every name could be had.
    pub fn judge_names(&mut self) {
        self.note("judge", [0, 0, 0]);
        for name in 0..self.names.len() {
            if !self.check.had[name] {
                let item = self.shards[self.shard_of(name)].items.get(&name).map(|item| crate::words::state(item.state));
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
                && !core.is_empty()
            {
                let left = format!("{core:#?}");
                let counts = core.counts();
                self.say(|| left);
                self.check.fail(format!("broker {broker} is not empty at the end: {counts:?}"));
            }
        }
    }
}
