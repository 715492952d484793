//! Leaves out the rules whose names begin with the argument.

use lockbroker_model::{check::search, teeth};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for mutilation in teeth::ALL.iter().filter(|m| m.rule.starts_with(&wanted)) {
        let outcome = search(mutilation.bounds, mutilation.rules, mutilation.breaks);
        println!("{outcome}");
    }
}
