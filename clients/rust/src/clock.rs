//! The clock of leases. It runs on while the machine is suspended (A2).
//!
//! Everything that decides whether a lease is still good compares [`Moment`]s. Timers run on tokio's
//! clock, which stands still during a suspend; [`sleep_until`] makes up for that when it wakes. Tests that
//! pause tokio's time have moments [follow](follow_tokio) it.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The greatest difference in speed of two machines' clocks (A1): 200 parts per million, a bad crystal.
const DRIFT_PPM: u32 = 200;

/// The clock's first reading, so great that any time can be taken off.
const BEGINNING: Duration = Duration::from_secs(1 << 32);

/// A moment on the lease clock. Only differences within one process mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Reads the clock. It never goes back, on any thread.
    pub fn now() -> Moment {
        static BEGAN: LazyLock<(Readings, Instant)> = LazyLock::new(|| (Readings::now(), Instant::now()));
        let (readings, instant) = &*BEGAN;
        if FOLLOWS_TOKIO.get() {
            let now = tokio::time::Instant::now().into_std();
            // Paused time may have been paused before.
            return Moment(
                BEGINNING + now.saturating_duration_since(*instant) - instant.saturating_duration_since(now),
            );
        }
        Moment(BEGINNING + Readings::now().since(readings))
    }

    /// Returns the moment that is so many nanoseconds after the clock's beginning, as [`Moment::nanos`] counts them.
    pub fn from_nanos(nanos: u64) -> Moment {
        Moment(Duration::from_nanos(nanos))
    }

    /// Returns the nanoseconds since the clock's beginning, up to the 584 years that they can count.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the time since then; zero if it is yet to come.
    pub fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }

    /// Returns the time from `earlier` to this moment; zero if that is the later one.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time from now to this moment; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.since(Moment::now())
    }

    /// Returns true if this moment has come.
    pub fn has_passed(self) -> bool {
        Moment::now() >= self
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    /// Stops at the end of what the clock can show rather than panicking.
    fn add(self, by: Duration) -> Moment {
        Moment(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    /// Stops long before the clock's beginning rather than panicking.
    fn sub(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(by))
    }
}

thread_local! {
    static FOLLOWS_TOKIO: Cell<bool> = const { Cell::new(cfg!(test)) };
}

/// Makes the moments of this thread follow tokio's clock from now on, for a test that pauses it. This crate's own unit
/// tests do so anyway.
#[doc(hidden)]
pub fn follow_tokio() {
    FOLLOWS_TOKIO.set(true);
}

/// Sleeps until `moment` on the lease clock.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn sleep_until(moment: Moment) {
    loop {
        let left = moment.remaining();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// Returns how far two machines' clocks may drift apart within `span`.
pub fn drift(span: Duration) -> Duration {
    span * DRIFT_PPM / 1_000_000
}

/// Returns `span` less what a clock elsewhere may have gained on ours within it.
pub fn less_drift(span: Duration) -> Duration {
    span - drift(span)
}

/// Returns `span` and what a clock elsewhere may have lost against ours within it.
pub fn plus_drift(span: Duration) -> Duration {
    span + drift(span)
}

/// Returns how long before the end of its validity a lock of this `ttl` counts as lost (R6a). A broker tells `lost`
/// then, and a client says so by its own count. No later answer counts. The lock's item stays until the end: that is
/// the time in which the holder stops.
pub fn notice(ttl: Duration) -> Duration {
    ttl / 30
}

/// The readings of the system's clocks, each from a beginning of its own. Neither ever goes back, so the greater of
/// the times that have passed on them does not either.
#[derive(Debug, Clone, Copy)]
struct Readings {
    /// CLOCK_MONOTONIC_RAW: is not slewed, and stands still during a suspend.
    raw: Duration,
    /// CLOCK_BOOTTIME: runs on during a suspend, and is slewed.
    boot: Duration,
}

impl Readings {
    fn now() -> Readings {
        Readings { raw: read(ClockId::MonotonicRaw), boot: read(ClockId::Boottime) }
    }

    /// Returns the time since `began`, by the clock that has run further.
    fn since(&self, began: &Readings) -> Duration {
        self.boot.saturating_sub(began.boot).max(self.raw.saturating_sub(began.raw))
    }
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_follows_paused_time() {
        let before = Moment::now();
        sleep_until(before + Duration::from_secs(3600)).await;
        assert!(before.elapsed() >= Duration::from_secs(3600));
        assert!(before.elapsed() < Duration::from_secs(3601));
    }

    #[test]
    fn a_suspended_machine_has_grown_older() {
        let secs = Duration::from_secs;
        let began = Readings { raw: secs(99), boot: secs(500) };
        let later = |raw, boot| {
            let passed = Duration::from_millis;
            Readings { raw: began.raw + passed(raw), boot: began.boot + passed(boot) }.since(&began)
        };
        assert_eq!(later(10_000, 10_000), secs(10));
        assert_eq!(later(10_000, 70_000), secs(70), "60 s of them suspended");
        assert_eq!(later(10_005, 10_000), Duration::from_millis(10_005), "CLOCK_BOOTTIME has been slowed down");
        assert_eq!(later(10_000, 10_005), Duration::from_millis(10_005), "it has been sped up");
    }

    #[test]
    fn a_slewed_clock_takes_no_moment_back() {
        let began = Readings { raw: Duration::ZERO, boot: Duration::ZERO };
        let (mut now, mut last) = (began, Duration::ZERO);
        for step in 0..1_600_000 {
            // NTP slows it down for four seconds by 500 ppm, and then speeds it up.
            let slewed = if step / 400_000 % 2 == 0 { 9_995 } else { 10_005 };
            now.raw += Duration::from_nanos(10_000);
            now.boot += Duration::from_nanos(slewed);
            let passed = now.since(&began);
            assert!(passed > last, "{passed:?} after {last:?}");
            last = passed;
        }
    }

    #[test]
    fn what_drift_takes_it_gives_on_the_other_side() {
        let minute = Duration::from_secs(60);
        assert_eq!(less_drift(minute), Duration::from_millis(59_988));
        assert_eq!(plus_drift(minute), Duration::from_millis(60_012));
    }
}
