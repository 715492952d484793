//! The memory of a memcached: items take a place in the class of their size, and a class has so many places.

use std::collections::BTreeMap;

use lockbroker_core::command::{Key, Value};

/// What memcached notes of an item beside key and value, in bytes: a header of 48, a number of 8, and the ends of key
/// and value.
const OVERHEAD: u32 = 48 + 8 + 1 + 2;
/// The places of the smallest class, in bytes, where nothing else is said.
pub(super) const SMALLEST: u32 = 96;
/// A page, in bytes: what a class gets at a time.
const PAGE: u32 = 1024 * 1024;

/// How much memory there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Room {
    /// It is never full.
    Ample,
    /// A page for each class. That is what a memcached with `-m 1` has.
    Page,
    /// So many items in each class.
    Items(u32),
}

/// The size of the places for an item, in bytes: a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class(u32);

impl Class {
    /// Returns the class of an item with a key and a value of so many bytes.
    pub(super) fn of(smallest: u32, key: u32, value: u32) -> Class {
        let bytes = OVERHEAD + key + value;
        let mut size = smallest;
        while size < bytes && size < PAGE {
            // Every class is larger by a quarter, and its size a multiple of 8.
            size = (size * 5 / 4).next_multiple_of(8);
        }
        Class(size)
    }

    /// Returns how many items of this class have room.
    pub(super) fn holds(self, room: Room) -> u32 {
        match room {
            Room::Ample => u32::MAX,
            Room::Page => PAGE / self.0,
            Room::Items(items) => items,
        }
    }
}

/// The places of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Places {
    /// How many are taken at the most.
    taken: u32,
    /// Some have been taken from dead items: nobody knows from which.
    reclaimed: bool,
}

/// The memory of a deleted item of which something may still have hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    class: Class,
    by_answer: bool,
    /// The last second in which a read may have hold of it.
    until: u32,
}

/// How much memory is taken, at the most.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Memory {
    classes: BTreeMap<Class, Places>,
    held: Vec<Held>,
}

impl Memory {
    /// Says whether no place may be free, of so many.
    pub(super) fn is_full(&self, class: Class, room: u32) -> bool {
        self.classes.get(&class).is_some_and(|places| places.taken >= room) || room == 0
    }

    /// Takes a place.
    pub(super) fn take(&mut self, class: Class) {
        self.classes.entry(class).or_default().taken += 1;
    }

    /// Gives back a place.
    pub(super) fn give_back(&mut self, class: Class) {
        let places = self.classes.entry(class).or_default();
        debug_assert!(places.taken > 0, "a place is given back once");
        places.taken = places.taken.saturating_sub(1);
    }

    /// Says whether places of this class have been taken from dead items.
    pub(super) fn has_reclaimed(&self, class: Class) -> bool {
        self.classes.get(&class).is_some_and(|places| places.reclaimed)
    }

    /// Notes that something may still have hold of a deleted item.
    pub(super) fn hold(&mut self, class: Class, by_answer: bool, until: u32) {
        self.held.push(Held { class, by_answer, until });
    }

    /// Finds a place where none seemed to be free: that of a dead item, or of one of which nothing had hold any more.
    /// Nobody knows of which, so none of those gives back a place of its own later.
    pub(super) fn find_some(&mut self, class: Class) {
        self.held.retain(|held| held.class != class);
        self.classes.entry(class).or_default().reclaimed = true;
        self.give_back(class);
    }

    /// Gives back the places of deleted items of which nothing has hold any more.
    pub(super) fn let_go(&mut self, second: u32) {
        let (kept, free): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.by_answer || held.until >= second);
        self.held = kept;
        free.iter().for_each(|held: &Held| self.give_back(held.class));
    }

    /// Notes that no answer has hold of anything any more.
    pub(super) fn answers_left(&mut self) {
        self.held.iter_mut().for_each(|held| held.by_answer = false);
    }
}

/// Returns the length of a key in bytes, behind a prefix.
pub(super) fn key_bytes(prefix: u32, key: &Key) -> u32 {
    let rest = match key {
        Key::State => 1,
        Key::Fence(epoch) => 2 + digits(*epoch),
        Key::Topology(fingerprint) => 2 + digits(*fingerprint),
        Key::Notice(generation) | Key::Former(generation) | Key::Dead(generation) | Key::Highest(generation) => {
            2 + digits((*generation).into())
        }
        Key::Broker(place) => 2 + digits((*place).into()),
        Key::Value(id) => 2 + digits(id.get()),
        Key::Lock(item) | Key::Owner(item) => {
            let number = item.permit.map_or(0, |permit| digits(permit.get().into()) + 1);
            2 + number + bytes(item.name.as_str())
        }
        Key::Permits => 1,
        Key::Observer(place, name) => 3 + digits((*place).into()) + bytes(name.as_str()),
        Key::Slots(name) | Key::Watcher(name) | Key::Line(name) => 2 + bytes(name.as_str()),
    };
    prefix + rest
}

/// Returns the length of a value in bytes.
pub(super) fn value_bytes(value: &Value) -> u32 {
    match value {
        Value::Number(number) => digits(*number),
        Value::Text(text) => bytes(text),
    }
}

fn digits(number: u64) -> u32 {
    number.checked_ilog10().unwrap_or(0) + 1
}

fn bytes(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_memcached() {
        let sizes: Vec<_> = (0..600).map(|value| Class::of(SMALLEST, 0, value).0).collect();
        let mut classes = sizes.clone();
        classes.dedup();
        assert_eq!(classes, [96, 120, 152, 192, 240, 304, 384, 480, 600, 752]);
        assert_eq!(Class::of(SMALLEST, 7, 30), Class(96), "96 bytes fit into 96");
        assert_eq!(Class::of(SMALLEST, 7, 31), Class(120));
        assert_eq!(Class(192).holds(Room::Page), 5_461);
    }

    #[test]
    fn numbers_have_as_many_bytes_as_digits() {
        for (number, length) in [(0, 1), (9, 1), (10, 2), (u64::MAX, 20)] {
            assert_eq!(value_bytes(&Value::Number(number)), length);
        }
    }
}
