//! What a lock costs the broker, in bare calls: a ratio of CPU times that were measured within seconds of each other,
//! since a time by itself says more of the machine than of the broker.

use crate::support::{Broker, run};
use serde_json::Value;

const ROUNDS: usize = 3;

/// 0.50 to 0.59 on a debug build and a busy machine: many callers' answers share a frame, calls do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_on_a_session_costs_less_than_a_bare_call() {
    let _quiet = crate::quiet().await;
    assert_ratio("session", 1.0).await;
}

/// 1.9 to 3.4, measured likewise: two calls, and a stream that lives in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_on_a_stream_of_its_own_costs_a_few_bare_calls() {
    let _quiet = crate::quiet().await;
    assert_ratio("stream", 5.0).await;
}

/// Of the median of the rounds.
async fn assert_ratio(via: &str, most: f64) {
    let broker = Broker::memory().await;
    let mut ratios: Vec<_> = (0..ROUNDS).map(|_| cpu(&broker, via) / cpu(&broker, "unary")).collect();
    println!("CPU of a cycle ({via}), in bare calls: {ratios:.2?}");
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[ROUNDS / 2] <= most, "a cycle ({via}) costs {ratios:.2?} bare calls, at most {most} are expected");
}

/// The broker's CPU time for one cycle or call, in microseconds.
fn cpu(broker: &Broker, via: &str) -> f64 {
    let (url, pid) = (broker.url(), broker.pid().to_string());
    let duration = ["--duration", "1s", "--warm-up", "200ms"];
    let fixed = ["bench", "cycle", "--via", via, "--server", &url, "--pid", &pid, "--concurrency", "16", "--json", "-"];
    let output = run(&[&fixed[..], &duration].concat());
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["failed"], 0, "{found:#}");
    found["brokers"][0]["cpu_us_per_step"].as_f64().unwrap()
}
