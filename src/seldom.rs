//! Log lines that others may cause as often as they like, and so no more than one every ten seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How far apart the lines are at least.
const APART: Duration = Duration::from_secs(10);

/// Lets lines of one kind through now and then.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    pub(crate) const fn new() -> Seldom {
        Seldom(Mutex::new((None, 0)))
    }

    /// Whether the line may be written now: if so, how many have been left out since the one before.
    pub(crate) fn pass(&self) -> Option<u64> {
        // Nothing panics while it is locked.
        let mut state = self.0.lock().ok()?;
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < APART) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}
