//! Leaves out one rule after another, and checks that the checker finds what each is there for.
//!
//! Those that take more than some three seconds of a processor's time are left out by night, unless nothing quicker shows
//! that the model has that kind of lock or fault.

use lockbroker_model::check::{check_within, search};
use lockbroker_model::rules::Rules;
use lockbroker_model::teeth;

/// Checks that without the rule the checker finds a state that must not be, and that with the rule it finds none
/// within as many steps.
fn is_needed(rule: &str) {
    let mutilation = teeth::ALL.iter().find(|mutilation| mutilation.rule == rule).expect("a rule of the list");
    let without = search(mutilation.bounds, mutilation.rules, mutilation.breaks);
    println!("without {without}");
    let Some((_, steps)) = &without.violation else { panic!("nothing goes wrong without {rule}") };
    let with = check_within(mutilation.bounds, Rules::ALL, steps.len());
    println!("with    {with}");
    assert!(with.violation.is_none(), "something goes wrong even with {rule}");
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

        const TESTED: &[&str] = &[$(stringify!($rule)),*];
    };
}

needed! {
    witness
    witness_last
    witness_unwritten
    witness_unread
    #[ignore = "by night"]
    grant_only_if_open
    #[ignore = "by night"]
    lost_is_final
    #[ignore = "by night"]
    permit_before_look
    lock_before_look
    gate_compares
    lock_outlives_downgrade
    #[ignore = "by night"]
    fresh_epoch
    quarantine
    #[ignore = "by night"]
    quarantine_length
    #[ignore = "by night"]
    quarantine_per_epoch
    #[ignore = "by night"]
    quarantine_from_arrival
    margin
    answer_in_time
    renewal_compares
    release_compares
    hand_over_compares
    reattach_new_id
    #[ignore = "by night"]
    reattach_never_undone
    #[ignore = "by night"]
    reattach_protected
    silence_waits
    reset_is_silence
    #[ignore = "by night"]
    clock_lag
    #[ignore = "by night"]
    clock_learned
    #[ignore = "by night"]
    fence_after_lock
    #[ignore = "by night"]
    fence_start
    scrub
    closed_is_unsettled
    reassert
    #[ignore = "by night"]
    reassert_linger
    item_outlives_linger
    linger_never_shortens
    #[ignore = "by night"]
    release_creates_linger
    revoked_waits
    #[ignore = "by night"]
    revoked_lives
    #[ignore = "by night"]
    lease_not_recreated
    kept_on_close
    min_hold_kept
    min_hold_in_item
    #[ignore = "by night"]
    min_hold_never_cut
    #[ignore = "by night"]
    moving_release_lingers
}

#[test]
fn every_rule_has_its_test() {
    let of_the_list: Vec<_> = teeth::ALL.iter().map(|mutilation| mutilation.rule).collect();
    assert_eq!(TESTED, of_the_list);
    // The rules are flags, and all of them are set.
    assert_eq!(TESTED.len(), format!("{:?}", Rules::ALL).matches(": true").count());
}
