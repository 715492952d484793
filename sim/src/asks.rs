//! What brokers ask of the shards: how a request travels, what it comes to, and what a broker knows of a shard.

use std::time::Duration;

use lockbroker_core::RequestId;
use lockbroker_core::lock::LockName;
use lockbroker_core::rules::Rule;
use lockbroker_core::store::{Change, Note, Reply, Request, StoreError};

use crate::event::Event;
use crate::options::Fault;
use crate::store::{self, Ask, View};
use crate::time::{MS, SEC, plus_drift};
use crate::words;
use crate::world::World;

/// When a broker gives up a request that it has sent.
const BOUND: u64 = SEC;
/// How long a message to a shard is under way.
const HOP: u64 = 100_000;

/// What becomes of a request.
enum Way {
    /// Nothing is sent, and that is said after a while.
    Refused { after: u64, error: StoreError },
    /// It is carried out and answered, each after a while.
    Answered { carried: u64, answered: u64 },
    /// It is given up, and carried out at some time, or never.
    GivenUp { carried: Option<u64> },
    /// There is no memory for it.
    Full { carried: bool },
}

impl World {
    /// Sends a request.
    pub fn ask(&mut self, broker: usize, id: RequestId, name: &LockName, request: Request) {
        let name = self.number_of(name);
        let (view, life) = (self.brokers[broker].views[self.shard_of(name)], self.brokers[broker].life);
        let what = what(&request);
        self.note("ask", [broker as u64, name as u64, what]);
        self.say(|| words::request(&request));
        if let Request::Replace { from, to, .. } = &request
            && from != to
        {
            self.check.lineage.insert(to.get(), from.get());
        }
        match &request {
            Request::Grant { id, .. } | Request::HandOver { to: id, .. } => {
                self.check.askers.insert(id.get(), (broker, life, self.now));
            }
            Request::Linger { from, .. } => self.check_linger(name, *from),
            _ => {}
        }
        let ask = Ask {
            broker,
            life,
            id,
            name,
            request,
            sent: self.now,
            view,
            witness: None,
            open: false,
            given_up: false,
            reasserts: false,
            reply: None,
        };
        self.next_ask += 1;
        let number = self.next_ask;
        self.report.asks += 1;
        self.send(number, ask);
    }

    fn send(&mut self, number: u64, mut ask: Ask) {
        let way = self.way(&ask);
        match way {
            Way::Refused { after, error } => {
                ask.reply = Some(Ask::failed(&ask.request, error));
                self.asks.insert(number, ask);
                self.plan_in(after, Event::Answer { ask: number });
            }
            Way::Answered { carried, answered } => {
                self.asks.insert(number, ask);
                self.plan_in(carried, Event::Carry { ask: number });
                self.plan_in(answered, Event::Answer { ask: number });
            }
            Way::GivenUp { carried } => {
                // What is carried out late is another record, for the broker's own is over by then.
                let mut late = ask.clone();
                late.given_up = true;
                if let Some(carried) = carried {
                    self.next_ask += 1;
                    self.asks.insert(self.next_ask, late);
                    self.plan_in(carried, Event::Carry { ask: self.next_ask });
                }
                ask.reply = Some(Ask::uncertain(&ask.request, "no answer came"));
                self.asks.insert(number, ask);
                self.plan_in(BOUND, Event::Answer { ask: number });
            }
            Way::Full { carried } => {
                if carried {
                    let mut late = ask.clone();
                    late.given_up = true;
                    self.next_ask += 1;
                    self.asks.insert(self.next_ask, late);
                    self.plan_in(HOP, Event::Carry { ask: self.next_ask });
                }
                let full = StoreError::Full { why: "there is no memory".into() };
                ask.reply = Some(Ask::failed(&ask.request, full));
                self.asks.insert(number, ask);
                self.plan_in(2 * HOP, Event::Answer { ask: number });
            }
        }
    }

