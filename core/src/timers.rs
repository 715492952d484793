//! When whom is to be looked at.

use std::collections::BTreeSet;

use crate::Time;
use crate::errand::ErrandKey;
use crate::hold::HoldKey;
use crate::session::StreamKey;

/// One that has a time, in four bytes: its table, and its slot there. Removing a value removes its time, so a slot is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timed(u32);

/// The slot of one that has a time, in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Hold(u32),
    Stream(u32),
    Errand(u32),
}

/// The bits in which the slot stands: for a thousand million.
const SLOT_BITS: u32 = 30;

impl Timed {
    pub(crate) fn hold(key: HoldKey) -> Timed {
        Timed::new(0, key.slot())
    }

    pub(crate) fn stream(key: StreamKey) -> Timed {
        Timed::new(1, key.slot())
    }

    pub(crate) fn errand(key: ErrandKey) -> Timed {
        Timed::new(2, key.slot())
    }

    fn new(table: u32, slot: u32) -> Timed {
        assert!(slot < 1 << SLOT_BITS, "quotas keep their number far below 2^30");
        Timed(table << SLOT_BITS | slot)
    }

    pub(crate) fn slot(self) -> Slot {
        let slot = self.0 & ((1 << SLOT_BITS) - 1);
        match self.0 >> SLOT_BITS {
            0 => Slot::Hold(slot),
            1 => Slot::Stream(slot),
            _ => Slot::Errand(slot),
        }
    }
}

/// The times of all that have one. Each keeps its time beside itself, so that it can be taken out again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Time, Timed)>,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { by_time: BTreeSet::new() }
    }

    /// Sets a time from what it was, which is updated.
    pub(crate) fn set(&mut self, timed: Timed, due: &mut Option<Time>, to: Option<Time>) {
        if *due == to {
            return;
        }
        if let Some(due) = due.take() {
            self.by_time.remove(&(due, timed));
        }
        if let Some(to) = to {
            self.by_time.insert((to, timed));
            *due = Some(to);
        }
    }

    /// Forgets all times. Each is to be put back that still has one.
    pub(crate) fn clear(&mut self) {
        self.by_time.clear();
    }

    /// Puts a time back, if there is one.
    pub(crate) fn restore(&mut self, timed: Timed, due: Option<Time>) {
        self.by_time.extend(due.map(|due| (due, timed)));
    }

    /// Returns the first time.
    pub(crate) fn first(&self) -> Option<Time> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes out the first whose time has come.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timed> {
        let (time, _) = self.by_time.first()?;
        if *time > now {
            return None;
        }
        self.by_time.pop_first().map(|(_, timed)| timed)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }
}
