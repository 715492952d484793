//! The command: one seed, many hours, a scenario, or the search for a run in which a rule that is left out is noticed.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use lockbroker_core::env::Mark;
use lockbroker_core::rules::Rule;

use crate::marks::Marks;
use crate::{Report, Theme, scenario, shrink};

/// A mark that so many seeds have not reached is rare.
const COMMON: u64 = 150;

/// Runs deployments of lockbroker in one thread: 1,000 seeds, unless told otherwise.
#[derive(Debug, Parser)]
struct Args {
    /// Leave out this rule of docs/safety.md, to see that it is noticed.
    #[arg(long, value_parser = PossibleValuesParser::new(Rule::ALL.iter().map(|(name, _)| *name)))]
    rule: Option<String>,
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["hours", "count", "first", "failures"])]
    seed: Option<u64>,
    /// Say what happens in the run of a seed or a scenario.
    #[arg(long)]
    trace: bool,
    /// Print the plainest run that fails as this seed does.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Let an operator change the list of the servers.
    #[arg(long)]
    changes: bool,
    /// Run the scenario in this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "rule", "hours", "count", "first", "failures"])]
    replay: Option<String>,
    /// Run seeds until so many hours have been simulated.
    #[arg(long)]
    hours: Option<f64>,
    /// Run at most so many seeds [default: 1000, or no limit with --hours].
    #[arg(long)]
    count: Option<u64>,
    /// Begin with this seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// End when so many seeds have failed.
    #[arg(long, default_value_t = 1)]
    failures: u64,
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let rule = args.rule.as_deref().and_then(Rule::named);
    match (&args.replay, args.seed) {
        (Some(path), _) => replay(path, args.trace),
        (None, Some(seed)) => one(seed, rule, &args),
        (None, None) => many(&args, rule),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

fn replay(path: &str, traced: bool) -> ExitCode {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{path}: {error}")),
    };
    let scenario = match scenario::Scenario::parse(&text) {
        Ok(scenario) => scenario,
        Err(why) => return fail(&format!("{path}: {why}")),
    };
    let run = scenario.run(scenario.rule, traced);
    run.lines.iter().for_each(|line| println!("{line}"));
    println!("trace {:016x}: {:?}", run.hash, run.violation);
    ExitCode::SUCCESS
}

fn one(seed: u64, rule: Option<Rule>, args: &Args) -> ExitCode {
    let run = run(seed, rule, args);
    run.lines.iter().for_each(|line| println!("{line}"));
    print!("{}", run.report);
    println!("trace {:016x}: {:?}", run.hash, run.violation);
    if args.shrink && run.violation.is_some() {
        let answers = shrink::shrink(run.answers, rule);
        // What the plainer run violates is of the same kind, and says other names and numbers.
        if let Some(violation) = shrink::recorded(answers.clone(), rule, false).violation {
            println!("{}", scenario::Scenario::of(answers, rule, &violation));
        }
    }
    if run.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(seed: u64, rule: Option<Rule>, args: &Args) -> shrink::Run {
    match args.changes {
        true => shrink::themed(seed, Theme::Changes, rule, args.trace),
        false => shrink::seeded(seed, rule, args.trace),
    }
}

/// Runs seeds until so many hours have been simulated, or so many seeds have failed.
fn many(args: &Args, rule: Option<Rule>) -> ExitCode {
    let hours = args.hours.unwrap_or(f64::MAX);
    let count = args.count.unwrap_or(if args.hours.is_some() { u64::MAX } else { 1_000 });
    let (first, most) = (args.first, args.failures);
    let (mut report, mut marks, mut failures) = (Report::default(), Marks::default(), 0);
    let began = shrink::cpu_seconds();
    for seed in first.. {
        if report.hours() >= hours || seed - first >= count || failures >= most {
            break;
        }
        let run = run(seed, rule, args);
        report.add(&run.report);
        for mark in marks.add(&run.marks) {
            if seed - first >= COMMON {
                println!("seed {seed} is the first to reach {mark:?}");
            }
        }
        if let Some(violation) = run.violation {
            println!("seed {seed}: {violation}");
            failures += 1;
        }
    }
    print!("{report}");
    println!("{} of {} marks reached; missing: {:?}", marks.reached(), Mark::ALL.len(), marks.missing());
    let minutes = (shrink::cpu_seconds() - began) / 60.0;
    println!("{:.2} CPU minutes, {:.0} simulated hours a CPU minute", minutes, report.hours() / minutes);
    if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
