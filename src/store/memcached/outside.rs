//! The outside of the shards.

use std::time::{Duration, SystemTime};

use lockbroker_core::Time;
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::Env;
use rand::RngExt;

use crate::clock::Moment;
use crate::mutations;
use crate::times::time;

/// Time and chance for the shards.
#[derive(Debug)]
pub(super) struct Outside {
    /// Read before anything is sent, and after what is answered has arrived.
    now: Moment,
}

impl Outside {
    pub(super) fn new() -> Outside {
        Outside { now: Moment::now() }
    }

    pub(super) fn read_clock(&mut self) {
        self.now = Moment::now();
    }

    pub(super) fn moment(&self) -> Moment {
        self.now
    }

    pub(super) fn time(&self) -> Time {
        time(self.now)
    }

    /// Draws a number that is neither 0 nor the greatest one.
    pub(super) fn fresh_id(&mut self) -> u64 {
        rand::rng().random_range(1..u64::MAX)
    }
}

/// Returns the date by this machine's clock, in microseconds since 1970.
pub(super) fn wall_micros() -> Option<u64> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_micros()).ok()
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.time()
    }

    fn wall_micros(&self) -> Option<u64> {
        wall_micros()
    }

    fn random(&mut self) -> u64 {
        rand::rng().random()
    }

    fn spread(&mut self, span: Duration, extra: Duration) -> Duration {
        span + extra.mul_f64(rand::rng().random_range(0.0..1.0))
    }

    fn breaks(&self, rule: Rule) -> bool {
        mutations::breaks(rule)
    }
}
