//! Notes that brokers leave on every shard while they run, so that those who change the topology see them, and see who can follow. A
//! note may fail or run out: then its broker is asked for nothing, and its locks may be lost. None gets a second holder, but for two
//! rules that trust in what is noted (R26, R27).
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
    /// The place and the CAS of a note that is out of date.
    left: Option<(u16, u64)>,
}

impl Presence {
    pub(crate) fn new(note: Arc<str>, env: &mut impl Env) -> Presence {
        Presence { note, ready: None, place: random_place(env), id: env.random().max(1), taken: false, left: None }
    }

    /// Renews the note, and ends the one before, or takes a place for it.
    pub(crate) fn commands(&self) -> Vec<Command> {
        match (self.taken, self.ready) {
            (true, _) => {
                let ends = self.left.map(|(place, id)| protocol::end_note(place, id));
                [Some(protocol::keep_noted(self.place, self.id)), ends].into_iter().flatten().collect()
            }
            (false, None) => vec![protocol::note_broker(self.place, self.id, &self.note)],
            (false, Some(next)) => {
                vec![protocol::note_broker(self.place, self.id, &format!("{} {READY}{next}", self.note))]
            }
        }
    }

    /// Takes note of the next topology if the broker can follow to it. Returns true if that has changed, so that another note is due. It
    /// takes another place, and then the note before is ended: a full server may refuse the new one.
    pub(crate) fn follows(&mut self, ready: Option<u64>, env: &mut impl Env) -> bool {
        if ready == self.ready {
            return false;
        }
        if self.taken {
            self.left = Some((self.place, self.id));
        }
        (self.ready, self.taken) = (ready, false);
        (self.place, self.id) = (random_place(env), env.random().max(1));
        true
    }

    /// Handles memcached's answer. Returns true if the note stands alone; if not, try again at once.
    pub(crate) fn answered(&mut self, reply: &Reply, env: &mut impl Env) -> bool {
        match (reply, self.taken) {
            (Reply::Done(_), true) => self.left = None,
            (Reply::Done(_), false) => self.taken = true,
            // It has run out: the place may still be free.
            (Reply::Missing, true) => self.taken = false,
            _ => (self.taken, self.place) = (false, random_place(env)),
        }
        self.taken && self.left.is_none()
    }
}

fn random_place(env: &mut impl Env) -> u16 {
    u16::try_from(env.random() % u64::from(PLACES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Cas, Key, Mode, Shown};
    use crate::shard::tests::Outside;

    #[test]
    fn a_place_is_kept_left_to_others_and_taken_anew() {
        let env = &mut Outside::default();
        let mut presence = Presence::new("here".into(), env);
        let first = presence.place;
        assert!(takes(&presence));
        assert!(presence.answered(&Reply::Done(Shown::default()), env));
        assert!(matches!(presence.commands()[..], [Command::Delete { in_place: Some(_), .. }]));
        assert!(!presence.answered(&Reply::Missing, env), "it has run out");
        assert_eq!(presence.place, first);
        assert!(presence.answered(&Reply::Done(Shown::default()), env));
        assert!(!presence.answered(&Reply::Exists, env), "another broker has it now");
        assert!(takes(&presence));
    }

    /// Where both stood, the older one was taken for the present one: servers changed though no broker could follow.
    #[test]
    fn a_note_that_is_out_of_date_is_ended_when_the_new_one_stands() {
        let env = &mut Outside::default();
        let mut presence = Presence::new("here".into(), env);
        let done = Reply::Done(Shown::default());
        assert!(presence.answered(&done, env));
        let before = (presence.place, presence.id);
        assert!(presence.follows(Some(7), env) && !presence.follows(Some(7), env));
        assert!(takes(&presence));
        assert!(!presence.answered(&done, env), "the one before is still there");
        let [_, Command::Delete { key, compare, in_place: None }] = &presence.commands()[..] else {
            panic!("it is ended")
        };
        assert_eq!((key, compare), (&Key::Broker(before.0), &Some(Cas(before.1))));
        assert!(presence.answered(&done, env));
        assert_eq!(presence.commands().len(), 1);
    }

    fn takes(presence: &Presence) -> bool {
        matches!(presence.commands()[..], [Command::Set { mode: Mode::IfMissing, .. }])
    }
}
