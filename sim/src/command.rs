//! The command: one seed, many hours, a scenario, or the search for a run in which a rule that is left out is noticed.

use std::process::ExitCode;
use std::str::FromStr;

use lockbroker_core::env::Mark;
use lockbroker_core::rules::Rule;

use crate::marks::Marks;
use crate::{Report, scenario, shrink};

/// The seed with which runs begin that name none.
const FIRST: u64 = 1;
/// A mark that so many seeds have not reached is rare.
const COMMON: u64 = 300;

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rule = match value::<String>(&args, "--rule") {
        None => None,
        Some(name) => match Rule::named(&name) {
            Some(rule) => Some(rule),
            None => return fail(&format!("there is no rule {name}")),
        },
    };
    let traced = args.iter().any(|arg| arg == "--trace");
    if let Some(path) = value::<String>(&args, "--replay") {
        return replay(&path, traced);
    }
    if let Some(seed) = value(&args, "--seed") {
        return one(seed, rule, traced, args.iter().any(|arg| arg == "--shrink"));
    }
    many(&args, rule)
}

fn value<T: FromStr>(args: &[String], name: &str) -> Option<T> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)?.parse().ok()
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

fn one(seed: u64, rule: Option<Rule>, traced: bool, shrinks: bool) -> ExitCode {
    let run = shrink::seeded(seed, rule, traced);
    run.lines.iter().for_each(|line| println!("{line}"));
    print!("{}", run.report);
    println!("trace {:016x}: {:?}", run.hash, run.violation);
    if shrinks && run.violation.is_some() {
        let answers = shrink::shrink(run.answers, rule);
        // What the plainer run violates is of the same kind, and says other names and numbers.
        if let Some(violation) = shrink::recorded(answers.clone(), rule, false).violation {
            println!("{}", scenario::Scenario::of(answers, rule, &violation));
        }
    }
    if run.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs seeds until so many hours have been simulated, or so many seeds have failed.
fn many(args: &[String], rule: Option<Rule>) -> ExitCode {
    let hours: f64 = value(args, "--hours").unwrap_or(f64::MAX);
    let count: u64 = value(args, "--count").unwrap_or(if hours < f64::MAX { u64::MAX } else { 1_000 });
    let first = value(args, "--first").unwrap_or(FIRST);
    let most = value(args, "--failures").unwrap_or(1);
    let (mut report, mut marks, mut failures) = (Report::default(), Marks::default(), 0);
    let began = shrink::cpu_seconds();
    for seed in first.. {
        if report.hours() >= hours || seed - first >= count || failures >= most {
            break;
        }
        let run = shrink::seeded(seed, rule, false);
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
