//! A memcached's own clock, and how far it has come.
//!
//! A memcached that was stopped (SIGSTOP, a VM's pause) answers for some milliseconds by its old clock, and what
//! it stores then dies early by the length of the stop. What S has left to live shows that clock: the sum of a moment
//! and what was left in it stays the same while the clocks run together, and jumps by the length of a stop.
//!
//! At a tick memcached takes over the whole seconds of its machine's clock. So a command that was sent before the tick
//! which first showed `left` bounds the moment E at which S ends by that machine's clock: E comes after `sent + left -
//! 1 s`. An item with T = n dies n seconds after what the clock showed, so it lives for more than n - 3 s from `sent`
//! on if `sent + left` comes before E + 3 s. Both together: a sum may be 2 s after that of the tick.

use std::time::Duration;

use crate::Time;
use crate::time::drift;

/// The most by which the sum of an answer that counts may be later than that of a tick.
const TOLERANCE: Duration = Duration::from_secs(2);
/// The time that a clock of whole seconds leaves open.
const WHOLE: Duration = Duration::from_secs(1);
/// The longest time from the sending of a command to the answer that shows a tick, for the tick to say most.
const CLOSE: Duration = Duration::from_millis(250);
/// The time for which a tick that was seen closely says enough. memcached's ticks wander by 3 ms a second at the most.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The clock of one server process.
///
/// Nothing counts before it has been seen to tick (R18a): whoever meets a server that goes on after a stop cannot tell it
/// from one that has been running. The reference is never given up. It rises with each tick that shows more, and falls
/// by what two clocks may drift apart, so neither drift nor the phase of the ticks is taken for a lag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ServerClock {
    /// The latest that it has shown.
    shown: Option<Shown>,
    reference: Option<Reference>,
    /// True if the latest answer counted.
    runs: bool,
    /// The moment at which a tick was last seen closely.
    seen_closely: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shown {
    /// The moment at which the last command was sent that showed it.
    sent: Time,
    arrived: Time,
    left: Duration,
}

/// E comes after `sum - 1 s`, as seen at the moment `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reference {
    sum: Time,
    at: Time,
}

impl Reference {
    /// Returns the sum that is as certain for the whole of `from..to`.
    fn between(self, from: Time, to: Time) -> Time {
        self.sum - drift(to.since(self.at.min(from)))
    }
}

impl ServerClock {
    /// Takes note of an answer to what was sent at `sent`, and says whether what came with it counts: whether what it
    /// stored lives, from that moment on, for all of its T less 3 s. An answer that takes its time is no lag.
    pub(crate) fn counts(&mut self, sent: Time, arrived: Time, left: Duration) -> bool {
        let answer = Shown { sent, arrived, left };
        match self.shown {
            Some(shown) if left > shown.left && sent >= shown.arrived => {
                // It went back, which no clock of a process does.
                *self = ServerClock { shown: Some(answer), ..ServerClock::default() };
            }
            // An earlier answer, which has been overtaken.
            Some(shown) if left > shown.left => {}
            Some(shown) => {
                if left < shown.left {
                    self.ticked(shown.sent, answer);
                }
                if left < shown.left || sent > shown.sent {
                    self.shown = Some(answer);
                }
            }
            None => self.shown = Some(answer),
        }
        if let Some(reference) = &mut self.reference {
            // E comes before this, whatever was seen: as where the clock was set forward.
            reference.sum = reference.sum.min(arrived + left + WHOLE);
        }
        let lag = self.reference.map(|reference| (sent + left).since(reference.between(sent, arrived)));
        self.runs = lag.is_some_and(|lag| lag <= TOLERANCE);
        self.runs
    }

    /// Takes note of a tick between the sending of one command, at `asked`, and the answer to another.
    fn ticked(&mut self, asked: Time, answer: Shown) {
        let tick = Reference { sum: asked + answer.left, at: asked };
        if self.reference.is_none_or(|known| tick.sum > known.between(asked, answer.arrived)) {
            self.reference = Some(tick);
        }
        if answer.arrived.since(asked) <= CLOSE {
            self.seen_closely = Some(answer.arrived);
        }
    }

