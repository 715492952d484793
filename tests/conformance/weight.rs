//! Measures what a client costs, and how much it holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::stage::Client;
use crate::support::Brokers;
use crate::testee::{Answer, Program, Testee};

/// A cycle may cost so many times what one on a Session by the generated stub costs.
const LIMIT: f64 = 3.0;
const ROUNDS: usize = 9;
const CYCLES: u64 = 200;

/// Times cycles through each client and through its language's stub in turn, and prints the medians.
pub(crate) async fn cost(programs: &[Program]) -> bool {
    let brokers = Brokers::start().await;
    let server = brokers.first.url();
    let mut good = true;
    for program in programs {
        let client = Client::connect(Arc::new(Testee::start(program, &[]).await), std::slice::from_ref(&server)).await;
        let name = format!("{}/cost", program.language);
        let micros = |answer: &Answer| answer.get("nanos").as_f64().unwrap() / CYCLES as f64 / 1_000.0;
        let cycle = async || micros(&client.ask("cycle", json!({"name": name, "count": CYCLES})).await);
        let bare = json!({"do": "bare_cycle", "server": server, "name": name, "count": CYCLES});
        let bare_cycle = async || micros(&client.testee.ask(bare.clone()).await);
        // Until both have warmed up.
        cycle().await;
        bare_cycle().await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(cycle().await);
            theirs.push(bare_cycle().await);
        }
        let ratio = median(&mut ours) / median(&mut theirs);
        let verdict = if ratio > LIMIT { ", too much" } else { "" };
        println!(
            "{}: a cycle takes {:.0} µs ({:.0} to {:.0}), by a bare stub {:.0} µs ({:.0} to {:.0}): {ratio:.2} times{verdict}",
            program.language,
            median(&mut ours),
            ours[0],
            ours[ROUNDS - 1],
            median(&mut theirs),
            theirs[0],
            theirs[ROUNDS - 1],
        );
        good &= ratio <= LIMIT;
    }
    good
}

/// Sorts, and returns the one in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Holds 1,000 locks in each language for a minute. Meanwhile their broker is killed, and memcached restarts.
pub(crate) async fn hold(programs: &[Program]) -> bool {
    const LOCKS: u64 = 1_000;
    let mut brokers = Brokers::start().await;
    let servers = brokers.both();
    let clients = join_all(programs.iter().map(async |program| {
        let client = Client::connect(Arc::new(Testee::start(program, &[]).await), &servers).await;
        let prefix = format!("{}/", program.language);
        client.takes_a_thousand(&prefix).await;
        (program, client, prefix)
    }));
    let clients = clients.await;
    let start = Instant::now();
    sleep(Duration::from_secs(10)).await;
    brokers.first.kill();
    sleep(Duration::from_secs(20)).await;
    brokers.first.start_again().await;
    brokers.memcached.kill();
    sleep(Duration::from_millis(500)).await;
    brokers.memcached.start_again().await;
    sleep(Duration::from_secs(60).saturating_sub(start.elapsed())).await;
    let mut good = true;
    for (program, client, prefix) in &clients {
        let (held, seen) = client.holds_of_a_thousand(prefix, &brokers.second).await;
        println!(
            "{}: after {} s {held} of {LOCKS} locks are held, and {seen} by the broker's word",
            program.language,
            start.elapsed().as_secs()
        );
        good &= held == LOCKS && seen == LOCKS;
    }
    good
}
