//! deploy/monitoring against real brokers: what is done to a broker changes what it exposes, and Prometheus' own
//! promtool says which alerts that sets off. Its clock is made up, so nobody waits for an alert's minutes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Broker, Memcached, RawSession, SOON, Scrape, acquire, begin, granted, lockbroker, once, queue, release, tool,
    try_acquire, wait,
};
use lockbroker::proto::lock_event::Kind;
use tonic::Code;

const LOCKS: i64 = 20;
/// A third of the default ttl.
const BEAT: Duration = Duration::from_secs(5);

#[test]
fn the_dashboard_shows_what_there_is() {
    let monitoring = monitoring();
    let known: BTreeSet<_> = include_str!("../../docs/monitoring.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let dashboard: serde_json::Value =
        serde_json::from_slice(&std::fs::read(monitoring.join("dashboard.json")).unwrap()).unwrap();
    let mut shown = BTreeSet::new();
    for expression in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()) {
        for target in expression {
            let names = metrics_in(target["expr"].as_str().unwrap());
            assert!(!names.is_empty(), "{target}");
            shown.extend(names);
        }
    }
    let bare = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        histogram.unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<_> = shown.iter().map(|name| bare(name)).collect();
    // That they exist is checked against a scrape in tests/suite/metrics.rs.
    assert_eq!(shown.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[tokio::test]
async fn every_alert_is_set_off_by_what_it_is_for() {
    let mut cases = Cases::default();
    let (slow, hung, full, is_unsafe, draining, changing) =
        tokio::join!(work(), hang(), fill(), lack_flags(), drain(), change());
    let (idle, worked, waited_long) = slow;
    cases.silent("all is well", &idle, &worked);
    // The highest that counts as well: Prometheus takes it for anything up to the bucket's bound.
    for (histogram, bound) in MACHINE.into_iter().chain([("lockbroker_wait_seconds", 65.536)]) {
        cases.silent(&format!("{histogram} up to {bound}"), &idle, &all_in_bucket(&idle, &worked, histogram, bound));
    }
    cases.fires("LockbrokerAbsent", &idle, &Scrape::default());
    cases.fires("LockbrokerLongWaits", &idle, &waited_long);
    for (alert, (before, after)) in hung.iter().chain([&full, &is_unsafe, &draining, &changing]) {
        cases.fires(alert, before, after);
    }

    let text = std::fs::read_to_string(monitoring().join("alerts.yaml")).unwrap();
    let alerts: BTreeSet<_> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(cases.alerts.iter().map(String::as_str).collect::<BTreeSet<_>>(), alerts);
    // Each says where to read on.
    let docs = include_str!("../../docs/monitoring.md");
    for alert in &alerts {
        assert!(docs.contains(&format!("\n### {alert}\n")), "{alert} is not in docs/monitoring.md");
        assert!(text.contains(&format!("runbook: docs/monitoring.md#{}\n", alert.to_lowercase())), "{alert}");
    }

    promtool(&["check", "rules"], &monitoring().join("alerts.yaml"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts_test.yaml");
    std::fs::write(&file, cases.file()).unwrap();
    promtool(&["test", "rules"], &file);
}

/// What was exposed before and after something, and the alert that this is for.
type Change = (&'static str, (Scrape, Scrape));

/// The histograms that depend on the machine, and the bounds of their highest buckets that set off no alert.
const MACHINE: [(&str, f64); 3] = [
    ("lockbroker_batch_seconds", 0.1024),
    ("lockbroker_renewal_lag_seconds", 1.024),
    ("lockbroker_heartbeat_lag_seconds", 1.024),
];

/// The bound of a histogram's bucket; none if the sample is none.
fn bound_of(sample: &str, histogram: &str) -> Option<f64> {
    let labels = sample.strip_prefix(histogram)?.strip_prefix("_bucket")?;
    let (_, bound) = labels.split_once("le=\"")?;
    Some(bound.split('"').next()?.parse().unwrap_or(f64::INFINITY))
}

/// Changes what was exposed after something so that all of it counts in the bucket with this bound.
fn all_in_bucket(before: &Scrape, after: &Scrape, histogram: &str, bound: f64) -> Scrape {
    let mut changed = after.clone();
    for (sample, value) in &mut changed.0 {
        if bound_of(sample, histogram).is_some_and(|below| below < bound) {
            *value = before.0[sample];
        }
    }
    changed
}

/// A broker at work, which is no reason for an alert; and the same work with waits of more than four minutes. On a busy
/// machine memcached and clients are slow themselves, and that is a reason: so it tries again.
async fn work() -> (Scrape, Scrape, Scrape) {
    const ATTEMPTS: usize = 10;
    for _ in 0..ATTEMPTS {
        let (before, after, long) = work_once().await;
        let risen = |histogram: &str, bound: f64| -> f64 {
            let of_bucket = after.0.iter().filter(|(sample, _)| bound_of(sample, histogram) == Some(bound));
            of_bucket.map(|(sample, value)| value - before.0[sample]).sum()
        };
        let is_slow = |(histogram, bound)| risen(histogram, bound) < risen(histogram, f64::INFINITY);
        if !MACHINE.into_iter().any(is_slow) {
            return (before, after, long);
        }
    }
    panic!("this machine was too slow {ATTEMPTS} times");
}

/// Does the work once.
async fn work_once() -> (Scrape, Scrape, Scrape) {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let mut stub = broker.stub().await;
    let before = broker.scrape().await;
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "on a session"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    session.beat();
    let (first, _lock) = acquire(&mut stub, once("a")).await;
    assert!(try_acquire(&mut stub, once("a")).await.unwrap().is_none());
    let (_, mut waiter) = queue(&mut stub, wait("a")).await;
    release(&mut stub, "a", &first.lock_id).await;
    granted(&mut waiter).await;
    let after = broker
        .scraped("the heartbeat has renewed", |scrape| scrape.sum("lockbroker_renewal_lag_seconds_count", &[]) == 1.0)
        .await;
    let mut long = after.clone();
    for (sample, value) in &mut long.0 {
        // Nobody waits here for as long as that takes.
        if sample.starts_with("lockbroker_wait_seconds_bucket") && !sample.contains("+Inf") {
            *value = before.0[sample];
        }
    }
    (before, after, long)
}

/// A memcached that hangs, is asked for too much, forgets a lock, and restarts.
async fn hang() -> Vec<Change> {
    let mut memcached = Memcached::start(&[]).await;
    let limit = LOCKS.to_string();
    let broker = Broker::on_store(&memcached.store(), &[&Broker::WATCHED[..], &["--max-locks", &limit]].concat()).await;
    let mut stub = broker.stub().await;
    let mut session = RawSession::open(&mut stub, None).await;
    for lock in 1..=LOCKS {
        session.begin(begin(lock, &format!("lock-{lock}")));
    }
    for _ in 1..=LOCKS {
        assert!(matches!(session.next_event().await, (_, Kind::Acquired(_))));
    }
    let idle = broker.scrape().await;
    let mut changes = Vec::new();

    assert_eq!(try_acquire(&mut stub, once("one too many")).await.unwrap_err().code(), Code::ResourceExhausted);
    changes.push(("LockbrokerRefuses", (idle.clone(), broker.scrape().await)));

    // A client that is late, and a memcached that answers even later.
    tokio::time::sleep(BEAT + Duration::from_millis(1500)).await;
    let uncertain = |scrape: &Scrape| scrape.sum("lockbroker_store_errors_total", &[("kind", "uncertain")]);
    let renewals = |scrape: &Scrape| scrape.sum("lockbroker_renewal_lag_seconds_count", &[]);
    let mut late = idle.clone();
    // Where the broker was just asking how memcached is, renewals are not even sent, and are no uncertain ones.
    for attempt in 1.. {
        if uncertain(&late) >= LOCKS as f64 {
            break;
        }
        assert!(attempt < 10, "{late:?}");
        if attempt > 1 {
            // For a while after it has connected, the broker asks often.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        memcached.stop().await;
        session.beat();
        tokio::time::sleep(Duration::from_secs(3)).await;
        memcached.cont();
        let before = renewals(&late);
        late = broker.scraped("renewals get through", |scrape| renewals(scrape) >= before + LOCKS as f64).await;
    }
    for alert in ["LockbrokerHeartbeatLag", "LockbrokerRenewalLag", "LockbrokerStoreSlow", "LockbrokerStoreUncertain"] {
        changes.push((alert, (idle.clone(), late.clone())));
    }

    assert_eq!(memcached.command("md lockbroker:L:lock-1").await, "HD\r\n");
    session.beat();
    while !matches!(session.next_event().await, (1, Kind::Lost(_))) {}
    changes.push(("LockbrokerLocksLost", (late, broker.scrape().await)));

    memcached.kill();
    let away = broker.scraped("the shard is away", |scrape| scrape.sum("lockbroker_ready", &[]) == 0.0).await;
    changes.push(("LockbrokerShardNotOpen", (idle.clone(), away.clone())));
    changes.push(("LockbrokerNotReady", (idle.clone(), away)));
    memcached.start_again().await;
    let closed = |scrape: &Scrape| scrape.sum("lockbroker_shard_quarantine_seconds", &[]) > 0.0;
    changes.push(("LockbrokerShardLostMemory", (idle, broker.scraped("the shard is closed", closed).await)));
    changes
}

async fn fill() -> Change {
    let memcached = Memcached::start(&["-m", "2"]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let before = broker.scrape().await;
    memcached.fill(160).await;
    let refusal = try_acquire(&mut broker.stub().await, once("full 1")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    ("LockbrokerShardFull", (before, broker.scrape().await))
}

async fn lack_flags() -> Change {
    let mut memcached = Memcached::bare(&[]).await;
    memcached.kill();
    let store = memcached.store();
    let arguments = [&Broker::WATCHED[..], &["--allow-unsafe-store", "--store", &store]].concat();
    let broker = Broker::start_unready(&arguments).await;
    let before = broker.scrape().await;
    memcached.start_again().await;
    let is_unsafe = |scrape: &Scrape| scrape.sum("lockbroker_shard_unsafe", &[]) == 1.0;
    ("LockbrokerShardUnsafe", (before, broker.scraped("the shard is used", is_unsafe).await))
}

async fn drain() -> Change {
    let mut broker = Broker::start(&[&Broker::WATCHED[..], &["--drain", "1h"]].concat()).await;
    let admin = broker.admin().await;
    let (_, lock) = acquire(&mut broker.stub().await, once("held on to")).await;
    let before = Scrape::of(admin).await;
    let drained = async {
        while Scrape::of(admin).await.sum("lockbroker_draining", &[]) == 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let after = Scrape::of(admin).await;
        drop(lock);
        after
    };
    let (_, after) = tokio::join!(broker.terminate(2 * SOON), drained);
    ("LockbrokerDrainsTooLong", (before, after))
}

/// A change of the servers that nobody completes.
async fn change() -> Change {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let before = broker.scrape().await;
    let mut adopter =
        lockbroker(&["shard", "adopt", "--max-ttl", "16s", "--store", &memcached.store()]).spawn().unwrap();
    let changing = |scrape: &Scrape| scrape.sum("lockbroker_topology_changing", &[]) == 1.0;
    let after = broker.scraped("the servers change", changing).await;
    adopter.kill().unwrap();
    adopter.wait().unwrap();
    ("LockbrokerTopologyChanging", (before, after))
}

/// A file of promtool's unit tests. In each, what was exposed before stands for five minutes, and from then on what was
/// exposed after; counters go on rising from minute to minute as they did between the two.
#[derive(Default)]
struct Cases {
    alerts: BTreeSet<String>,
    tests: String,
}

/// When the change comes, and when all that it sets off has fired, in minutes.
const CHANGE: usize = 5;
const LATE: usize = 35;

impl Cases {
    fn fires(&mut self, alert: &str, before: &Scrape, after: &Scrape) {
        assert!(self.alerts.insert(alert.to_owned()), "{alert} twice");
        let query = format!("group by (alertname) (ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})");
        self.test(alert, before, after, &query, &format!("[{{labels: '{{alertname=\"{alert}\"}}', value: 1}}]"));
    }

    fn silent(&mut self, name: &str, before: &Scrape, after: &Scrape) {
        self.test(name, before, after, "group by (alertname) (ALERTS)", "[]");
    }

    fn test(&mut self, name: &str, before: &Scrape, after: &Scrape, query: &str, then: &str) {
        let mut series = String::new();
        for sample in before.0.keys().chain(after.0.keys()).collect::<BTreeSet<_>>() {
            let (metric, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            let labels = match labels {
                "}" => "instance=\"broker\"}".to_owned(),
                labels => format!("instance=\"broker\",{labels}"),
            };
            let values = match (before.0.get(sample), after.0.get(sample)) {
                (Some(before), Some(after)) => {
                    let is_counter = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| metric.ends_with(end));
                    let rise = if is_counter { after - before } else { 0.0 };
                    format!("{before}+0x{} {after}+{rise}x{LATE}", CHANGE - 1)
                }
                (Some(before), None) => format!("{before}+0x{} stale _x{LATE}", CHANGE - 1),
                (None, _) => panic!("{sample} was not exposed before"),
            };
            writeln!(series, "      - {{series: '{metric}{{{labels}', values: '{values}'}}").unwrap();
        }
        write!(self.tests, "  - name: {name}\n    interval: 1m\n    input_series:\n{series}    promql_expr_test:\n")
            .unwrap();
        for (minute, expected) in [(CHANGE - 1, "[]"), (LATE, then)] {
            writeln!(self.tests, "      - {{expr: '{query}', eval_time: {minute}m, exp_samples: {expected}}}").unwrap();
        }
    }

    fn file(&self) -> String {
        let rules = monitoring().join("alerts.yaml");
        format!("rule_files: ['{}']\nevaluation_interval: 30s\ntests:\n{}", rules.display(), self.tests)
    }
}

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")
}

/// The names of metrics in an expression.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lockbroker_")).map(str::to_owned).collect()
}

fn promtool(command: &[&str], file: &Path) {
    let program = tool("LOCKBROKER_TEST_PROMTOOL", &["scripts/promtool"]);
    let output = Command::new(program).args(command).arg(file).output().unwrap();
    assert!(
        output.status.success(),
        "promtool {command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
