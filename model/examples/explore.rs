//! Explores the configurations whose names begin with the first argument; with "larger" behind it, the larger ones too. With a number
//! behind it, explores what can happen within so many steps.

use lockbroker_model::check::{check, check_within, explore};
use lockbroker_model::{configurations, rules::Rules, sessions};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let second = std::env::args().nth(2);
    let steps = second.as_ref().and_then(|steps| steps.parse().ok());
    let larger = if second.is_some_and(|second| second == "larger") { configurations::LARGER } else { &[] };
    let all = configurations::ALL.iter().chain(larger);
    for bounds in all.filter(|bounds| bounds.name.starts_with(&wanted)) {
        let outcome = match steps {
            Some(steps) => check_within(*bounds, Rules::ALL, steps),
            None => check(*bounds, Rules::ALL),
        };
        println!("{outcome}");
    }
    if steps.is_some() {
        return;
    }
    for bounds in sessions::QUICK.iter().chain(sessions::LONG).filter(|bounds| bounds.name.starts_with(&wanted)) {
        explore(bounds.name, sessions::Model::new(*bounds, None));
    }
}
