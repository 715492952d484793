//! A broker's shard: the shipped machine of what is known of a memory (`core::shard::machine`), what is sent by it, and
//! what its answers come to. Clocks are the model's own: a lag is counted in ticks.

use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::command::{Command, Reply as Said};
use lockbroker_core::lock::FencingToken;
use lockbroker_core::shard::machine::{
    Batch, Beginning, EpochState, Finality, Found, Heeds, Job, Kind, LastWord, Op as Shipped, Outcome, Phase, Probe,
    Seen, Sent,
};
use lockbroker_core::shard::protocol::Unexpected;
use lockbroker_core::shard::state_item::{Generation, Made, Stamp, StateItem};
use lockbroker_core::store::{LockStatus, Reply, StoreError};

use crate::broker::{NOW, TICK, ticks};
use crate::canon::FIXED_EPOCHS;
use crate::memcached::{self, FINGERPRINT};
use crate::model::Model;
use crate::rules::MARGIN;
use crate::state::{Epoch, Flight, LINGER, Left, Op, Owner, Place, State, Token, epoch_of};

/// Returns what S shows in this epoch.
pub(crate) fn stamp(epoch: Epoch) -> Stamp {
    Stamp { epoch: epoch_of(epoch), generation: Generation::FIRST }
}

fn shows(epoch: Option<Epoch>) -> StateItem {
    epoch.map_or(StateItem::Missing, |epoch| StateItem::Shows {
        stamp: stamp(epoch),
        fingerprint: FINGERPRINT,
        made: Made::InForce,
    })
}

fn beginning(epoch: Epoch) -> Beginning {
    Beginning { stamp: stamp(epoch), fingerprint: FINGERPRINT, made: Made::InForce }
}

/// Returns what a look finds.
fn found(fence: Option<Result<Option<FencingToken>, Unexpected>>, epoch: Option<Epoch>) -> Found {
    Found { clock: None, fence, notice: None, words: None, state: shows(epoch) }
}

/// Returns the knowledge of a memory with an open epoch.
pub(crate) fn open(epoch: Epoch) -> EpochState {
    let mut memory = EpochState::new(FINGERPRINT);
    for _ in 0..2 {
        let found = found(Some(Ok(Some(memcached::token(0)))), Some(epoch));
        let sent = memory.sent(NOW);
        memory.probed(Probe::Look, &found, &sent, NOW);
    }
    assert!(memory.is_open(), "S was read, and then the fences");
    memory
}

impl Model {
    pub(crate) fn send(&self, state: &mut State, owner: Owner, op: Op, place: Place) {
        if op.grants() {
            self.will_draw(&mut state.left);
        }
        let broker = match owner {
            Owner::Core(broker, _) | Owner::Probe(broker) => broker as usize,
            Owner::Nobody => unreachable!("somebody sends"),
        };
        state.reached.sends |= crate::coverage::send(op);
        let flight = self.flight(&state.brokers[broker].memory, owner, op, place);
        state.flights.push(flight);
    }

    /// Returns a batch, or a probe, that is sent with this knowledge.
    fn flight(&self, memory: &EpochState, owner: Owner, op: Op, place: Place) -> Flight {
        let sent = memory.sent(NOW);
        let epoch = sent.epoch.map_or(0, crate::state::of_epoch);
        let token = if self.bounds.tokens.is_some() { sent.token as Token } else { 0 };
        let mut flight = Flight { owner, epoch, open: sent.open, token, ..crate::canon::stray(op, place) };
        flight.count = self.commands(&flight).len() as u8;
        flight
    }

    /// Returns the commands of a batch, or of a probe, as the shipped core makes them.
    pub(crate) fn commands(&self, flight: &Flight) -> Vec<Command> {
        let epoch = (flight.epoch != 0).then(|| epoch_of(flight.epoch));
        match self.batch(flight) {
            Ok(mut batch) => batch.commands(epoch, None, true),
            Err(Probe::Open(start)) => match flight.op {
                Op::Open(epoch, _) => Probe::Open(start).commands(Some(epoch_of(epoch)), None),
                _ => unreachable!("it opens"),
            },
            // The servers stay: N is not looked for (`topology` has those that come and go).
            Err(probe) => probe.commands(epoch, None),
        }
    }

