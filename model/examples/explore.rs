//! Explores the configurations whose names begin with the argument.

use lockbroker_model::{check::check, configurations, rules::Rules};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for bounds in configurations::ALL.iter().filter(|bounds| bounds.name.starts_with(&wanted)) {
        println!("{}", check(*bounds, Rules::ALL));
    }
}
