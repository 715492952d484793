//! Counts what was granted by its kind, and whether that was put to the test: one who shares a lock with nobody proves nothing of
//! sharing.

use std::collections::HashSet;
use std::fmt;

use crate::clients::takes_leases;
use crate::elections::View;
use crate::history::{Access, End, History, Hold};

/// A kind of grants: its name, the least number, and which they are.
type Kind = (&'static str, usize, fn(&Hold) -> bool);

/// The kinds that are counted, and the least number of each in a run of five minutes; others in proportion. It is about half of what a
/// run has that has just enough grants.
const KINDS: [Kind; 11] = [
    ("alone", 900, |hold| hold.access == Access::Alone),
    ("shared without a limit", 250, |hold| matches!(hold.access, Access::Shared { limit: None, .. })),
    ("with a limit", 500, |hold| matches!(hold.access, Access::Shared { limit: Some(_), .. })),
    ("together with others", 80, |hold| !hold.others.is_empty()),
    ("of these lost", 3, |hold| !hold.others.is_empty() && matches!(hold.end, End::Lost { .. })),
    ("several permits of one lock", 40, |hold| hold.together > hold.others.len() + 1),
    ("alone and then shared", 15, |hold| {
        matches!(hold.last_access(), Access::Shared { .. }) && !hold.changes.is_empty()
    }),
    ("leases", 200, |hold| takes_leases(hold.client)),
    ("of these answered again by their name", 20, |hold| hold.repeated),
    ("kept when their stream ends", 250, |hold| hold.outlives_streams && !takes_leases(hold.client)),
    ("closed after their end", 60, |hold| hold.closed_until().is_some()),
];

/// The number of grants of each kind, and of beliefs that were put to the test.
#[derive(Debug)]
pub(crate) struct Census {
    kinds: [usize; KINDS.len()],
    /// Beliefs that began while others shared the lock.
    beside: usize,
    /// Those that were the last for which the limit had room.
    at_limit: usize,
    /// Updates that were answered, and different values that an observer was told on one stream.
    updates: usize,
    seen: usize,
}

/// The least numbers of these.
const BESIDE: usize = 120;
const AT_LIMIT: usize = 30;
const UPDATES: usize = 100;
const SEEN: usize = 50;

impl Census {
    pub(crate) fn of(history: &History) -> Self {
        let kinds = KINDS.map(|(_, _, is_one)| history.holds.iter().filter(|hold| is_one(hold)).count());
        let (mut beside, mut at_limit) = (0, 0);
        for hold in &history.holds {
            let Access::Shared { limit, .. } = hold.access else { continue };
            let others = history.holds.iter().filter(|other| other.name == hold.name && !std::ptr::eq(*other, hold));
            for belief in &hold.beliefs {
                let is_there = |other: &&Hold| {
                    other.beliefs.iter().any(|other| other.from <= belief.from && belief.from < other.until)
                };
                let count = others.clone().filter(is_there).count();
                beside += usize::from(count > 0);
                at_limit += usize::from(limit.is_some_and(|limit| count + 1 == limit as usize));
            }
        }
        let updates = history.campaigns.iter().map(|campaign| campaign.answered).sum();
        let values = |view: &View| {
            let values: HashSet<_> = view.seen.iter().filter_map(|sight| sight.value.as_ref()).collect();
            values.len()
        };
        let seen = history.views.iter().map(values).sum();
        Self { kinds, beside, at_limit, updates, seen }
    }

    /// Returns what there was too little of, in a run of so much of five minutes.
    pub(crate) fn shortcomings(&self, share: f64) -> Vec<String> {
        let kinds = KINDS.iter().zip(self.kinds).map(|((kind, least, _), count)| (*kind, *least, count));
        let beside = [
            ("beside others", BESIDE, self.beside),
            ("the last below the limit", AT_LIMIT, self.at_limit),
            ("updates of a value", UPDATES, self.updates),
            ("values seen by observers", SEEN, self.seen),
        ];
        let least = |least: usize| (least as f64 * share) as usize;
        let few = kinds.chain(beside).filter(|(_, few, count)| *count < least(*few));
        few.map(|(kind, few, count)| format!("{count} {kind} are too few, there should be {}", least(few))).collect()
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, ..), count) in KINDS.iter().zip(self.kinds) {
            write!(f, "{count} {kind}, ")?;
        }
        write!(f, "{} beside others, {} the last below the limit; ", self.beside, self.at_limit)?;
        write!(f, "{} values seen by observers, of {} updates", self.seen, self.updates)
    }
}
