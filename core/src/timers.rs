//! When whom is to be looked at.

use std::collections::BTreeSet;

use crate::Time;

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
