//! When whom is to be looked at.

use std::collections::BTreeSet;

use crate::Time;
use crate::errand::ErrandKey;
use crate::hold::HoldKey;
use crate::session::StreamKey;

/// The place of one that has a time: its table and its slot there. Whoever goes takes its time along, so its generation is
/// left out: each lock that is held has a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(u32);

/// A table of those that have times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Holds,
    Streams,
    Errands,
}

/// The bits of a place in which its slot stands: for a thousand million.
const SLOT_BITS: u32 = 30;

impl Place {
    pub(crate) fn of_hold(key: HoldKey) -> Place {
        Place::new(0, key.slot())
    }

    pub(crate) fn of_stream(key: StreamKey) -> Place {
        Place::new(1, key.slot())
    }

    pub(crate) fn of_errand(key: ErrandKey) -> Place {
        Place::new(2, key.slot())
    }

    fn new(table: u32, slot: u32) -> Place {
        debug_assert!(slot < 1 << SLOT_BITS, "quotas keep their number far below 2^30");
        Place(table << SLOT_BITS | slot)
    }

    pub(crate) fn table(self) -> Table {
        match self.0 >> SLOT_BITS {
            0 => Table::Holds,
            1 => Table::Streams,
            _ => Table::Errands,
        }
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 & ((1 << SLOT_BITS) - 1)
    }
}

/// One time for each key. Whoever keeps a key keeps its time beside it, so that it can be taken out again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { by_time: BTreeSet::new() }
    }

    /// Sets the time of a key from what it was, which is updated.
    pub(crate) fn set(&mut self, key: K, due: &mut Option<Time>, to: Option<Time>) {
        if *due == to {
            return;
        }
        if let Some(due) = due.take() {
            self.by_time.remove(&(due, key));
        }
        if let Some(to) = to {
            self.by_time.insert((to, key));
            *due = Some(to);
        }
    }

    /// Forgets all times. Each key is to be put back that still has one.
    pub(crate) fn clear(&mut self) {
        self.by_time.clear();
    }

    /// Puts the time of a key back, if it has one.
    pub(crate) fn restore(&mut self, key: K, due: Option<Time>) {
        self.by_time.extend(due.map(|due| (due, key)));
    }

    /// Returns the first time.
    pub(crate) fn first(&self) -> Option<Time> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes out the first key whose time has come.
    pub(crate) fn pop(&mut self, now: Time) -> Option<K> {
        let (time, _) = self.by_time.first()?;
        if *time > now {
            return None;
        }
        self.by_time.pop_first().map(|(_, key)| key)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }
}
