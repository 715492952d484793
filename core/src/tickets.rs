//! Those who wait, by rising tickets. Knows the place of each without counting those before it one by one.

use std::collections::BTreeMap;

/// How many tickets in a row share a block. A place costs a step per block and a step per ticket in one block: some
/// hundred steps in a queue of 10,000, where counting them would take 10,000 for each of them.
const BLOCK: u64 = 256;

/// Values by rising tickets; any of them may leave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tickets<T> {
    /// By ticket / [`BLOCK`]. None is empty.
    blocks: BTreeMap<u64, BTreeMap<u64, T>>,
}

impl<T> Default for Tickets<T> {
    fn default() -> Tickets<T> {
        Tickets { blocks: BTreeMap::new() }
    }
}

impl<T> Tickets<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn insert(&mut self, ticket: u64, value: T) {
        self.blocks.entry(ticket / BLOCK).or_default().insert(ticket, value);
    }

    pub(crate) fn remove(&mut self, ticket: u64) {
        if let Some(block) = self.blocks.get_mut(&(ticket / BLOCK)) {
            block.remove(&ticket);
            if block.is_empty() {
                self.blocks.remove(&(ticket / BLOCK));
            }
        }
    }

    pub(crate) fn first(&self) -> Option<(u64, &T)> {
        let (_, block) = self.blocks.first_key_value()?;
        block.first_key_value().map(|(ticket, value)| (*ticket, value))
    }

    pub(crate) fn is_first(&self, ticket: u64) -> bool {
        self.first().is_some_and(|(first, _)| first == ticket)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u64, T)> {
        let mut block = self.blocks.first_entry()?;
        let first = block.get_mut().pop_first();
        if block.get().is_empty() {
            block.remove();
        }
        first
    }

    /// Takes out the first, if it is such a one.
    pub(crate) fn pop_first_if(&mut self, is_such: impl FnOnce(&T) -> bool) -> Option<(u64, T)> {
        self.first().is_some_and(|(_, first)| is_such(first)).then(|| self.pop_first())?
    }

    /// How many stand before this ticket.
    pub(crate) fn before(&self, ticket: u64) -> usize {
        let own = ticket / BLOCK;
        let earlier: usize = self.blocks.range(..own).map(|(_, block)| block.len()).sum();
        earlier + self.blocks.get(&own).map_or(0, |block| block.range(..ticket).count())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.blocks.values().flat_map(BTreeMap::values)
    }
}

impl<T> Tickets<T> {
    /// Returns all, to change them and to number them anew.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (u64, T)> + use<T> {
        std::mem::take(&mut self.blocks).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_place_whoever_leaves() {
        let mut tickets = Tickets::default();
        (0..3 * BLOCK).for_each(|ticket| tickets.insert(ticket, ticket));
        (0..3 * BLOCK).filter(|ticket| ticket % 3 != 1).for_each(|ticket| tickets.remove(ticket));
        tickets.remove(0);
        for (place, ticket) in (1..3 * BLOCK).step_by(3).enumerate() {
            assert_eq!(tickets.before(ticket), place);
        }
        assert_eq!(tickets.values().count(), BLOCK as usize);
        for ticket in (1..3 * BLOCK).step_by(3) {
            assert!(tickets.is_first(ticket));
            assert_eq!(tickets.pop_first(), Some((ticket, ticket)));
        }
        assert!(tickets.is_empty() && tickets.first().is_none() && tickets.pop_first().is_none());
        // One that was taken out for a hand-over comes back to its old place.
        tickets.insert(9, 9);
        tickets.insert(2, 2);
        assert!(tickets.is_first(2));
        assert_eq!(tickets.before(9), 1);
    }
}
