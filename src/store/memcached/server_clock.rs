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
/// How exactly the moment of a tick must be known.
const EXACT: Duration = Duration::from_secs(1);

/// The clock of one server process.
///
/// Nothing counts before it has been seen to tick: whoever meets a server that goes on after a stop cannot tell it
/// from one that has been running. Nothing counts either from when it lags until it has been seen to tick again, be
/// it that it catches up, or that it lags for good, as that of a machine that was suspended does.
#[derive(Debug)]
pub(super) enum ServerClock {
    /// Nothing is known of it.
    Unknown,
    /// It has shown this to a command that was sent then, and may be standing still.
    Standing { sent: Moment, left: Duration },
    /// It runs; the smallest sum of an arrival and what S had left.
    Running { smallest: Moment },
}

impl ServerClock {
    /// Takes note of an answer to what was sent at `sent`, and says whether what came with it counts: whether what it
    /// stored lives, from that moment on, for all of its T less 3 s. An answer that takes its time is no lag.
    pub(super) fn counts(&mut self, sent: Moment, arrived: Moment, left: Duration) -> bool {
        match self {
            ServerClock::Running { smallest } if (sent + left).since(*smallest) <= TOLERANCE => {
                *smallest = (arrived + left).min(*smallest);
                return true;
            }
            // It has ticked since it was asked; that it was stopped after that tick would show in the sum.
            ServerClock::Standing { sent: asked, left: shown } if left < *shown && arrived.since(*asked) <= EXACT => {
                *self = ServerClock::Running { smallest: *asked + left };
                return true;
            }
            // An older answer, or one that says the same of an earlier moment.
            ServerClock::Standing { sent: asked, left: shown }
                if left > *shown || (left == *shown && sent < *asked) =>
            {
                return false;
            }
            _ => {}
        }
        *self = ServerClock::Standing { sent, left };
        false
    }

