//! Notes that brokers leave on every shard while they run, so that those who change the topology see them. The notes
//! are best effort: no lock depends on one.
//!
//! memcached may be set not to list its keys. So there is a fixed number of places for notes, and a reader looks at
//! all of them.

use std::time::Duration;

use memcache::exp::{MetaCommand, MetaResponse, ReturnCode};

use super::commands::{self, Keys};
use super::state_item::FORMAT;

/// The number of places, and so of brokers that can be noted on one shard. A broker that finds no place is not shown.
pub(super) const PLACES: u16 = 4_096;
/// The life of a note, in seconds.
pub(super) const LIVES: u32 = 15;
/// The interval at which a broker renews its note.
pub(super) const RENEWED: Duration = Duration::from_secs(5);
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

/// The place of one broker's note on one shard.
#[derive(Debug)]
pub(super) struct Presence {
    note: BrokerNote,
    place: u16,
    /// The CAS of its item, which distinguishes its note from those of others.
    id: u64,
    /// True if the place was its own at the last answer.
    taken: bool,
}

impl Presence {
    pub(super) fn new(note: BrokerNote) -> Presence {
        Presence { note, place: random_place(), id: rand::random_range(1..u64::MAX), taken: false }
    }

    /// Renews the note, or takes a place for it.
    pub(super) fn command(&self, keys: &Keys) -> MetaCommand {
        match self.taken {
            true => keys.keep_noted(self.place, self.id),
            false => keys.note_broker(self.place, self.id, self.note.as_str()),
        }
    }

    /// Handles memcached's answer. Returns true if the note stands; if not, try again at once.
    pub(super) fn answered(&mut self, response: &MetaResponse) -> bool {
        match (response.rc(), self.taken) {
            (ReturnCode::Hd, _) => self.taken = true,
            // It has run out: the place may still be free.
            (ReturnCode::Nf, true) => self.taken = false,
            _ => (self.taken, self.place) = (false, random_place()),
        }
        self.taken
    }
}

fn random_place() -> u16 {
    rand::random_range(0..PLACES)
}

/// A broker that has noted itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: u64,
    note: String,
    seconds_ago: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = self.note.splitn(3, ' ');
        let (format, version, place) = (words.next(), words.next(), words.next());
        match (format, version, place) {
            (Some(_), Some(version), Some(place)) => write!(f, "lockbroker {version} at {place}")?,
            _ => write!(f, "{:?}", self.note)?,
        }
        write!(f, ", {} s ago", self.seconds_ago)
    }
}

/// Reads what a look at one place found.
pub(super) fn read(response: &MetaResponse) -> Option<Seen> {
    let (id, left) = commands::read_note(response)?;
    let note: String = String::from_utf8_lossy(response.value()?).chars().take(MAX_BYTES).collect();
    let note = note.chars().filter(|c| !c.is_control()).collect();
    Some(Seen { id, note, seconds_ago: u64::from(LIVES).saturating_sub(left) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> MetaResponse {
        MetaResponse::parse_header(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_place_is_kept_left_to_others_and_taken_anew() {
        let mut presence = Presence::new(BrokerNote::new("here 127.0.0.1:28551"));
        let (first, keys) = (presence.place, Keys::new("lb:"));
        let wire = |presence: &Presence| String::from_utf8(presence.command(&keys).encode().unwrap()).unwrap();
        assert!(wire(&presence).contains(" ME T15 E"), "{}", wire(&presence));
        assert!(presence.answered(&answer("HD")));
        assert!(wire(&presence).contains(&format!(" C{} I T15 E", presence.id)), "{}", wire(&presence));
        assert!(!presence.answered(&answer("NF")), "it has run out");
        assert_eq!(presence.place, first);
        assert!(presence.answered(&answer("HD")));
        assert!(!presence.answered(&answer("EX")), "another broker has it now");
        assert!(wire(&presence).contains(" ME T15 E"), "{}", wire(&presence));
    }

    #[test]
    fn a_note_is_short_and_plain() {
        assert_eq!(BrokerNote::new("a\r\nb\u{e9}").0, format!("2 {} ab", env!("CARGO_PKG_VERSION")));
        assert_eq!(BrokerNote::new(&"x".repeat(1_000)).0.len(), MAX_BYTES);
    }
}
