//! Values in numbered slots. A key names a slot and which of its values is meant, so that a late key finds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// Names a value of a [`Slab`] for as long as that is there, and nothing afterwards.
pub struct Key<T> {
    slot: u32,
    /// Never 0, so that an `Option<Key>` takes no more room than a key.
    generation: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

/// Values in slots, in pages. The lowest free slot is used first, and a page without values is given back, so a broker that
/// was busy once does not stay large.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slab<T> {
    pages: Vec<Page<T>>,
    /// The pages that have a free slot.
    with_room: BTreeSet<u32>,
    len: usize,
    /// One count for all slots: those of a page that was given back must not begin anew.
    generation: NonZeroU32,
}

/// The first generation.
const FIRST: NonZeroU32 = NonZeroU32::MIN;
/// The number of slots of a page: that of the bits in `used`.
const PAGE: u32 = u64::BITS;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Page<T> {
    /// A bit for each slot that has a value.
    used: u64,
    /// Those up to the highest that has had a value, in room for all.
    slots: Vec<Slot<T>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Slot<T> {
    generation: NonZeroU32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { pages: Vec::new(), with_room: BTreeSet::new(), len: 0, generation: FIRST }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        self.generation = self.generation.checked_add(1).unwrap_or(FIRST);
        self.len += 1;
        let number = self.with_room.first().copied().unwrap_or_else(|| self.add_page());
        let page = &mut self.pages[number as usize];
        if page.slots.is_empty() {
            page.slots.reserve_exact(PAGE as usize);
        }
        let index = page.used.trailing_ones();
        page.used |= 1 << index;
        let slot = Slot { generation: self.generation, value: Some(value) };
        match page.slots.get_mut(index as usize) {
            Some(free) => *free = slot,
            None => page.slots.push(slot),
        }
        if page.used == u64::MAX {
            self.with_room.remove(&number);
        }
        Key { slot: number * PAGE + index, generation: self.generation, of: PhantomData }
    }

    fn add_page(&mut self) -> u32 {
        let number = u32::try_from(self.pages.len()).expect("quotas keep their number far below 2^32");
        self.pages.push(Page { used: 0, slots: Vec::new() });
        self.with_room.insert(number);
        number
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.pages.get((key.slot / PAGE) as usize)?.slots.get((key.slot % PAGE) as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.pages.get_mut((key.slot / PAGE) as usize)?.slots.get_mut((key.slot % PAGE) as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Returns the key of what is in a slot now.
    pub(crate) fn key_in(&self, slot: u32) -> Option<Key<T>> {
        let found = self.pages.get((slot / PAGE) as usize)?.slots.get((slot % PAGE) as usize)?;
        found.value.as_ref().map(|_| Key { slot, generation: found.generation, of: PhantomData })
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let number = key.slot / PAGE;
        let page = self.pages.get_mut(number as usize)?;
        let slot = page.slots.get_mut((key.slot % PAGE) as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        page.used &= !(1 << (key.slot % PAGE));
        self.len -= 1;
        self.with_room.insert(number);
        // The first page stays: whoever has one lock after another does not want it made anew for each.
        if page.used == 0 && number > 0 {
            page.slots = Vec::new();
            while self.pages.len() > 1 && self.pages.pop_if(|page| page.used == 0).is_some() {
                self.with_room.remove(&(self.pages.len() as u32));
            }
            if self.pages.len() < self.pages.capacity() / 4 {
                self.pages.shrink_to(2 * self.pages.len());
            }
        }
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the keys of all values, by slot.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<T>> {
        let slots = self.pages.iter().zip(0..).flat_map(|(page, number)| page.slots.iter().zip(number * PAGE..));
        slots.filter(|(slot, _)| slot.value.is_some()).map(|(slot, index)| Key {
            slot: index,
            generation: slot.generation,
            of: PhantomData,
        })
    }
}

impl<T> Slab<T> {
    /// Returns all values, by slot.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.slots).filter_map(|slot| slot.value.as_ref())
    }

    /// Returns the values of `count` slots from `first` on, which is the first of a page.
    pub(crate) fn values_in(&self, first: u32, count: u32) -> impl Iterator<Item = &T> {
        debug_assert!(first.is_multiple_of(PAGE) && count.is_multiple_of(PAGE), "pages are visited whole");
        let pages = self.pages.iter().skip((first / PAGE) as usize).take((count / PAGE) as usize);
        pages.flat_map(|page| &page.slots).filter_map(|slot| slot.value.as_ref())
    }

    /// Returns the number of slots.
    pub(crate) fn slots(&self) -> u32 {
        self.pages.len() as u32 * PAGE
    }

    /// Returns all values, by slot, to change them.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flat_map(|page| &mut page.slots).filter_map(|slot| slot.value.as_mut())
    }

    /// Puts the values into the first slots, by rising rank and else as they were, and counts generations anew. Returns
    /// the keys that they had, with the new ones.
    pub(crate) fn renumber<R: Ord>(&mut self, rank: impl Fn(Key<T>, &T) -> R) -> BTreeMap<Key<T>, Key<T>> {
        let pages = std::mem::replace(self, Slab::new()).pages;
        let slots = pages.into_iter().zip(0..).flat_map(|(page, number)| page.slots.into_iter().zip(number * PAGE..));
        let mut values: Vec<(Key<T>, T)> = slots
            .filter_map(|(Slot { generation, value }, slot)| Some((Key { slot, generation, of: PhantomData }, value?)))
            .collect();
        values.sort_by_cached_key(|(key, value)| rank(*key, value));
        self.generation = FIRST;
        self.len = values.len();
        let mut moved = BTreeMap::new();
        for ((key, value), slot) in values.into_iter().zip(0..) {
            if slot % PAGE == 0 {
                self.add_page();
            }
            let page = self.pages.last_mut().expect("it was just added");
            page.used |= 1 << (slot % PAGE);
            page.slots.push(Slot { generation: FIRST, value: Some(value) });
            if page.used == u64::MAX {
                self.with_room.remove(&(slot / PAGE));
            }
            // One generation for all: a key that is not among these is forgotten.
            moved.insert(key, Key { slot, generation: FIRST, of: PhantomData });
        }
        moved
    }
}

impl<T> Key<T> {
    /// Returns the slot, which has another value later.
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }

    /// Names no value, whatever is inserted.
    pub(crate) const NOBODY: Key<T> = Key { slot: u32::MAX, generation: FIRST, of: PhantomData };
}

impl<T> Copy for Key<T> {}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Key<T> {
        *self
    }
}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Key<T>) -> bool {
        (self.slot, self.generation) == (other.slot, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Key<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Key<T>) -> std::cmp::Ordering {
        (self.slot, self.generation).cmp(&(other.slot, other.generation))
    }
}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.slot, self.generation).hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

