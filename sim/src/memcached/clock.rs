//! The clock of a memcached: whole seconds, taken from its machine's clock by a handler that runs now and then.

use std::time::Duration;

use lockbroker_core::Time;

use crate::Choices;

/// What the clock shows when the process begins.
pub(super) const BEGINS_AT: u32 = 62;
/// The handler asks to be run again after this time, counted from when it runs.
const PERIOD: Duration = Duration::from_secs(1);
/// By how many microseconds it may come late.
const LATE_MICROS: u64 = 3_000;
/// After how many microseconds at most an overdue handler runs when the process goes on after a stop.
const CATCHES_UP_MICROS: u64 = 50_000;

/// The clock of one process.
///
/// The handler takes the whole seconds of the machine's clock. It runs every 1.000 to 1.003 s, so now and then it skips
/// a second. While the process is stopped it does not run, and what the clock shows falls behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Clock {
    /// The whole seconds of the machine's clock at which this one would show 0. Wraps below 0.
    zero: u64,
    shows: u32,
    due: Time,
    stopped: bool,
}

impl Clock {
    /// Starts the clock of a process that begins now.
    pub fn new(now: Time, choices: &mut Choices) -> Clock {
        Clock::showing(BEGINS_AT, now, choices)
    }

    /// Starts a clock that shows these seconds now.
    pub fn showing(seconds: u32, now: Time, choices: &mut Choices) -> Clock {
        let zero = seconds_of(now).wrapping_sub(seconds.into());
        Clock { zero, shows: seconds, due: now + period(choices), stopped: false }
    }

    /// Returns the seconds that it shows.
    pub fn shows(&self) -> u32 {
        self.shows
    }

    /// Returns the moment at which the handler runs next.
    pub fn due(&self) -> Time {
        self.due
    }

    /// Returns true if it is behind its machine's clock, by more than the handler's period.
    pub fn lags(&self, now: Time) -> bool {
        self.stopped || self.due < now
    }

    /// Returns true while the process is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Runs the handler as often as it was due.
    pub fn advance(&mut self, now: Time, choices: &mut Choices) {
        while !self.stopped && self.due <= now {
            self.tick(self.due, choices);
        }
    }

    /// Runs the handler at this moment.
    pub fn tick(&mut self, now: Time, choices: &mut Choices) {
        let seconds = u32::try_from(seconds_of(now).wrapping_sub(self.zero)).unwrap_or(u32::MAX);
        debug_assert!(seconds >= self.shows, "the clock of a machine does not go back");
        self.shows = seconds;
        self.due = now + period(choices);
    }

    /// Stops the process.
    pub fn stop(&mut self, now: Time, choices: &mut Choices) {
        self.advance(now, choices);
        self.stopped = true;
    }

    /// Lets the process go on. A handler that is overdue runs a little later: until then the clock is behind.
    pub fn resume(&mut self, now: Time, choices: &mut Choices) {
        self.stopped = false;
        if self.due < now {
            self.due = now + Duration::from_micros(choices.spread(CATCHES_UP_MICROS + 1));
        }
    }
}

fn period(choices: &mut Choices) -> Duration {
    PERIOD + Duration::from_micros(choices.spread(LATE_MICROS + 1))
}

fn seconds_of(time: Time) -> u64 {
    time.nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn it_takes_whole_seconds_when_its_handler_runs_and_not_before() {
        let none = &mut Choices::recorded(Vec::new());
        let mut clock = Clock::new(at(5_700), none);
        assert_eq!(clock.shows(), 62);
        clock.advance(at(6_699), none);
        assert_eq!(clock.shows(), 62, "the machine's clock says 6 s, but the handler has not run");
        clock.advance(at(6_700), none);
        assert_eq!(clock.shows(), 63);
    }

    #[test]
    fn it_skips_a_second_when_its_handler_comes_late() {
        let late = &mut Choices::recorded(vec![3_000; 9]);
        let mut clock = Clock::new(at(5_998), late);
        clock.advance(at(7_000), late);
        assert_eq!(clock.shows(), 62);
        clock.advance(at(7_001), late);
        assert_eq!(clock.shows(), 64, "from 5.998 s to 7.001 s");
    }

    #[test]
    fn nothing_depends_on_how_often_it_is_looked_at() {
        let run = |step: usize| {
            let choices = &mut Choices::seeded(5, 0);
            let mut clock = Clock::new(at(5_300), choices);
            (5_300..65_000).step_by(step).for_each(|millis| clock.advance(at(millis), choices));
            clock.advance(at(65_000), choices);
            clock
        };
        assert_eq!(run(59_000), run(1));
    }

    #[test]
    fn its_period_is_1000_to_1003_ms() {
        let choices = &mut Choices::seeded(3, 0);
        let mut clock = Clock::new(at(100), choices);
        let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
        for _ in 0..10_000 {
            let before = clock.due();
            clock.advance(before, choices);
            let period = clock.due().since(before);
            (shortest, longest) = (shortest.min(period), longest.max(period));
        }
        assert!(
            shortest >= Duration::from_millis(1_000) && shortest < Duration::from_micros(1_000_100),
            "{shortest:?}"
        );
        assert!(longest <= Duration::from_millis(1_003) && longest > Duration::from_micros(1_002_900), "{longest:?}");
    }

    #[test]
    fn after_a_stop_it_lags_until_the_handler_runs() {
        let choices = &mut Choices::recorded(vec![0, 20_000]);
        let mut clock = Clock::new(at(5_000), choices);
        clock.stop(at(5_500), choices);
        clock.advance(at(9_000), choices);
        assert_eq!(clock.shows(), 62, "it stands still");
        clock.resume(at(9_500), choices);
        clock.advance(at(9_519), choices);
        assert_eq!(clock.shows(), 62, "it goes on, and still lags");
        clock.advance(at(9_520), choices);
        assert_eq!(clock.shows(), 66);
    }

    #[test]
    fn a_stop_between_two_runs_of_the_handler_changes_nothing() {
        let none = &mut Choices::recorded(Vec::new());
        let mut clock = Clock::new(at(5_000), none);
        clock.stop(at(5_100), none);
        clock.resume(at(5_900), none);
        assert_eq!(clock.due(), at(6_000));
    }
}
