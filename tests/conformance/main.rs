//! Puts the clients of all languages through the same scenarios, and prints what each of them does. `README.md` beside
//! this says how a client takes part.
//!
//! ```text
//! scripts/test-clients --only conformance python go
//! ```

mod matrix;
mod scenarios;
mod scripted;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod testee;
mod weight;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::time::timeout;

use crate::matrix::{Matrix, Outcome, Reasons};
use crate::scenarios::Scenario;
use crate::stage::{Shared, Stage};
use crate::testee::{NEVER_STARTED, Program};

/// For a scenario that hangs where it should have failed.
const SCENARIO: Duration = Duration::from_secs(150);
/// The rules that a testee can break.
const RULES: [&str; 4] = ["heartbeat", "reattach", "clock", "release"];
/// The scenario that a client passes whichever of them it breaks.
const ABLE: &str = "ask-self";

/// Runs the scenarios.
#[derive(Debug, Parser)]
struct Options {
    /// A language and its testee.
    #[arg(long = "testee", value_name = "LANGUAGE=PATH", value_parser = testee, required = true)]
    testees: Vec<Program>,
    /// The number of scenarios of a language that run at the same time.
    #[arg(long, default_value_t = 10)]
    beside: usize,
    /// Lets each testee break one rule after the other, and runs the scenarios that must then fail.
    #[arg(long, group = "instead")]
    teeth: bool,
    /// Measures what a cycle costs, against the generated stub's.
    #[arg(long, group = "instead", conflicts_with = "scenarios")]
    cost: bool,
    /// Holds 1,000 locks in each language for a minute, through a broker's SIGKILL and a memcached's restart.
    #[arg(long, group = "instead", conflicts_with = "scenarios")]
    hold: bool,
    /// Writes what it found to docs/conformance.md, which needs all languages.
    #[arg(long, group = "instead", conflicts_with = "scenarios")]
    write: bool,
    /// Ids, or beginnings of ids. All without.
    scenarios: Vec<String>,
}

fn testee(text: &str) -> Result<Program, String> {
    let (language, path) = text.split_once('=').ok_or("write LANGUAGE=PATH")?;
    Ok(Program { language: language.into(), path: PathBuf::from(path), breaks: None })
}

thread_local! {
    /// Where the scenario of this thread failed, as its panic says.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    options.testees.sort_by(|one, other| one.language.cmp(&other.language));
    for start in &options.scenarios {
        if !scenarios::all().any(|scenario| scenario.id.starts_with(start.as_str())) {
            eprintln!("no scenario begins with {start:?}");
            return ExitCode::FAILURE;
        }
    }
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A thread or task that a scenario has started says so by itself.
        match thread::current().name() {
            Some(name) if name.starts_with("scenario") => FAILURE.set(Some(panic.to_string())),
            _ => print(panic),
        }
    }));
    let good = if options.teeth {
        teeth(&options)
    } else if options.cost {
        runtime().block_on(weight::cost(&options.testees))
    } else if options.hold {
        runtime().block_on(weight::hold(&options.testees))
    } else {
        conformance(&options)
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Options {
    fn chosen(&self) -> Vec<&'static Scenario> {
        let wanted = |scenario: &&Scenario| {
            self.scenarios.is_empty() || self.scenarios.iter().any(|start| scenario.id.starts_with(start.as_str()))
        };
        scenarios::all().filter(wanted).collect()
    }
}

/// Runs every scenario in every language, all languages at once, and prints the matrix.
fn conformance(options: &Options) -> bool {
    let (start, chosen, unsupported) = (Instant::now(), options.chosen(), matrix::unsupported());
    let columns = thread::scope(|scope| {
        let running: Vec<_> = options
            .testees
            .iter()
            .map(|program| {
                scope.spawn(|| (program.language.clone(), play_all(program, &chosen, &unsupported, options.beside)))
            })
            .collect();
        running.into_iter().map(|column| column.join().unwrap()).collect()
    });
    let matrix = Matrix { rows: chosen, columns };
    println!("{matrix}");
    for (language, id, why) in matrix.failures() {
        println!("--- {language} {id} failed: {why}\n");
    }
    println!("conformance: {} in {} s", matrix.summary(), start.elapsed().as_secs());
    if matrix.failures().next().is_some() || !matrix.is_whole() {
        return matrix.failures().next().is_none();
    }
    if options.write {
        matrix.write();
    } else if matrix.is_page_stale() {
        println!("docs/conformance.md says otherwise: run it again with --write, and commit what it writes");
        return false;
    }
    true
}

