//! The health of the shards of one store, as they see each other.

use super::state_item::Generation;

/// One shard, as the others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum View {
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
    /// Not of the present topology.
    Unused,
}

/// All shards, as they see each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ShardHealth {
    views: Vec<View>,
    /// The highest generation that a shard of this topology has shown.
    generation: Generation,
}

impl ShardHealth {
    pub(crate) fn new(shards: usize) -> ShardHealth {
        ShardHealth { views: vec![View::Unknown; shards], generation: Generation::FIRST }
    }

    /// Makes room for one more shard.
    pub(crate) fn grow(&mut self) {
        self.views.push(View::Unused);
    }

    /// Notes how a shard is seen. Returns whether any shard grants locks, if that has changed.
    pub(crate) fn publish(&mut self, index: usize, view: View) -> Option<bool> {
        let before = self.is_ready();
        self.views[index] = view;
        let ready = self.is_ready();
        (ready != before).then_some(ready)
    }

    fn is_ready(&self) -> bool {
        self.views.contains(&View::Open)
    }

    /// Returns true if the state of a shard that has none may be created: every other shard has been tried, and none that
    /// was reached contradicts the topology.
    pub(crate) fn may_begin(&self, index: usize) -> bool {
        let mut others = self.views.iter().enumerate().filter(|(other, _)| *other != index);
        others.all(|(_, view)| !matches!(view, View::Unknown | View::Contradicts))
    }

    /// Takes note of the generation of a shard of this topology.
    pub(crate) fn generation_seen(&mut self, generation: Generation) {
        self.generation = generation.max(self.generation);
    }

    /// Returns the generation with which the state of a shard that has none is created.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }
}
