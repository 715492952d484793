//! Handles answers at a broker, and answers that do not come.

use crate::model::Model;
use crate::rules::MARGIN;
use crate::state::{Doing, Epoch, Flight, Id, Keeper, Op, Owner, Phase, Stage, State, Stream, Verdict};

impl Model {
    /// Handles an answer that arrives.
    pub(crate) fn arrive(&self, state: &mut State, flight: Flight) {
        match flight.owner {
            Owner::Probe(broker) => self.probe_landed(state, broker as usize, flight),
            Owner::Keeper(broker, client) => self.job_landed(state, broker as usize, client as usize, flight),
            Owner::Nobody => unreachable!("nobody waits for it"),
        }
    }

    /// Gives up waiting for an answer. What has not been carried out may still be.
    pub(crate) fn give_up(&self, state: &mut State, flight: Flight) {
        if !self.has_landed(&flight) {
            state.flights.push(crate::canon::stray(flight.op, flight.shared));
        }
        if let Owner::Keeper(broker, client) = flight.owner {
            self.uncertain(state, broker as usize, client as usize, flight.op);
        }
    }

    /// Asks the shard, or moves it on, and has the answer.
    pub(crate) fn probe_at_once(&self, state: &mut State, broker: u8, op: Op) {
        self.send(state, Owner::Probe(broker), op);
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
                Owner::Keeper(owner, _) | Owner::Probe(owner) => owner as usize == broker,
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

    fn job_landed(&self, state: &mut State, broker: usize, client: usize, flight: Flight) {
        if flight.stale || state.brokers[broker].phase.epoch() != Some(flight.epoch) {
            return self.uncertain(state, broker, client, flight.op);
        }
        let clock_counts = !flight.op.extends() || self.clock_seen(state, broker, &flight);
        let same_memory = self.witnessed(state, broker, &flight) || !self.rules.witness;
        if !same_memory || !clock_counts {
            return self.uncertain(state, broker, client, flight.op);
        }
        if flight.op.grants() {
            self.fences_seen(state, broker, flight.epoch, flight.token.is_some());
            let known = &mut state.brokers[broker];
            known.seen = known.seen.max(flight.token.unwrap_or(0));
            if flight.verdict == Verdict::Done && flight.token.is_none() {
                return self.uncertain(state, broker, client, flight.op);
            }
        }
        let open = state.brokers[broker].phase.is_open() || !self.rules.closed_is_unsettled;
        self.settle(state, broker, client, flight, open);
    }

    /// Returns what is left of a lease that counts from when the command was sent; 0 if the answer has come too late
    /// (R3).
    fn lease_left(&self, client: usize, flight: &Flight) -> u8 {
        let lease = self.lease(client);
        if self.rules.answer_in_time { lease.saturating_sub(flight.age) } else { lease }
    }

    /// Handles an answer that counts.
    fn settle(&self, state: &mut State, broker: usize, client: usize, flight: Flight, open: bool) {
        let keeper = state.keepers[broker][client];
        match (flight.op, flight.verdict) {
            (Op::Grant { id, .. }, Verdict::Done) => match self.lease_left(client, &flight) {
                0 => self.uncertain(state, broker, client, flight.op),
                lease => self.adopt(state, broker, client, id, lease, &flight),
            },
            // The item may have been created beside the one that is in the way.
            (Op::Grant { .. }, _) if self.bounds.shared => self.uncertain(state, broker, client, flight.op),
            (Op::Grant { .. }, _) => self.leave_if_told(state, broker, client),

            (Op::HandOver { to, .. }, Verdict::Done) => {
                let heir = 1 - client;
                match self.lease_left(heir, &flight) {
                    0 => self.uncertain(state, broker, client, flight.op),
                    // It left meanwhile: the grant is ours to release.
                    _ if state.keepers[broker][heir].doing != Doing::Wants => {
                        state.keepers[broker][client] = Keeper { doing: Doing::Releases, id: to, ..Keeper::default() };
                    }
                    lease => {
                        state.keepers[broker][client] = Keeper::default();
                        self.adopt(state, broker, heir, to, lease, &flight);
                    }
                }
            }
            (Op::HandOver { .. }, _) if open => state.keepers[broker][client] = Keeper::default(),
            (Op::HandOver { .. }, _) => state.keepers[broker][client].doing = Doing::Releases,

            (Op::Renew { .. } | Op::Reassert { .. }, Verdict::Done) if keeper.doing == Doing::Lingers => {}
            (Op::Reassert { id, .. }, Verdict::Done) if keeper.doing == Doing::Releases => {
                self.linger(state, broker, client, id);
            }
            (Op::Renew { .. } | Op::Reassert { .. }, Verdict::Done) => {
                let lease = self.lease_left(client, &flight);
                // What is over does not begin again: a permit may have been granted since.
                let over = keeper.lease == 0 && self.bounds.shared && self.rules.lost_is_final;
                if lease > 0 && !over {
                    state.keepers[broker][client].lease = lease;
                    self.tell(state, broker, client);
                }
            }
            (Op::Renew { id, ttl }, Verdict::Missing) if !open => self.reassert(state, broker, client, id, ttl),
            (Op::Renew { .. }, _) if open => self.lost(state, broker, client),
            (Op::Renew { .. } | Op::Reassert { .. }, _) => {}

            (Op::Reattach { .. }, Verdict::Done) => match self.lease_left(client, &flight) {
                // It came too late to count, and is ours: swapped for itself, in time.
                0 => state.keepers[broker][client].id = keeper.next,
                lease => self.reattached(state, broker, client, lease),
            },
            (Op::Reattach { from, to, .. }, Verdict::Exists) if from != to && self.carries(state, to) => {
                state.keepers[broker][client].id = to;
            }
            (Op::Reattach { .. }, _) if open => self.not_reattached(state, broker, client),
            (Op::Reattach { .. }, _) => {}

            (Op::Linger { to, .. }, Verdict::Done) => self.linger(state, broker, client, to),
            (Op::Linger { to, ttl, .. }, Verdict::Missing) if !open && self.rules.release_creates_linger => {
                self.send(state, Owner::Keeper(broker as u8, client as u8), Op::Reassert { id: to, ttl });
            }
            (Op::Linger { to, .. }, Verdict::Exists) if keeper.unsure && self.carries(state, to) => {
                self.linger(state, broker, client, to);
            }
            (Op::Remove { .. }, Verdict::Done) => state.keepers[broker][client] = Keeper::default(),
            (Op::Linger { .. } | Op::Remove { .. }, _) if open => state.keepers[broker][client] = Keeper::default(),
            (Op::Linger { .. } | Op::Remove { .. }, _) => {}

            (Op::Look | Op::Begin(_) | Op::Open(..), _) => unreachable!("no keeper sends these"),
        }
    }

    fn carries(&self, state: &State, id: Id) -> bool {
        state.memcached.carries(id)
    }

    /// Handles a grant that counts: the client is told, if it is still there.
    fn adopt(&self, state: &mut State, broker: usize, client: usize, id: Id, lease: u8, flight: &Flight) {
        if let Some(token) = flight.token.filter(|_| self.bounds.tokens.is_some()) {
            state.ghost.token_fell |= token <= state.ghost.told;
            state.ghost.told = state.ghost.told.max(token);
        }
        state.ghost.linger_cut |= flight.cuts_linger;
        let keeper = &mut state.keepers[broker][client];
        keeper.doing = Doing::Holds;
        keeper.id = id;
        keeper.lease = lease;
        keeper.told = keeper.stream == Stream::Live;
        if keeper.told {
            self.tell(state, broker, client);
        }
    }

    /// Removes a waiter whose client has gone.
    pub(crate) fn leave_if_told(&self, state: &mut State, broker: usize, client: usize) {
        if state.keepers[broker][client].stream != Stream::Live {
            state.keepers[broker][client] = Keeper::default();
        }
    }

    fn reassert(&self, state: &mut State, broker: usize, client: usize, id: Id, ttl: u8) {
        let keeper = &state.keepers[broker][client];
        let allowed = match keeper.doing {
            Doing::Lingers => self.rules.reassert_linger,
            _ => self.rules.reassert,
        };
        if !allowed {
            self.lost(state, broker, client);
        } else if keeper.lease > 0 {
            self.send(state, Owner::Keeper(broker as u8, client as u8), Op::Reassert { id, ttl });
        }
    }

    /// Ends a keeper whose lock is somebody else's, or nobody's.
    fn lost(&self, state: &mut State, broker: usize, client: usize) {
        let keeper = std::mem::take(&mut state.keepers[broker][client]);
        let told = &mut state.clients[client];
        if keeper.doing == Doing::Holds && told.id == keeper.id && told.at == Some(broker as u8) {
            state.ghost.lease_lost |= keeper.lease > 0 && !told.moved && keeper.told;
            if keeper.connected && told.moving_to.is_none() {
                told.valid = 0;
            }
        }
    }

    /// Handles a reattach that counts. The client takes it up if it hears of it while the old validity lasts (R11).
    fn reattached(&self, state: &mut State, broker: usize, client: usize, lease: u8) {
        let max_ttl = self.bounds.max_ttl();
        let keeper = &mut state.keepers[broker][client];
        let id = keeper.next;
        *keeper = Keeper { doing: Doing::Holds, id, next: 0, lease, protected: max_ttl, told: true, ..*keeper };
        let hears = keeper.connected && keeper.stream == Stream::Live;
        let told = &mut state.clients[client];
        if !hears || told.moving_to != Some(broker as u8) || told.valid == 0 {
            return;
        }
        let before = told.at.replace(broker as u8);
        told.moving_to = None;
        told.id = id;
        told.valid = lease;
        if let Some(before) = before {
            self.hang_up(state, before as usize, client);
        }
    }

    fn linger(&self, state: &mut State, broker: usize, client: usize, id: Id) {
        let lease = self.bounds.linger[client];
        state.keepers[broker][client] = Keeper { doing: Doing::Lingers, id, lease, ..Keeper::default() };
    }

    /// Handles a command of which nobody knows if it was carried out, or will be (R5).
    fn uncertain(&self, state: &mut State, broker: usize, client: usize, op: Op) {
        match op {
            Op::Grant { id, .. } => {
                self.unwant(state, broker, id);
                self.leave_if_told(state, broker, client);
            }
            Op::HandOver { to, .. } => {
                self.unwant(state, broker, to);
                state.keepers[broker][client].doing = Doing::Releases;
            }
            Op::Linger { .. } => state.keepers[broker][client].unsure = true,
            _ => {}
        }
    }
}

/// Returns true if only the answer is still to come.
pub(crate) fn is_answer(flight: &Flight) -> bool {
    flight.stage == Stage::Arrival
}
