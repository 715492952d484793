//! Moments, as whoever drives the core tells them.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the lease clock, in nanoseconds from a beginning that nobody needs to know. Only differences within one
/// process mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(
    /// Never 0, so that an `Option<Time>` takes no more room than a time. A lock has several.
    NonZeroU64,
);

impl Time {
    /// The last moment, which never comes.
    pub const NEVER: Time = Time(NonZeroU64::MAX);

    /// Returns the moment that comes so many nanoseconds after the beginning, and at least one.
    pub const fn from_nanos(nanos: u64) -> Time {
        match NonZeroU64::new(nanos) {
            Some(nanos) => Time(nanos),
            None => Time(NonZeroU64::MIN),
        }
    }

    /// Returns the nanoseconds since the beginning.
    pub const fn nanos(self) -> u64 {
        self.0.get()
    }

    /// Returns the time from `earlier` to this moment; zero if that is the later one.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(earlier.nanos()))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Stops at the end of what can be told rather than panicking.
    fn add(self, by: Duration) -> Time {
        Time::from_nanos(self.nanos().saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Stops at the beginning rather than panicking.
    fn sub(self, by: Duration) -> Time {
        Time::from_nanos(self.nanos().saturating_sub(nanos(by)))
    }
}

/// A time that something takes, in half the room of a `Duration`: a lock has several. It is exact up to 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span(u64);

impl From<Duration> for Span {
    fn from(span: Duration) -> Span {
        Span(nanos(span))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_nanos(span.0)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts one more failure in a row, and returns the pause after it: `first`, doubled each time, up to `longest`.
pub(crate) fn backoff(failures: &mut u8, first: Duration, longest: Duration) -> Duration {
    let pause = (first * 2_u32.saturating_pow((*failures).into())).min(longest);
    *failures = failures.saturating_add(1);
    pause
}

/// The greatest difference in speed of two machines' clocks (A1): 200 parts per million, a bad crystal.
const DRIFT_PPM: u32 = 200;

/// Returns how far two machines' clocks may drift apart within `span`.
pub(crate) fn drift(span: Duration) -> Duration {
    span * DRIFT_PPM / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stops_at_both_ends() {
        let time = Time::from_nanos(5);
        assert_eq!(time + Duration::from_nanos(2), Time::from_nanos(7));
        assert_eq!(time - Duration::from_secs(1), Time::from_nanos(1));
        assert_eq!(size_of::<Option<Time>>(), size_of::<Time>());
        assert_eq!(time + Duration::MAX, Time::from_nanos(u64::MAX));
        assert_eq!(time.since(Time::from_nanos(2)), Duration::from_nanos(3));
        assert_eq!(time.since(Time::from_nanos(9)), Duration::ZERO);
    }
}
