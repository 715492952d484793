//! Maps all states that differ only in names to one. Ids and epochs are random numbers that are compared and never
//! ordered, so they are renamed by where they appear. Batches are under way in no order. The tables of the cores are
//! brought into their normal form, in which times are whole ticks.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::lock::{GrantId, LingerId};
use lockbroker_core::normal::Normal;
use lockbroker_core::shard::machine::NormalMemory;
use lockbroker_core::shard::state_item::Epoch as ShippedEpoch;
use lockbroker_core::{RequestId, Time};

use crate::broker::{NOW, PAUSE, SOON, TICK, grant_id, linger_id, of_grant, of_linger, ticks};
use crate::model::Model;
use crate::state::{Epoch, Flight, Id, LINGER, MOST_COMMANDS, Node, Op, Owner, Place, State, Word, epoch_of, of_epoch};

/// Epochs from here on keep their number: those that a broker uses again and again where the rules let it.
pub const FIXED_EPOCHS: Epoch = 200;

/// Calls `visit` with the ids of a batch.
pub(crate) fn ids_of(op: &mut Op, visit: &mut impl FnMut(&mut Id)) {
    match op {
        Op::Grant { id, .. } | Op::Reassert { id, .. } | Op::Remove { id } => visit(id),
        Op::Share { id, under, .. } => {
            visit(id);
            visit(under);
        }
        Op::Occupy { id, .. } | Op::Cover { id, .. } => visit(id),
        Op::Stands { id } => visit(id),
        Op::HandOver { from, to, .. } | Op::Replace { from, to, .. } => {
            visit(from);
            visit(to);
        }
        Op::Find { .. } | Op::Look | Op::LookIfRevoked | Op::Probe | Op::Begin(_) | Op::Open(..) => {}
    }
}

/// New names for ids, in the order in which they are met, and whole ticks for times.
pub(crate) struct Names {
    ids: [Id; 256],
    pub(crate) last: u8,
    /// The ids that an item may carry, now or later.
    may_stand: [bool; 256],
    /// The time by which all that is noted moves into the past.
    passes: Duration,
    /// The ids of one core, and true if it has something to clean up.
    met: Vec<Id>,
    cleans_up: Cell<bool>,
}

impl Names {
    pub(crate) fn new(may_stand: [bool; 256], passes: Duration) -> Names {
        Names { ids: [0; 256], last: 0, may_stand, passes, met: Vec::new(), cleans_up: Cell::new(false) }
    }

    pub(crate) fn rename(&mut self, id: &mut Id) {
        if *id == 0 {
            return;
        }
        let new = &mut self.ids[*id as usize];
        if *new == 0 {
            self.last += 1;
            *new = self.last | *id & LINGER;
        }
        *id = *new;
    }

    /// Returns true if all ids of a core in its normal form have the names already that they would get.
    fn would_keep(&mut self, node: &Node) -> bool {
        let Some(ids) = node.ids.as_ref().filter(|_| self.passes.is_zero()) else { return false };
        let is_kept = |id: &Id| {
            let mut name = *id;
            self.rename(&mut name);
            name == *id
        };
        ids.iter().all(is_kept)
    }

    /// Returns a batch with the names that its ids have so far. All others are alike.
    fn with_known(&self, flight: &Flight) -> Flight {
        let mut flight = *flight;
        ids_of(&mut flight.op, &mut |id| *id = self.ids[*id as usize]);
        flight
    }
}

impl Normal for Names {
    fn now(&self) -> Time {
        NOW
    }

    fn since(&mut self, time: &mut Time, span: Duration) {
        since(time, span, self.passes);
    }

    fn until(&mut self, time: &mut Time) {
        if *time == Time::NEVER {
            return;
        }
        let left = time.since(NOW + self.passes).as_nanos();
        // What a look counts that comes late within a tick is counted from its beginning.
        let rest = left % TICK.as_nanos() > 2 * SOON.as_nanos();
        *time = NOW + TICK * ((left / TICK.as_nanos()) as u32 + u32::from(rest));
    }

    fn pause(&mut self, time: &mut Time) {
        self.until(time);
        // It is due within the tick, and not before anything else that happens in it.
        *time = (*time).max(NOW + PAUSE);
    }

    fn effort(&mut self, time: &mut Time) {
        // Nothing is given up before its time, which does not come.
        *time = Time::NEVER;
    }

    fn grant(&mut self, id: &mut GrantId) {
        let mut name = of_grant(*id);
        self.rename(&mut name);
        self.met.push(name);
        *id = grant_id(name);
    }

    fn linger(&mut self, id: &mut LingerId) {
        let mut name = of_linger(*id);
        self.rename(&mut name);
        self.met.push(name);
        *id = linger_id(name);
    }

