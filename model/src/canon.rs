//! Maps all states that differ only in names to one. Ids and epochs are random numbers that are compared and never
//! ordered, so they are renamed by where they appear. Batches are under way in no order.

use crate::state::{Epoch, Flight, Id, Op, Owner, Phase, Stage, State, Verdict};

/// Epochs from here on keep their number: those that a broker uses again and again where the rules let it.
pub const FIXED_EPOCHS: Epoch = 200;

fn ids_of(op: &mut Op, visit: &mut impl FnMut(&mut Id)) {
    match op {
        Op::Grant { id, .. } | Op::Renew { id, .. } | Op::Reassert { id, .. } | Op::Remove { id } => visit(id),
        Op::HandOver { from, to, .. } | Op::Reattach { from, to, .. } | Op::Linger { from, to, .. } => {
            visit(from);
            visit(to);
        }
        Op::Look | Op::Begin(_) | Op::Open(..) => {}
    }
}

impl State {
    fn visit_ids(&mut self, mut visit: impl FnMut(&mut Id)) {
        for item in [&mut self.memcached.item, &mut self.memcached.permit].into_iter().flatten() {
            visit(&mut item.id);
        }
        self.keepers.iter_mut().flatten().for_each(|keeper| {
            visit(&mut keeper.id);
            visit(&mut keeper.next);
        });
        self.clients.iter_mut().for_each(|client| visit(&mut client.id));
        self.flights.iter_mut().for_each(|flight| ids_of(&mut flight.op, &mut visit));
        self.unwanted.iter_mut().for_each(|(_, id)| visit(id));
    }

    fn visit_epochs(&mut self, mut visit: impl FnMut(&mut Epoch)) {
        if let Some(epoch) = &mut self.memcached.epoch {
            visit(epoch);
        }
        for broker in &mut self.brokers {
            match &mut broker.phase {
                Phase::Found(epoch) | Phase::Closed(epoch, _) | Phase::Open(epoch) => visit(epoch),
                Phase::Unread | Phase::Lost => {}
            }
        }
        for flight in &mut self.flights {
            visit(&mut flight.epoch);
            if let Some(epoch) = &mut flight.witness {
                visit(epoch);
            }
            if let Op::Begin(epoch) | Op::Open(epoch, _) = &mut flight.op {
                visit(epoch);
            }
        }
    }

    pub(crate) fn each_id(&self, mut visit: impl FnMut(Id)) {
        // A state is small, and this runs only where an id is drawn.
        self.clone().visit_ids(|id| visit(*id));
    }

    pub(crate) fn each_epoch(&self, mut visit: impl FnMut(Epoch)) {
        self.clone().visit_epochs(|epoch| {
            if *epoch < FIXED_EPOCHS {
                visit(*epoch);
            }
        });
    }

    /// Returns the one state that stands for all that differ from this one in names only.
    pub(crate) fn canonical(mut self) -> State {
        for flight in &mut self.flights {
            if flight.owner == Owner::Nobody {
                *flight = stray(flight.op, flight.shared);
            }
        }
        self.forget_what_cannot_matter();
        self.flights.sort_unstable();
        let mut ids = [0; 64];
        let mut last = 0;
        self.visit_ids(|id| rename(id, &mut ids, &mut last));
        let mut epochs = [0; FIXED_EPOCHS as usize];
        let mut last = 0;
        self.visit_epochs(|epoch| {
            if *epoch < FIXED_EPOCHS {
                rename(epoch, &mut epochs, &mut last);
            }
        });
        for fence in &mut self.memcached.fences {
            if fence.epoch < FIXED_EPOCHS {
                fence.epoch = epochs[fence.epoch as usize];
            }
        }
        self.memcached.fences.sort_unstable();
        // Sorted before they were renamed, so that the names do not depend on themselves; and again for equality.
        self.flights.sort_unstable();
        self.unwanted.sort_unstable();
        self
    }

    fn forget_what_cannot_matter(&mut self) {
        // The fences of an epoch that nobody knows of are never asked for again.
        if self.memcached.fences.len() > 1 {
            let mut known = [false; 256];
            self.visit_epochs(|epoch| known[*epoch as usize] = true);
            self.memcached.fences.retain(|fence| known[fence.epoch as usize] || fence.epoch >= FIXED_EPOCHS);
        }
        // A grant whose item is not there and cannot come any more needs no deletion.
        let mut unwanted = std::mem::take(&mut self.unwanted);
        unwanted.sort_unstable();
        unwanted.dedup();
        unwanted
            .retain(|(_, id)| self.memcached.carries(*id) || self.flights.iter().any(|flight| creates(flight, *id)));
        self.unwanted = unwanted;
    }
}

fn creates(flight: &Flight, wanted: Id) -> bool {
    match flight.op {
        Op::Grant { id, .. } | Op::Reassert { id, .. } => id == wanted,
        Op::HandOver { to, .. } | Op::Reattach { to, .. } | Op::Linger { to, .. } => to == wanted,
        // A reattach may still be under way to the id that this one keeps alive.
        Op::Renew { id, .. } => id == wanted,
        _ => false,
    }
}

/// Returns what is left of a batch that was given up: the one command that changes something.
pub(crate) fn stray(op: Op, shared: bool) -> Flight {
    Flight {
        owner: Owner::Nobody,
        op,
        shared,
        stage: Stage::Command,
        age: 0,
        epoch: 0,
        stale: false,
        lag: 0,
        verdict: Verdict::Missing,
        token: None,
        witness: None,
        cuts_linger: false,
    }
}

fn rename(name: &mut u8, names: &mut [u8], last: &mut u8) {
    if *name == 0 {
        return;
    }
    let new = &mut names[*name as usize];
    if *new == 0 {
        *last += 1;
        *new = *last;
    }
    *name = *new;
}
