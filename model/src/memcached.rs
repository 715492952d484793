//! Memcached: its commands, one at a time, its clock, and the ways in which it forgets.

use std::time::Duration;

use lockbroker_core::command::{Cas, Command, InPlace, Key, Left, Reply, Shown, Ttl, Value};
use lockbroker_core::lock::{FencingToken, Permit};
use lockbroker_core::shard::state_item::{Epoch, Made, Stamp};
use lockbroker_core::store::ItemState;

use crate::broker::{TICK, grant_id, linger_id, of_item, ticks_of};
use crate::model::Model;
use crate::rules::MARGIN;
use crate::shard::stamp;
use crate::state::{Fence, Flight, Id, Item, LINGER, Op, Owner, PERMITS, Place, Slots, State, Token, Word, of_epoch};

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

/// The topology of all brokers.
pub(crate) const FINGERPRINT: u64 = 7;
/// What S has left to live by a clock that does not lag.
const LEFT: u32 = 300_000_000;

/// Returns a token as the shipped core has it.
pub(crate) fn token(token: Token) -> FencingToken {
    FencingToken::new(u64::from(token) + 1).expect("tokens are few")
}

/// Returns the ticks by which a clock lags that shows this.
pub(crate) fn lag(left: Duration) -> u8 {
    ((left.as_secs() - u64::from(LEFT)) / TICK.as_secs()) as u8
}

/// Returns an answer as the shipped core has it.
pub(crate) fn reply(command: &Command, word: Word) -> Reply {
    let shows = match word {
        Word::None => unreachable!("all commands were carried out"),
        Word::Exists => return Reply::Exists,
        Word::Missing => return Reply::Missing,
        Word::Done(shows) => shows,
    };
    let (Command::Get { want, .. } | Command::Arithmetic { want, .. }) = command else {
        return Reply::Done(Shown::default());
    };
    let left = |ticks: u8| Some(Left::Seconds(LEFT + u32::from(ticks) * TICK.as_secs() as u32));
    let mut shown = Shown::default();
    match command.key() {
        Key::State if want.left => shown.left = left(shows),
        Key::State => {
            shown.cas = want.cas.then_some(Cas(stamp(shows).cas()));
            shown.value = want.value.then(|| Value::Number(stamp(shows).value(FINGERPRINT, Made::InForce)));
        }
        Key::Fence(_) => shown.value = want.value.then(|| Value::Number(token(shows).get())),
        Key::Slots(_) => shown.cas = want.cas.then_some(Cas(shows.into())),
        _ => {
            let carried = if let Command::Arithmetic { new_cas, .. } = command { *new_cas } else { None };
            shown.cas = want.cas.then(|| carried.unwrap_or(Cas(number(shows))));
            shown.left = if want.left { left(0) } else { None };
        }
    }
    Reply::Done(shown)
}

/// Returns the number that the item of an id carries.
fn number(id: Id) -> u64 {
    if id & LINGER == 0 { grant_id(id).get() } else { linger_id(id).get() }
}

/// Returns the place of the item of a lock, or of a permit of it.
pub(crate) fn place_of(permit: Option<Permit>) -> Place {
    permit.map_or(0, |permit| permit.get() as u8 + 1)
}

fn id_of(Cas(number): Cas) -> Id {
    ItemState::of_number(number).map_or(0, of_item)
}

/// The part that a command plays in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Clock,
    /// Notes that permits are to be looked for.
    Note,
    /// Changes the lock's item, or creates S or F.
    Change,
    /// Looks at an item.
    Look,
    /// Looks if permits may exist on the shard.
    LookForPermits,
    Fence,
    Witness,
}

fn part(command: &Command) -> Part {
    match command {
        Command::Get { key: Key::State, want, .. } if want.left => Part::Clock,
        Command::Get { key: Key::State, .. } => Part::Witness,
        Command::Get { key: Key::Fence(_), .. } => Part::Fence,
        Command::Get { key: Key::Permits, touch: None, .. } => Part::LookForPermits,
        Command::Get { key: Key::Slots(_), touch: None, .. } => Part::Look,
        Command::Get { key: Key::Permits | Key::Slots(_), .. } => Part::Note,
        Command::Get { .. } => Part::Look,
        Command::Arithmetic { key: Key::Fence(_), create: None, .. } => Part::Fence,
        Command::Arithmetic { key: Key::Permits | Key::Slots(_), .. } => Part::Note,
        Command::Delete { key: Key::Slots(_), .. } => Part::Note,
        _ => Part::Change,
    }
}

