//! Which of the core's rare branches runs have taken.

use std::collections::BTreeMap;

use lockbroker_core::env::Mark;

/// How often each branch was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// Takes note of a branch.
    pub fn take(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// Adds another's. Returns the branches that were not taken before.
    pub fn add(&mut self, other: &Marks) -> Vec<Mark> {
        let new = other.0.keys().filter(|mark| !self.0.contains_key(mark)).copied().collect();
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
        new
    }

    /// Returns the branches that were not taken.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.iter().filter(|mark| !self.0.contains_key(mark)).copied().collect()
    }

    /// Returns how many branches were taken.
    pub fn reached(&self) -> usize {
        self.0.len()
    }
}
