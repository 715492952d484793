//! Keeps the first of many by their names and permits, in room for these alone, and counts all.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::lock::LockItem;

/// Something of a lock, or of one of its permits.
pub(super) trait Named {
    /// Returns the lock, or the permit.
    fn item(&self) -> &LockItem;
}

/// The first by their names and permits of those that were added, and the number of all.
#[derive(Debug)]
pub(super) struct First<T: Named> {
    most: usize,
    /// The last of them is at the top.
    kept: BinaryHeap<ByName<T>>,
    added: usize,
}

#[derive(Debug)]
struct ByName<T>(T);

impl<T: Named> First<T> {
    /// Keeps none yet, and `most` of them later.
    pub(super) fn new(most: usize) -> First<T> {
        First { most, kept: BinaryHeap::new(), added: 0 }
    }

    /// Adds one, in the place of the last one where there is no more room.
    pub(super) fn add(&mut self, one: T) {
        self.added += 1;
        if self.kept.len() < self.most {
            self.kept.push(ByName(one));
        } else if let Some(mut last) = self.kept.peek_mut()
            && one.item() < last.0.item()
        {
            *last = ByName(one);
        }
    }

    /// Returns those that are kept, in the order of their names and permits, and the number of all that were added.
    pub(super) fn into_sorted(self) -> (Vec<T>, usize) {
        let mut kept = self.kept.into_vec();
        kept.sort_unstable();
        (kept.into_iter().map(|ByName(one)| one).collect(), self.added)
    }
}

impl<T: Named> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.item().cmp(other.0.item())
    }
}

impl<T: Named> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.item() == other.0.item()
    }
}

impl<T: Named> Eq for ByName<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lock::{LockName, Permit};

    impl Named for LockItem {
        fn item(&self) -> &LockItem {
            self
        }
    }

    proptest! {
        #[test]
        fn the_first_are_kept_and_all_counted(
            items in prop::collection::vec(("[a-c]{1,4}", prop::option::of(0..12u16)), 0..50),
            most in 0usize..20,
        ) {
            let item = |(name, permit): &(String, Option<u16>)| {
                LockItem { name: LockName::new(name).unwrap(), permit: permit.and_then(Permit::new) }
            };
            let mut first = First::new(most);
            items.iter().for_each(|of| first.add(item(of)));
            // The lock itself comes before its permits.
            let mut expected = items.clone();
            expected.sort_unstable();
            expected.truncate(most);
            let (kept, added) = first.into_sorted();
            prop_assert_eq!((kept, added), (expected.iter().map(item).collect(), items.len()));
        }
    }
}
