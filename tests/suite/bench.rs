//! `lockbroker bench` measures what it says, on either store, and hides nothing that fails.

use std::path::Path;
use std::time::Duration;

use crate::support::{Broker, Memcached, Process, SOON, brokers, eventually, lockbroker, run};
use serde_json::Value;

/// How long a run may take, beyond what it measures, to set up and to wait for stragglers.
const END: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_measured_in_three_ways_on_either_store() {
    for (_memcached, broker) in brokers(&[]).await {
        for (via, steps) in [
            ("session", &["cycle", "acquire", "release"][..]),
            ("stream", &["cycle", "acquire", "release"]),
            ("unary", &["call"]),
        ] {
            let flags = ["--via", via, "--connections", "2", "--concurrency", "8", "--warm-up", "200ms"];
            let found = measure(&broker, "cycle", &flags);
            for step in steps {
                sane(&found, step);
            }
            assert!(found["brokers"][0]["cpu_us_per_step"].as_f64().unwrap() > 0.0, "{found:#}");
            if via != "unary" {
                let p50 = |step| micros(&found, step, "p50");
                assert!(p50("acquire").max(p50("release")) <= p50("cycle"), "{found:#}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_holds_and_disconnects_are_measured_on_either_store() {
    for (_memcached, broker) in brokers(&[]).await {
        let found = measure(&broker, "hand-over", &["--waiters", "5", "--warm-up", "200ms"]);
        sane(&found, "hand-over");
        assert_eq!(found["series"]["to another broker"], Value::Null);

        for via in ["session", "stream"] {
            let found =
                measure(&broker, "hold", &["--via", via, "--locks", "50", "--ttl", "5s", "--duration", "2500ms"]);
            for step in ["acquire", "release"] {
                sane(&found, step);
                assert_eq!(found["series"][step]["count"], 50, "{found:#}");
            }
            let (beats, renewals) = ("heartbeats acknowledged", "renewals told on streams");
            let heard = &found["counts"][if via == "session" { beats } else { renewals }];
            // A third of the ttl has passed.
            assert!(heard.as_u64().unwrap() >= if via == "session" { 1 } else { 50 }, "{found:#}");
            assert_eq!(found["counts"]["ended by themselves"], 0);
            assert!(found["brokers"][0]["anonymous_bytes"]["held"].as_u64().unwrap() > 0, "{found:#}");
        }

        let found = measure(&broker, "disconnect", &["--locks", "3"]);
        sane(&found, "cut to a grant");
        let count = |step: &str| found["series"][step]["count"].as_u64().unwrap();
        assert_eq!(count("cut to a grant"), 3 * count("cut to the last grant"), "{found:#}");
        // A round that takes longer than what was asked for counts all the same.
        let long = measure(&broker, "disconnect", &["--locks", "200", "--duration", "10ms"]);
        assert_eq!(long["series"]["cut to a grant"]["count"], 200, "{long:#}");
        // By the end of the connection, not of the ttl.
        assert!(micros(&found, "cut to the last grant", "p50") < 1e6, "{found:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_between_two_brokers_are_shown_by_themselves() {
    let memcached = Memcached::start(&[]).await;
    let (one, other) = (Broker::on(&memcached).await, Broker::on(&memcached).await);
    let found = measure(&one, "hand-over", &["--server", &other.url(), "--waiters", "1"]);
    // With one waiter the lock goes to and fro.
    sane(&found, "to another broker");
    assert_eq!(found["series"]["to another broker"]["count"], found["series"]["hand-over"]["count"]);
    let found = measure(&one, "disconnect", &["--server", &other.url()]);
    sane(&found, "cut to a grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_locks_move_with_a_broker_that_drains() {
    for via in ["session", "stream"] {
        let memcached = Memcached::start(&[]).await;
        let (mut one, other) = (Broker::on(&memcached).await, Broker::on(&memcached).await);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("found");
        let servers = format!("{},{}", one.url(), other.url());
        let mut hold = lockbroker(&["bench", "hold", "--server", &servers, "--via", via, "--locks", "50"]);
        let mut bench = Process::spawn("lockbroker bench", hold.args(["--duration", "6s", "--json"]).arg(&file));
        eventually(SOON, "all are held", async || bench.log().iter().any(|line| line.starts_with("hold:"))).await;
        assert!(one.terminate(SOON).await.success());
        assert!(bench.wait(END).await.success());
        let found = read(&file);
        assert_eq!((&found["failed"], &found["counts"]["ended by themselves"]), (&0.into(), &0.into()), "{found:#}");
        assert_eq!(found["counts"]["moved to another broker"], 50, "{found:#}");
        assert_eq!(found["series"]["release"]["count"], 50, "{found:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_a_failure_that_is_shown() {
    for via in ["session", "stream"] {
        let mut broker = Broker::memory().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("found");
        let mut bench = start(&broker, &["--via", via, "--duration", "3s", "--warm-up", "0s"], &file);
        under_way(&bench).await;
        broker.kill();
        assert!(bench.wait(END).await.success());
        let found = read(&file);
        assert!(found["failed"].as_u64().unwrap() > 0, "{found:#}");
        assert!(found["series"]["cycle"]["count"].as_u64().unwrap() > 0, "{found:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_which_nothing_succeeds_fails() {
    let output = run(&["bench", "cycle", "--server", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("cannot connect") && line.contains("127.0.0.1:1"), "{line}");

    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    memcached.kill();
    let output = run(&["bench", "cycle", "--server", &broker.url(), "--duration", "1s", "--warm-up", "0s"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains(" x failed: Unavailable: memcached"), "{table}");
}

/// Who waits for the answer before asking again sees one slow call where a crowd would have suffered.
#[tokio::test(flavor = "multi_thread")]
async fn at_a_fixed_rate_a_stall_is_seen_by_all_who_would_have_called() {
    const STALL: Duration = Duration::from_millis(300);
    for via in ["session", "unary"] {
        let mut broker = Broker::memory().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("found");
        let flags = ["--via", via, "--rate", "200", "--concurrency", "2", "--duration", "3s", "--warm-up", "0s"];
        let mut bench = start(&broker, &flags, &file);
        under_way(&bench).await;
        broker.stop().await;
        // This is the stall itself.
        tokio::time::sleep(STALL).await;
        broker.cont();
        assert!(bench.wait(END).await.success());
        let found = read(&file);
        let step = if via == "session" { "cycle" } else { "call" };
        assert_eq!((&found["series"][step]["count"], &found["failed"]), (&600.into(), &0.into()), "{found:#}");
        sane(&found, "begun late by");
        let (max, p99) = (micros(&found, step, "max"), micros(&found, step, "p99"));
        assert!(max >= 0.95 * STALL.as_micros() as f64, "{found:#}");
        // 60 of the 600 were due in the stall: the slowest 6 of them waited for nearly all of it.
        assert!(p99 >= 0.8 * STALL.as_micros() as f64, "{found:#}");
    }
}

/// Runs one mode for a second and returns what it found.
fn measure(broker: &Broker, mode: &str, flags: &[&str]) -> Value {
    let (url, pid) = (broker.url(), broker.pid().to_string());
    let fixed = ["bench", mode, "--server", &url, "--pid", &pid, "--json", "-"];
    let duration: &[_] = if flags.contains(&"--duration") { &[] } else { &["--duration", "1s"] };
    let output = run(&[&fixed, flags, duration].concat());
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["mode"], &found["failed"]), (&mode.into(), &0.into()), "{found:#}");
    found
}

/// Starts cycles.
fn start(broker: &Broker, flags: &[&str], file: &Path) -> Process {
    let mut command = lockbroker(&["bench", "cycle", "--server", &broker.url()]);
    Process::spawn("lockbroker bench", command.args(flags).arg("--json").arg(file))
}

/// Waits until the bench says that it has measured something.
async fn under_way(bench: &Process) {
    eventually(SOON, "the bench tells its progress", async || {
        bench.log().iter().any(|line| line.contains(" done, 0 failed") && !line.contains(" 0 done"))
    })
    .await;
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn micros(found: &Value, step: &str, which: &str) -> f64 {
    found["series"][step][format!("{which}_us")].as_f64().unwrap_or_else(|| panic!("no {step} in {found:#}"))
}

/// There is something, and it is in order.
fn sane(found: &Value, step: &str) {
    let series = &found["series"][step];
    let (count, rate) = (series["count"].as_u64().unwrap_or(0), series["rate_per_second"].as_f64().unwrap_or(0.0));
    assert!(count > 0 && rate > 0.0, "{step} in {found:#}");
    let spans = ["p50", "p90", "p99", "p99_9", "max"].map(|which| micros(found, step, which));
    assert!(spans[0] > 0.0 && spans.is_sorted() && spans[4] < 60e6, "{step}: {spans:?}");
}
