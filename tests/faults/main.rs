//! The fault suite: three brokers on two memcached serve twenty clients while a nemesis does to all of them what
//! happens in a data centre, all at once. Every client notes what it believed and when; afterwards a checker that no
//! broker has a hand in looks for two holders at a time, fencing tokens that do not rise, locks that nobody can get
//! any more, and locks that were lost without a word or without a cause.
//!
//! ```text
//! LOCKBROKER_FAULTS_SECONDS=300 LOCKBROKER_FAULTS_SEED=7 ./scripts/test --test faults -- --nocapture
//! ```
//!
//! The seed, which is printed, decides what the nemesis does, to whom and when, and what the clients ask for; how the
//! processes fall in with each other is up to the machine.

#![cfg(feature = "server")]

mod checker;
mod clients;
mod history;
mod nemesis;
mod report;
mod roads;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use report::Report;
use world::World;

/// The settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    seed: u64,
    length: Duration,
}

impl Settings {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
        Self {
            seed: number("LOCKBROKER_FAULTS_SEED").unwrap_or_else(rand::random),
            length: Duration::from_secs(number("LOCKBROKER_FAULTS_SECONDS").unwrap_or(60)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_makes_two_holders_or_loses_a_lock() {
    let settings = Settings::from_environment();
    println!("seed {}, {:?}", settings.seed, settings.length);
    // Lives until the end, for the logs of what fails.
    let world = World::start().await;
    let history = world.live(&settings).await;
    let report = Report::of(&history, &checker::judge(&history));
    println!("{report}");
    assert_eq!(report.shortcomings(), [""; 0]);
}
