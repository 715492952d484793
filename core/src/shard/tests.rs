//! An outside for tests.

use std::time::Duration;

use super::Env;
use crate::Time;

/// An outside whose numbers are drawn in order.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    pub(crate) now: Time,
    pub(crate) drawn: u64,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside { now: Time::from_nanos(1 << 50), drawn: 0 }
    }
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.now
    }

    fn wall_micros(&self) -> Option<u64> {
        Some(1_800_000_000_000_000)
    }

    fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn spread(&mut self, span: Duration, _extra: Duration) -> Duration {
        span
    }
}
