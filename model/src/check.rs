//! Runs the checker over one configuration.

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model as _};

use crate::model::{Action, Model};
use crate::rules::{Bounds, Rules};

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    pub name: &'static str,
    pub generated: usize,
    pub states: usize,
    pub depth: usize,
    pub took: Duration,
    /// The property that does not hold, and the shortest way to where it does not that was found.
    pub violation: Option<(&'static str, Vec<Action>)>,
    pub model: Model,
}

/// Tries all that can happen, or stops at the first property that does not hold.
pub fn check(bounds: Bounds, rules: Rules) -> Outcome {
    let model = Model::new(bounds, rules);
    let checker = model.clone().checker().finish_when(HasDiscoveries::AnyFailures);
    run(model, checker, |_| true)
}

/// Does the same, for all that can happen within so many steps.
pub fn check_within(bounds: Bounds, rules: Rules, steps: usize) -> Outcome {
    let model = Model::new(bounds, rules);
    // The depth counts states.
    let checker = model.clone().checker().finish_when(HasDiscoveries::AnyFailures).target_max_depth(steps + 1);
    run(model, checker, |_| true)
}

/// Looks for a way in which this property is broken, whatever becomes of the others.
pub fn search(bounds: Bounds, rules: Rules, property: &'static str) -> Outcome {
    let model = Model::new(bounds, rules);
    let checker = model.clone().checker().finish_when(HasDiscoveries::AnyOf([property].into()));
    run(model, checker, |found| found == property)
}

/// Tries all that can happen in any model, prints what that came to, and checks that each of its properties holds.
///
/// # Panics
/// One does not, or a state that must be reached is not.
pub fn explore<M>(name: &str, model: M)
where
    M: stateright::Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + fmt::Debug + Hash + Send + Sync + 'static,
    M::Action: Clone + PartialEq + fmt::Debug,
{
    let checker = model.checker().threads(threads()).spawn_bfs().join();
    let (states, generated) = (checker.unique_state_count(), checker.state_count());
    println!("{name:28} {states:>9} states {generated:>10} generated, depth {:>3}", checker.max_depth());
    checker.assert_properties();
}

/// Returns the number of threads to explore with.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(2)
}

fn run(model: Model, checker: CheckerBuilder<Model>, is_wanted: impl Fn(&str) -> bool) -> Outcome {
    let began = Instant::now();
    let checker = checker.threads(threads()).spawn_bfs().join();
    let violation = checker
        .discoveries()
        .into_iter()
        .filter(|(property, _)| is_wanted(property))
        .map(|(property, path)| (property, path.into_actions()))
        .min_by_key(|(_, actions)| actions.len());
    Outcome {
        name: model.bounds.name,
        generated: checker.state_count(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        violation,
        model,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { name, generated, states, depth, took, violation, .. } = self;
        let seconds = took.as_secs_f64();
        write!(f, "{name:28} {states:>9} states {generated:>10} generated, depth {depth:>3}, {seconds:>5.1} s")?;
        if let Some((property, actions)) = violation {
            writeln!(f, "\n  violated: {property}, after {} steps", actions.len())?;
            for (number, action) in actions.iter().enumerate() {
                writeln!(f, "  {:3} {action:?}", number + 1)?;
            }
        }
        Ok(())
    }
}
