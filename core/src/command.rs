//! Commands to a memcached as values, and what that answers, as values. Bytes exist where they are sent.
//!
//! The commands are those of the meta protocol: `mg`, `ms`, `md` and `ma`, with the flags that the broker uses.

use std::fmt;
use std::sync::Arc;

use crate::lock::{GrantId, LockItem, LockName};

/// The item that a command is about. Which bytes name it is up to whoever sends the command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// S: a shard's state, which shows its epoch and its clock.
    State,
    /// F: the fencing tokens of the epoch with this number.
    Fence(u64),
    /// T: the topology with this fingerprint, in words.
    Topology(u64),
    /// N: the fingerprint of the topology of this generation.
    Notice(u32),
    /// M: the topology that was in force before the one of this generation, in words.
    Former(u32),
    /// D: the servers of that topology that are dead.
    Dead(u32),
    /// G: the highest fencing token before this generation.
    Highest(u32),
    /// L: a lock; P: one of its permits.
    Lock(LockItem),
    /// O: the label of its owner.
    Owner(LockItem),
    /// R: that permits exist on the shard.
    Permits,
    /// R: the number of permits of a lock that may exist.
    Slots(LockName),
    /// W: the broker that is woken when a lock is released.
    Watcher(LockName),
    /// H: the broker where others wait for a lock.
    Line(LockName),
    /// U: one of the brokers at which a lock is observed, by its place.
    Observer(u8, LockName),
    /// B: the note of the broker at this place.
    Broker(u16),
    /// V: the value that a holder has given its lock, under this grant.
    Value(GrantId),
}

/// The number that an item carries beside its value, by which commands compare. That of a lock is its id, a capability:
/// so it is not printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cas(pub u64);

impl Cas {
    /// A number that no item ever has. An `ma` that compares with it changes no item that exists, and may create one
    /// that does not.
    pub const SENTINEL: Cas = Cas(u64::MAX);
}

impl fmt::Debug for Cas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cas(..)")
    }
}

/// The content of an item. It is not printed, since that of a lock is its id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number in decimal digits. Blanks that follow it do not count.
    Number(u64),
    /// A text, as it is.
    Text(Arc<str>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Number(_) => "Number(..)",
            Value::Text(_) => "Text(..)",
        })
    }
}

/// The time for which an item is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// It does not expire.
    Never,
    /// So many seconds, at most 30 days: memcached takes what is above for a date.
    Seconds(u32),
    /// Until this date, in seconds since 1970. memcached knows dates up to January 2038.
    Until(u32),
    /// It is dead at once.
    Ended,
}

impl Ttl {
    /// The longest time that is no date, in seconds.
    pub const LONGEST: u32 = 30 * 24 * 60 * 60;
}

/// The parts of an item that an answer is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Want {
    /// Its number (`c`).
    pub cas: bool,
    /// What it has left to live (`t`).
    pub left: bool,
    /// Its value (`v`).
    pub value: bool,
}

/// The item that `ma` creates where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Create {
    /// How long it is to live (`N`).
    pub ttl: Ttl,
    /// Its value (`J`).
    pub initial: u64,
}

impl fmt::Debug for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Create").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The changes that `md … I` makes to an item instead of deleting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InPlace {
    /// How long it is to live from now on (`T`). Without, that stays.
    pub ttl: Option<Ttl>,
    /// The number that it is to carry (`E`). Without, memcached counts on.
    pub new_cas: Option<Cas>,
}