    /// Decides what becomes of a request.
    fn way(&mut self, ask: &Ask) -> Way {
        let shard = self.shard_of(ask.name);
        if self.brokers[ask.broker].cut[shard] {
            self.shards[shard].trouble = self.now;
            return match self.among(3) {
                0 => Way::Refused { after: SEC, error: StoreError::unavailable("it cannot be reached", None) },
                1 => Way::Refused { after: HOP, error: StoreError::unavailable("it cannot be reached", None) },
                _ => self.given_up(),
            };
        }
        if ask.view.epoch.is_none() || (store::grants(&ask.request) && !ask.view.open) {
            self.report.quarantined += 1;
            return Way::Refused { after: HOP, error: store::closed() };
        }
        if self.shards[shard].full && creates(&ask.request) {
            self.shards[shard].trouble = self.now;
            return Way::Full { carried: self.among(2) == 1 };
        }
        let rate = if self.shards[shard].uncertain { 300_000 } else { 5_000 };
        if self.options.has(Fault::Uncertain) && self.odd(rate) {
            self.shards[shard].trouble = self.now;
            return self.given_up();
        }
        if self.options.has(Fault::Refused) && self.odd(2_000) {
            self.shards[shard].trouble = self.now;
            let error = StoreError::unavailable("there was no connection", Some(Duration::from_millis(100)));
            return Way::Refused { after: 100 * MS, error };
        }
        let slow = self.shards[shard].slow;
        let mut hop = || match slow || self.odd(self.options.dawdle) {
            true => HOP + self.choices.spread(700) * MS,
            false => HOP,
        };
        let carried = hop();
        let answered = carried + hop();
        if answered >= BOUND {
            self.shards[shard].trouble = self.now;
            return Way::GivenUp { carried: Some(carried) };
        }
        Way::Answered { carried, answered }
    }

    /// Decides if a request that is given up is carried out, and when.
    fn given_up(&mut self) -> Way {
        let carried = match self.among(4) {
            0 => None,
            1 => Some(HOP),
            2 => Some(self.choices.spread(1_500) * MS),
            _ => Some(self.choices.spread(40_000) * MS),
        };
        Way::GivenUp { carried }
    }

    /// Carries out a request.
    pub fn carry(&mut self, number: u64) {
        let Some(mut ask) = self.asks.remove(&number) else { return };
        let shard = self.shard_of(ask.name);
        if ask.given_up && self.calm {
            return;
        }
        let early = match self.among(4) {
            0 => 0,
            3 => 3 * SEC,
            _ => self.choices.spread(3_000) * MS,
        };
        self.sweep(shard);
        let (reply, effect) = self.shards[shard].carry_out(&ask, self.now, early, self.rule);
        self.note("carry", [ask.broker as u64, ask.name as u64, what(&ask.request)]);
        self.say(|| format!("{}: {}", words::request(&ask.request), words::reply(&reply)));
        if effect.ended || effect.granted {
            self.check.changed[ask.name] = self.now;
        }
        if let Some(broker) = effect.wakes.filter(|broker| *broker != ask.broker) {
            self.wake(broker, ask.name);
        }
        if ask.given_up {
            return;
        }
        ask.reply = Some(reply);
        // The witness is read at once, or, seldom, later: only then a memory that is lost in between shows.
        if self.odd(self.options.dawdle) {
            ask.witness = None;
        } else {
            (ask.witness, ask.open) = (Some(self.shards[shard].epoch), self.shards[shard].open);
        }
        self.asks.insert(number, ask);
    }

    /// Brings an answer.
    pub fn answer(&mut self, number: u64) {
        let Some(broker) = self.asks.get(&number).map(|ask| ask.broker) else { return };
        if self.defer(broker, &Event::Answer { ask: number }) {
            return;
        }
        let Some(mut ask) = self.asks.remove(&number) else { return };
        if self.brokers[broker].life != ask.life || self.brokers[broker].core.is_none() {
            return;
        }
        let Some(reply) = ask.reply.take() else { return };
        let shard = self.shard_of(ask.name);
        let carried_out = !failed(&reply) && !matches!(reply, Reply::Watching(_));
        if carried_out {
            let (epoch, open) = match ask.witness {
                Some(epoch) => (epoch, ask.open),
                None => (self.shards[shard].epoch, self.shards[shard].open),
            };
            let local = self.brokers[broker].clock.at(self.now);
            let before = self.brokers[broker].views[shard];
            // An answer that was sent under an epoch that is over tells nothing new.
            if before.epoch.is_none_or(|seen| seen <= epoch) {
                self.see(broker, shard, epoch, open, local);
            }
            if ask.view.epoch != Some(epoch) || before.epoch != ask.view.epoch {
                let lost = Ask::uncertain(&ask.request, "the shard lost its memory meanwhile");
                return self.bring(&ask, lost);
            }
            let final_word = ask.view.open && self.brokers[broker].views[shard].open;
            let missing = reply == Reply::Changed(Ok(Change::Gone));
            if missing && !final_word && !ask.reasserts && store::reassertion(&ask.request).is_some() {
                ask.reasserts = true;
                ask.view = self.brokers[broker].views[shard];
                ask.sent = self.now;
                return self.send(number, ask);
            }
            let reply = if final_word { reply } else { store::settled(reply) };
            return self.bring(&ask, reply);
        }
        self.bring(&ask, reply);
    }

