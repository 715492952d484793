//! Notes that brokers leave on every shard while they run, so that those who change the topology see them. The notes
//! are best effort: no lock depends on one.
//!
//! memcached may be set not to list its keys. So there is a fixed number of places for notes, and a reader looks at
//! all of them.

use std::sync::Arc;
use std::time::Duration;

use super::env::Env;
use super::protocol;
use crate::command::{Command, Reply};

/// The number of places, and so of brokers that can be noted on one shard. A broker that finds no place is not shown.
pub const PLACES: u16 = 4_096;
/// The life of a note, in seconds.
pub const LIVES: u32 = 15;
/// The beginning of a note's last word, if the broker can follow to the topology whose fingerprint comes after it.
pub const READY: char = '>';
/// The interval at which a broker renews its note.
pub(crate) const RENEWED: Duration = Duration::from_secs(5);

/// The place of one broker's note on one shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Presence {
    note: Arc<str>,
    /// The next topology, once all its servers were met.
    ready: Option<u64>,
    place: u16,
    /// The CAS of its item, which distinguishes its note from those of others.
    id: u64,
    /// True if the place was its own at the last answer.
    taken: bool,
}

impl Presence {
    pub(crate) fn new(note: Arc<str>, env: &mut impl Env) -> Presence {
        Presence { note, ready: None, place: random_place(env), id: env.random().max(1), taken: false }
    }

    /// Renews the note, or takes a place for it.
    pub(crate) fn command(&self) -> Command {
        match self.taken {
            true => protocol::keep_noted(self.place, self.id),
            false => match self.ready {
                None => protocol::note_broker(self.place, self.id, &self.note),
                Some(next) => protocol::note_broker(self.place, self.id, &format!("{} {READY}{next}", self.note)),
            },
        }
    }

    /// Takes note of the next topology if the broker can follow to it. Returns true if that has changed, so that another note is due. It
    /// takes another place: the note before runs out.
    pub(crate) fn follows(&mut self, ready: Option<u64>, env: &mut impl Env) -> bool {
        if ready == self.ready {
            return false;
        }
        (self.ready, self.taken) = (ready, false);
        (self.place, self.id) = (random_place(env), env.random().max(1));
        true
    }

    /// Handles memcached's answer. Returns true if the note stands; if not, try again at once.
    pub(crate) fn answered(&mut self, reply: &Reply, env: &mut impl Env) -> bool {
        match (reply, self.taken) {
            (Reply::Done(_), _) => self.taken = true,
            // It has run out: the place may still be free.
            (Reply::Missing, true) => self.taken = false,
            _ => (self.taken, self.place) = (false, random_place(env)),
        }
        self.taken
    }
}

fn random_place(env: &mut impl Env) -> u16 {
    u16::try_from(env.random() % u64::from(PLACES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Mode, Shown};
    use crate::shard::tests::Outside;

    #[test]
    fn a_place_is_kept_left_to_others_and_taken_anew() {
        let env = &mut Outside::default();
        let mut presence = Presence::new("here".into(), env);
        let first = presence.place;
        let takes = |presence: &Presence| matches!(presence.command(), Command::Set { mode: Mode::IfMissing, .. });
        assert!(takes(&presence));
        assert!(presence.answered(&Reply::Done(Shown::default()), env));
        assert!(matches!(presence.command(), Command::Delete { in_place: Some(_), .. }));
        assert!(!presence.answered(&Reply::Missing, env), "it has run out");
        assert_eq!(presence.place, first);
        assert!(presence.answered(&Reply::Done(Shown::default()), env));
        assert!(!presence.answered(&Reply::Exists, env), "another broker has it now");
        assert!(takes(&presence));
    }
}
