//! The memory of a memcached: items take a place in the class of their size, and a class has so many places.

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

/// Returns the length of a key in bytes, behind a prefix.
pub(super) fn key_bytes(prefix: u32, key: &Key) -> u32 {
    let rest = match key {
        Key::State => 1,
        Key::Fence(epoch) => 2 + digits(*epoch),
        Key::Broker(place) => 2 + digits((*place).into()),
        Key::Lock(name) | Key::Owner(name) | Key::Watcher(name) | Key::Line(name) => 2 + bytes(name.as_str()),
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