    /// Says whether it has been seen to tick, and does not lag.
    pub(crate) fn runs(&self) -> bool {
        self.runs
    }

    /// Says whether it has been seen to tick.
    pub(crate) fn has_ticked(&self) -> bool {
        self.reference.is_some()
    }

    /// Says whether a tick should be looked for closely, which takes a second: the last one is too long ago.
    pub(crate) fn wants_a_tick(&self, now: Time) -> bool {
        self.seen_closely.is_none_or(|seen| now.since(seen) >= GOOD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// When S expires, by a clock that began with the simulation.
    const EXPIRES: u64 = 300_000_000;
    /// How long an exchange may take before it is given up.
    const BOUND: f64 = 1.0;
    /// For how long a memcached that goes on still shows its old clock.
    const CATCHES_UP: f64 = 0.05;

    /// A memcached's clock as its source has it: once in a little more than a second it takes over the whole seconds
    /// of the machine's, and what was due while it was stopped happens once when it goes on. All times here are by the
    /// broker's clock, against which the machine's runs fast by `drift`.
    #[derive(Debug)]
    struct Ticks {
        at: Vec<f64>,
        drift: f64,
        /// Where the last one asked for was: the next one is not far.
        near: Cell<usize>,
    }

    impl Ticks {
        fn new(first: f64, period: f64, drift: f64, stops: &[(f64, f64)], until: f64) -> Ticks {
            let mut at = vec![first];
            let mut stops = stops.iter().copied().peekable();
            while let Some(last) = at.last().filter(|last| **last < until) {
                let mut due = last + period / (1.0 + drift);
                while let Some((_, ends)) = stops.next_if(|(stop, _)| due > *stop) {
                    due = if due < ends { ends + CATCHES_UP } else { due };
                }
                at.push(due);
            }
            Ticks { at, drift, near: Cell::new(0) }
        }

        fn shows(&self, tick: f64) -> f64 {
            (tick * (1.0 + self.drift)).floor()
        }

        /// Returns the index of the last tick before a moment.
        fn before(&self, moment: f64) -> usize {
            let mut index = self.near.get();
            while self.at[index] > moment {
                index -= 1;
            }
            while self.at[index + 1] <= moment {
                index += 1;
            }
            self.near.set(index);
            index
        }

        /// Returns what it shows at a moment, and for how long it has shown that.
        fn at(&self, moment: f64) -> (f64, f64) {
            let tick = self.at[self.before(moment)];
            (self.shows(tick), moment - tick)
        }

        /// Returns for how long an item with this T lives that is stored at a moment.
        fn life(&self, moment: f64, ttl: f64) -> f64 {
            let mut index = self.before(moment);
            let dies = self.shows(self.at[index]) + ttl;
            while self.shows(self.at[index]) < dies {
                index += 1;
            }
            self.at[index] - moment
        }
    }

    /// What a command met.
    struct Exchange {
        sent: f64,
        done: f64,
        arrived: f64,
        left: Duration,
        /// Whether memcached's clock was behind, by more than its ticks.
        lagged: bool,
    }

    /// A server, the way to it, and what a broker makes of its clock.
    struct World {
        start: Time,
        ticks: Ticks,
        stops: Vec<(f64, f64)>,
        ttl: f64,
        clock: ServerClock,
        /// From when on it can have been seen to tick, since the server was met, or met again.
        ticks_from: f64,
        established: bool,
    }

    impl World {
        fn moment(&self, at: f64) -> Time {
            self.start + Duration::from_secs_f64(at)
        }

        fn ask(&self, sent: f64, there: f64, back: f64) -> Exchange {
            let next = self.stops.partition_point(|(_, ends)| *ends <= sent + there);
            let done =
                self.stops.get(next).filter(|(stop, _)| sent + there > *stop).map_or(sent + there, |(_, ends)| *ends);
            let (shows, since) = self.ticks.at(done);
            let left = Duration::from_secs(EXPIRES - shows as u64);
            Exchange { sent, done, arrived: done + back, left, lagged: since > 1.004 }
        }

        /// Checks both promises on an answer: what counts lives for all but three seconds of its T, and a clock that does
        /// not lag counts, once it has been seen to tick.
        fn hear(&mut self, exchange: &Exchange) -> Result<bool, TestCaseError> {
            let Exchange { sent, done, arrived, left, lagged } = *exchange;
            if arrived - sent > BOUND {
                return Ok(false);
            }
            let counts = self.clock.counts(self.moment(sent), self.moment(arrived), left);
            if counts {
                self.established |= sent >= self.ticks_from;
                let life = self.ticks.life(done, self.ttl) + done - sent;
                let promised = (self.ttl - 3.0) * 0.999_8 - 0.001;
                prop_assert!(life > promised, "sent at {sent}, it lives for {life} of {} s", self.ttl);
            } else if self.established && !lagged {
                prop_assert!(false, "sent at {sent}, back at {arrived}: a false lag, {:?}", self.clock);
            }
            Ok(counts)
        }

        /// Asks as the shard's probes do: once a second, and ten times as often where that is wanted. Hears first what
        /// comes before that.
        fn probe(
            &mut self,
            sent: f64,
            (there, back): (f64, f64),
            unheard: &mut Vec<Exchange>,
        ) -> Result<f64, TestCaseError> {
            let exchange = self.ask(sent, there, back);
            let arrived = exchange.arrived.min(sent + BOUND);
            unheard.sort_by(|one, other| f64::total_cmp(&one.arrived, &other.arrived));
            let before = unheard.partition_point(|other| other.arrived < arrived);
            for other in unheard.drain(..before) {
                self.hear(&other)?;
            }
            let counts = self.hear(&exchange)?;
            let idle = counts && !self.clock.wants_a_tick(self.moment(arrived));
            Ok(if idle { arrived + 1.0 } else { f64::max(arrived, sent + 0.1) })
        }
    }

    /// Stops of half a second to twelve, in order.
    fn stops(random: &mut SmallRng, count: usize, until: f64) -> Vec<(f64, f64)> {
        let mut begin: Vec<f64> = (0..count).map(|_| random.random_range(10.0..until)).collect();
        begin.sort_by(f64::total_cmp);
        begin.dedup_by(|later, earlier| *later - *earlier < 30.0);
        begin.into_iter().map(|stop| (stop, stop + random.random_range(0.5..12.0))).collect()
    }

    /// How long commands take there and back, which changes every now and then.
    #[derive(Clone, Copy)]
    enum Way {
        Quick,
        /// The same each time.
        Slow {
            there: f64,
            back: f64,
        },
        /// Up to this much.
        Uneven(f64),
    }

    impl Way {
        fn random(random: &mut SmallRng) -> Way {
            match random.random_range(0..10) {
                0 => {
                    let both = random.random_range(0.0..0.95);
                    let there = random.random_range(0.0..=both);
                    Way::Slow { there, back: both - there }
                }
                1 => Way::Uneven(random.random_range(0.0..0.5)),
                _ => Way::Quick,
            }
        }

        fn take(self, random: &mut SmallRng) -> (f64, f64) {
            match self {
                Way::Quick => (random.random_range(0.0..0.002), random.random_range(0.0..0.002)),
                Way::Slow { there, back } => (there, back),
                Way::Uneven(most) => (random.random_range(0.0..most), random.random_range(0.0..most)),
            }
        }
    }

    /// One broker beside one server.
    struct Run {
        stops: Vec<(f64, f64)>,
        drift: f64,
        period: f64,
        meets: f64,
        /// From when until when it does not reach the server.
        away: Option<(f64, f64)>,
        until: f64,
        /// How often something is stored between two probes.
        stores: f64,
    }

    impl Run {
        fn go(self, random: &mut SmallRng) -> Result<(), TestCaseError> {
            const EPISODE: f64 = 1_800.0;
            let Run { stops, drift, period, meets, mut away, until, stores } = self;
            let ticks = Ticks::new(random.random_range(0.0..1.0), period, drift, &stops, until + 60.0);
            let start = Time::from_nanos(1 << 62);
            let mut world = World {
                start,
                ticks,
                stops,
                ttl: 20.0,
                clock: ServerClock::default(),
                ticks_from: 0.0,
                established: false,
            };
            let ends: Vec<f64> = world.stops.iter().map(|(_, ends)| *ends).collect();
            let mut ends = ends.into_iter().peekable();
            let (mut next, mut way, mut changes) = (meets, Way::Quick, meets + EPISODE);
            let mut unheard = Vec::new();
            while next < until {
                if let Some((_, comes_back)) = away.take_if(|(leaves, _)| next >= *leaves) {
                    let stopped_until = world.stops.last().map_or(0.0, |(_, ends)| *ends);
                    (world.ticks_from, world.established) = (f64::max(comes_back, stopped_until) + 1.3, false);
                    // Slow answers at first would give it a reference that takes some ticks to become a good one.
                    (next, way, changes) = (comes_back, Way::Quick, comes_back + EPISODE);
                    unheard.clear();
                }
                if next >= changes {
                    (way, changes) = (Way::random(random), next + random.random_range(0.1..2.0) * EPISODE);
                }
                // Whatever a stop has kept waiting, in the moments in which the old clock still answers.
                while let Some(stop) = ends.next_if(|ends| *ends < next + 3.0) {
                    for _ in 0..if stop > next { 20 } else { 0 } {
                        unheard.push(world.ask(stop + random.random_range(0.0..CATCHES_UP), 0.000_1, 0.000_1));
                    }
                }
                // Others' grants and renewals, at any phase of the ticks.
                if random.random_bool(stores) {
                    let (there, back) = way.take(random);
                    unheard.push(world.ask(next + random.random_range(0.0..1.1), there, back));
                }
                next = world.probe(next, way.take(random), &mut unheard)?;
            }
            prop_assert!(world.established, "it was never seen to tick: {:?}", world.clock);
            Ok(())
        }
    }

    fn period() -> impl Strategy<Value = f64> {
        prop_oneof![Just(1.0), Just(1.000_1), 1.0..1.003]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// For a broker that meets the server before, during or after a stop, at any phase of its ticks.
        #[test]
        fn what_counts_lives_for_all_but_three_seconds(
            seed in any::<u64>(),
            drift in -0.000_2..0.000_2,
            period in period(),
            meets in -8.0..4.0,
            stopped_for in 0.5..12.0,
        ) {
            let stops = vec![(6.0, 6.0 + stopped_for)];
            let meets = f64::max(6.0 + stopped_for + meets, 1.0);
            let run = Run { stops, drift, period, meets, away: None, until: meets + 20.0, stores: 0.7 };
            run.go(&mut SmallRng::seed_from_u64(seed))?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// For a broker that does not reach the server for up to ten hours, until about the end of a stop.
        #[test]
        fn drift_hides_no_stop(
            seed in any::<u64>(),
            drift in prop_oneof![Just(0.000_2), -0.000_2..0.000_2],
            period in period(),
            away in 0.0..36_000.0,
            stopped_for in 0.5..12.0,
            comes_back in -2.0..1.0,
        ) {
            let ends = 30.0 + away;
            let stops = vec![(ends - stopped_for, ends)];
            let away = Some((15.0, ends + comes_back));
            let run = Run { stops, drift, period, meets: 1.0, away, until: ends + 10.0, stores: 0.7 };
            run.go(&mut SmallRng::seed_from_u64(seed))?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// For six hours, with stops and slow answers.
        #[test]
        fn neither_drift_nor_phase_is_taken_for_a_lag(
            seed in any::<u64>(),
            drift in -0.000_2..0.000_2,
            period in period(),
        ) {
            let mut random = SmallRng::seed_from_u64(seed);
            let until = 6.0 * 3_600.0;
            let stops = stops(&mut random, 3, until);
            Run { stops, drift, period, meets: 1.0, away: None, until, stores: 0.02 }.go(&mut random)?;
        }
    }

    #[test]
    fn a_month_passes_without_a_false_lag() {
        let mut random = SmallRng::seed_from_u64(1);
        let until = 30.0 * 86_400.0;
        let stops = stops(&mut random, 60, until);
        let run = Run { stops, drift: 0.000_05, period: 1.001, meets: 1.0, away: None, until, stores: 0.02 };
        run.go(&mut random).unwrap();
    }

    /// What S has left when `at` seconds have passed for a server that was stopped for `stopped` of them.
    fn left(at: f64, stopped: f64) -> Duration {
        Duration::from_secs(EXPIRES - (at - stopped).floor() as u64)
    }

    /// Asks every 100 ms, with answers that take no time, and says when one counted.
    fn ask(clock: &mut ServerClock, start: Time, from: f64, to: f64, stopped: f64) -> Vec<bool> {
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
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        assert_eq!(ask(&mut clock, start, 0.5, 1.0, 0.0), [false; 5]);
        assert_eq!(ask(&mut clock, start, 1.0, 61.0, 0.0), [true; 600]);
    }

    #[test]
    fn a_stop_shows_until_the_clock_has_caught_up() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        assert_eq!(ask(&mut clock, start, 17.0, 17.2, 7.0), [false; 2]);
        assert_eq!(ask(&mut clock, start, 17.2, 20.0, 0.0), [true; 28], "memcached catches up by itself");
    }

    #[test]
    fn a_server_that_is_met_after_a_stop_is_not_believed() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        assert_eq!(ask(&mut clock, start, 17.0, 17.2, 7.0), [false; 2]);
        assert_eq!(ask(&mut clock, start, 17.2, 20.0, 0.0), [true; 28]);
    }

    /// One answer that takes no time, `at` seconds after the start, by a clock that has come this far.
    fn counts(clock: &mut ServerClock, start: Time, at: f64, shows: f64) -> bool {
        let now = start + Duration::from_secs_f64(at);
        clock.counts(now, now, Duration::from_secs(EXPIRES - shows.floor() as u64))
    }

    #[test]
    fn a_tick_of_long_ago_proves_less() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        // Within seven hours it may have gained 5 s, which would hide that it was stopped for 4.
        assert!(!counts(&mut clock, start, 25_000.1, 25_000.1 + 5.0 - 4.0));
    }

    #[test]
    fn a_clock_that_was_set_forward_hides_no_lag() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        assert!(counts(&mut clock, start, 10.5, 20.5));
        assert!(!counts(&mut clock, start, 15.5, 25.5 - 4.0));
    }

