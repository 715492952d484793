//! Moments, as whoever drives the core tells them.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the lease clock, in nanoseconds from a beginning that nobody needs to know. Only differences within one
/// process mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Returns the moment that comes so many nanoseconds after the beginning.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Returns the nanoseconds since the beginning.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to this moment; zero if that is the later one.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Stops at the end of what can be told rather than panicking.
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Stops at the beginning rather than panicking.
    fn sub(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(by)))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stops_at_both_ends() {
        let time = Time::from_nanos(5);
        assert_eq!(time + Duration::from_nanos(2), Time::from_nanos(7));
        assert_eq!(time - Duration::from_secs(1), Time::from_nanos(0));
        assert_eq!(time + Duration::MAX, Time::from_nanos(u64::MAX));
        assert_eq!(time.since(Time::from_nanos(2)), Duration::from_nanos(3));
        assert_eq!(time.since(Time::from_nanos(9)), Duration::ZERO);
    }
}
