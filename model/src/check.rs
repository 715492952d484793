//! Runs the checker over one configuration.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model as _};

use crate::model::{Action, Model};
use crate::rules::{Bounds, Rules};

/// What came of it.
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
    run(bounds, rules, None)
}

/// Looks for a way in which this property is broken, whatever becomes of the others.
pub fn search(bounds: Bounds, rules: Rules, property: &'static str) -> Outcome {
    run(bounds, rules, Some(property))
}

fn run(bounds: Bounds, rules: Rules, wanted: Option<&'static str>) -> Outcome {
    let model = Model::new(bounds, rules);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let enough = match wanted {
        Some(property) => HasDiscoveries::AnyOf([property].into()),
        None => HasDiscoveries::AnyFailures,
    };
    let checker = model.clone().checker().threads(threads).finish_when(enough).spawn_bfs().join();
    let violation = checker
        .discoveries()
        .into_iter()
        .filter(|(property, _)| wanted.is_none_or(|wanted| wanted == *property))
        .map(|(property, path)| (property, path.into_actions()))
        .min_by_key(|(_, actions)| actions.len());
    Outcome {
        name: bounds.name,
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
