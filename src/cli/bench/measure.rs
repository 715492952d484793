//! Measurements: spans of time by kind of step, failures, and the resources that a process used meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::param::clock_ticks_per_second;
use serde_json::{Value, json};

/// The longest span that is told from a longer one.
const LONGEST: Duration = Duration::from_secs(3600);

/// The time in which to measure.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The beginning. Steps that began before are warm-up.
    pub from: Instant,
    /// The end. No step begins after.
    pub until: Instant,
}

impl Window {
    /// Begins now and is as long as what it is for.
    pub fn open() -> Window {
        Window::new(Duration::ZERO, LONGEST)
    }

    /// Begins after `warm_up` from now, and lasts for `duration`.
    pub fn new(warm_up: Duration, duration: Duration) -> Window {
        let from = Instant::now() + warm_up;
        Window { from, until: from + duration }
    }

    /// Returns true if nothing more is to begin.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// The measurements of all workers. Failures count whenever they happen. Spans count if they began within the window.
/// Those that began in it and ended after it count too, since to leave them out would hide the slowest.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// The spans of each step, in the order in which the steps first came up.
    series: Vec<(&'static str, Histogram<u64>)>,
    failures: BTreeMap<String, u64>,
    /// The end of the last measured span.
    last: Option<Instant>,
}

impl Tally {
    /// Makes an empty one.
    pub fn new(window: Window) -> Tally {
        Tally { window, notes: Mutex::default() }
    }

    /// Returns the time in which to measure.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Notes the steps of one piece of work that began at `began` and ends now.
    pub fn note(&self, began: Instant, steps: &[(&'static str, Duration)]) {
        if began < self.window.from || began >= self.window.until {
            return;
        }
        let mut notes = self.notes();
        notes.last = Some(Instant::now());
        for &(step, span) in steps {
            notes.histogram(step).saturating_record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Notes one failure.
    pub fn fail(&self, what: impl Into<String>) {
        self.fail_times(what, 1);
    }

    /// Notes as many failures of one kind; 0 is none.
    pub fn fail_times(&self, what: impl Into<String>, times: u64) {
        if times > 0 {
            *self.notes().failures.entry(what.into()).or_default() += times;
        }
    }

    /// Returns the counts of the first step and of failures.
    pub fn so_far(&self) -> (u64, u64) {
        let notes = self.notes();
        (notes.series.first().map_or(0, |(_, spans)| spans.len()), notes.failures.values().sum())
    }

    /// Returns what was measured until now.
    pub fn results(&self) -> Results {
        let notes = self.notes();
        let ended = Instant::now().min(notes.last.map_or(self.window.until, |last| last.max(self.window.until)));
        let elapsed = ended.saturating_duration_since(self.window.from);
        let series = notes.series.iter().map(|(step, spans)| Series { step, elapsed, spans: spans.clone() }).collect();
        Results { series, failures: notes.failures.clone() }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Notes {
    fn histogram(&mut self, step: &'static str) -> &mut Histogram<u64> {
        let place = self.series.iter().position(|(known, _)| *known == step).unwrap_or_else(|| {
            let spans = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3);
            self.series.push((step, spans.expect("bounds and digits that hdrhistogram takes")));
            self.series.len() - 1
        });
        &mut self.series[place].1
    }
}

/// The result of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// The spans by kind of step; the first is the one that costs refer to.
    pub series: Vec<Series>,
    /// The failures, and how often each happened.
    pub failures: BTreeMap<String, u64>,
}

impl Results {
    /// Returns the spans of one kind of step, if there was any.
    pub fn step(&self, step: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.step == step)
    }

    /// Returns the number of failures.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what was measured in another phase, of other steps.
    pub fn add(&mut self, phase: Results) {
        self.series.extend(phase.series);
        for (what, times) in phase.failures {
            *self.failures.entry(what).or_default() += times;
        }
    }
}

/// The spans of one kind of step.
#[derive(Debug, Clone)]
pub struct Series {
    /// The kind of step.
    pub step: &'static str,
    /// The time from the beginning of the window to its end, or to the end of the last span that counts if that came
    /// later.
    elapsed: Duration,
    spans: Histogram<u64>,
}

impl Series {
    /// The percentiles that are shown, and how they are called.
    pub const SHOWN: [(&'static str, f64); 5] =
        [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

    /// Returns the number of spans.
    pub fn count(&self) -> u64 {
        self.spans.len()
    }

    /// Returns the number of spans in a second.
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns the span that this many percent of all do not exceed, in microseconds, to three digits.
    pub fn micros(&self, percentile: f64) -> f64 {
        self.spans.value_at_percentile(percentile) as f64 / 1e3
    }

    /// Writes them as JSON for programs.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "count": self.count(),
            "rate_per_second": self.rate(),
            "mean_us": self.spans.mean() / 1e3,
        });
        for (name, percentile) in Series::SHOWN {
            value[format!("{}_us", name.replace('.', "_"))] = json!(self.micros(percentile));
        }
        value
    }
}

/// The resources that a process has used, as Linux tells them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads, in user and kernel mode, to 10 ms.
    pub cpu: Duration,
    /// Anonymous memory that is resident, in bytes.
    pub anonymous: u64,
}

impl Usage {
    /// Reads what the process has used until now.
    ///
    /// # Errors
    /// Returns one line that says why it cannot be read: most likely the process has ended.
    pub fn of(pid: u32) -> Result<Usage, String> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let unreadable = || format!("cannot make sense of /proc/{pid}");
        let cpu = cpu(&read("stat")?).ok_or_else(unreadable)?;
        Ok(Usage { cpu, anonymous: anonymous(&read("status")?).ok_or_else(unreadable)? })
    }
}

fn cpu(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may hold anything. utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

fn anonymous(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_outside_of_the_window_is_left_out_and_what_ends_after_it_is_not() {
        let from = Instant::now() - Duration::from_secs(20);
        let window = Window { from, until: from + Duration::from_secs(10) };
        let tally = Tally::new(window);
        let span = Duration::from_micros(100);
        tally.note(window.from - span, &[("cycle", span)]);
        tally.note(window.until, &[("cycle", span)]);
        assert!(tally.results().series.is_empty());
        tally.note(window.until - span, &[("cycle", span * 2)]);
        let results = tally.results();
        let cycle = results.step("cycle").unwrap();
        // It was noted 10 s after the window, and so it lasted until then.
        assert!(cycle.count() == 1 && (0.04..=0.05).contains(&cycle.rate()), "{cycle:?}");
        let micros = cycle.micros(100.0);
        assert!((199.0..=201.0).contains(&micros), "{micros}");
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let tally = Tally::new(Window::new(Duration::ZERO, Duration::ZERO));
        tally.fail("one");
        tally.fail_times("many", 3);
        tally.fail_times("none", 0);
        let results = tally.results();
        assert_eq!(results.failed(), 4);
        assert_eq!(results.failures.keys().collect::<Vec<_>>(), ["many", "one"]);
    }

    #[test]
    fn what_a_process_used_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs_f64(200.0 / clock_ticks_per_second() as f64)));
        assert_eq!(anonymous("Name:\tx\nRssAnon:\t    12 kB\n"), Some(12 * 1024));
        assert!(Usage::of(std::process::id()).unwrap().anonymous > 0);
    }
}
