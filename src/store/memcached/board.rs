//! What the shards of one store know of each other.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::state_item::Generation;

/// How a broker sees one of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Not read yet.
    Unknown,
    /// Tried, and not to be had.
    Away,
    /// Of the same topology, or of none yet.
    Agrees,
    /// Of the same topology, and granting locks.
    Open,
    /// Of another topology, or of another version's making.
    Contradicts,
}

#[derive(Debug)]
pub(super) struct Board {
    views: Mutex<Vec<View>>,
    /// The highest generation that a shard of this topology has shown.
    generation: Mutex<Generation>,
    ready: watch::Sender<bool>,
}

impl Board {
    pub(super) fn new(shards: usize) -> Board {
        Board {
            views: Mutex::new(vec![View::Unknown; shards]),
            generation: Mutex::new(Generation::FIRST),
            ready: watch::Sender::new(false),
        }
    }

    pub(super) fn publish(&self, index: usize, view: View) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if views[index] != view {
            views[index] = view;
            let ready = views.contains(&View::Open);
            self.ready.send_if_modified(|known| std::mem::replace(known, ready) != ready);
        }
    }

    /// Whether the state of a shard that has none may be created: every other shard has been tried, and none that
    /// was reached contradicts the topology.
    pub(super) fn may_begin(&self, index: usize) -> bool {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = views.iter().enumerate().filter(|(other, _)| *other != index);
        others.all(|(_, view)| !matches!(view, View::Unknown | View::Contradicts))
    }

    /// Takes note of the generation of a shard of this topology.
    pub(super) fn generation_seen(&self, generation: Generation) {
        let mut highest = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        *highest = generation.max(*highest);
    }

    /// Returns the generation with which the state of a shard that has none is created.
    pub(super) fn generation(&self) -> Generation {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}