    fn bring(&mut self, ask: &Ask, reply: Reply) {
        self.note("answer", [ask.broker as u64, ask.name as u64, what(&ask.request)]);
        self.say(|| format!("{}: {}", words::request(&ask.request), words::reply(&reply)));
        self.turn(ask.broker, |core, outside| core.answered(ask.id, reply, outside));
    }

    fn see(&mut self, broker: usize, shard: usize, epoch: u64, open: bool, local: u64) {
        let view = &mut self.brokers[broker].views[shard];
        let before = *view;
        view.see(epoch, open, local);
        let life = self.brokers[broker].life;
        if before.open && !self.brokers[broker].views[shard].open {
            self.plan_in(100 * MS, Event::Probe { broker, life, shard });
        }
    }

    /// Asks a shard how it is, and opens it when its quarantine is over.
    pub fn probe(&mut self, broker: usize, life: u32, shard: usize) {
        if self.brokers[broker].life != life || self.brokers[broker].core.is_none() {
            return;
        }
        if !self.brokers[broker].cut[shard] {
            let local = self.brokers[broker].clock.at(self.now);
            let (epoch, open) = (self.shards[shard].epoch, self.shards[shard].open);
            let View { epoch: seen, open: seen_open, closed_since } = self.brokers[broker].views[shard];
            let quarantine = if self.rule == Some(Rule::Quarantine) { 0 } else { plus_drift(self.max_ttl()) };
            let over = seen == Some(epoch) && !seen_open && local >= closed_since + quarantine;
            if over && !open {
                self.shards[shard].unlock();
                self.note("open", [broker as u64, shard as u64, epoch]);
            }
            let open = self.shards[shard].open;
            self.see(broker, shard, epoch, open, local);
        }
        let view = self.brokers[broker].views[shard];
        if !view.open || view.epoch != Some(self.shards[shard].epoch) {
            let pause = if view.open { SEC } else { 100 * MS };
            self.plan_in(pause, Event::Probe { broker, life, shard });
        }
    }

    /// Lets a shard lose its memory.
    pub fn lose_memory(&mut self, shard: usize) {
        let now = self.now;
        self.shards[shard].lose_memory(now);
        self.note("loss", [shard as u64, self.shards[shard].epoch, 0]);
        for broker in 0..self.brokers.len() {
            let life = self.brokers[broker].life;
            let after = self.among(1_000) as u64 * MS;
            self.plan_in(after, Event::Probe { broker, life, shard });
        }
    }

    /// Tells a shard something, or does not get through.
    pub fn tell_store(&mut self, broker: usize, name: &LockName, note: Note) {
        let name = self.number_of(name);
        let shard = self.shard_of(name);
        if self.brokers[broker].cut[shard] || self.odd(self.options.dawdle) {
            return;
        }
        let until = |ttl: u32| self.now + u64::from(ttl) * SEC;
        match note {
            Note::Describe { .. } => {}
            Note::Unwatch => self.shards[shard].unwatch(broker, name),
            Note::QueueHere { ttl } => {
                let until = until(ttl);
                self.shards[shard].note_line(broker, name, until);
            }
            Note::WakeQueue => {
                if let Some(line) = self.shards[shard].line(name, self.now).filter(|line| *line != broker) {
                    self.wake(line, name);
                }
            }
        }
    }

    fn wake(&mut self, broker: usize, name: usize) {
        if !self.odd(100_000) {
            let delay = self.delay();
            self.plan_in(delay, Event::Hint { broker, name });
        }
    }
}

/// Returns a number for the trace.
fn what(request: &Request) -> u64 {
    match request {
        Request::Grant { .. } => 1,
        Request::HandOver { .. } => 2,
        Request::Renew { .. } => 3,
        Request::Replace { .. } => 4,
        Request::Linger { .. } => 5,
        Request::Remove { .. } => 6,
        Request::Look => 7,
        Request::Stands(_) => 8,
        Request::Watch { .. } => 9,
    }
}

fn creates(request: &Request) -> bool {
    matches!(request, Request::Grant { .. } | Request::HandOver { .. } | Request::Renew { .. })
}

fn failed(reply: &Reply) -> bool {
    match reply {
        Reply::Granted(result) => result.is_err(),
        Reply::Changed(result) => result.is_err(),
        Reply::Status(result) => result.is_err(),
        Reply::Stands(result) => result.is_err(),
        Reply::Watching(_) => false,
    }
}
