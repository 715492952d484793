//! Memcached: its commands, one at a time, its clock, and the ways in which it forgets.

use crate::model::Model;
use crate::rules::MARGIN;
use crate::state::{Epoch, Fence, Flight, Id, Item, Op, Owner, Stage, State, Token, Verdict};

/// A loss of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    Whole,
    StateAlone,
    FencesAlone,
    /// The part of this tick's writes that the flush spares.
    Flush {
        spares_state: bool,
        spares_fences: bool,
        spares_item: bool,
    },
}

/// Stops from here on are all the same: no item lives for longer.
const LONG: u8 = 6;

impl Model {
    /// Returns the commands of a batch in their order, and its answer.
    fn order(&self, op: Op) -> &'static [Stage] {
        match (op.grants(), op.extends()) {
            (true, _) if self.bounds.shared => {
                &[Stage::Clock, Stage::Command, Stage::Look, Stage::Fence, Stage::Witness, Stage::Arrival]
            }
            (true, _) => match (self.rules.fence_after_lock, self.rules.witness_last) {
                (true, true) => &[Stage::Clock, Stage::Command, Stage::Fence, Stage::Witness, Stage::Arrival],
                (true, false) => &[Stage::Clock, Stage::Witness, Stage::Command, Stage::Fence, Stage::Arrival],
                (false, _) => &[Stage::Clock, Stage::Fence, Stage::Command, Stage::Witness, Stage::Arrival],
            },
            (false, true) if !self.rules.witness_last => {
                &[Stage::Clock, Stage::Witness, Stage::Command, Stage::Arrival]
            }
            (false, true) => &[Stage::Clock, Stage::Command, Stage::Witness, Stage::Arrival],
            // A look has no command of its own.
            (false, false) if op == Op::Look => &[Stage::Clock, Stage::Fence, Stage::Witness, Stage::Arrival],
            (false, false) => &[Stage::Command, Stage::Witness, Stage::Arrival],
        }
    }

    pub(crate) fn first_stage(&self, op: Op) -> Stage {
        self.order(op)[0]
    }

    fn after(&self, op: Op, stage: Stage) -> Stage {
        let order = self.order(op);
        let at = order.iter().position(|other| *other == stage).expect("a stage of this batch");
        order[at + 1]
    }

    /// Returns true if the command that changes something has been carried out, or there is none.
    pub(crate) fn has_landed(&self, flight: &Flight) -> bool {
        let order = self.order(flight.op);
        let at = |stage| order.iter().position(|other| *other == stage);
        at(Stage::Command).is_none_or(|command| at(flight.stage) > Some(command))
    }

    /// Returns true if others' commands may come between the last command of a batch and this one. Fences and witness
    /// touch other items than the locks' commands do. So the order of these makes a difference only where memory is
    /// lost in between, and `cut` sees to that. Tokens are the exception, since two batches may draw from the same
    /// fences.
    fn comes_apart(&self, next: Stage, op: Op) -> bool {
        match next {
            Stage::Clock | Stage::Arrival => true,
            Stage::Command => self.bounds.apart || self.bounds.stops > 0 || !self.in_order(),
            // Between its creation and these, the item in the way may come, and the shard be opened.
            Stage::Look => true,
            Stage::Fence if self.bounds.shared => op.grants(),
            Stage::Fence => self.bounds.apart || op.grants() && self.bounds.tokens.is_some(),
            Stage::Witness => self.bounds.apart,
        }
    }

    fn in_order(&self) -> bool {
        self.rules.witness_last && self.rules.fence_after_lock
    }

    /// Carries out the next command of the batch, and those after it that nothing comes between.
    pub(crate) fn advance(&self, state: &mut State, index: usize) {
        loop {
            let mut flight = state.flights[index];
            self.carry_out(state, &mut flight);
            if flight.owner == Owner::Nobody {
                state.flights.remove(index);
                return;
            }
            flight.stage = self.after(flight.op, flight.stage);
            state.flights[index] = flight;
            if self.comes_apart(flight.stage, flight.op) {
                return;
            }
        }
    }

    /// Returns true if a loss of memory may come in between the commands of this batch.
    pub(crate) fn may_cut(&self, state: &State, flight: &Flight) -> bool {
        state.left.losses > 0
            && !self.bounds.apart
            && flight.stage != Stage::Arrival
            && flight.owner != Owner::Nobody
            && !Model::is_clean_up(flight)
    }

    /// Carries out one command of the batch; a loss of memory comes next.
    pub(crate) fn cut(&self, state: &mut State, index: usize) {
        let mut flight = state.flights[index];
        self.carry_out(state, &mut flight);
        flight.stage = self.after(flight.op, flight.stage);
        state.flights[index] = flight;
        state.ghost.cutting = true;
    }

    fn carry_out(&self, state: &mut State, flight: &mut Flight) {
        match flight.stage {
            Stage::Clock => {
                flight.lag = state.memcached.lag;
                self.read_state(state);
            }
            Stage::Command => {
                flight.verdict = self.command(state, flight.op, flight.shared);
                let cut = state.ghost.linger.iter().any(|left| *left > 0);
                flight.cuts_linger = flight.op.grants() && flight.verdict == Verdict::Done && cut;
            }
            Stage::Look if state.memcached.slot(!flight.shared).is_some() => flight.verdict = Verdict::Exists,
            Stage::Look => {}
            Stage::Fence if flight.op == Op::Look => {
                flight.verdict = match state.fence(flight.epoch) {
                    Some(_) => Verdict::Done,
                    None => Verdict::Missing,
                };
            }
            Stage::Fence => flight.token = self.draw(state, flight.epoch),
            Stage::Witness if self.rules.witness_unwritten => {
                flight.witness = state.memcached.epoch;
                self.read_state(state);
            }
            Stage::Witness => {
                // F<e> stands in for S wherever the epoch is known; who knows none still has to read S.
                let known = flight.epoch != 0 && flight.op.grants();
                flight.witness = match state.fence(flight.epoch) {
                    Some(_) if known => Some(flight.epoch),
                    _ => state.memcached.epoch,
                };
            }
            Stage::Arrival => unreachable!("an answer is no command"),
        }
    }

    /// Reads S: without `u`, memcached takes it for used in this tick.
    fn read_state(&self, state: &mut State) {
        let memcached = &mut state.memcached;
        memcached.epoch_fresh |= !self.rules.witness_unread && self.bounds.losses.flush && memcached.epoch.is_some();
    }

    /// Raises the fencing tokens of an epoch, if they are there.
    fn draw(&self, state: &mut State, epoch: Epoch) -> Option<Token> {
        let fresh = self.bounds.losses.flush;
        let followed = self.bounds.tokens.is_some();
        let fence = state.memcached.fences.iter_mut().find(|fence| fence.epoch == epoch)?;
        fence.fresh = fresh;
        if !followed {
            return Some(0);
        }
        fence.token += 1;
        state.ghost.drawn.push((fence.token, 0));
        Some(fence.token)
    }

    /// Carries out one command on the lock's item, or on S or F.
    fn command(&self, state: &mut State, op: Op, shared: bool) -> Verdict {
        let rules = &self.rules;
        match op {
            Op::Grant { id, ttl } | Op::Reassert { id, ttl } => self.create(state, id, ttl, shared),
            Op::Renew { id, ttl } => self.change(state, (id, id), ttl, rules.renewal_compares, shared),
            Op::HandOver { from, to, ttl } => self.change(state, (from, to), ttl, rules.hand_over_compares, shared),
            Op::Reattach { from, to, ttl } | Op::Linger { from, to, ttl, .. } => {
                self.change(state, (from, to), ttl, true, shared)
            }
            Op::Remove { id } => match *state.memcached.slot(shared) {
                None => Verdict::Missing,
                Some(item) if item.id != id && rules.release_compares => Verdict::Exists,
                Some(_) => {
                    *state.memcached.slot(shared) = None;
                    Verdict::Done
                }
            },
            Op::Begin(epoch) => match state.memcached.epoch {
                Some(_) => Verdict::Exists,
                None => {
                    state.memcached.epoch = Some(epoch);
                    state.memcached.epoch_fresh = self.bounds.losses.flush;
                    Verdict::Done
                }
            },
            Op::Open(epoch, token) => match state.fence(epoch) {
                Some(_) => Verdict::Exists,
                None => {
                    let fresh = self.bounds.losses.flush;
                    state.memcached.fences.push(Fence { epoch, token, fresh });
                    Verdict::Done
                }
            },
            Op::Look => unreachable!("a look has no command of its own"),
        }
    }

    fn create(&self, state: &mut State, id: Id, ttl: u8, shared: bool) -> Verdict {
        if state.memcached.slot(shared).is_some() {
            return Verdict::Exists;
        }
        *state.memcached.slot(shared) = Some(self.item(state, id, ttl));
        Verdict::Done
    }

    fn change(&self, state: &mut State, (from, to): (Id, Id), ttl: u8, compares: bool, shared: bool) -> Verdict {
        match *state.memcached.slot(shared) {
            None => Verdict::Missing,
            Some(item) if item.id != from && compares => Verdict::Exists,
            Some(_) => {
                *state.memcached.slot(shared) = Some(self.item(state, to, ttl));
                Verdict::Done
            }
        }
    }

    fn item(&self, state: &State, id: Id, ttl: u8) -> Item {
        Item { id, left: ttl, stored_late: state.memcached.lag > 0, fresh: self.bounds.losses.flush }
    }

    /// Returns the losses of memory that make a difference now.
    pub(crate) fn losses(&self, state: &State) -> Vec<Loss> {
        let memcached = &state.memcached;
        let mut losses = Vec::new();
        if state.left.losses == 0 {
            return losses;
        }
        let kinds = &self.bounds.losses;
        if kinds.whole {
            losses.push(Loss::Whole);
        }
        if kinds.state && memcached.epoch.is_some() {
            losses.push(Loss::StateAlone);
        }
        if kinds.fences && memcached.epoch.is_some_and(|epoch| state.fence(epoch).is_some()) {
            // Tokens are not promised where an opening of this very epoch is still under way.
            let opening = state.flights.iter().any(|flight| matches!(flight.op, Op::Open(..)));
            if !opening {
                losses.push(Loss::FencesAlone);
            }
        }
        if kinds.flush && !memcached.stopped {
            let either = |fresh: bool| if fresh { vec![true, false] } else { vec![false] };
            let fences_fresh = memcached.fences.iter().any(|fence| fence.fresh);
            for spares_state in either(memcached.epoch_fresh) {
                for spares_fences in either(fences_fresh) {
                    for spares_item in either(memcached.items().any(|item| item.fresh)) {
                        losses.push(Loss::Flush { spares_state, spares_fences, spares_item });
                    }
                }
            }
        }
        losses
    }

    pub(crate) fn lose(&self, state: &mut State, loss: Loss) {
        state.left.losses -= 1;
        state.ghost.cutting = false;
        let memcached = &mut state.memcached;
        match loss {
            Loss::Whole => *memcached = Default::default(),
            Loss::StateAlone => {
                memcached.epoch = None;
                memcached.epoch_fresh = false;
            }
            Loss::FencesAlone => {
                let epoch = memcached.epoch;
                memcached.fences.retain(|fence| Some(fence.epoch) != epoch);
            }
            Loss::Flush { spares_state, spares_fences, spares_item } => {
                if !spares_state {
                    memcached.epoch = None;
                    memcached.epoch_fresh = false;
                }
                memcached.fences.retain(|fence| spares_fences && fence.fresh);
                for slot in [&mut memcached.item, &mut memcached.permit] {
                    *slot = slot.filter(|item| spares_item && item.fresh);
                }
            }
        }
    }

    /// Returns true if the item may die now: memcached's clock ticks in seconds, and can skip one.
    pub(crate) fn may_die(item: Option<Item>) -> bool {
        item.is_some_and(|item| item.left <= MARGIN)
    }

    /// Passes one tick of the time that everybody but a stopped memcached sees.
    pub(crate) fn pass_time_in_memcached(&self, state: &mut State) {
        let memcached = &mut state.memcached;
        memcached.epoch_fresh = false;
        memcached.fences.iter_mut().for_each(|fence| fence.fresh = false);
        if memcached.stopped {
            memcached.lag = (memcached.lag + 1).min(LONG);
        }
        let passes = u8::from(!memcached.stopped);
        for slot in [&mut memcached.item, &mut memcached.permit] {
            *slot =
                slot.map(|item| Item { fresh: false, left: item.left - passes, ..item }).filter(|item| item.left > 0);
        }
        for flight in &mut state.flights {
            flight.age = (flight.age + 1).min(self.oldest(flight));
        }
    }

    /// Returns the age from which on it makes no difference how old a batch is. The cores count for themselves.
    fn oldest(&self, flight: &Flight) -> u8 {
        let counts = flight.owner != Owner::Nobody && !self.rules.quarantine_from_arrival;
        if counts { self.bounds.max_ttl() } else { 0 }
    }

    /// Sets memcached's clock to where it should be, some milliseconds after it goes on. What was stored meanwhile
    /// dies early by the length of the stop. A clock that is behind by a margin looks like one that has not ticked
    /// yet. The margin by which every item may die early covers that.
    pub(crate) fn catch_up(state: &mut State) {
        let memcached = &mut state.memcached;
        let lag = std::mem::take(&mut memcached.lag);
        for slot in [&mut memcached.item, &mut memcached.permit] {
            *slot = slot.and_then(|item| {
                let jump = if item.stored_late { lag.saturating_sub(MARGIN) } else { lag };
                let left = item.left.saturating_sub(jump);
                (left > 0).then_some(Item { left, stored_late: false, ..item })
            });
        }
    }
}