    /// Returns the batch, or the probe.
    fn batch(&self, flight: &Flight) -> Result<Batch, Probe> {
        let op = match flight.op {
            Op::Probe => return Err(Probe::Look),
            Op::Begin(epoch) => return Err(Probe::Begin(beginning(epoch))),
            Op::Open(_, token) => return Err(Probe::Open(memcached::token(token).get())),
            op => self.shipped(op),
        };
        let item = self.item(flight.place);
        Ok(Batch::new(vec![Job { item, asker: None, op }], Kind::Item))
    }

    /// Returns an op as the shipped core has it, but for the rules that are left out.
    pub(crate) fn shipped(&self, op: Op) -> Shipped {
        let rules = &self.rules;
        let op = op.shipped();
        match op {
            Shipped::Replace { from, to, ttl, touches_owner, reasserts } => {
                let held = |state| crate::broker::of_item(state) & LINGER == 0;
                let allowed = match (held(from), held(to)) {
                    (true, true) => rules.reassert,
                    (true, false) => rules.release_creates_linger,
                    _ => rules.reassert_linger,
                };
                Shipped::Replace { from, to, ttl, touches_owner, reasserts: reasserts && allowed }
            }
            op => op,
        }
    }

    /// Returns true if the shard serves this now. What it does not serve is refused at once.
    pub(crate) fn may_send(&self, state: &State, broker: usize, op: Op) -> bool {
        let known = &state.brokers[broker];
        let clock = !op.extends() || known.clock_known || !self.rules.clock_learned;
        let draws = !op.grants() || self.bounds.tokens.is_none() || state.left.draws > 0;
        let serves = known.memory.serves(&op.shipped(), !self.rules.grant_only_if_open);
        serves.is_ok() && clock && draws
    }

    fn will_draw(&self, left: &mut Left) {
        if self.bounds.tokens.is_some() {
            left.draws -= 1;
        }
    }

    /// Returns what a broker asks the shard next, or does to it; none where the answer would tell it nothing.
    pub(crate) fn probe(&self, state: &State, broker: usize) -> Option<Op> {
        let owner = Owner::Probe(broker as u8);
        if state.cores[broker].is_none() || state.flights.iter().any(|flight| flight.owner == owner) {
            return None;
        }
        let known = &state.brokers[broker];
        let quarantine = match (self.rules.quarantine, self.rules.quarantine_length) {
            (false, _) => Duration::ZERO,
            (true, false) => ticks(self.bounds.max_ttl() - 2 * MARGIN),
            (true, true) => ticks(self.bounds.max_ttl()),
        };
        let start = self.first_token(state, broker);
        let begin = || match self.rules.fresh_epoch {
            true => state.fresh_epoch(),
            false => FIXED_EPOCHS + broker as u8,
        };
        let next = known.memory.next_probe(NOW, quarantine, Some(start), || Some(beginning(begin())));
        match next {
            Probe::Begin(begins) => Some(Op::Begin(crate::state::of_epoch(begins.stamp.epoch))),
            Probe::Words(_) | Probe::Flip { .. } => unreachable!("the servers stay"),
            Probe::Open(start) => {
                Some(Op::Open(known.memory.epoch().map(crate::state::of_epoch)?, (start - 1) as Token))
            }
            Probe::Look => {
                let learns_clock = self.rules.clock_learned && !known.clock_known && state.memcached.lag == 0;
                (learns_clock || self.would_learn(state, &known.memory)).then_some(Op::Probe)
            }
        }
    }

    /// Returns true if a look now would change what is known.
    fn would_learn(&self, state: &State, memory: &EpochState) -> bool {
        let sent = memory.sent(NOW);
        let fence = sent.epoch.map(|epoch| {
            let fence = state.fence(crate::state::of_epoch(epoch));
            Ok(fence.map(|fence| memcached::token(fence.token)))
        });
        let found = found(fence, state.memcached.epoch);
        let mut after = memory.clone();
        after.probed(Probe::Look, &found, &sent, NOW);
        after.phase() != memory.phase()
    }

    /// Returns the token after which those of an epoch that is opened now begin. The brokers' wall clocks differ by
    /// less than the longest ttl (A7), so that much of the past may be missing from them. The distance that the shipped
    /// core keeps to what it has seen is left out.
    fn first_token(&self, state: &State, broker: usize) -> u64 {
        let by_the_wall = memcached::token(state.ghost.drawn_long_ago).get();
        match self.rules.fence_start {
            true if self.bounds.tokens.is_some() => by_the_wall.max(state.brokers[broker].memory.highest_ever()),
            _ => memcached::token(0).get(),
        }
    }

