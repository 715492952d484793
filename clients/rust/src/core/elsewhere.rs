//! Releases that no stream can confirm. Any broker is asked, again and again, until the lock has run out by itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::pause::pause;
use super::types::{Failure, Key, Output};
use crate::clock::Moment;

/// The longest pause between two calls.
const MOST: Duration = Duration::from_secs(1);

/// A lock that is being released by calls.
#[derive(Debug)]
struct Release {
    /// The names and ids that are still to be released, one after another.
    grants: VecDeque<(String, String)>,
    /// The end of its validity.
    until: Moment,
    /// The moment of the next call; none while one is under way.
    next: Option<Moment>,
    tries: u32,
}

impl Release {
    /// Returns the next call, if there is something left to release.
    fn call(&self, key: Key) -> Option<Output> {
        let (name, lock_id) = self.grants.front()?.clone();
        Some(Output::ReleaseElsewhere { key, name, lock_id })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(BTreeMap<Key, Release>);

impl Elsewhere {
    /// Begins to release a lock, and those that are held together with it: their names and ids, at least one.
    pub(super) fn begin(&mut self, key: Key, grants: VecDeque<(String, String)>, until: Moment, out: &mut Vec<Output>) {
        let release = Release { grants, until, next: None, tries: 0 };
        out.extend(release.call(key));
        self.0.insert(key, release);
    }

    /// Takes the end of a call.
    pub(super) fn ended(
        &mut self,
        key: Key,
        result: Result<(), Failure>,
        now: Moment,
        chance: impl FnOnce() -> f64,
        out: &mut Vec<Output>,
    ) {
        let Some(release) = self.0.get_mut(&key) else { return };
        match result {
            Ok(()) => {
                release.grants.pop_front();
                if let Some(next) = release.call(key) {
                    out.push(next);
                    return;
                }
                out.push(Output::Released { key });
            }
            Err(failure) if !failure.code.is_final() => {
                release.next = Some(now + pause(release.tries, MOST, chance()));
                release.tries += 1;
                return;
            }
            Err(failure) => out.push(Output::Failed { key, failure }),
        }
        self.0.remove(&key);
    }

    /// Calls again where it is time, and ends what has run out.
    pub(super) fn keep_time(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.0.retain(|&key, release| {
            if release.until <= now {
                let why = "no broker confirmed the release before the lock ran out by itself";
                out.push(Output::Failed { key, failure: Failure::unavailable(why) });
                return false;
            }
            if release.next.is_some_and(|next| next <= now) {
                release.next = None;
                out.extend(release.call(key));
            }
            true
        });
    }

    /// Returns the moment at which to keep time.
    pub(super) fn due(&self) -> Option<Moment> {
        self.0.values().map(|release| release.next.map_or(release.until, |next| next.min(release.until))).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn has(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }
}
