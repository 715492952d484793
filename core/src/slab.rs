//! Values in numbered slots. A key names a slot and which of its values is meant, so that a late key finds nothing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Names a value of a [`Slab`] for as long as that is there, and nothing afterwards.
pub struct Key<T> {
    slot: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// Values in slots. The lowest free slot is used first, and slots at the end are given back, so a broker that was busy
/// once does not stay large.
#[derive(Clone)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// The free slots below the end, the lowest on top.
    free: std::collections::BinaryHeap<std::cmp::Reverse<u32>>,
    len: usize,
    /// One count for all slots: a slot that was given back must not begin anew.
    generation: u32,
}

#[derive(Clone)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { slots: Vec::new(), free: Default::default(), len: 0, generation: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { generation: self.generation, value: Some(value) };
        self.len += 1;
        let index = match self.free.pop() {
            Some(std::cmp::Reverse(index)) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("quotas keep their number far below 2^32")
            }
        };
        Key { slot: index, generation: self.generation, of: PhantomData }
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        self.len -= 1;
        self.free.push(std::cmp::Reverse(key.slot));
        self.give_back();
        Some(value)
    }

    /// Gives back the room of slots at the end, once three in four are free.
    fn give_back(&mut self) {
        const SMALLEST: usize = 64;
        if self.slots.len() < SMALLEST || self.len > self.slots.len() / 4 {
            return;
        }
        let used = self.slots.iter().rposition(|slot| slot.value.is_some()).map_or(0, |last| last + 1);
        if used > self.slots.len() / 2 {
            return;
        }
        self.slots.truncate(used);
        self.slots.shrink_to(2 * used);
        self.free.retain(|std::cmp::Reverse(index)| (*index as usize) < used);
        self.free.shrink_to(SMALLEST);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the keys of all values, by slot.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<T>> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some()).map(|(index, slot)| Key {
            slot: index as u32,
            generation: slot.generation,
            of: PhantomData,
        })
    }
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

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len).field("slots", &self.slots.len()).finish_non_exhaustive()
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
        for (value, key) in keys.iter().enumerate().skip(1) {
            assert_eq!(slab.remove(*key), Some(value));
        }
        assert!(slab.slots.capacity() <= 128, "{}", slab.slots.capacity());
        assert_eq!(slab.get(keys[0]), Some(&0));
        let next = slab.insert(1);
        assert!(keys.iter().all(|key| *key != next), "an old key never comes again");
    }
}