impl<T: fmt::Debug> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.keys().filter_map(|key| Some((key, self.get(key)?)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_value_and_names_no_other() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn what_has_gone_takes_no_room() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..10_000).map(|value| slab.insert(value)).collect();
        let rooms = |slab: &Slab<i32>| slab.pages.iter().map(|page| page.slots.capacity()).sum::<usize>();
        assert_eq!(rooms(&slab), 157 * 64);
        // One value in the middle holds up its own page alone.
        for (value, key) in keys.iter().zip(0..).map(|(key, value)| (value, *key)).filter(|(value, _)| *value != 5_000)
        {
            assert_eq!(slab.remove(key), Some(value));
        }
        assert_eq!((rooms(&slab), slab.len()), (128, 1));
        assert_eq!(slab.keys().collect::<Vec<_>>(), [keys[5_000]]);
        assert_eq!(slab.remove(keys[0]), None);
        let next = slab.insert(1);
        assert!(keys.iter().all(|key| *key != next), "an old key never comes again");
        assert_eq!((slab.remove(next), slab.remove(keys[5_000])), (Some(1), Some(5_000)));
        assert_eq!((rooms(&slab), slab.pages.len(), slab.with_room.len()), (64, 1, 1));
    }

    #[test]
    fn values_that_are_numbered_anew_are_found_under_their_new_keys_alone() {
        let mut slab = Slab::new();
        let old: Vec<_> = (0..200).map(|value| slab.insert(value)).collect();
        let gone = old[7];
        slab.remove(gone);
        let moved = slab.renumber(|_, value| std::cmp::Reverse(*value));
        assert_eq!((moved.len(), slab.len(), moved.get(&gone)), (199, 199, None));
        for (value, key) in old.iter().enumerate().filter(|(_, key)| **key != gone) {
            assert_eq!(slab.get(moved[key]), Some(&value));
        }
        assert!(slab.values().is_sorted_by_key(|value| std::cmp::Reverse(*value)), "by rank");
        // What is made now is not taken for what was there before, and numbers begin where the last one ended.
        let next = slab.insert(1_000);
        assert!(moved.values().all(|key| *key != next));
        assert_eq!((next.slot, slab.get(Key::NOBODY)), (199, None));
        // The same values are equal, whatever they were called.
        let again = |values: &[usize]| {
            let mut slab = Slab::new();
            let keys: Vec<_> = values.iter().map(|value| slab.insert(*value)).collect();
            slab.remove(keys[0]);
            slab.renumber(|_, value| *value);
            slab
        };
        assert!(again(&[9, 1, 2]) == again(&[8, 2, 1]));
    }

    #[test]
    fn the_lowest_free_slot_is_used_first() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..200).map(|value| slab.insert(value)).collect();
        for freed in [150, 3, 70] {
            slab.remove(keys[freed]);
        }
        let slots: Vec<_> = (0..4).map(|value| slab.insert(value).slot).collect();
        assert_eq!(slots, [3, 70, 150, 200]);
    }
}
