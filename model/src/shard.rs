//! The shard, as a broker of the model knows it: sending batches, what their answers prove, and what the shard makes of them.

use lockbroker_core::lock::FencingToken;
use lockbroker_core::store::{Change, Granted, Reply, StoreError};

use crate::broker::{changed, failed};
use crate::model::Model;
use crate::rules::MARGIN;
use crate::state::{Epoch, Flight, LINGER, Left, Op, Owner, Phase, Stage, State, Token, Verdict};

/// The outcome of a batch that has landed.
enum Landed {
    Answer(Reply),
    /// The item went with the memory, and is created again.
    Again(Op),
}

impl Model {
    pub(crate) fn send(&self, state: &mut State, owner: Owner, op: Op, shared: bool) {
        if op.grants() {
            self.will_draw(&mut state.left);
        }
        let broker = match owner {
            Owner::Core(broker, _) | Owner::Probe(broker) => broker as usize,
            Owner::Nobody => unreachable!("somebody sends"),
        };
        let epoch = state.brokers[broker].phase.epoch().unwrap_or(0);
        state.reached.sends |= crate::coverage::send(op);
        state.flights.push(Flight { owner, stage: self.first_stage(op), epoch, ..crate::canon::stray(op, shared) });
    }

    fn may_grant(&self, state: &State, broker: usize) -> bool {
        let known = &state.brokers[broker];
        let open = match self.rules.grant_only_if_open {
            true => known.phase.is_open(),
            false => known.phase.epoch().is_some(),
        };
        open && (self.bounds.tokens.is_none() || state.left.draws > 0)
    }

    /// Returns true if the shard serves this now. What it does not serve is refused at once.
    pub(crate) fn may_send(&self, state: &State, broker: usize, op: Op) -> bool {
        let known = &state.brokers[broker];
        let clock = !op.extends() || known.clock_known || !self.rules.clock_learned;
        known.phase.epoch().is_some() && clock && (!op.grants() || self.may_grant(state, broker))
    }

    fn will_draw(&self, left: &mut Left) {
        if self.bounds.tokens.is_some() {
            left.draws -= 1;
        }
    }

    /// Returns what a broker may ask the shard, or do to it; none where the answer would tell it nothing.
    pub(crate) fn probe(&self, state: &State, broker: usize) -> Option<Op> {
        let owner = Owner::Probe(broker as u8);
        if state.cores[broker].is_none() || state.flights.iter().any(|flight| flight.owner == owner) {
            return None;
        }
        let known = &state.brokers[broker];
        let epoch = known.phase.epoch();
        let fences = epoch.is_some_and(|epoch| state.fence(epoch).is_some());
        let same = state.memcached.epoch.is_some() && state.memcached.epoch == epoch;
        let learns_clock = self.rules.clock_learned && !known.clock_known && state.memcached.lag == 0;
        match known.phase {
            Phase::Unread | Phase::Found(_) => Some(Op::Look),
            Phase::Lost if state.memcached.epoch.is_some() => Some(Op::Look),
            Phase::Lost => Some(Op::Begin(match self.rules.fresh_epoch {
                true => state.fresh_epoch(),
                false => crate::canon::FIXED_EPOCHS + broker as u8,
            })),
            Phase::Closed(..) if fences || !same => Some(Op::Look),
            Phase::Closed(epoch, 0) => Some(Op::Open(epoch, self.first_token(state, broker))),
            Phase::Closed(..) => None,
            Phase::Open(_) => (!fences || !same || learns_clock).then_some(Op::Look),
        }
    }

    /// Returns the token after which those of an epoch that is opened now begin. The brokers' wall clocks differ by
    /// less than the longest ttl (A7), so that much of the past may be missing from them.
    fn first_token(&self, state: &State, broker: usize) -> Token {
        match self.rules.fence_start {
            true => state.ghost.drawn_long_ago.max(state.brokers[broker].seen),
            false => 0,
        }
    }

