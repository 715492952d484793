//! Maps all states that differ only in names to one, as [`crate::canon`] does. Moments keep their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::lock::{GrantId, LingerId};
use lockbroker_core::normal::Normal;

use super::{Flight, LONG_AGO, STEP, State};
use crate::broker::{NOW, PAUSE, SOON, TICK, grant_id, linger_id, of_grant, of_linger};
use crate::state::{Id, LINGER, Op};

/// New names for ids, and moments in whole ticks. Within a tick moments keep their order, since a heartbeat covers what was
/// sent after it.
struct Names {
    ids: [Id; 256],
    last: u8,
    may_stand: [bool; 256],
    passes: Duration,
    /// The new moments, once they are known; until then those that were met.
    times: BTreeMap<Time, Time>,
    is_known: bool,
}

impl Names {
    fn rename(&mut self, id: &mut Id) {
        if *id == 0 || !self.is_known {
            return;
        }
        let new = &mut self.ids[*id as usize];
        if *new == 0 {
            self.last += 1;
            *new = self.last | *id & LINGER;
        }
        *id = *new;
    }

    /// Ranks the moments that were met.
    fn rank(&mut self) {
        let mut next = BTreeMap::new();
        for (time, new) in &mut self.times {
            let ago = (NOW + self.passes).since(*time).as_nanos().div_ceil(TICK.as_nanos()) as u64;
            let tick = ago.min(LONG_AGO);
            let rank: &mut u64 = next.entry(tick).or_default();
            *new = NOW - TICK * tick as u32 + Duration::from_micros(*rank);
            *rank += 1;
        }
        self.is_known = true;
    }
}

impl Normal for Names {
    fn now(&self) -> Time {
        STEP
    }

    fn since(&mut self, time: &mut Time, _: Duration) {
        match self.is_known {
            true => *time = self.times[time],
            false => drop(self.times.insert(*time, *time)),
        }
    }

    fn until(&mut self, time: &mut Time) {
        if *time == Time::NEVER {
            return;
        }
        let left = time.since(NOW + self.passes).as_nanos();
        let rest = left % TICK.as_nanos() > 2 * SOON.as_nanos();
        *time = NOW + TICK * ((left / TICK.as_nanos()) as u32 + u32::from(rest));
    }

    fn pause(&mut self, time: &mut Time) {
        self.until(time);
        *time = (*time).max(NOW + PAUSE);
    }

    fn effort(&mut self, time: &mut Time) {
        *time = Time::NEVER;
    }

    fn grant(&mut self, id: &mut GrantId) {
        let mut name = of_grant(*id);
        self.rename(&mut name);
        *id = grant_id(name);
    }

    fn linger(&mut self, id: &mut LingerId) {
        let mut name = of_linger(*id);
        self.rename(&mut name);
        *id = linger_id(name);
    }

    fn may_stand(&self, id: GrantId) -> bool {
        self.may_stand[of_grant(id) as usize]
    }
}

impl State {
    /// Returns the one state that stands for all that differ from this one in names only, when so much time has passed.
    pub(super) fn canonical(mut self, passes: Duration) -> State {
        let mut may_stand = [false; 256];
        let made = self.flights.iter().filter(|flight| flight.done.is_none()).filter_map(|flight| match flight.op {
            Op::Grant { id, .. } | Op::Reassert { id, .. } => Some(id),
            Op::HandOver { to, .. } | Op::Replace { to, .. } => Some(to),
            _ => None,
        });
        made.chain(self.items.iter().flatten().map(|item| item.id)).for_each(|id| may_stand[id as usize] = true);
        let stands = |flight: &Flight| match flight.op {
            Op::Remove { id } if flight.is_of_errand() => may_stand[id as usize] || flight.done.is_some(),
            _ => true,
        };
        self.flights.retain(|flight| stands(flight) && (flight.id.is_some() || flight.done.is_none()));
        let mut names = Names { ids: [0; 256], last: 0, may_stand, passes, times: BTreeMap::new(), is_known: false };
        self.core.as_ref().clone().normalise(&mut names, &mut [Some(self.key)], std::iter::empty());
        names.rank();
        self.items.iter_mut().flatten().for_each(|item| names.rename(&mut item.id));
        let mut keys = [Some(self.key)];
        let requests = self.flights.iter_mut().filter_map(|flight| flight.id.as_mut());
        Arc::make_mut(&mut self.core).normalise(&mut names, &mut keys, requests);
        self.key = keys[0].unwrap_or(self.key);
        self.client.locks.iter_mut().for_each(|lock| names.rename(&mut lock.id));
        for flight in &mut self.flights {
            match &mut flight.op {
                Op::Grant { id, .. } | Op::Reassert { id, .. } | Op::Remove { id } | Op::Stands { id } => {
                    names.rename(id)
                }
                Op::HandOver { from, to, .. } | Op::Replace { from, to, .. } => {
                    names.rename(from);
                    names.rename(to);
                }
                Op::Look | Op::Probe | Op::Begin(_) | Op::Open(..) => {}
            }
        }
        self.flights.sort_unstable();
        self.ids = names.last;
        self
    }
}
