//! How far a memcached's own clock has come.
//!
//! A memcached that was stopped (SIGSTOP, a VM's pause) answers for some milliseconds by its old clock, and what
//! it stores then dies early by the length of the stop. What S has left to live tells that clock: the arrival
//! time of the answer plus what is left stays the same while the clocks run together, and jumps by the length
//! of the stop.

use std::time::Duration;

use crate::clock::Moment;

/// Both the tick of a second and the ticks that memcached skips make the sum swing by this much.
const TOLERANCE: Duration = Duration::from_secs(2);
/// Until the smallest sum has been seen for certain, a lag is told from the swing by less.
const EARLY_TOLERANCE: Duration = Duration::from_secs(1);
/// How long it takes to know a server, and to learn anew where its clock stands: three ticks.
const LEARNING: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct ServerClock {
    known_since: Moment,
    /// The smallest sum of an arrival and what S had left.
    reference: Moment,
    lag: Option<Lag>,
}

#[derive(Debug)]
struct Lag {
    since: Moment,
    smallest: Moment,
}

impl ServerClock {
    /// The clock of a server process of which nothing was known before this answer.
    pub(super) fn new(arrived: Moment, left: Duration) -> ServerClock {
        ServerClock { known_since: arrived, reference: arrived + left, lag: None }
    }

    /// Takes note of an answer and says whether what came with it counts.
    pub(super) fn counts(&mut self, arrived: Moment, left: Duration) -> bool {
        let sum = arrived + left;
        self.reference = self.reference.min(sum);
        let tolerance = if arrived.since(self.known_since) < LEARNING { EARLY_TOLERANCE } else { TOLERANCE };
        if sum.since(self.reference) <= tolerance {
            self.lag = None;
            return true;
        }
        let lag = self.lag.get_or_insert(Lag { since: arrived, smallest: sum });
        lag.smallest = lag.smallest.min(sum);
        // Clocks drift, and a machine that was suspended lags for good: what stands for three seconds is
        // where the clock is now.
        if arrived.since(lag.since) >= LEARNING {
            self.reference = lag.smallest;
            self.lag = None;
        }
        false
    }

    /// Whether the server is behind, so that it should be asked more often.
    pub(super) fn lags(&self) -> bool {
        self.lag.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: u64 = 300_000_000;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// What S has left when `at` seconds have passed for a server that was stopped for `stopped` of them.
    fn left(at: f64, stopped: f64) -> Duration {
        Duration::from_secs(LEFT - (at - stopped).floor() as u64)
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_clock_always_counts() {
        let start = Moment::now();
        let mut clock = ServerClock::new(start + secs(0.99), left(0.99, 0.0));
        for tenth in 10..600 {
            let at = f64::from(tenth) / 10.0;
            assert!(clock.counts(start + secs(at), left(at, 0.0)), "at {at}");
        }
        assert!(!clock.lags());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_shows_until_the_clock_has_caught_up() {
        let start = Moment::now();
        let mut clock = ServerClock::new(start, left(0.0, 0.0));
        for second in 1..10 {
            assert!(clock.counts(start + secs(f64::from(second)), left(f64::from(second), 0.0)));
        }
        assert!(!clock.counts(start + secs(17.0), left(17.0, 7.0)));
        assert!(clock.lags());
        assert!(clock.counts(start + secs(17.2), left(17.2, 0.0)), "memcached catches up by itself");
        assert!(!clock.lags());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_stop_shows_early_on() {
        let start = Moment::now();
        let mut clock = ServerClock::new(start, left(0.0, 0.0));
        assert!(!clock.counts(start + secs(2.5), left(2.5, 1.6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lag_that_stays_becomes_the_reference() {
        let start = Moment::now();
        let mut clock = ServerClock::new(start, left(0.0, 0.0));
        let mut at = 100.0;
        while at < 103.05 {
            assert!(!clock.counts(start + secs(at), left(at, 50.0)), "at {at}");
            at += 0.1;
        }
        assert!(clock.counts(start + secs(at), left(at, 50.0)));
    }
}
