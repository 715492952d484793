//! Explores every configuration to the end: no property is ever broken, and what can happen does.

use std::collections::BTreeSet;

use lockbroker_model::check::check;
use lockbroker_model::configurations;
use lockbroker_model::coverage::{FAULTS, STEPS};
use lockbroker_model::rules::{Bounds, Rules};

type Reached = BTreeSet<(&'static str, &'static str)>;

fn explore(all: &[Bounds]) -> Reached {
    let mut reached = Reached::new();
    let mut violated = Vec::new();
    for bounds in all {
        let outcome = check(*bounds, Rules::ALL);
        println!("{outcome}");
        reached.extend(outcome.model.coverage.reached());
        violated.extend(outcome.violation.map(|_| bounds.name));
    }
    assert_eq!(violated, Vec::<&str>::new(), "see above how");
    reached
}

#[test]
#[ignore = "takes more than ten minutes"]
fn no_property_is_broken_and_every_fault_meets_every_step() {
    let reached = explore(configurations::ALL);
    let meets = |fault: &'static str, step: &'static str| reached.contains(&(fault, step));
    // These happen once in every configuration.
    let alone = [
        ("stream broken", "stream breaks"),
        ("broker dead", "broker dies"),
        ("memcached stopped", "memcached stops"),
        ("moved", "reattach"),
        ("released elsewhere", "release elsewhere"),
    ];
    let missing: Vec<_> = FAULTS
        .iter()
        .flat_map(|fault| STEPS.iter().map(move |step| (*fault, *step)))
        .filter(|pair| !meets(pair.0, pair.1) && !alone.contains(pair))
        .collect();
    assert_eq!(missing, []);
}

#[test]
#[ignore = "takes hours and tens of gigabytes"]
fn no_property_is_broken_within_larger_bounds() {
    explore(configurations::LARGER);
}