/// Runs scenarios in one language, so many at a time.
fn play_all(program: &Program, chosen: &[&'static Scenario], unsupported: &Reasons, beside: usize) -> Vec<Outcome> {
    let shared = Arc::new(Shared::new(program.clone()));
    let next = AtomicUsize::new(0);
    let outcomes: Vec<_> = chosen.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                while let Some((scenario, outcome)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    chosen.get(index).zip(outcomes.get(index))
                } {
                    let reason = unsupported.get(&(program.language.clone(), scenario.id.to_owned())).cloned();
                    outcome.set(play(scenario, Arc::clone(&shared), reason)).unwrap();
                }
            });
        }
    });
    let outcomes = outcomes.into_iter().map(|outcome| outcome.into_inner().expect("all have been played"));
    let mut outcomes: Vec<_> = outcomes.collect();
    // Nobody knows in which scenario.
    if let (Some(wrong), Some(first)) = (shared.wrong().first(), outcomes.first_mut()) {
        *first = Outcome::Failed(format!("the testee of all scenarios said: {wrong}"));
    }
    outcomes
}

/// Runs one scenario in one language, in a thread of its own.
fn play(scenario: &'static Scenario, shared: Arc<Shared>, unsupported: Option<String>) -> Outcome {
    let played = thread::Builder::new().name(format!("scenario {}", scenario.id)).spawn(move || {
        let stage = Stage::new(scenario.id, Arc::clone(&shared));
        let own = stage.clone();
        let played = panic::catch_unwind(AssertUnwindSafe(|| {
            let play = async {
                let able = match scenario.needs {
                    Some(feature) => shared.testee().await.has(feature),
                    None => true,
                };
                match (able, unsupported) {
                    (false, Some(reason)) => return Outcome::Unsupported(reason),
                    (false, None) => panic!("the testee has not what this needs, and unsupported.txt says no reason"),
                    (true, Some(_)) => panic!("unsupported.txt says that the language cannot do this, but it can"),
                    (true, None) => {}
                }
                let played = timeout(SCENARIO, (scenario.play)(stage.clone())).await;
                assert!(played.is_ok(), "it went on after {SCENARIO:?}");
                assert_eq!(stage.wrong(), Vec::<String>::new(), "its testee said so");
                Outcome::Passed
            };
            runtime().block_on(play)
        }));
        played.unwrap_or_else(|_| {
            let (why, log) = (FAILURE.take().unwrap_or_default(), own.last_log());
            Outcome::Failed(if log.is_empty() { why } else { format!("{why}\nits testee wrote last:\n{log}") })
        })
    });
    played.unwrap().join().unwrap()
}

/// Lets each client break each rule, and returns true if each was caught by every scenario that names the rule.
fn teeth(options: &Options) -> bool {
    support::show_logs(false);
    let (chosen, unsupported) = (options.chosen(), matrix::unsupported());
    let (mut caught, mut missed) = (0, 0);
    for program in &options.testees {
        let runs: Vec<_> = thread::scope(|scope| {
            let running = RULES.map(|rule| {
                let (chosen, unsupported) = (&chosen, &unsupported);
                scope.spawn(move || {
                    let broken = Program { breaks: Some(rule), ..program.clone() };
                    // It must be able to do what needs no rule, or it would fail for another reason.
                    let able = |scenario: &Scenario| scenario.id == ABLE;
                    let named: Vec<_> = scenarios::all()
                        .filter(|scenario| able(scenario))
                        .chain(chosen.iter().copied().filter(|scenario| scenario.teeth.contains(&rule)))
                        .collect();
                    let outcomes = play_all(&broken, &named, unsupported, options.beside);
                    (rule, named.into_iter().zip(outcomes).collect::<Vec<_>>())
                })
            });
            running.into_iter().map(|run| run.join().unwrap()).collect()
        });
        for (rule, outcomes) in runs {
            for (scenario, outcome) in outcomes {
                let (language, id) = (&program.language, scenario.id);
                match outcome {
                    Outcome::Passed if id == ABLE => {}
                    Outcome::Failed(why) if id == ABLE || why.contains(NEVER_STARTED) => {
                        missed += 1;
                        println!("--- {language} --break {rule}: {id} FAILED: {why}");
                    }
                    Outcome::Failed(why) => {
                        caught += 1;
                        println!("{language} --break {rule}: {id} failed, as it should: {}", matrix::brief(&why));
                    }
                    Outcome::Passed => {
                        missed += 1;
                        println!("--- {language} --break {rule}: {id} PASSED");
                    }
                    Outcome::Unsupported(_) => {}
                }
            }
        }
    }
    println!("teeth: {caught} caught, {missed} missed");
    missed == 0 && caught > 0
}
