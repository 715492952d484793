//! The audit says who had which lock when, and never keeps a broker waiting.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::*;
use lockbroker::proto::AcquireRequest;
use lockbroker::proto::release_response::Outcome;
use serde_json::Value;
use tempfile::TempDir;

/// A folder, and an audit's file in it.
fn audit() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let flag = format!("--audit={}", file.display());
    (folder, file, flag)
}

/// The lines about a lock, each once it is whole.
fn lines(file: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.filter(|line: &Value| line["name"] == name).collect()
}

/// Waits for as many lines.
async fn wait_for(count: usize, file: &Path, name: &str) -> Vec<Value> {
    eventually(SOON, &format!("{count} lines"), async || lines(file, name).len() >= count).await;
    lines(file, name)
}

fn event(line: &Value) -> &str {
    line["event"].as_str().unwrap()
}

#[tokio::test]
async fn each_grant_and_its_end_are_a_line_and_no_line_has_an_id() {
    let (_folder, file, flag) = audit();
    let broker = Broker::start(&[&flag]).await;
    let mut stub = broker.stub().await;

    let mut request = once("a");
    request.lock.as_mut().unwrap().owner = "worker 7".into();
    let (first, held) = acquire(&mut stub, request).await;
    let taken = try_acquire(&mut stub, once("a")).await;
    assert!(matches!(taken, Ok(None)), "{taken:?}");
    drop(held);
    wait_for(3, &file, "a").await;
    let (second, _held) = acquire(&mut stub, once("a")).await;
    assert_eq!(release(&mut stub, "a", &second.lock_id).await, Outcome::Released);

    let mut seen = wait_for(6, &file, "a").await;
    // Of the last two, either may be written first.
    seen[4..].sort_by_key(|line| event(line) != "released");
    let events: Vec<&str> = seen.iter().map(event).collect();
    assert_eq!(events, ["granted", "refused", "released", "granted", "released", "release_called"]);
    assert_eq!((&seen[0]["owner"], &seen[0]["caller"]), (&"worker 7".into(), &"address:127.0.0.1".into()));
    // The name and the token join a grant to its end.
    for (line, token) in [(0, &first), (2, &first), (3, &second), (4, &second), (5, &second)] {
        assert_eq!(seen[line]["token"], token.fencing_token, "{}", seen[line]);
    }
    assert_eq!((&seen[1]["reason"], &seen[2]["reason"]), (&"held".into(), &"closed".into()));
    assert_eq!((&seen[4]["reason"], &seen[5]["outcome"]), (&"release_call".into(), &"released".into()));
    for line in &seen {
        assert!(line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{line}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    for id in [&first.lock_id, &second.lock_id] {
        assert!(!text.contains(&id[..16]), "a lock id in the audit");
    }
    // The audit is not the log.
    assert!(!broker.log().iter().any(|line| line.contains("granted")));
}

#[tokio::test]
async fn a_loss_is_a_line_and_so_is_a_refusal_by_the_policy() {
    let (folder, file, flag) = audit();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "[[rule]]\nwho = [\"uid:0\"]\nmay = [\"acquire\"]\nprefixes = [\"\"]\n").unwrap();
    let guarded = Broker::start(&[&flag, &format!("--policy={}", policy.display())]).await;
    guarded.stub().await.acquire(once("denied")).await.unwrap_err();
    let seen = wait_for(1, &file, "denied").await;
    assert_eq!((event(&seen[0]), &seen[0]["to"]), ("denied", &"acquire".into()));

    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &[&flag]).await;
    let mut stub = broker.stub().await;
    let (acquired, mut held) =
        acquire(&mut stub, AcquireRequest { ttl: span(Duration::from_secs(5)), ..once("lost") }).await;
    memcached.stop().await;
    after_renewals(&mut held).await;
    let seen = wait_for(2, &file, "lost").await;
    assert_eq!((event(&seen[1]), &seen[1]["reason"]), ("lost", &"expired".into()));
    assert_eq!(seen[1]["token"], acquired.fencing_token);
}

/// A pipe that nobody empties is as slow as a file can be.
#[tokio::test]
async fn lines_are_dropped_and_counted_before_a_broker_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open for reading, and never read. Both ways, since that waits for nobody.
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let broker = Broker::start(&[&format!("--audit={}", pipe.display()), "--admin-listen=127.0.0.1:0"]).await;
    let mut stub = broker.stub().await;
    // A pipe takes 64 KiB and the queue 1 MiB, some 5,000 lines of 9,000.
    let grants = 3_000;
    let begun = std::time::Instant::now();
    for _ in 0..grants {
        let (acquired, _held) = acquire(&mut stub, once("busy")).await;
        release(&mut stub, "busy", &acquired.lock_id).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    broker
        .scraped("lines are counted as dropped", |scrape| scrape.sum("lockbroker_audit_dropped_total", &[]) > 100.0)
        .await;
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_its_flag() {
    let answer = run(&["serve", "--listen=127.0.0.1:0", "--audit=/nowhere/audit.jsonl"]);
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(!answer.status.success() && said.contains("--audit") && said.contains("/nowhere/audit.jsonl"), "{said}");
}