    fn may_stand(&self, id: GrantId) -> bool {
        let may_stand = self.may_stand[of_grant(id) as usize];
        // It is kept, until a later state has it that the item cannot come any more.
        self.cleans_up.set(self.cleans_up.get() || may_stand);
        may_stand
    }
}

/// Moves a moment at which something began into the past, in whole ticks, up to where that makes no difference.
fn since(time: &mut Time, span: Duration, passes: Duration) {
    let ago = NOW.since(*time) + passes;
    let most = span.as_nanos().div_ceil(TICK.as_nanos());
    let ticks = (ago.as_nanos().div_ceil(TICK.as_nanos())).min(most);
    *time = NOW - TICK * ticks as u32;
}

/// New names for epochs, in the order in which they are met.
struct Epochs {
    names: [Epoch; 256],
    last: Epoch,
    may_show: [bool; 256],
    passes: Duration,
    /// True if tokens are followed.
    tokens: bool,
}

impl Epochs {
    fn rename(&mut self, epoch: &mut Epoch) {
        if *epoch == 0 || *epoch >= FIXED_EPOCHS {
            return;
        }
        let new = &mut self.names[*epoch as usize];
        if *new == 0 {
            self.last += 1;
            *new = self.last;
        }
        *epoch = *new;
    }
}

impl NormalMemory for Epochs {
    fn since(&mut self, time: &mut Time, span: Duration) {
        since(time, span, self.passes);
    }

    fn epoch(&mut self, epoch: &mut ShippedEpoch) {
        let mut name = of_epoch(*epoch);
        self.rename(&mut name);
        *epoch = epoch_of(name);
    }

    fn may_show(&self, epoch: ShippedEpoch) -> bool {
        self.may_show[of_epoch(epoch) as usize]
    }

    fn token(&mut self, token: &mut u64) {
        *token *= u64::from(self.tokens);
    }
}

impl Flight {
    /// Returns the epoch that S has shown it.
    fn shown(&mut self) -> Option<&mut Epoch> {
        let last = usize::from(self.count).checked_sub(1)?;
        match &mut self.said[last] {
            Word::Done(epoch) => Some(epoch),
            _ => None,
        }
    }

    fn visit_epochs(&mut self, mut visit: impl FnMut(&mut Epoch)) {
        visit(&mut self.epoch);
        self.shown().into_iter().for_each(&mut visit);
        if let Op::Begin(epoch) | Op::Open(epoch, _) = &mut self.op {
            visit(epoch);
        }
    }
}

impl State {
    /// Calls `visit` with the epochs that anybody knows, or may come to know.
    fn visit_epochs(&self, mut visit: impl FnMut(Epoch)) {
        self.memcached.epoch.into_iter().for_each(&mut visit);
        self.brokers.iter().filter_map(|broker| broker.memory.epoch()).map(of_epoch).for_each(&mut visit);
        for mut flight in self.flights.iter().copied() {
            flight.visit_epochs(|epoch| visit(*epoch));
        }
    }

    /// Returns an epoch that nobody has.
    pub fn fresh_epoch(&self) -> Epoch {
        let mut highest = 0;
        self.visit_epochs(|epoch| {
            if epoch < FIXED_EPOCHS {
                highest = highest.max(epoch);
            }
        });
        debug_assert!(self.memcached.fences.iter().all(|fence| fence.epoch <= highest || fence.epoch >= FIXED_EPOCHS));
        highest + 1
    }

    /// Returns the epochs that S may show, now or later, or an answer that is under way.
    fn may_show(&mut self) -> [bool; 256] {
        let mut may_show = [false; 256];
        may_show[FIXED_EPOCHS as usize..].fill(true);
        self.memcached.epoch.into_iter().for_each(|epoch| may_show[epoch as usize] = true);
        for flight in &mut self.flights {
            if let Op::Begin(epoch) = flight.op {
                may_show[epoch as usize] = true;
            }
            flight.shown().into_iter().for_each(|epoch| may_show[*epoch as usize] = true);
        }
        may_show
    }

    /// Brings what brokers know of the memory into its normal form.
    fn rename_epochs(&mut self, passes: Duration, (max_ttl, tokens): (Duration, bool)) {
        let may_show = self.may_show();
        let mut epochs = Epochs { names: [0; 256], last: 0, may_show, passes, tokens };
        self.memcached.epoch.iter_mut().for_each(|epoch| epochs.rename(epoch));
        self.brokers.iter_mut().for_each(|broker| broker.memory.normalise(&mut epochs, max_ttl));
        self.flights.iter_mut().for_each(|flight| flight.visit_epochs(|epoch| epochs.rename(epoch)));
        self.memcached.fences.iter_mut().for_each(|fence| epochs.rename(&mut fence.epoch));
        self.memcached.fences.sort_unstable();
    }

