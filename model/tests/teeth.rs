//! Leaves each rule out, and sees the checker find what it is there for.

use lockbroker_model::check::search;
use lockbroker_model::teeth;

#[test]
fn without_any_one_rule_there_is_a_counterexample() {
    let mut toothless = Vec::new();
    for mutilation in teeth::ALL {
        let outcome = search(mutilation.bounds, mutilation.rules, mutilation.breaks);
        println!("{outcome}");
        toothless.extend(outcome.violation.is_none().then_some(mutilation.rule));
    }
    assert_eq!(toothless, Vec::<&str>::new());
}
