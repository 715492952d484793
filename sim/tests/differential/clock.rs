//! The clock of a real memcached ticks only when that of the simulated one may.

use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_sim::Choices;
use lockbroker_sim::memcached::Clock;
use nix::time::{ClockId, clock_gettime};

use crate::real::Real;

/// By how much the handler of a real clock may come later still, where others use the machine.
const BUSY: Duration = Duration::from_millis(500);
/// By how much the timer of a real clock may come early: it counts from when its loop woke up.
const EARLY: Duration = Duration::from_millis(5);

/// A tick, between two looks.
#[derive(Debug, Clone, Copy)]
struct Tick {
    after: Time,
    before: Time,
    shows: u32,
}

/// Returns what the machine's clock says, from which a memcached takes the seconds.
fn machine() -> Time {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock that every machine has");
    Time::from_nanos(0) + Duration::from(time)
}

/// Looks until the clock shows something else than it did at the moment `after`.
fn watch(real: &mut Real, shown: u32, mut after: Time) -> Tick {
    loop {
        let asked = machine();
        let shows = real.look().second;
        if shows != shown {
            return Tick { after, before: machine(), shows };
        }
        after = asked;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Looks until the clock ticks, and it is certain which second of the machine's clock it took.
fn first_tick(real: &mut Real) -> Tick {
    let second = |time: Time| time.nanos() / 1_000_000_000;
    loop {
        let asked = machine();
        let shown = real.look().second;
        let tick = watch(real, shown, asked);
        if second(tick.after) == second(tick.before) {
            return tick;
        }
    }
}

/// The two bounds of a simulated clock: one that ticks as early as it may, and one that ticks as late as it may.
#[derive(Debug)]
struct Bounds {
    early: Clock,
    late: Clock,
}

impl Bounds {
    fn of(tick: Tick) -> Bounds {
        Bounds {
            early: Clock::showing(tick.shows, tick.after, &mut earliest()),
            late: Clock::showing(tick.shows, tick.before, &mut latest()),
        }
    }

    /// Checks the next tick. Returns by how much it came later than a simulated one may.
    fn allow(&mut self, tick: Tick) -> Duration {
        assert!(tick.before + EARLY >= self.early.due(), "{tick:?} is early for {:?}", self.early);
        let late = tick.after.since(self.late.due());
        assert!(late <= BUSY, "{tick:?} is {late:?} late for {:?}", self.late);
        // What it took are the whole seconds of a moment between the two looks.
        self.early.tick(tick.after, &mut earliest());
        self.late.tick(tick.before, &mut latest());
        assert!((self.early.shows()..=self.late.shows()).contains(&tick.shows), "{tick:?} is not {self:?}");
        late
    }
}

fn earliest() -> Choices {
    Choices::recorded(Vec::new())
}

fn latest() -> Choices {
    Choices::recorded(vec![3_000])
}

#[test]
fn the_real_clock_ticks_only_when_the_simulated_one_may() {
    let mut real = Real::start();
    let mut tick = first_tick(&mut real);
    let mut bounds = Bounds::of(tick);
    let mut latenesses = Vec::new();
    for _ in 0..3 {
        tick = watch(&mut real, tick.shows, tick.before);
        latenesses.push(bounds.allow(tick));
    }
    // Stopped until the handler is overdue.
    bounds.early.stop(machine(), &mut earliest());
    real.stop();
    bounds.late.stop(machine(), &mut latest());
    std::thread::sleep(Duration::from_millis(2_300));
    let resumes = machine();
    bounds.early.resume(resumes, &mut earliest());
    real.resume();
    bounds.late.resume(machine(), &mut Choices::recorded(vec![50_000]));
    tick = watch(&mut real, tick.shows, resumes);
    latenesses.push(bounds.allow(tick));
    println!("later than in the simulation: {latenesses:?}");
}