impl Model {
    /// Returns the order in which the commands of a batch are carried out: the one in which they were sent, unless a rule is
    /// left out.
    fn order(&self, op: Op, commands: &[Command]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..commands.len()).collect();
        if !self.in_order() && op.extends() {
            order.sort_by_key(|at| match part(&commands[*at]) {
                Part::Witness if !self.rules.witness_last => (Part::Clock, 1),
                Part::Fence if !self.rules.fence_after_lock => (Part::Clock, 1),
                Part::Look if !self.rules.permit_before_look && matches!(op, Op::Share { .. }) => (Part::Clock, 1),
                Part::LookForPermits if !self.rules.lock_before_look => (Part::Clock, 1),
                part => (part, 0),
            });
        }
        order
    }

    /// Returns true if others' commands may come between the last command of a batch and this one. Fences and witness
    /// touch other items than the locks' commands do. So the order of these makes a difference only where memory is
    /// lost in between, and `cut` sees to that. Tokens are the exception, since two batches may draw from the same
    /// fences.
    fn comes_apart(&self, next: Part, op: Op) -> bool {
        match next {
            Part::Clock => true,
            Part::Note => self.bounds.apart,
            Part::Change => self.bounds.apart || self.bounds.stops > 0 || !self.in_order(),
            // Between its creation and these, the item in the way may come, and the shard be opened.
            Part::Look => true,
            Part::LookForPermits => self.bounds.shares(),
            Part::Fence if self.bounds.shares() => op.grants(),
            Part::Fence => self.bounds.apart || op.grants() && self.bounds.tokens.is_some(),
            Part::Witness => self.bounds.apart,
        }
    }

    fn in_order(&self) -> bool {
        let looks = self.rules.permit_before_look && self.rules.lock_before_look;
        looks && self.rules.witness_last && self.rules.fence_after_lock
    }

    /// Carries out the next command of the batch, and those after it that nothing comes between.
    pub(crate) fn advance(&self, state: &mut State, index: usize) {
        let mut flight = state.flights[index];
        let mut commands = self.commands(&flight);
        if flight.owner == Owner::Nobody {
            state.flights.remove(index);
            commands.retain(|command| matches!(part(command), Part::Note | Part::Change));
            for command in &commands {
                self.execute(state, &flight, command);
            }
            return;
        }
        let order = self.order(flight.op, &commands);
        loop {
            self.carry_out_of(state, &mut flight, &commands, &order);
            let next = order.get(flight.carried_out as usize);
            if next.is_none_or(|next| self.comes_apart(part(&commands[*next]), flight.op)) {
                state.flights[index] = flight;
                return;
            }
        }
    }

    /// Carries out the next command of a batch.
    pub(crate) fn carry_out(&self, state: &mut State, flight: &mut Flight) {
        let commands = self.commands(flight);
        let order = self.order(flight.op, &commands);
        self.carry_out_of(state, flight, &commands, &order);
    }

    fn carry_out_of(&self, state: &mut State, flight: &mut Flight, commands: &[Command], order: &[usize]) {
        let at = order[flight.carried_out as usize];
        let command = &commands[at];
        flight.said[at] = self.execute(state, flight, command);
        flight.carried_out += 1;
        if part(command) == Part::Change {
            flight.landed = true;
            let cut = state.ghost.linger.iter().chain(&state.ghost.min_hold).any(|left| *left > 0);
            flight.cuts_linger = flight.op.grants() && flight.is_done() && cut;
        }
    }

    /// Returns true if a loss of memory may come in between the commands of this batch.
    pub(crate) fn may_cut(&self, state: &State, flight: &Flight) -> bool {
        state.left.losses > 0
            && !self.bounds.apart
            && !flight.is_answer()
            && flight.owner != Owner::Nobody
            && !Model::is_clean_up(flight)
    }

    /// Carries out one command of the batch; a loss of memory comes next.
    pub(crate) fn cut(&self, state: &mut State, index: usize) {
        let mut flight = state.flights[index];
        self.carry_out(state, &mut flight);
        state.flights[index] = flight;
        state.ghost.cutting = true;
    }

    /// Carries out one command.
    fn execute(&self, state: &mut State, flight: &Flight, command: &Command) -> Word {
        match (command.key(), command) {
            (Key::State, Command::Get { want, .. }) if !want.left && self.is_fence_the_witness(state, flight) => {
                Word::Done(flight.epoch)
            }
            (Key::State, Command::Get { bump, want, .. }) => {
                let memcached = &mut state.memcached;
                let Some(epoch) = memcached.epoch else { return Word::Missing };
                // What is read without `u` counts as used in this tick.
                let uses = *bump || !self.rules.witness_unread;
                memcached.epoch_fresh |= uses && self.bounds.losses.flush;
                Word::Done(if want.left { memcached.lag } else { epoch })
            }
            (Key::State, Command::Arithmetic { create: Some(_), new_cas: Some(Cas(cas)), .. }) => {
                let memcached = &mut state.memcached;
                if memcached.epoch.is_some() {
                    return Word::Exists;
                }
                memcached.epoch = Stamp::of_cas(*cas).map(|stamp| of_epoch(stamp.epoch));
                memcached.epoch_fresh = self.bounds.losses.flush;
                Word::Done(0)
            }
            (Key::Fence(epoch), command) => self.execute_on_fences(state, epoch - Epoch::FIRST, command),
            (Key::Lock(item), command) => match place_of(item.permit) {
                place if usize::from(place) <= PERMITS => self.execute_on_lock(state, flight.op, place, command),
                // There are not so many.
                _ => Word::Missing,
            },
            (Key::Slots(_), command) => self.execute_on_slots(state, command),
            (Key::Permits, Command::Get { .. }) => match state.memcached.noted {
                Some(_) => Word::Done(0),
                None => Word::Missing,
            },
            (Key::Permits, _) => match state.memcached.noted {
                Some(_) => Word::Exists,
                None => {
                    state.memcached.noted = Some(self.bounds.losses.flush);
                    Word::Done(0)
                }
            },
            (Key::Owner(_), Command::Get { .. }) => Word::Missing,
            _ => unreachable!("brokers do not send {command:?}"),
        }
    }

    /// Returns true if F<e> stands in for S, with a rule left out, where the epoch is known. Who knows none still has to read S.
    fn is_fence_the_witness(&self, state: &State, flight: &Flight) -> bool {
        !self.rules.witness_unwritten && flight.op.grants() && state.fence(flight.epoch).is_some()
    }

    fn execute_on_fences(&self, state: &mut State, epoch: u64, command: &Command) -> Word {
        let (epoch, flushed) = (epoch as u8, self.bounds.losses.flush);
        let followed = self.bounds.tokens.is_some();
        let fence = state.memcached.fences.iter_mut().find(|fence| fence.epoch == epoch);
        match (command, fence) {
            (Command::Arithmetic { create: Some(_), .. }, Some(_)) => Word::Exists,
            (Command::Arithmetic { create: Some(create), .. }, None) => {
                let fence = Fence { epoch, token: (create.initial - 1) as Token, fresh: flushed };
                state.memcached.fences.push(fence);
                Word::Done(0)
            }
            (_, None) => Word::Missing,
            (Command::Get { bump, .. }, Some(fence)) => {
                fence.fresh |= *bump && flushed;
                Word::Done(fence.token)
            }
            (Command::Arithmetic { delta, .. }, Some(fence)) => {
                fence.fresh = flushed;
                if followed {
                    fence.token += *delta as Token;
                    state.ghost.drawn.push((fence.token, 0));
                }
                Word::Done(fence.token)
            }
            (command, Some(_)) => unreachable!("brokers do not send {command:?}"),
        }
    }

    fn execute_on_slots(&self, state: &mut State, command: &Command) -> Word {
        let fresh = self.bounds.losses.flush;
        let slots = &mut state.memcached.slots;
        let number = |Cas(number): &Cas| *number as u8;
        match (command, *slots) {
            (Command::Get { .. }, Some(slots)) => Word::Done(slots.number),
            (Command::Arithmetic { new_cas: Some(cas), .. }, None) => {
                *slots = Some(Slots { number: number(cas), fresh });
                Word::Done(0)
            }
            (Command::Arithmetic { .. }, Some(_)) => Word::Exists,
            (_, None) => Word::Missing,
            (Command::Delete { compare: Some(cas), .. }, Some(stands)) if number(cas) != stands.number => Word::Exists,
            (Command::Delete { in_place: Some(InPlace { new_cas: Some(cas), .. }), .. }, Some(_)) => {
                *slots = Some(Slots { number: number(cas), fresh });
                Word::Done(0)
            }
            (command, Some(_)) => unreachable!("brokers do not send {command:?}"),
        }
    }

    fn execute_on_lock(&self, state: &mut State, op: Op, place: Place, command: &Command) -> Word {
        let compares = match op {
            Op::Replace { from, to, .. } => from != to || self.rules.renewal_compares,
            Op::Occupy { .. } => self.rules.renewal_compares,
            Op::HandOver { .. } => self.rules.hand_over_compares,
            Op::Remove { .. } => self.rules.release_compares,
            _ => true,
        };
        let is_other = |item: Item, compare: &Option<Cas>| compares && compare.is_some_and(|cas| id_of(cas) != item.id);
        let stored_late = state.memcached.lag > 0;
        let fresh = self.bounds.losses.flush;
        let slot = state.memcached.slot(place);
        match (command, *slot) {
            (Command::Get { .. }, Some(item)) => Word::Done(item.id),
            (Command::Arithmetic { create: Some(create), new_cas: Some(cas), .. }, None) => {
                *slot = Some(Item { id: id_of(*cas), left: self.life(create.ttl), stored_late, fresh });
                Word::Done(0)
            }
            (Command::Arithmetic { compare, .. }, Some(item)) if is_other(item, compare) => Word::Exists,
            (Command::Arithmetic { new_cas: Some(cas), .. }, Some(item)) => {
                *slot = Some(Item { id: id_of(*cas), fresh, ..item });
                Word::Done(0)
            }
            (_, None) => Word::Missing,
            (Command::Delete { compare, .. }, Some(item)) if is_other(item, compare) => Word::Exists,
            (Command::Delete { in_place: Some(InPlace { ttl: Some(ttl), new_cas: Some(cas) }), .. }, Some(item)) => {
                let id = id_of(*cas);
                *slot = Some(Item { id, left: self.life(*ttl), stored_late, fresh });
                let ends_grant = item.id & LINGER == 0 && id & LINGER != 0;
                state.ghost.revoked |= ends_grant && self.bounds.revocations > 0;
                Word::Done(0)
            }
            (Command::Delete { in_place: None, .. }, Some(_)) => {
                *slot = None;
                Word::Done(0)
            }
            (command, Some(_)) => unreachable!("brokers do not send {command:?}"),
        }
    }

    /// Returns the T of an item in ticks.
    fn life(&self, ttl: Ttl) -> u8 {
        let Ttl::Seconds(seconds) = ttl else { unreachable!("locks end") };
        ticks_of(seconds) - if self.rules.margin { 0 } else { MARGIN }
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
                for slot in memcached.slots_mut() {
                    *slot = slot.filter(|item| spares_item && item.fresh);
                }
                memcached.slots = memcached.slots.filter(|slots| spares_item && slots.fresh);
                memcached.noted = memcached.noted.filter(|fresh| spares_item && *fresh);
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
        memcached.slots.iter_mut().for_each(|slots| slots.fresh = false);
        memcached.noted.iter_mut().for_each(|fresh| *fresh = false);
        for slot in memcached.slots_mut() {
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
        for slot in memcached.slots_mut() {
            *slot = slot.and_then(|item| {
                let jump = if item.stored_late { lag.saturating_sub(MARGIN) } else { lag };
                let left = item.left.saturating_sub(jump);
                (left > 0).then_some(Item { left, stored_late: false, ..item })
            });
        }
    }
}
