//! Maps all states that differ only in names to one, as [`crate::canon`] does. Moments keep their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::lock::{GrantId, LingerId};
use lockbroker_core::normal::Normal;

use super::{Flight, LONG_AGO, STEP, Said, State};
use crate::broker::{NOW, TICK};
use crate::canon::{self, created, ids_of};
use crate::state::{Id, Op};

/// New names for ids, and moments in whole ticks. Within a tick moments keep their order, since a heartbeat covers what was
/// sent after it.
struct Names {
    names: canon::Names,
    passes: Duration,
    /// The new moments, once they are known; until then those that were met.
    times: BTreeMap<Time, Time>,
    is_known: bool,
}

impl Names {
    fn rename(&mut self, id: &mut Id) {
        self.names.rename(id);
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
        self.names.until(time);
    }

    fn pause(&mut self, time: &mut Time) {
        self.names.pause(time);
    }

    fn effort(&mut self, time: &mut Time) {
        self.names.effort(time);
    }

    fn grant(&mut self, id: &mut GrantId) {
        if self.is_known {
            self.names.grant(id);
        }
    }

    fn linger(&mut self, id: &mut LingerId) {
        if self.is_known {
            self.names.linger(id);
        }
    }

    fn may_stand(&self, id: GrantId) -> bool {
        self.names.may_stand(id)
    }
}

impl State {
    /// Returns the one state that stands for all that differ from this one in names only, when so much time has passed.
    pub(super) fn canonical(mut self, passes: Duration) -> State {
        let mut may_stand = [false; 256];
        let made = self.flights.iter().filter(|flight| flight.done.is_none()).filter_map(|flight| created(flight.op));
        made.chain(self.items.iter().flatten().map(|item| item.id)).for_each(|id| may_stand[id as usize] = true);
        let stands = |flight: &Flight| match flight.op {
            Op::Remove { id } if flight.is_of_errand() => may_stand[id as usize] || flight.done.is_some(),
            _ => true,
        };
        self.flights.retain(|flight| stands(flight) && (flight.id.is_some() || flight.done.is_none()));
        let names = canon::Names::new(may_stand, passes);
        let mut names = Names { names, passes, times: BTreeMap::new(), is_known: false };
        self.core.as_ref().clone().normalise(&mut names, &mut [Some(self.key)], std::iter::empty());
        names.rank();
        self.items.iter_mut().flatten().for_each(|item| names.rename(&mut item.id));
        let mut keys = [Some(self.key)];
        let requests = self.flights.iter_mut().filter_map(|flight| flight.id.as_mut());
        Arc::make_mut(&mut self.core).normalise(&mut names, &mut keys, requests);
        self.key = keys[0].unwrap_or(self.key);
        self.client.locks.iter_mut().for_each(|lock| names.rename(&mut lock.id));
        for flight in &mut self.flights {
            ids_of(&mut flight.op, &mut |id| names.rename(id));
            if let Some(Said::Found(id)) = &mut flight.done {
                names.rename(id);
            }
        }
        self.flights.sort_unstable();
        self.ids = names.names.last;
        self
    }
}