    /// Whether it has been seen to tick, and has not lagged since.
    pub(super) fn runs(&self) -> bool {
        matches!(self, ServerClock::Running { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When S expires, by a clock that began with the simulation.
    const EXPIRES: u64 = 300_000_000;

    /// A memcached's clock as its source has it: once in a little more than a second it takes over the whole seconds
    /// of the machine's, and whatever was due while it was stopped happens once when it goes on.
    #[derive(Debug)]
    struct Ticks(Vec<f64>);

    impl Ticks {
        fn new(first: f64, period: f64, stop: f64, stopped_for: f64, until: f64) -> Ticks {
            let mut ticks = vec![first];
            while let Some(last) = ticks.last().filter(|last| **last < until) {
                let due = last + period;
                let stopped = due > stop && due < stop + stopped_for;
                ticks.push(if stopped { stop + stopped_for + 0.05 } else { due });
            }
            Ticks(ticks)
        }

        /// What it shows at a moment.
        fn at(&self, moment: f64) -> f64 {
            self.0[self.0.partition_point(|tick| *tick <= moment) - 1].floor()
        }

        /// For how long an item with this T lives that is stored at a moment.
        fn life(&self, moment: f64, ttl: f64) -> f64 {
            let dies = self.at(moment) + ttl;
            self.0.iter().find(|tick| tick.floor() >= dies).unwrap() - moment
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// For whoever meets the server before, during or after a stop, at any phase of its ticks.
        #[test]
        fn what_counts_lives_for_all_but_three_seconds(
            phase in 0.0..1.0,
            period in 1.0..1.003,
            meets in -8.0..4.0,
            stopped_for in 0.5..12.0,
            ttl in 6.0..1_200.0,
            stores in prop::collection::vec((0.0..20.0, 0.0..0.02, 0.0..0.02), 1..200),
            latency in 0.0..0.15,
        ) {
            let ttl = f64::floor(ttl);
            let stop = 6.0;
            let meets = f64::max(stop + stopped_for + meets, 1.0);
            let ticks = Ticks::new(phase, period, stop, stopped_for, 60.0 + ttl);
            let runs_at = |at: f64| at <= stop || at >= stop + stopped_for;
            let start = Moment::now();
            let moment = |at: f64| start + Duration::from_secs_f64(at);
            // What is asked every 100 ms, and what is stored; half of that in the moments after the stop.
            let asked = (0..200_i32).map(|tenth| (meets + f64::from(tenth) / 10.0, latency / 2.0, latency / 2.0));
            let stored = stores.into_iter().enumerate().map(|(index, (at, there, back))| match index % 2 {
                0 => (meets + at, there, back),
                _ => (stop + stopped_for + at / 200.0, there, back),
            });
            let exchange = |(sent, there, back): (f64, f64, f64)| {
                let done = if runs_at(sent + there) { sent + there } else { stop + stopped_for };
                (sent, done, done + back)
            };
            let mut exchanges: Vec<_> = asked.chain(stored).map(exchange).filter(|(sent, ..)| *sent >= 1.0).collect();
            exchanges.sort_by(|one, other| one.2.total_cmp(&other.2));
            let mut clock = ServerClock::Unknown;
            for (sent, done, arrived) in exchanges {
                let left = Duration::from_secs(EXPIRES - ticks.at(done) as u64);
                if clock.counts(moment(sent), moment(arrived), left) {
                    let life = ticks.life(done, ttl) + done - sent;
                    prop_assert!(life > ttl - 3.0, "sent at {sent}, it lives for {life} of {ttl} s");
                }
            }
            prop_assert!(clock.runs(), "it ends in {clock:?}");
        }
    }

    /// What S has left when `at` seconds have passed for a server that was stopped for `stopped` of them.
    fn left(at: f64, stopped: f64) -> Duration {
        Duration::from_secs(EXPIRES - (at - stopped).floor() as u64)
    }

    /// Asks every 100 ms, with answers that take no time, and says when one counted.
    fn ask(clock: &mut ServerClock, start: Moment, from: f64, to: f64, stopped: f64) -> Vec<bool> {
        let tenths = (from * 10.0).round() as u32..(to * 10.0).round() as u32;
        let answers = tenths.map(|tenth| {
            let at = f64::from(tenth) / 10.0;
            let now = start + Duration::from_secs_f64(at);
            clock.counts(now, now, left(at, stopped))
        });
        answers.collect()
    }

    #[test]
    fn a_running_clock_counts_from_its_first_tick_on() {
        let (start, mut clock) = (Moment::now(), ServerClock::Unknown);
        assert_eq!(ask(&mut clock, start, 0.5, 1.0, 0.0), [false; 5]);
        assert_eq!(ask(&mut clock, start, 1.0, 61.0, 0.0), [true; 600]);
    }

    #[test]
    fn a_stop_shows_until_the_clock_has_caught_up() {
        let (start, mut clock) = (Moment::now(), ServerClock::Unknown);
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        assert_eq!(ask(&mut clock, start, 17.0, 17.2, 7.0), [false; 2]);
        assert_eq!(ask(&mut clock, start, 17.2, 20.0, 0.0), [true; 28], "memcached catches up by itself");
    }

    #[test]
    fn a_server_that_is_met_after_a_stop_is_not_believed() {
        let (start, mut clock) = (Moment::now(), ServerClock::Unknown);
        assert_eq!(ask(&mut clock, start, 17.0, 17.2, 7.0), [false; 2]);
        assert_eq!(ask(&mut clock, start, 17.2, 20.0, 0.0), [true; 28]);
    }

    #[test]
    fn a_lag_that_stays_is_taken_for_right() {
        let (start, mut clock) = (Moment::now(), ServerClock::Unknown);
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        assert_eq!(ask(&mut clock, start, 100.5, 101.0, 50.0), [false; 5]);
        assert_eq!(ask(&mut clock, start, 101.0, 110.0, 50.0), [true; 90]);
    }
}
