//! Explores how servers come and go: the configurations whose names begin with the first argument. With a number behind it, explores
//! what can happen within so many steps, and the larger configurations too. After "without", leaves out the rules whose names
//! begin with the second argument.

use std::time::Instant;

use lockbroker_model::topology::{Bounds, LARGER, LONG, Model, PROMISES, QUICK, Rules, TEETH};
use stateright::{Checker, HasDiscoveries, Model as _};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["without", rule] => {
            for tooth in TEETH.iter().filter(|tooth| tooth.rule.starts_with(rule)) {
                run(tooth.bounds, tooth.rules, None);
            }
        }
        [name, steps] => {
            let steps = steps.parse().expect("a number of steps");
            QUICK.iter().chain(LONG).chain(LARGER).filter(|bounds| bounds.name.starts_with(name)).for_each(|bounds| {
                run(*bounds, Rules::ALL, Some(steps));
            });
        }
        _ => {
            let name = arguments.first().copied().unwrap_or_default();
            QUICK.iter().chain(LONG).filter(|bounds| bounds.name.starts_with(name)).for_each(|bounds| {
                run(*bounds, Rules::ALL, None);
            });
        }
    }
}

fn run(bounds: Bounds, rules: Rules, steps: Option<usize>) {
    let began = Instant::now();
    let checker = Model::new(bounds, rules).checker().threads(2).finish_when(HasDiscoveries::AnyOf(PROMISES.into()));
    let checker = match steps {
        // The depth counts states.
        Some(steps) => checker.target_max_depth(steps + 1),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    let (states, depth, took) = (checker.unique_state_count(), checker.max_depth(), began.elapsed().as_secs_f64());
    let generated = checker.state_count();
    println!("{:28} {states:>9} states {generated:>10} generated, depth {depth:>3}, {took:>5.1} s", bounds.name);
    for (property, path) in checker.discoveries() {
        let actions = path.into_actions();
        println!("  {property}: after {} steps", actions.len());
        if PROMISES.contains(&property) {
            actions.iter().for_each(|action| println!("    {action:?}"));
        }
    }
}
