//! The clock by which leases are kept: it runs on while the machine is suspended.
//!
//! Everything that decides whether a lease is still good compares [`Moment`]s. Timers run on tokio's
//! clock, which stands still during a suspend; [`sleep_until`] makes up for that when it wakes. Under
//! tokio's paused test time a `Moment` follows the paused clock.

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// By how much two machines' clocks are taken to run apart: 200 parts per million, a bad crystal.
const DRIFT_PPM: u32 = 200;

/// A moment on the lease clock. Only differences within one process mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Instant);

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        Moment(Instant::now() + suspended())
    }

    /// The time since then; zero if it is yet to come.
    pub fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }

    /// The time from `earlier` to this moment; zero if that is the later one.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The time from now to this moment; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.since(Moment::now())
    }

    /// Whether this moment has come.
    pub fn has_passed(self) -> bool {
        Moment::now() >= self
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, by: Duration) -> Moment {
        Moment(self.0 + by)
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    /// Stops at the clock's beginning rather than panicking.
    fn sub(self, by: Duration) -> Moment {
        Moment(self.0.checked_sub(by).unwrap_or(self.0))
    }
}

/// Sleeps until `moment` on the lease clock.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn has room for its argument twice, and each held lock sleeps here"
)]
pub fn sleep_until(moment: Moment) -> impl Future<Output = ()> + Send {
    async move {
        loop {
            // In a block, so that the time left takes no room while it passes.
            let sleep = {
                let left = moment.remaining();
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left)
            };
            sleep.await;
        }
    }
}

/// Returns how far two machines' clocks may drift apart within `span`.
pub fn drift(span: Duration) -> Duration {
    span * DRIFT_PPM / 1_000_000
}

/// `span` less what a clock elsewhere may have gained on ours within it.
pub fn less_drift(span: Duration) -> Duration {
    span - drift(span)
}

/// `span` and what a clock elsewhere may have lost against ours within it.
pub fn plus_drift(span: Duration) -> Duration {
    span + drift(span)
}

/// How long before the end of its validity a lock of this `ttl` counts as lost. A broker tells `lost` then, and a client
/// says so by its own count. No later answer counts, and the lock's item stays until the end: that is the time in which
/// the holder stops.
pub fn notice(ttl: Duration) -> Duration {
    ttl / 30
}

/// For how long tokio's clock has stood still, or run slow, since this process began.
fn suspended() -> Duration {
    static START: OnceLock<Readings> = OnceLock::new();
    let now = Readings::now();
    now.suspended_since(START.get_or_init(|| now))
}

/// What the system's clocks show, each from a beginning of its own.
#[derive(Debug, Clone, Copy)]
struct Readings {
    /// tokio's: stands still during a suspend, and is slewed.
    monotonic: Duration,
    /// Is not slewed.
    raw: Duration,
    /// Runs on during a suspend.
    boot: Duration,
}

impl Readings {
    fn now() -> Readings {
        Readings {
            monotonic: read(ClockId::Monotonic),
            raw: read(ClockId::MonotonicRaw),
            boot: read(ClockId::Boottime),
        }
    }

    /// How far the greater of CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW has got ahead of CLOCK_MONOTONIC.
    fn suspended_since(&self, start: &Readings) -> Duration {
        let steady = self.monotonic.saturating_sub(start.monotonic);
        let ran = self.boot.saturating_sub(start.boot).max(self.raw.saturating_sub(start.raw));
        // Three readings in a row are some nanoseconds apart: whole milliseconds leave that out.
        Duration::from_millis(ran.saturating_sub(steady).as_millis() as u64)
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
        let start = Readings { monotonic: secs(100), raw: secs(99), boot: secs(500) };
        let later = |monotonic, raw, boot| Readings {
            monotonic: start.monotonic + Duration::from_millis(monotonic),
            raw: start.raw + Duration::from_millis(raw),
            boot: start.boot + Duration::from_millis(boot),
        };
        assert_eq!(later(10_000, 10_000, 10_000).suspended_since(&start), Duration::ZERO);
        assert_eq!(later(10_000, 10_000, 70_000).suspended_since(&start), secs(60));
        let slewed = later(10_000, 10_005, 10_000).suspended_since(&start);
        assert_eq!(slewed, Duration::from_millis(5), "CLOCK_MONOTONIC has been slowed down");
        assert_eq!(later(10_005, 10_000, 10_005).suspended_since(&start), Duration::ZERO, "it has been sped up");
    }

    #[test]
    fn what_drift_takes_it_gives_on_the_other_side() {
        let minute = Duration::from_secs(60);
        assert_eq!(less_drift(minute), Duration::from_millis(59_988));
        assert_eq!(plus_drift(minute), Duration::from_millis(60_012));
    }
}