    fn rename_ids(&mut self, passes: Duration) {
        let may_stand = self.may_stand();
        let stands = |flight: &Flight| match (flight.owner, flight.op) {
            (Owner::Core(_, id), Op::Remove { id: item }) if id.is_of_errand() => may_stand[item as usize],
            _ => true,
        };
        self.flights.retain(stands);
        let mut names = Names::new(may_stand, passes);
        for item in self.memcached.slots_mut().flatten() {
            names.rename(&mut item.id);
        }
        for (broker, node) in self.cores.iter_mut().enumerate() {
            let Some(node) = node.as_mut().filter(|node| !names.would_keep(node)) else { continue };
            let links = &mut self.links[broker];
            let mut keys = [0, 1].map(|client| links[client].map(|link| link.key));
            let requests = self.flights.iter_mut().filter_map(|flight| request_of(flight, broker));
            names.cleans_up.set(false);
            Arc::make_mut(&mut node.core).normalise(&mut names, &mut keys, requests);
            let met = std::mem::take(&mut names.met);
            node.ids = (!names.cleans_up.get()).then_some(met);
            for (link, key) in links.iter_mut().zip(keys) {
                *link = link.and_then(|link| key.map(|key| crate::state::Link { key, ..link }));
            }
        }
        self.clients.iter_mut().for_each(|client| names.rename(&mut client.id));
        // So that the names do not depend on themselves.
        self.flights.sort_by_cached_key(|flight| names.with_known(flight));
        self.flights.iter_mut().for_each(|flight| ids_of(&mut flight.op, &mut |id| names.rename(id)));
        self.ids = names.last;
    }

    /// Returns the ids that an item carries, or may come to carry.
    fn may_stand(&self) -> [bool; 256] {
        let mut may_stand = [false; 256];
        let made = self.flights.iter().filter_map(|flight| created(flight.op));
        made.chain(self.memcached.items().map(|item| item.id)).for_each(|id| may_stand[id as usize] = true);
        may_stand
    }

    fn forget_fences(&mut self) {
        // The fences of an epoch that nobody knows of are never asked for again.
        let mut known = [false; 256];
        known[FIXED_EPOCHS as usize..].fill(true);
        self.visit_epochs(|epoch| known[epoch as usize] = true);
        self.memcached.fences.retain(|fence| known[fence.epoch as usize]);
    }
}

fn request_of(flight: &mut Flight, broker: usize) -> Option<&mut RequestId> {
    match &mut flight.owner {
        Owner::Core(owner, id) if *owner as usize == broker => Some(id),
        _ => None,
    }
}

/// Returns the id under which an item may stand when this has been carried out.
pub(crate) fn created(op: Op) -> Option<Id> {
    match op {
        Op::Grant { id, .. } | Op::Reassert { id, .. } => Some(id),
        Op::Occupy { id, .. } | Op::Share { id, .. } | Op::Cover { id, .. } => Some(id),
        // Where a renewal keeps an id alive, a reattach to that may still be under way.
        Op::HandOver { to, .. } | Op::Replace { to, .. } => Some(to),
        _ => None,
    }
}

/// Returns what is left of a batch that was given up: the one command that changes something.
pub(crate) fn stray(op: Op, place: Place) -> Flight {
    Flight {
        owner: Owner::Nobody,
        op,
        place,
        count: 0,
        carried_out: 0,
        landed: op == Op::Probe,
        age: 0,
        epoch: 0,
        stale: false,
        open: false,
        token: 0,
        said: [Word::None; MOST_COMMANDS],
        cuts_linger: false,
    }
}

impl Model {
    /// Returns the one state that stands for all that differ from this one in names only.
    pub(crate) fn canonical(&self, state: State) -> State {
        self.canonical_after(state, Duration::ZERO)
    }

    /// Does the same when so much time has passed for the cores.
    pub(crate) fn canonical_after(&self, mut state: State, passes: Duration) -> State {
        state.reached = Default::default();
        for flight in &mut state.flights {
            if flight.owner == Owner::Nobody {
                *flight = stray(flight.op, flight.place);
            } else if flight.stale {
                // Whatever it has been told counts for nothing.
                (flight.open, flight.token, flight.said) = (false, 0, [Word::None; MOST_COMMANDS]);
            }
        }
        state.rename_ids(passes);
        // Clean-ups that have nothing to do are gone: they know no epoch.
        state.forget_fences();
        state.rename_epochs(passes, (ticks(self.bounds.max_ttl()), self.bounds.tokens.is_some()));
        state.flights.sort_unstable();
        state
    }
}
