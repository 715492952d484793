//! The items of a memcached: which of them live, and the memory that they take.

use std::collections::BTreeMap;

use lockbroker_core::command::{Key, Stale, Ttl, Value};

use super::memory::{Class, Memory, key_bytes};
use super::{Listed, Settings};
use crate::Choices;

/// What a command meets beside the items.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    /// What the clock shows.
    pub(super) second: u32,
    /// The date at which the clock would have shown 0, in seconds since 1970.
    pub(super) zero_date: u64,
    pub(super) choices: &'a mut Choices,
}

impl Context<'_> {
    /// Returns the second in which an item with this ttl is dead; 0 if it does not expire.
    pub(super) fn dies(&self, ttl: Ttl) -> u32 {
        let number = match ttl {
            Ttl::Never => 0,
            Ttl::Seconds(number) | Ttl::Until(number) => number,
            Ttl::Ended => Ttl::LONGEST + 1,
        };
        match number {
            0 => 0,
            1..=Ttl::LONGEST => self.second + number,
            date => match u64::from(date).saturating_sub(self.zero_date) {
                0 => 1,
                second => u32::try_from(second).unwrap_or(u32::MAX),
            },
        }
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) cas: u64,
    /// The second in which it is dead; 0 if it does not expire.
    pub(super) dies: u32,
    pub(super) value: Value,
    /// The bytes that it has for its value: a shorter number is followed by blanks.
    pub(super) width: u32,
    class: Class,
    /// When it was last written, or seen by an `ms ME`.
    pub(super) used: u32,
    /// Has been read once without `u`.
    fetched: bool,
    /// The last second in which a read without `u` may have counted; 0 if none has.
    read: u32,
    pub(super) stale: Stale,
    /// There is an answer under way that shows it.
    pub(super) being_read: bool,
}

impl Item {
    /// Counts a read without `u`. The first one is only noted. Whether a later one counts depends on what memcached has
    /// moved about since.
    pub(super) fn bump(&mut self, second: u32) {
        if self.fetched {
            self.read = second;
        }
        self.fetched = true;
    }

    /// Returns true if a read without `u` may not have been dealt with: memcached does that behind the scenes, within a
    /// second or two, and keeps hold of the item until then.
    fn awaits_bump(&self, second: u32) -> bool {
        self.read != 0 && self.read + BUMP_WITHIN >= second
    }

    /// Returns true if something may have hold of the item: an answer that shows it, or a read that is not yet counted.
    pub(super) fn may_be_in_use(&self, second: u32) -> bool {
        self.being_read || self.awaits_bump(second)
    }
}

/// So many seconds after a read without `u` it may still count.
const BUMP_WITHIN: u32 = 2;

/// The items of one life of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Items {
    table: BTreeMap<Key, Item>,
    memory: Memory,
    last_cas: u64,
    /// What was last used in this second or before is dead. 0 before the first `flush_all`.
    flushed: u32,
}

impl Items {
    pub(super) fn new() -> Items {
        Items { table: BTreeMap::new(), memory: Memory::default(), last_cas: 1, flushed: 0 }
    }

    /// Returns the number that the next item gets that is given none.
    pub(super) fn next_cas(&mut self) -> u64 {
        self.last_cas += 1;
        self.last_cas
    }

    /// Finds an item. Deletes it if it is dead.
    pub(super) fn find(&mut self, key: &Key, second: u32) -> Option<&mut Item> {
        if self.table.get(key).is_some_and(|item| self.is_dead(item, second)) {
            self.remove(key, true);
        }
        self.table.get_mut(key)
    }

    /// Returns the number of an item that lives.
    pub(super) fn peek(&self, key: &Key, second: u32) -> Option<u64> {
        self.table.get(key).filter(|item| !self.is_dead(item, second)).map(|item| item.cas)
    }

    /// Returns an item that the command at hand has found or stored.
    pub(super) fn known(&mut self, key: &Key) -> &mut Item {
        self.table.get_mut(key).expect("a command looks again only for what it has seen")
    }

    /// Lists the items that live, where the clock would have shown 0 at this date.
    pub(super) fn list(&self, second: u32, zero_date: u64) -> Vec<Listed> {
        let live = self.table.iter().filter(|(_, item)| !self.is_dead(item, second));
        let listed = |(key, item): (&Key, &Item)| Listed {
            key: key.clone(),
            cas: item.cas,
            value: item.value.clone(),
            until: zero_date + u64::from(item.dies),
        };
        live.map(listed).collect()
    }

    fn is_dead(&self, item: &Item, second: u32) -> bool {
        item.used <= self.flushed || (item.dies != 0 && item.dies <= second)
    }

    /// Deletes a live item.
    pub(super) fn unlink(&mut self, key: &Key) {
        self.remove(key, false);
    }

