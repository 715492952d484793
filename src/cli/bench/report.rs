//! The report of a run, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Error;
use super::measure::{Results, Series, Tally, Usage};

const MIB: f64 = (1 << 20) as f64;

/// The report of a run.
#[derive(Debug)]
pub(super) struct Report {
    /// The mode, as on the command line.
    pub(super) mode: &'static str,
    /// Spans and failures.
    pub(super) results: Results,
    /// The other counts.
    pub(super) counts: Vec<(&'static str, u64)>,
    /// The resources that the brokers' processes used.
    pub(super) costs: Vec<Cost>,
}

/// The resources that a broker's process used while measuring.
#[derive(Debug)]
pub(super) struct Cost {
    pid: u32,
    cpu: Duration,
    over: Duration,
    /// The step whose cost it is, and its count, where it is one step's.
    step: Option<(&'static str, u64)>,
    /// Anonymous memory at certain moments, in bytes.
    memory: Vec<(&'static str, u64)>,
}

/// Takes the brokers' usage at the beginning, and again whenever asked.
#[derive(Debug)]
pub(super) struct Meter {
    pids: Vec<u32>,
    memory: Vec<(&'static str, Vec<u64>)>,
    began: (Instant, Vec<Duration>),
}

impl Meter {
    /// Reads the processes for the first time.
    pub(super) fn start(pids: &[u32]) -> Result<Meter, Error> {
        let usages = pids.iter().map(|&pid| Usage::of(pid)).collect::<Result<Vec<_>, _>>().map_err(Error::Process)?;
        let memory = vec![("before", usages.iter().map(|usage| usage.anonymous).collect())];
        Ok(Meter {
            pids: pids.to_vec(),
            memory,
            began: (Instant::now(), usages.iter().map(|usage| usage.cpu).collect()),
        })
    }

    /// Notes the memory under a label.
    pub(super) fn weigh(&mut self, label: &'static str) -> Result<(), String> {
        let weights = self.pids.iter().map(|&pid| Usage::of(pid).map(|usage| usage.anonymous));
        self.memory.push((label, weights.collect::<Result<_, _>>()?));
        Ok(())
    }

    /// Counts CPU time from now on.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let spent = self.pids.iter().map(|&pid| Usage::of(pid).map(|usage| usage.cpu)).collect::<Result<_, _>>()?;
        self.began = (Instant::now(), spent);
        Ok(())
    }

    /// Returns what was used between [`restart`](Meter::restart) and now. [`with_memory`](Meter::with_memory) adds
    /// memory that is read later.
    pub(super) fn costs(&self) -> Result<Vec<Cost>, String> {
        let (since, spent) = &self.began;
        let over = since.elapsed();
        let costs = self.pids.iter().zip(spent).map(|(&pid, &spent)| {
            let cpu = Usage::of(pid)?.cpu.saturating_sub(spent);
            Ok(Cost { pid, cpu, over, step: None, memory: Vec::new() })
        });
        costs.collect()
    }

    /// Adds to each cost what was weighed.
    pub(super) fn with_memory(&self, mut costs: Vec<Cost>) -> Vec<Cost> {
        for (place, cost) in costs.iter_mut().enumerate() {
            cost.memory = self.memory.iter().map(|(label, weights)| (*label, weights[place])).collect();
        }
        costs
    }
}

/// Runs `work`, which does what `tally` measures, and says what the brokers' processes used within its window: for
/// each of the first kind of step if it is told to be `per_step`. A broker that is gone by the end is a failure.
pub(super) async fn metered(
    mode: &'static str,
    pids: &[u32],
    tally: &Tally,
    work: impl Future<Output = ()>,
) -> Result<Report, Error> {
    let mut meter = Meter::start(pids)?;
    let window = async {
        tokio::time::sleep_until(tally.window().from.into()).await;
        if let Err(why) = meter.restart() {
            tally.fail(why);
        }
    };
    tokio::join!(work, window);
    let costs = meter.costs().and_then(|costs| meter.weigh("after").map(|()| costs)).unwrap_or_else(|why| {
        tally.fail(why);
        Vec::new()
    });
    let results = tally.results();
    let mut costs = meter.with_memory(costs);
    for cost in &mut costs {
        cost.step = results.series.first().map(|series| (series.step, series.count()));
    }
    Ok(Report { mode, results, counts: Vec::new(), costs })
}

impl Cost {
    fn micros_per_step(&self) -> Option<(&'static str, f64)> {
        let (step, count) = self.step.filter(|&(_, count)| count > 0)?;
        Some((step, self.cpu.as_secs_f64() * 1e6 / count as f64))
    }

    fn of_a_core(&self) -> f64 {
        self.cpu.as_secs_f64() / self.over.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn json(&self) -> Value {
        json!({
            "pid": self.pid,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "of_a_core": self.of_a_core(),
            "cpu_us_per_step": self.micros_per_step().map(|(_, micros)| micros),
            "anonymous_bytes": self.memory.iter().copied().collect::<Value>(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("broker {}: {:.1} % of a core", self.pid, self.of_a_core() * 100.0);
        if let Some((step, micros)) = self.micros_per_step() {
            let _ = write!(text, ", {micros:.1} µs of CPU for each {step}");
        }
        let memory: Vec<_> =
            self.memory.iter().map(|(label, bytes)| format!("{:.2} MiB {label}", *bytes as f64 / MIB)).collect();
        let _ = writeln!(text, "; anonymous memory {}", memory.join(", "));
        text
    }
}

impl Report {
    /// Writes a table for people. Times are in microseconds.
    pub(super) fn table(&self) -> String {
        let mut table = format!("{:<22}{:>10}{:>12}", "µs", "count", "per second");
        for (name, _) in Series::SHOWN {
            let _ = write!(table, "{name:>11}");
        }
        table.push('\n');
        for series in &self.results.series {
            let _ = write!(table, "{:<22}{:>10}{:>12.1}", series.step, series.count(), series.rate());
            for (_, percentile) in Series::SHOWN {
                let _ = write!(table, "{:>11.1}", series.micros(percentile));
            }
            table.push('\n');
        }
        for (what, count) in &self.counts {
            let _ = writeln!(table, "{what}: {count}");
        }
        let _ = writeln!(table, "failed: {}", self.results.failed());
        for (what, times) in &self.results.failures {
            let _ = writeln!(table, "  {times} x {what}");
        }
        self.costs.iter().for_each(|cost| table += &cost.text());
        table
    }

    /// Writes JSON for programs.
    pub(super) fn json(&self) -> Value {
        let command: Vec<_> = std::env::args().collect();
        json!({
            "mode": self.mode,
            "version": env!("CARGO_PKG_VERSION"),
            "command": command.join(" "),
            "series": self.results.series.iter().map(|series| (series.step, series.to_json())).collect::<Value>(),
            "counts": self.counts.iter().copied().collect::<Value>(),
            "failed": self.results.failed(),
            "failures": self.results.failures,
            "brokers": self.costs.iter().map(Cost::json).collect::<Vec<_>>(),
        })
    }
}
