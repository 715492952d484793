//! Runs, and the search for the plainest choices with which a run still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lockbroker_core::rules::Rule;

use crate::choices::Choices;
use crate::marks::Marks;
use crate::report::Report;
use crate::themes::Theme;
use crate::world::World;

/// How often a memcached does what it seldom does, of 1,024 times that it could.
const ODD_IN_1024: u64 = 60;

/// For how long choices are made plainer.
const SHRINK_SECONDS: f64 = 12.0;
/// So many choices at the beginning say what the run is like: how large it is, and which faults it has.
const OPTIONS: usize = 60;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    pub violation: Option<String>,
    /// The number of its trace.
    pub hash: u64,
    /// Its trace in words, if that was asked for.
    pub lines: Vec<String>,
    /// All that was left to chance.
    pub answers: Vec<u64>,
    pub report: Report,
    pub marks: Marks,
}

/// Runs a seed. Where a rule is left out, three of four seeds have the theme on which it rests.
pub fn seeded(seed: u64, rule: Option<Rule>, traced: bool) -> Run {
    let choices = Choices::seeded(seed, ODD_IN_1024);
    let theme = rule.map(Theme::of).filter(|theme| *theme != Theme::Mixed && !seed.is_multiple_of(4));
    let choices = match theme {
        Some(theme) => choices.beginning_with(theme as u64),
        None => choices,
    };
    run(choices, rule, traced)
}

/// Runs a seed with this theme.
pub fn themed(seed: u64, theme: Theme, rule: Option<Rule>, traced: bool) -> Run {
    run(Choices::seeded(seed, ODD_IN_1024).beginning_with(theme as u64), rule, traced)
}

/// Runs a list of choices.
pub fn recorded(answers: Vec<u64>, rule: Option<Rule>, traced: bool) -> Run {
    run(Choices::recorded(answers), rule, traced)
}

fn run(choices: Choices, rule: Option<Rule>, traced: bool) -> Run {
    let mut world = World::new(choices, rule, traced);
    // A core that panics violates more than a rule.
    let violation = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = violation.unwrap_or_else(|_| Some("the core panicked".to_owned()));
    Run {
        violation,
        hash: world.hash(),
        lines: world.lines().to_vec(),
        answers: world.choices.asked().iter().map(|asked| asked.answer).collect(),
        report: world.report.clone(),
        marks: world.marks.clone(),
    }
}

/// Returns what sort of violation this is: its first words, without numbers and names.
pub fn kind(violation: &str) -> String {
    let first = violation.split([':', ',']).next().unwrap_or_default();
    let words = first.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

/// Returns plainer choices with which the run violates the same: fewer that are not 0.
pub fn shrink(answers: Vec<u64>, rule: Option<Rule>) -> Vec<u64> {
    let kind_of = |answers: &[u64]| recorded(answers.to_vec(), rule, false).violation.as_deref().map(kind);
    let mut best = trim(answers);
    let wanted = kind_of(&best);
    if wanted.is_none() {
        return best;
    }
    let fails = |answers: &[u64]| kind_of(answers) == wanted;
    let until = cpu_seconds() + SHRINK_SECONDS;
    // The plainer the run, the sooner each of the others is tried.
    clear(&mut best, 1, OPTIONS, &|answers: &[u64]| cpu_seconds() < until && fails(answers));
    let mut span = best.len().next_power_of_two() / 2;
    while span > 0 && cpu_seconds() < until {
        clear(&mut best, span, usize::MAX, &|answers: &[u64]| cpu_seconds() < until && fails(answers));
        span /= 2;
    }
    best
}

/// Makes spans of choices 0, as far as `most`, where the run still fails.
fn clear(best: &mut Vec<u64>, span: usize, most: usize, fails: &dyn Fn(&[u64]) -> bool) {
    let mut at = 0;
    while at < best.len().min(most) {
        let end = (at + span).min(best.len());
        if best[at..end].iter().any(|answer| *answer != 0) {
            let mut plainer = best.clone();
            plainer[at..end].fill(0);
            let plainer = trim(plainer);
            if fails(&plainer) {
                *best = plainer;
            }
        }
        at = end;
    }
}

fn trim(mut answers: Vec<u64>) -> Vec<u64> {
    while answers.last() == Some(&0) {
        answers.pop();
    }
    answers
}

/// Returns the seconds for which this thread has run on a CPU.
pub fn cpu_seconds() -> f64 {
    let ran = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    ran.tv_sec as f64 + ran.tv_nsec as f64 / 1e9
}
