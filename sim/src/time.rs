//! The time of a simulation, and clocks that run a little faster or slower.

use std::time::Duration;

use lockbroker_core::Time;

/// A millisecond, in the nanoseconds in which a simulation counts.
pub(crate) const MS: u64 = 1_000_000;
/// A second.
pub(crate) const SEC: u64 = 1_000 * MS;

/// The clock of one node. It differs from the true time by a constant, and by its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    offset: u64,
    /// Parts per million by which it runs fast. Two clocks differ by 200 at the most (A1).
    ppm: i64,
}

impl Clock {
    /// Makes a clock that shows `offset` at the beginning.
    pub fn new(offset: u64, ppm: i64) -> Clock {
        Clock { offset, ppm }
    }

    /// Returns what the clock shows at the true time `now`.
    pub fn at(self, now: u64) -> u64 {
        let gained = i128::from(now) * i128::from(self.ppm) / 1_000_000;
        self.offset + u64::try_from(i128::from(now) + gained).unwrap_or(0)
    }

    /// Returns the same as the core's time.
    pub fn time(self, now: u64) -> Time {
        Time::from_nanos(self.at(now))
    }

    /// Returns the first true time at which the clock shows `shown`, or later.
    pub fn when(self, shown: u64) -> u64 {
        let passed = i128::from(shown.saturating_sub(self.offset));
        let guess = passed * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        let mut now = u64::try_from(guess).unwrap_or(u64::MAX).saturating_sub(2);
        while self.at(now) < shown && now < u64::MAX / 2 {
            now += 1;
        }
        now
    }
}

/// Returns a span in nanoseconds.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a span less what a clock elsewhere may have gained on ours within it.
pub(crate) fn less_drift(span: u64) -> u64 {
    span - span / 5_000
}

/// Returns a span and what a clock elsewhere may have lost against ours within it.
pub(crate) fn plus_drift(span: u64) -> u64 {
    span + span / 5_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_finds_the_moment_at_which_it_shows_a_time() {
        for ppm in [-100, 0, 37, 100] {
            let clock = Clock::new(5 * SEC, ppm);
            for now in [0, 1, 999, 7 * SEC + 3, 3_600 * SEC] {
                let found = clock.when(clock.at(now));
                assert!(found <= now && now - found <= 1, "{ppm}: {found} for {now}");
                assert!(clock.at(found) >= clock.at(now));
            }
        }
    }
}
