//! Explores how servers come and go, and leaves out each rule of it.

use lockbroker_model::check;
use lockbroker_model::topology::{Bounds, LONG, Model, QUICK, Rules, TEETH};
use stateright::{Checker, HasDiscoveries, Model as _};

fn explore(all: &[Bounds]) {
    all.iter().for_each(|bounds| check::explore(bounds.name, Model::new(*bounds, Rules::ALL)));
}

#[test]
fn no_property_of_a_change_is_broken() {
    explore(QUICK);
}

#[test]
#[ignore = "by night"]
fn no_property_of_a_change_is_broken_in_larger_bounds() {
    explore(LONG);
}

/// Checks that without the rule the checker finds a state that must not be, and that with it none is found within as many
/// steps.
fn is_needed(rule: &str) {
    let tooth = TEETH.iter().find(|tooth| tooth.rule == rule).expect("a rule of the list");
    let wanted = HasDiscoveries::AnyOf([tooth.breaks].into());
    let without = Model::new(tooth.bounds, tooth.rules).checker().threads(2).finish_when(wanted).spawn_bfs().join();
    let Some(path) = without.discovery(tooth.breaks) else { panic!("nothing goes wrong without {rule}") };
    let (states, steps) = (without.unique_state_count(), path.into_actions());
    println!("without {rule}: {states} states, {} steps: {steps:?}", steps.len());
    let with =
        Model::new(tooth.bounds, tooth.with).checker().threads(2).target_max_depth(steps.len() + 1).spawn_bfs().join();
    assert_eq!(
        with.discovery(tooth.breaks).map(|path| path.into_actions()),
        None,
        "something goes wrong even with {rule}"
    );
}

macro_rules! needed {
    ($($(#[$attribute:meta])* $rule:ident)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $rule() {
                is_needed(stringify!($rule));
            }
        )*

        #[test]
        fn every_rule_is_left_out() {
            let rules: Vec<_> = TEETH.iter().map(|tooth| tooth.rule).collect();
            assert_eq!(rules, [$(stringify!($rule)),*]);
            // The rules are flags, and all of them are set.
            assert_eq!(rules.len(), format!("{:?}", Rules::ALL).matches(": true").count());
        }
    };
}

needed! {
    flip_is_fresh
    #[ignore = "by night"]
    prepared
    #[ignore = "by night"]
    opens_with_evidence
    #[ignore = "by night"]
    aware_opens_nothing
    old_place_first
    reasserts
    opens_when_all_flipped
    waits_from_last_flip
    adopter_opens_first
    copies
    tokens_go_on
    #[ignore = "by night"]
    counts_anew
    longer_ttl
    #[ignore = "by night"]
    lowered_with_care
    #[ignore = "by night"]
    somebody_remembers
    dead_is_down
}
