//! Explores the configurations whose names begin with the first argument; with a second one, the larger ones too.

use lockbroker_model::{check::check, configurations, rules::Rules, sessions};
use stateright::{Checker, Model as _};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let larger = if std::env::args().nth(2).is_some() { configurations::LARGER } else { &[] };
    let all = configurations::ALL.iter().chain(larger);
    for bounds in all.filter(|bounds| bounds.name.starts_with(&wanted)) {
        println!("{}", check(*bounds, Rules::ALL));
    }
    for bounds in sessions::QUICK.iter().chain(sessions::LONG).filter(|bounds| bounds.name.starts_with(&wanted)) {
        let checker = sessions::Model::new(*bounds, None).checker().threads(2).spawn_bfs().join();
        println!("{:28} {:>9} states, depth {:>3}", bounds.name, checker.unique_state_count(), checker.max_depth());
        checker.assert_properties();
    }
}