    #[test]
    fn a_tick_is_looked_for_once_a_minute() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(clock.wants_a_tick(start));
        ask(&mut clock, start, 0.5, 1.1, 0.0);
        assert!(!clock.wants_a_tick(after(60)));
        assert!(clock.wants_a_tick(after(62)));
        // It has come at some time within a second, which says little.
        assert!(counts(&mut clock, start, 62.5, 62.5) && counts(&mut clock, start, 63.5, 63.5));
        assert!(clock.wants_a_tick(after(64)));
    }

    /// As after a flush: its whole life is before it.
    #[test]
    fn a_state_that_is_created_anew_is_watched_anew() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        ask(&mut clock, start, 2_000.5, 2_010.0, 0.0);
        assert_eq!(ask(&mut clock, start, 2_010.5, 2_011.0, 1_000.0), [false; 5]);
        assert_eq!(ask(&mut clock, start, 2_011.0, 2_020.0, 1_000.0), [true; 90]);
    }

    #[test]
    fn a_lag_that_stays_is_taken_for_right() {
        let (start, mut clock) = (Time::from_nanos(1 << 62), ServerClock::default());
        ask(&mut clock, start, 0.5, 10.0, 0.0);
        assert_eq!(ask(&mut clock, start, 100.5, 101.0, 50.0), [false; 5]);
        assert_eq!(ask(&mut clock, start, 101.0, 110.0, 50.0), [true; 90]);
    }
}