    /// Handles an answer that arrives.
    pub(crate) fn arrive(&self, state: &mut State, flight: Flight) {
        match flight.owner {
            Owner::Probe(broker) => self.probe_landed(state, broker as usize, flight),
            Owner::Core(broker, id) => match self.job_landed(state, broker as usize, flight) {
                Landed::Again(op) => self.send(state, flight.owner, op, flight.shared),
                Landed::Answer(reply) => {
                    state.ghost.cutter = flight.op.makes().filter(|_| flight.cuts_linger);
                    self.answer(state, broker as usize, id, reply);
                    state.ghost.cutter = None;
                }
            },
            Owner::Nobody => unreachable!("nobody waits for it"),
        }
    }

    /// Gives up waiting for an answer. What has not been carried out may still be.
    pub(crate) fn give_up(&self, state: &mut State, flight: Flight) {
        if !self.has_landed(&flight) {
            state.flights.push(crate::canon::stray(flight.op, flight.shared));
        }
        if let Owner::Core(broker, id) = flight.owner {
            self.answer(state, broker as usize, id, uncertain(flight.op));
        }
    }

    /// Asks the shard, or moves it on, and has the answer.
    pub(crate) fn probe_at_once(&self, state: &mut State, broker: u8, op: Op) {
        self.send(state, Owner::Probe(broker), op, false);
        let last = state.flights.len() - 1;
        while !is_answer(&state.flights[last]) {
            self.advance(state, last);
        }
        let flight = state.flights.remove(last);
        let knew = state.brokers[broker as usize].phase;
        self.arrive(state, flight);
        // An epoch that has been found is looked at again at once.
        let knows = state.brokers[broker as usize].phase;
        if knows != knew && matches!(knows, Phase::Found(_)) {
            self.probe_at_once(state, broker, Op::Look);
        }
    }

    fn probe_landed(&self, state: &mut State, broker: usize, flight: Flight) {
        if flight.stale {
            return;
        }
        if flight.op == Op::Look {
            self.clock_seen(state, broker, &flight);
        }
        let before = state.brokers[broker].phase.epoch();
        if !self.witnessed(state, broker, &flight) {
            return;
        }
        match (flight.op, before) {
            (Op::Look, Some(epoch)) => {
                let there = flight.verdict == Verdict::Done;
                self.fences_seen(state, broker, epoch, there);
            }
            (Op::Open(..), Some(epoch)) => self.fences_seen(state, broker, epoch, true),
            _ => {}
        }
    }

    /// Takes note of where memcached's clock stands. Returns whether it has come as far as it should.
    fn clock_seen(&self, state: &mut State, broker: usize, flight: &Flight) -> bool {
        let known = &mut state.brokers[broker];
        known.reference = known.reference.min(flight.lag);
        if flight.op == Op::Look && state.memcached.lag == 0 {
            known.clock_known = true;
            known.reference = 0;
        }
        flight.lag <= known.reference + MARGIN || !self.rules.clock_lag
    }

    /// Takes note of what S showed. Returns whether it is the epoch that was known before.
    fn witnessed(&self, state: &mut State, broker: usize, flight: &Flight) -> bool {
        let known = &mut state.brokers[broker];
        let next = match flight.witness {
            None => Phase::Lost,
            Some(epoch) if known.phase.epoch() == Some(epoch) => return true,
            Some(epoch) => Phase::Found(epoch),
        };
        if known.phase != next {
            known.phase = next;
            let full = self.bounds.max_ttl();
            match next {
                Phase::Lost if !self.rules.quarantine_per_epoch => {
                    known.quarantine.get_or_insert(full);
                }
                Phase::Found(_) if !self.rules.quarantine_from_arrival => {
                    known.quarantine = Some(full.saturating_sub(flight.age));
                }
                _ => {}
            }
            let of_this_broker = |flight: &&mut Flight| match flight.owner {
                Owner::Core(owner, _) | Owner::Probe(owner) => owner as usize == broker,
                Owner::Nobody => false,
            };
            state.flights.iter_mut().filter(of_this_broker).for_each(|flight| flight.stale = true);
        }
        false
    }

