//! Notes that brokers leave on every shard, as operators' commands read them.

use std::collections::BTreeMap;

use lockbroker_core::command::{Left, Reply, Shown, Value};
use lockbroker_core::shard::state_item::FORMAT;
use lockbroker_core::shard::{LIVES, READY};

/// The longest note, in bytes.
const MAX_BYTES: usize = 200;

/// A broker's note about itself: the format of what it keeps in memcached, its version, and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNote(String);

impl BrokerNote {
    /// Makes the note of this version. `place` is the machine and address by which operators find the broker. Keeps
    /// visible ASCII only, up to 200 bytes in all.
    pub fn new(place: &str) -> BrokerNote {
        let mut note = format!("{FORMAT} {} {place}", env!("CARGO_PKG_VERSION"));
        note.retain(|c| c == ' ' || c.is_ascii_graphic());
        note.truncate(MAX_BYTES);
        BrokerNote(note)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A broker that has noted itself on a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBroker {
    note: String,
    /// The next topology, if it can follow to that.
    pub(super) ready: Option<u64>,
    /// The time since it has noted itself, in seconds: up to 15.
    pub seconds_ago: u32,
}

impl SeenBroker {
    /// Returns its version, and its machine and addresses. None if the note is not a broker's.
    pub fn version_and_place(&self) -> Option<(&str, &str)> {
        let mut words = self.note.splitn(3, ' ');
        let _format = words.next()?;
        Some((words.next()?, words.next()?))
    }

    /// Returns the whole note, as somebody has written it: up to 200 characters.
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl std::fmt::Display for SeenBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version_and_place() {
            Some((version, place)) => write!(f, "lockbroker {version} at {place}")?,
            None => write!(f, "{:?}", self.note)?,
        }
        write!(f, ", {} s ago", self.seconds_ago)
    }
}

/// Returns each broker once, by its latest note. Of two of the same second the one counts that says less: a broker that can follow says
/// so again.
pub(super) fn latest(seen: impl Iterator<Item = SeenBroker>) -> Vec<SeenBroker> {
    let mut latest: BTreeMap<String, SeenBroker> = BTreeMap::new();
    for broker in seen {
        match latest.get(&broker.note) {
            Some(known) if (known.seconds_ago, known.ready) <= (broker.seconds_ago, broker.ready) => {}
            _ => drop(latest.insert(broker.note.clone(), broker)),
        }
    }
    latest.into_values().collect()
}

/// Reads what a look at one place found.
pub(super) fn read(reply: &Reply) -> Option<SeenBroker> {
    let Reply::Done(Shown { left: Some(Left::Seconds(left)), value: Some(value), .. }) = reply else {
        return None;
    };
    let text = match value {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
    };
    let ready = text.rsplit_once(' ').and_then(|(note, last)| Some((note, last.strip_prefix(READY)?.parse().ok()?)));
    let (note, ready) = ready.map_or((&*text, None), |(note, ready)| (note, Some(ready)));
    let note = note.chars().take(MAX_BYTES).filter(|c| !c.is_control()).collect();
    Some(SeenBroker { note, ready, seconds_ago: LIVES.saturating_sub(*left) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_short_and_plain() {
        assert_eq!(BrokerNote::new("a\r\nb\u{e9}").0, format!("{FORMAT} {} ab", env!("CARGO_PKG_VERSION")));
        assert_eq!(BrokerNote::new(&"x".repeat(1_000)).0.len(), MAX_BYTES);
    }
}
