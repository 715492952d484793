//! Explores the configurations whose names begin with the first argument; with a second one, the larger ones too.

use lockbroker_model::{check::check, configurations, rules::Rules};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let larger = if std::env::args().nth(2).is_some() { configurations::LARGER } else { &[] };
    let all = configurations::ALL.iter().chain(larger);
    for bounds in all.filter(|bounds| bounds.name.starts_with(&wanted)) {
        println!("{}", check(*bounds, Rules::ALL));
    }
}
