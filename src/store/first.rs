//! Keeps the first of many by their names and permits, in room for these alone, and counts all. Notes beside which locks
//! permits stand.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::lock::LockItem;

/// Something of a lock, or of one of its permits.
pub(super) trait Named {
    /// Returns the lock, or the permit.
    fn item(&self) -> &LockItem;
    /// Takes note that somebody has a permit of the same lock.
    fn stands_beside_permits(&mut self);
}

/// The first by their names and permits of those that were added, and the number of all.
#[derive(Debug)]
pub(super) struct First<T: Named> {
    most: usize,
    /// Up to `most` + 1, for the next one may be a permit of the last one. The greatest is at the top.
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
        if self.kept.len() <= self.most {
            self.kept.push(ByName(one));
        } else if let Some(mut last) = self.kept.peek_mut()
            && one.item() < last.0.item()
        {
            *last = ByName(one);
        }
    }

    /// Returns those that are kept, in the order of their names and permits, and the number of all that were added.
    pub(super) fn into_sorted(self) -> (Vec<T>, usize) {
        let mut kept: Vec<T> = self.kept.into_vec().into_iter().map(|ByName(one)| one).collect();
        kept.sort_unstable_by(|one, other| one.item().cmp(other.item()));
        // The lock itself comes before its permits.
        for at in 1..kept.len() {
            let [one, next] = &mut kept[at - 1..=at] else { continue };
            if one.item().permit.is_none() && next.item().permit.is_some() && one.item().name == next.item().name {
                one.stands_beside_permits();
            }
        }
        kept.truncate(self.most);
        (kept, self.added)
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::lock::{LockName, Permit};

    impl Named for (LockItem, bool) {
        fn item(&self) -> &LockItem {
            &self.0
        }

        fn stands_beside_permits(&mut self) {
            self.1 = true;
        }
    }

    proptest! {
        #[test]
        fn the_first_are_kept_and_all_counted(
            items in prop::collection::vec(("[a-c]{1,4}", prop::option::of(0..12u16)), 0..50),
            most in 0usize..20,
        ) {
            // A store has each once.
            let items: BTreeSet<_> = items.into_iter().collect();
            let item = |(name, permit): &(String, Option<u16>)| {
                let beside = permit.is_none() && items.iter().any(|of| of.0 == *name && of.1.is_some());
                (LockItem { name: LockName::new(name).unwrap(), permit: permit.and_then(Permit::new) }, beside)
            };
            let mut first = First::new(most);
            items.iter().for_each(|of| first.add((item(of).0, false)));
            let (kept, added) = first.into_sorted();
            prop_assert_eq!((kept, added), (items.iter().take(most).map(item).collect(), items.len()));
        }
    }
}