    fn remove(&mut self, key: &Key, dead: bool) {
        let Some(item) = self.table.remove(key) else { return };
        let until = if item.read == 0 { 0 } else { item.read + BUMP_WITHIN };
        if dead && self.memory.has_reclaimed(item.class) {
            // Another item may have its place by now.
        } else if item.being_read || until > 0 {
            self.memory.hold(item.class, item.being_read, until);
        } else {
            self.memory.give_back(item.class);
        }
    }

    /// Notes that all answers have left: they have hold of nothing any more.
    pub(super) fn answers_left(&mut self) {
        self.memory.answers_left();
        for item in self.table.values_mut() {
            item.being_read = false;
        }
    }

    /// Takes memory for an item. Returns none if there is no more.
    pub(super) fn allocate(&mut self, key: &Key, value: u32, context: &mut Context<'_>) -> Option<Class> {
        let settings = context.settings;
        let class = Class::of(settings.smallest_bytes, key_bytes(settings.prefix_bytes, key), value);
        let room = class.holds(settings.room);
        self.memory.let_go(context.second);
        if settings.full || (settings.shared && context.choices.odd()) {
            return None;
        }
        if self.memory.is_full(class, room) && !self.reclaim(class, room, context) {
            return None;
        }
        self.memory.take(class);
        Some(class)
    }

    /// Makes room in a class that may be full. memcached looks for dead items in a few places only, and an answer may or
    /// may not have left: so it may find nothing.
    fn reclaim(&mut self, class: Class, room: u32, context: &mut Context<'_>) -> bool {
        let second = context.second;
        let lives = |item: &Item| item.class == class && !self.is_dead(item, second);
        let mut live: Vec<_> = self.table.iter().filter(|(_, item)| lives(item)).collect();
        if (live.len() as u64) < room.into() && !context.choices.odd() {
            self.memory.find_some(class);
            return true;
        }
        if !context.settings.evicts || live.is_empty() {
            return false;
        }
        // Throws out a live item, of those that were used longest ago if nothing is odd.
        live.sort_by_key(|(_, item)| item.used);
        let victim = usize::try_from(context.choices.pick(live.len() as u64)).unwrap_or(0);
        let victim = live[victim].0.clone();
        self.table.remove(&victim);
        self.memory.give_back(class);
        true
    }

    /// Stores a new item in memory that was taken for it.
    pub(super) fn insert(&mut self, key: Key, new: NewItem, second: u32) {
        self.unlink(&key);
        let NewItem { class, cas, dies, value, width } = new;
        let item = Item {
            cas,
            dies,
            value,
            width,
            class,
            used: second,
            fetched: false,
            read: 0,
            stale: Stale::No,
            being_read: false,
        };
        self.table.insert(key, item);
    }

    /// Gives back memory that was taken for an item which is not stored.
    pub(super) fn give_back(&mut self, class: Class) {
        self.memory.give_back(class);
    }

    /// Lists the items that a `flush_all` may spare, in the order in which it chooses.
    ///
    /// It kills all that was last used before its second, by date, and walks through the lists of all items from their
    /// newest on to delete what was used in its second, or in the one before. There the walk ends at the first item
    /// that was last used earlier. What lies behind that and was used just now is spared: an old item, or a new one if
    /// memcached has moved an old one before it, which it does at any time.
    pub(super) fn may_be_spared(&self, second: u32) -> Vec<Key> {
        let ends_walk = |class| move |item: &Item| item.class == class && item.used + 1 < second;
        let used_now = |item: &Item| item.used == second || item.awaits_bump(second);
        let spared = self.table.iter().filter(|(_, item)| {
            !self.is_dead(item, second) && used_now(item) && self.table.values().any(ends_walk(item.class))
        });
        spared.map(|(key, _)| key.clone()).collect()
    }

    /// Carries out a `flush_all`.
    pub(super) fn flush(&mut self, second: u32, choices: &mut Choices) {
        let spared: Vec<_> = self.may_be_spared(second).into_iter().filter(|_| choices.spread(2) == 1).collect();
        for key in &spared {
            self.table.entry(key.clone()).and_modify(|item| item.used = second);
        }
        let walked = self.table.iter().filter(|(key, item)| item.used == second && !spared.contains(key));
        let walked: Vec<_> = walked.map(|(key, item)| (key.clone(), self.is_dead(item, second))).collect();
        walked.iter().for_each(|(key, dead)| self.remove(key, *dead));
        self.flushed = second - 1;
    }
}

/// An item that is about to be stored.
#[derive(Debug)]
pub(super) struct NewItem {
    pub(super) class: Class,
    pub(super) cas: u64,
    pub(super) dies: u32,
    pub(super) value: Value,
    pub(super) width: u32,
}
