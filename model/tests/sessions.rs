//! Explores Sessions to the end, and leaves out each rule that they rest on.

use lockbroker_model::check;
use lockbroker_model::sessions::{Bounds, LONG, Model, QUICK, RULES};
use stateright::{Checker, HasDiscoveries, Model as _};

fn explore(all: &[Bounds]) {
    all.iter().for_each(|bounds| check::explore(bounds.name, Model::new(*bounds, None)));
}

#[test]
fn no_property_of_sessions_is_broken() {
    explore(QUICK);
}

#[test]
#[ignore = "by night"]
fn no_property_of_long_sessions_is_broken() {
    explore(LONG);
}

#[test]
fn each_rule_of_sessions_is_needed() {
    for mutilation in RULES {
        let model = Model::new(mutilation.bounds, Some(mutilation.rule));
        let wanted = HasDiscoveries::AnyOf([mutilation.breaks].into());
        let checker = model.checker().threads(2).finish_when(wanted).spawn_bfs().join();
        let Some(path) = checker.discovery(mutilation.breaks) else {
            panic!("nothing goes wrong without {:?}", mutilation.rule)
        };
        let (states, steps) = (checker.unique_state_count(), path.into_actions());
        println!("without {:?}: {states} states, {} steps: {steps:?}", mutilation.rule, steps.len());
    }
}