    /// Handles an answer that arrives.
    pub(crate) fn arrive(&self, state: &mut State, flight: Flight) {
        match flight.owner {
            Owner::Probe(broker) => self.probe_landed(state, broker as usize, &flight),
            Owner::Core(broker, id) => {
                let outcome = self.job_landed(state, broker as usize, &flight);
                let reply = match outcome.next.map(|op| Op::packed(&op)) {
                    None => outcome.reply,
                    Some(next) if next.looks() => self.look(state, flight.owner, next, flight.place),
                    Some(next) if self.may_send(state, broker as usize, next) => {
                        return self.send(state, flight.owner, next, flight.place);
                    }
                    Some(next) => Some(next.shipped().failed(StoreError::unavailable("", None))),
                };
                state.ghost.cutter = flight.op.makes().filter(|_| flight.cuts_linger);
                self.answer(state, broker as usize, id, reply.expect("a job has an answer, or goes on"));
                state.ghost.cutter = None;
            }
            Owner::Nobody => unreachable!("nobody waits for it"),
        }
    }

    /// Gives up waiting for an answer. What has not been carried out may still be.
    pub(crate) fn give_up(&self, state: &mut State, flight: Flight) {
        if !flight.landed {
            state.flights.push(crate::canon::stray(flight.op, flight.place));
        }
        if let Owner::Core(broker, id) = flight.owner {
            self.answer(state, broker as usize, id, uncertain(flight.op));
        }
    }

    /// Asks the shard, or moves it on, and has the answer.
    pub(crate) fn probe_at_once(&self, state: &mut State, broker: u8, op: Op) {
        self.send(state, Owner::Probe(broker), op, 0);
        let last = state.flights.len() - 1;
        while !state.flights[last].is_answer() {
            self.advance(state, last);
        }
        let flight = state.flights.remove(last);
        let knew = state.brokers[broker as usize].memory.phase();
        self.arrive(state, flight);
        // An epoch that has been found is looked at again at once.
        let knows = state.brokers[broker as usize].memory.phase();
        if knows != knew && matches!(knows, Phase::Found { .. }) {
            self.probe_at_once(state, broker, Op::Probe);
        }
    }

    /// Looks at an item at once. Returns the answer; none if something is to be done first, which has been sent.
    pub(crate) fn look(&self, state: &mut State, owner: Owner, op: Op, place: Place) -> Option<Reply> {
        let Owner::Core(broker, _) = owner else { unreachable!("a core looks") };
        let broker = broker as usize;
        if state.memcached.stopped || !self.may_send(state, broker, op) {
            return Some(op.shipped().failed(StoreError::unavailable("", None)));
        }
        let mut flight = self.flight(&state.brokers[broker].memory, owner, op, place);
        while !flight.is_answer() {
            self.carry_out(state, &mut flight);
        }
        let outcome = self.job_landed(state, broker, &flight);
        if let Some(next) = outcome.next.map(|op| Op::packed(&op)) {
            if !self.may_send(state, broker, next) {
                return Some(next.shipped().failed(StoreError::unavailable("", None)));
            }
            self.send(state, owner, next, place);
            return None;
        }
        let mut reply = outcome.reply.expect("a look has an answer, or goes on");
        if let (Reply::Status(Ok(LockStatus::Taken { expires_in, .. })), Some(item)) =
            (&mut reply, state.memcached.slot(place))
        {
            *expires_in = ticks(item.left);
        }
        Some(reply)
    }