/// The condition under which `ms` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None.
    Always,
    /// There is no item (`ME`).
    IfMissing,
    /// The item carries this number (`C`).
    IfCas(Cas),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Reads an item: `mg`.
    Get {
        /// The item.
        key: Key,
        /// Counts it as used (no `u`). What is used in the second of a `flush_all` may survive that.
        bump: bool,
        /// Sets how long it is to live from now on (`T`), whatever it is.
        touch: Option<Ttl>,
        /// What to show.
        want: Want,
    },
    /// Adds to a number, or creates it: `ma`.
    Arithmetic {
        /// The item.
        key: Key,
        /// What to add (`D`).
        delta: u64,
        /// What to create where there is none.
        create: Option<Create>,
        /// The number that an item must carry (`C`); 0 compares nothing.
        compare: Option<Cas>,
        /// The number that it is to carry (`E`).
        new_cas: Option<Cas>,
        /// What to show.
        want: Want,
    },
    /// Deletes an item, or changes it in place: `md`.
    Delete {
        /// The item.
        key: Key,
        /// The number that it must carry (`C`).
        compare: Option<Cas>,
        /// What to change, where it is not to be deleted (`I`).
        in_place: Option<InPlace>,
    },
    /// Writes an item: `ms`. Where memcached cannot, it deletes what was there, whatever the mode.
    Set {
        /// The item.
        key: Key,
        /// The condition.
        mode: Mode,
        /// How long it is to live (`T`).
        ttl: Ttl,
        /// The number that it is to carry (`E`).
        new_cas: Option<Cas>,
        /// The value.
        value: Value,
    },
}

impl Command {
    /// Returns the item that the command is about.
    pub fn key(&self) -> &Key {
        match self {
            Command::Get { key, .. }
            | Command::Arithmetic { key, .. }
            | Command::Delete { key, .. }
            | Command::Set { key, .. } => key,
        }
    }
}

/// The time that an item has left, as its memcached's clock shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// It does not expire.
    Forever,
    /// So many seconds. Of an item that is dead, 2^32 and more less: memcached does not count below 0.
    Seconds(u32),
}

/// The trace of `md … I` on an item, as reads show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stale {
    /// It has not been changed in place.
    #[default]
    No,
    /// It was, and this is the first read since (`X W`).
    First,
    /// It was, and has been read since (`X Z`).
    Again,
}

/// The parts of an item that an answer shows: those that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shown {
    /// The number that it carries.
    pub cas: Option<Cas>,
    /// What it has left to live.
    pub left: Option<Left>,
    /// Its value.
    pub value: Option<Value>,
    /// Whether it has been changed in place: `mg` alone shows that.
    pub stale: Stale,
}

/// The reason for which memcached carried out nothing of what it was asked, or only the deletion that a failed `ms` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is no memory (SERVER_ERROR).
    NoMemory,
    /// The item is no number to add to (CLIENT_ERROR).
    NotANumber,
    /// Another reason (SERVER_ERROR).
    Other,
}

/// An answer of a memcached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done (HD, VA).
    Done(Shown),
    /// There is an item, and it carries another number (EX).
    Exists,
    /// There is no item (EN to `mg`, NF to the others).
    Missing,
    /// There is an item where there should be none (NS).
    NotStored,
    /// It was not carried out.
    Refused(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_shows_no_capability() {
        let id = 12_345_678_901_234_567_890;
        let grant = Command::Arithmetic {
            key: Key::Lock(LockName::new("job").unwrap().into()),
            delta: 0,
            create: Some(Create { ttl: Ttl::Seconds(15), initial: id }),
            compare: Some(Cas(id)),
            new_cas: Some(Cas(id)),
            want: Want { cas: true, ..Want::default() },
        };
        let shown = Shown { cas: Some(Cas(id)), value: Some(Value::Number(id)), ..Shown::default() };
        let note = Value::Text(format!("{id} me").into());
        for text in [format!("{grant:?}"), format!("{:?}", Reply::Done(shown)), format!("{note:?}")] {
            assert!(!text.contains(&id.to_string()), "{text}");
        }
    }

    #[test]
    fn commands_and_replies_are_small() {
        assert!(size_of::<Command>() <= 112, "{}", size_of::<Command>());
        assert!(size_of::<Reply>() <= 64, "{}", size_of::<Reply>());
    }
}