    fn fences_seen(&self, state: &mut State, broker: usize, epoch: Epoch, there: bool) {
        let known = &mut state.brokers[broker];
        if known.phase.epoch() != Some(epoch) {
            return;
        }
        known.phase = match known.phase {
            _ if there => {
                known.quarantine = None;
                Phase::Open(epoch)
            }
            closed @ Phase::Closed(..) => closed,
            _ => {
                let full = self.bounds.max_ttl();
                let left = match (self.rules.quarantine, self.rules.quarantine_length) {
                    (false, _) => 0,
                    (true, false) => full - 2 * MARGIN,
                    (true, true) => full,
                };
                Phase::Closed(epoch, left.min(known.quarantine.unwrap_or(full)))
            }
        };
    }

    /// Returns what the answer to a job comes to, by what it proves of the shard.
    fn job_landed(&self, state: &mut State, broker: usize, flight: Flight) -> Landed {
        let unknown = Landed::Answer(uncertain(flight.op));
        if flight.stale || state.brokers[broker].phase.epoch() != Some(flight.epoch) {
            return unknown;
        }
        let clock_counts = !flight.op.extends() || self.clock_seen(state, broker, &flight);
        let same_memory = self.witnessed(state, broker, &flight) || !self.rules.witness;
        if !same_memory || !clock_counts {
            return unknown;
        }
        if flight.op.grants() {
            self.fences_seen(state, broker, flight.epoch, flight.token.is_some());
            let known = &mut state.brokers[broker];
            known.seen = known.seen.max(flight.token.unwrap_or(0));
        }
        let open = state.brokers[broker].phase.is_open() || !self.rules.closed_is_unsettled;
        self.settle(&flight, open)
    }

    /// Returns what an answer that counts comes to.
    fn settle(&self, flight: &Flight, open: bool) -> Landed {
        let closed = || failed(flight.op, StoreError::unavailable("", None));
        Landed::Answer(match (flight.op, flight.verdict) {
            (op, Verdict::Done) if op.grants() => match flight.token {
                Some(token) => Reply::Granted(Ok(Granted::Yes(fencing_token(token)))),
                None => uncertain(op),
            },
            // The item may have been created beside the one that is in the way.
            (Op::Grant { .. }, _) if self.bounds.shared => uncertain(flight.op),
            (Op::Grant { .. }, _) => Reply::Granted(Ok(Granted::No)),
            (Op::HandOver { .. }, _) if open => Reply::Granted(Ok(Granted::No)),
            (Op::Look | Op::Begin(_) | Op::Open(..), _) => unreachable!("no hold sends these"),
            (_, Verdict::Done) => changed(Change::Done),
            (Op::Renew { id, ttl }, Verdict::Missing) if !open => {
                let allowed = if id & LINGER > 0 { self.rules.reassert_linger } else { self.rules.reassert };
                if allowed {
                    return Landed::Again(Op::Reassert { id, ttl });
                }
                changed(Change::Gone)
            }
            (Op::Linger { to, ttl, certain: true, .. }, Verdict::Missing)
                if !open && self.rules.release_creates_linger =>
            {
                return Landed::Again(Op::Reassert { id: to, ttl });
            }
            (Op::Reassert { .. }, _) => closed(),
            (_, Verdict::Missing) if open => changed(Change::Gone),
            (_, Verdict::Exists) if open => changed(Change::TakenOver),
            _ => closed(),
        })
    }
}

fn uncertain(op: Op) -> Reply {
    failed(op, StoreError::uncertain(""))
}

fn fencing_token(token: Token) -> FencingToken {
    FencingToken::new(u64::from(token) + 1).expect("tokens are few")
}

/// Returns true if only the answer is still to come.
pub(crate) fn is_answer(flight: &Flight) -> bool {
    flight.stage == Stage::Arrival
}