    /// Lets a broker learn of its memory.
    fn learn<T>(&self, state: &mut State, broker: usize, age: u8, learn: impl FnOnce(&mut EpochState, Time) -> T) -> T {
        let known = &mut state.brokers[broker];
        let changes = known.memory.changes();
        let closed_from = known.closed_from.map_or(NOW, |ago| NOW - TICK * ago.into());
        let learned = learn(&mut known.memory, closed_from);
        if known.memory.changes() != changes {
            match known.memory.phase() {
                Phase::Lost if !self.rules.quarantine_per_epoch => {
                    known.closed_from.get_or_insert(0);
                }
                Phase::Lost => known.closed_from = None,
                _ if !self.rules.quarantine_from_arrival => {
                    known.closed_from.get_or_insert(age);
                }
                _ => {}
            }
            let of_this_broker = |flight: &&mut Flight| match flight.owner {
                Owner::Core(owner, _) | Owner::Probe(owner) => owner as usize == broker,
                Owner::Nobody => false,
            };
            state.flights.iter_mut().filter(of_this_broker).for_each(|flight| flight.stale = true);
        }
        if known.memory.is_open() {
            known.closed_from = None;
        }
        learned
    }

    /// Returns the knowledge with which a batch was sent whose broker has not changed its mind since.
    fn sent(&self, memory: &EpochState, flight: &Flight) -> Sent {
        Sent {
            at: NOW - TICK * flight.age.into(),
            epoch: (flight.epoch != 0).then(|| epoch_of(flight.epoch)),
            changes: memory.changes(),
            open: flight.open,
            token: flight.token.into(),
            asks_for: None,
        }
    }

    fn probe_landed(&self, state: &mut State, broker: usize, flight: &Flight) {
        if flight.stale {
            return;
        }
        let Err(probe) = self.batch(flight) else { unreachable!("it is a probe") };
        let sent = self.sent(&state.brokers[broker].memory, flight);
        let found = probe.evidence(&sent, &self.said(flight), "").expect("memcached answers");
        if let Some(left) = found.clock {
            self.clock_counts(state, broker, left, true);
        }
        self.learn(state, broker, flight.age, |memory, now| memory.probed(probe, &found, &sent, now));
    }

    /// Takes note of where memcached's clock stands. Returns true if it has come as far as it should.
    fn clock_counts(&self, state: &mut State, broker: usize, left: Option<Duration>, probes: bool) -> bool {
        let Some(lag) = left.map(memcached::lag) else { return false };
        let known = &mut state.brokers[broker];
        known.reference = known.reference.min(lag);
        if probes && state.memcached.lag == 0 {
            known.clock_known = true;
            known.reference = 0;
        }
        lag <= known.reference + MARGIN || !self.rules.clock_lag
    }

    /// Returns the answers that a batch of the shipped core has.
    fn said(&self, flight: &Flight) -> Vec<Said> {
        let commands = self.commands(flight);
        commands.iter().zip(flight.said).map(|(command, word)| memcached::reply(command, word)).collect()
    }

    /// Returns what the answer to a job comes to, by what it proves of the shard.
    fn job_landed(&self, state: &mut State, broker: usize, flight: &Flight) -> Outcome {
        let unknown = || Outcome { reply: Some(uncertain(flight.op)), ..Outcome::default() };
        let Ok(mut batch) = self.batch(flight) else { unreachable!("no hold sends probes") };
        if flight.stale || flight.epoch == 0 {
            return unknown();
        }
        // The number of commands of each job is counted as they are made.
        batch.commands((flight.epoch != 0).then(|| epoch_of(flight.epoch)), None, true);
        let said = self.said(flight);
        let Ok(evidence) = batch.evidence(&said, "") else { return unknown() };
        let in_time = evidence.clock.is_none_or(|left| self.clock_counts(state, broker, left, false));
        let sent = self.sent(&state.brokers[broker].memory, flight);
        let blind = !self.rules.witness;
        let judged =
            self.learn(state, broker, flight.age, |memory, now| memory.judge(&evidence, &sent, now, in_time, blind));
        let last_word: LastWord = match judged {
            Ok(Finality::Final) => Ok(()),
            Ok(_) if !self.rules.closed_is_unsettled => Ok(()),
            Ok(Finality::Closed | Finality::WasClosed) => Err(StoreError::unavailable("", None)),
            Err(_) => return unknown(),
        };
        // The simulator leaves out that permits are covered: it takes more of them and more time than there are here.
        let heeds = Heeds { gate: self.rules.gate_compares, ..Heeds::ALL };
        let seen = Seen { shard: "", last_word: &last_word, permits: evidence.permits, heeds };
        let settled = batch.settle(&said, evidence.fence, &seen);
        settled.into_iter().next().expect("a batch of one").1
    }
}

fn uncertain(op: Op) -> Reply {
    op.shipped().failed(StoreError::uncertain(""))
}
