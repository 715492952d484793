//! Lets one log line of a kind through every ten seconds, for lines that others can cause at will.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The least time between two lines.
const APART: Duration = Duration::from_secs(10);

/// Limits the lines of one kind.
#[derive(Debug)]
pub(crate) struct RateLimited(Mutex<(Option<Instant>, u64)>);

impl RateLimited {
    pub(crate) const fn new() -> RateLimited {
        RateLimited(Mutex::new((None, 0)))
    }

    /// Asks to write a line. Returns how many were left out since the last one, or None if this one is to be left out too.
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
