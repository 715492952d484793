//! Explores configurations to the end: no property is ever broken, and what can happen does.

use std::collections::BTreeSet;

use lockbroker_model::check::check;
use lockbroker_model::configurations;
use lockbroker_model::coverage::{FAULTS, STEPS};
use lockbroker_model::rules::{Bounds, Rules};

/// A loss with permits, and a stop or a late command besides: configurations with these have not ended within ten minutes.
const BEYOND: [(&str, &str); 4] =
    [("memcached stopped", "send cover"), ("memcached stopped", "cover"), ("late", "send cover"), ("late", "cover")];

type Reached = BTreeSet<(&'static str, &'static str)>;

fn explore<'a>(all: impl Iterator<Item = &'a Bounds>) -> Reached {
    let mut reached = Reached::new();
    let mut violated = Vec::new();
    let (mut count, mut states, mut generated) = (0, 0, 0);
    for bounds in all {
        count += 1;
        let outcome = check(*bounds, Rules::ALL);
        println!("{outcome}");
        states += outcome.states;
        generated += outcome.generated;
        reached.extend(outcome.model.coverage.reached());
        violated.extend(outcome.violation.map(|_| bounds.name));
    }
    println!("{count} configurations {states:>13} states {generated:>10} generated");
    assert_eq!(violated, Vec::<&str>::new(), "see above how");
    reached
}

#[test]
fn no_property_is_broken() {
    explore(configurations::ALL.iter().filter(|bounds| !bounds.slow));
}

#[test]
#[ignore = "takes minutes"]
fn no_property_is_broken_and_every_fault_meets_every_step() {
    let reached = explore(configurations::ALL.iter());
    let missing: Vec<_> = FAULTS
        .iter()
        .flat_map(|fault| STEPS.iter().map(move |step| (*fault, *step)))
        .filter(|pair| !reached.contains(pair) && !BEYOND.contains(pair))
        .collect();
    assert_eq!(missing, [], "never reached");
    let (steps, faults, beyond) = (STEPS.len(), FAULTS.len() - 1, BEYOND.len());
    println!("each of {steps} steps was reached, and reached after each of {faults} faults, but for {beyond} pairs");
}

#[test]
#[ignore = "takes hours and tens of gigabytes"]
fn no_property_is_broken_within_larger_bounds() {
    explore(configurations::LARGER.iter());
}
