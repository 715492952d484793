//! Puts the clients of all languages through the same scenarios, and prints what each of them does. `README.md` beside
//! this says how a client takes part.
//!
//! ```text
//! scripts/test-clients --only conformance python go
//! ```

mod follower;
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

use crate::matrix::{Matrix, Outcome};
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
    /// The number of scenarios that run at the same time, of whatever languages.
    #[arg(long, default_value_t = 18)]
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

/// Runs every scenario in every language, and prints the matrix.
fn conformance(options: &Options) -> bool {
    let (start, chosen) = (Instant::now(), options.chosen());
    let mut turns = Vec::new();
    for program in &options.testees {
        let shared = Arc::new(Shared::new(program.clone()));
        turns.extend(chosen.iter().map(|&scenario| Turn { shared: Arc::clone(&shared), scenario }));
    }
    let outcomes = play_all(&turns, options.beside);
    let languages = options.testees.iter().map(|program| program.language.clone());
    let columns = languages.zip(outcomes.chunks(chosen.len()).map(<[_]>::to_vec)).collect();
    let matrix = Matrix { rows: chosen, columns };
    println!("{matrix}");
    for (language, id, why) in matrix.failures() {
        println!("--- {language} {id} failed: {why}\n");
    }
    println!("conformance: {} in {} s", matrix.summary(), start.elapsed().as_secs());
    let is_good = matrix.failures().next().is_none();
    if !matrix.is_whole() {
        if options.write {
            println!("docs/conformance.md is as it was: it needs the testees of all languages");
        }
        return is_good && !options.write;
    }
    if !is_good {
        return false;
    }
    if options.write {
        matrix.write();
    } else if matrix.is_page_stale() {
        println!("docs/conformance.md says otherwise: run it again with --write, and commit what it writes");
        return false;
    }
    true
}

/// A scenario, and the language whose turn it is in.
#[derive(Debug)]
struct Turn {
    shared: Arc<Shared>,
    scenario: &'static Scenario,
}

/// Runs them in their order, so many at a time. Nearly all of their time they wait for a lock to run out. A language's
/// virtual machine that starts takes a processor for a second or two, so all at once would disturb each other.
fn play_all(turns: &[Turn], beside: usize) -> Vec<Outcome> {
    let unsupported = matrix::unsupported();
    let next = AtomicUsize::new(0);
    let outcomes: Vec<_> = turns.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                while let Some((turn, outcome)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    turns.get(index).zip(outcomes.get(index))
                } {
                    let id = (turn.shared.program.language.clone(), turn.scenario.id.to_owned());
                    let played = play(turn.scenario, Arc::clone(&turn.shared), unsupported.get(&id).cloned());
                    outcome.set(played).unwrap();
                }
            });
        }
    });
    let mut outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.into_inner().expect("all played")).collect();
    for (index, turn) in turns.iter().enumerate() {
        let is_first = index == 0 || !Arc::ptr_eq(&turn.shared, &turns[index - 1].shared);
        // Nobody knows in which scenario: it is told with the first.
        if let (true, Some(wrong)) = (is_first, turn.shared.wrong().first()) {
            outcomes[index] = Outcome::Failed(format!("the testee of all scenarios said: {wrong}"));
        }
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
    let chosen = options.chosen();
    let mut turns = Vec::new();
    for program in &options.testees {
        for rule in RULES {
            let shared = Arc::new(Shared::new(Program { breaks: Some(rule), ..program.clone() }));
            // It must be able to do what needs no rule, or it would fail for another reason.
            let able = scenarios::all().filter(|scenario| scenario.id == ABLE);
            let named = able.chain(chosen.iter().copied().filter(|scenario| scenario.teeth.contains(&rule)));
            turns.extend(named.map(|scenario| Turn { shared: Arc::clone(&shared), scenario }));
        }
    }
    let (mut caught, mut missed) = (0, 0);
    for (turn, outcome) in turns.iter().zip(play_all(&turns, options.beside)) {
        let (program, id) = (&turn.shared.program, turn.scenario.id);
        let broken = format!("{} --break {}: {id}", program.language, program.breaks.unwrap_or_default());
        match outcome {
            Outcome::Passed if id == ABLE => {}
            Outcome::Failed(why) if id == ABLE || why.contains(NEVER_STARTED) => {
                missed += 1;
                println!("--- {broken} FAILED: {why}");
            }
            Outcome::Failed(why) => {
                caught += 1;
                println!("{broken} failed, as it should: {}", matrix::brief(&why));
            }
            Outcome::Passed => {
                missed += 1;
                println!("--- {broken} PASSED");
            }
            Outcome::Unsupported(_) => {}
        }
    }
    println!("teeth: {caught} caught, {missed} missed");
    missed == 0 && caught > 0
}
