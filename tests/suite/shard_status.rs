//! Operators see what their memcached servers are, and what adopting them would do, and nothing changes by that.

use std::net::SocketAddr;
use std::process::Output;

use crate::support::*;
use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{AcquireRequest, LockSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tonic::Code;

/// Locks stand for as long as a test takes, also those of a broker that has been stopped.
const LONG: [&str; 4] = ["--default-ttl", "5m", "--max-ttl", "5m"];
const MINUTE: Duration = Duration::from_secs(60);

fn status(store: &str, arguments: &[&str]) -> Output {
    run(&[&["shard", "status", "--store", store], arguments].concat())
}

/// What is said of each server, and the summary.
fn reports(store: &str, arguments: &[&str]) -> (Vec<Value>, Value, Option<i32>) {
    let output = status(store, &[&["--json"], arguments].concat());
    let mut lines: Vec<Value> =
        said(&output).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{output:?}"))).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("{output:?}"))["summary"].take();
    (lines, summary, output.status.code())
}

/// What is said of the only server.
fn report(memcached: &Memcached, arguments: &[&str]) -> (Value, Option<i32>) {
    let (mut reports, _, code) = reports(&memcached.store(), arguments);
    assert_eq!(reports.len(), 1);
    (reports.remove(0), code)
}

fn rehearse(store: &str, arguments: &[&str]) -> Output {
    run(&[&["shard", "adopt", "--stopped", "--dry-run", "--store", store], arguments].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the cells of the line of a table that begins so.
fn row(output: &Output, begin: &str) -> Vec<String> {
    let text = said(output);
    let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin} in {text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// All that a command could have changed on a server: its items, with the time of their last use, and how often they were
/// written. Without brokers' notes, which run out meanwhile.
async fn everything(server: SocketAddr) -> (Vec<String>, Vec<String>) {
    const COUNTED: [&str; 13] = [
        "cmd_set",
        "cmd_touch",
        "cmd_flush",
        "delete_hits",
        "delete_misses",
        "incr_hits",
        "incr_misses",
        "decr_hits",
        "decr_misses",
        "cas_hits",
        "cas_misses",
        "cas_badval",
        "total_items",
    ];
    let mut items = answer(server, "lru_crawler metadump hash").await;
    items.retain(|item| !item.contains("key=lockbroker%3AB%3A"));
    items.sort();
    let mut stats = answer(server, "stats").await;
    stats.retain(|stat| COUNTED.contains(&stat.split(' ').nth(1).unwrap_or_default()));
    (items, stats)
}

/// Asks by itself, since memcached refuses to list its keys where that comes with another command.
async fn answer(server: SocketAddr, command: &str) -> Vec<String> {
    let ask = async {
        let mut stream = BufReader::new(TcpStream::connect(server).await.unwrap());
        stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        let (mut lines, mut answer) = (stream.lines(), Vec::new());
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "END" {
                break;
            }
            answer.push(line);
        }
        answer
    };
    timeout(SOON, ask).await.unwrap_or_else(|_| panic!("no answer to {command:?}"))
}

fn shared(name: &str) -> AcquireRequest {
    let lock = LockSpec { name: name.to_owned(), mode: Mode::Shared.into(), limit: 3, ..LockSpec::default() };
    AcquireRequest { lock: Some(lock), ..AcquireRequest::default() }
}

/// Waits until a broker is seen on the only server.
async fn seen(memcached: &Memcached, arguments: &[&str]) {
    eventually(SOON, "the broker is seen", async || {
        report(memcached, arguments).0["brokers"].as_array().is_some_and(|brokers| !brokers.is_empty())
    })
    .await;
}

#[tokio::test]
async fn an_open_server_shows_what_stands_and_who_uses_it_and_nothing_changes() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &LONG).await;
    let mut stub = broker.stub().await;
    let _held = [acquire(&mut stub, once("held")).await, acquire(&mut stub, once("held too")).await];
    let request = AcquireRequest { lock: lingering("lingers", 5 * MINUTE), ..once("lingers") };
    let (granted, _stream) = acquire(&mut stub, request).await;
    assert_eq!(release(&mut stub, "lingers", &granted.lock_id).await, Outcome::Released);
    let _permits = [
        acquire(&mut stub, shared("shared")).await,
        acquire(&mut stub, shared("shared")).await,
        acquire(&mut stub, shared("shared too")).await,
    ];
    let topology = &LONG[2..];
    seen(&memcached, topology).await;

    // Nobody else is to change anything meanwhile.
    let mut broker = broker;
    broker.stop().await;
    let before = everything(memcached.address()).await;
    assert!(before.0.len() > 6 && before.1.len() == 13, "{before:?}");
    let (report, code) = report(&memcached, topology);
    let shown = status(&memcached.store(), topology);
    rehearse(&memcached.store(), topology);
    rehearse(&memcached.store(), &["--max-ttl", "1h", "--force"]);
    assert_eq!(everything(memcached.address()).await, before);

    assert_eq!(code, Some(0), "{report}");
    assert_eq!((&report["state"], &report["generation"], &report["weight"]), (&json!("open"), &json!(1), &json!(1)));
    assert_eq!((&report["why"], &report["reachable"]), (&json!([]), &json!(true)));
    assert_eq!(report["locks"], json!({ "held": 2, "lingering": 1 }));
    assert_eq!(report["permits"], json!({ "held": 3, "lingering": 0 }));
    assert_eq!(report["brokers"][0]["version"], env!("CARGO_PKG_VERSION"));
    let place = report["brokers"][0]["address"].as_str().unwrap();
    assert!(place.ends_with(&broker.address().to_string()), "{report}");

    let address = memcached.address().to_string();
    assert_eq!(row(&shown, &address), [&address, "1", "open", "1", "2", "1", "3", "0", "1"]);
    assert_eq!(row(&shown, place)[1], env!("CARGO_PKG_VERSION"));
    let text = said(&shown);
    let summary = "1 of 1 servers open; locks: 2 held, 1 lingering; permits: 3 held, 0 lingering; brokers seen: 1\n";
    assert!(text.ends_with(summary), "{text}");
    assert!(!text.contains("held too") && !text.contains("shared"), "no name of a lock: {text}");
}

#[tokio::test]
async fn a_server_that_grants_nothing_says_why() {
    let (closed, new) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let _broker = Broker::start_unready(&["--store", &closed.store(), "--max-ttl", "1h"]).await;
    eventually(SOON, "the quarantine is shown", async || {
        let (report, code) = report(&closed, &["--max-ttl", "1h"]);
        code == Some(1) && report["state"] == "closed"
    })
    .await;
    let (report, _) = report(&closed, &["--max-ttl", "1h"]);
    assert!(report["why"][0].as_str().unwrap().contains("in quarantine"), "{report}");
    assert_eq!((&report["generation"], &report["locks"]["held"]), (&json!(1), &json!(0)));

    let store = format!("{},{}=3", closed.store(), new.address());
    let (reports, summary, code) = reports(&store, &["--max-ttl", "1h"]);
    assert_eq!((reports[0]["state"].as_str(), code), (Some("other-topology"), Some(1)));
    assert!(reports[0]["why"][0].as_str().unwrap().contains("another list of servers"), "{reports:?}");
    assert_eq!((&reports[1]["state"], &reports[1]["weight"]), (&json!("no-state"), &json!(3)));
    assert_eq!((&summary["servers"], &summary["open"]), (&json!(2), &json!(0)));
    assert_eq!(new.command("mg lockbroker:S").await, "EN\r\n", "it was set up");
}

#[tokio::test]
async fn a_server_that_is_away_or_refused_hides_no_other() {
    let (open, mut away, bare) = (Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::bare(&[]).await);
    let store = format!("{},{},{}", open.store(), away.address(), bare.address());
    let opened = run(&["shard", "open", "--store", &store, "--allow-unsafe-store"]);
    assert!(opened.status.success(), "{opened:?}");
    assert_eq!(status(&store, &["--allow-unsafe-store"]).status.code(), Some(0));
    let (reports, ..) = reports(&store, &["--allow-unsafe-store"]);
    assert!(reports[2]["why"][0].as_str().unwrap().contains("may lose locks: it evicts items"), "{reports:?}");

    away.kill();
    let (reports, summary, code) = self::reports(&store, &[]);
    let states: Vec<_> = reports.iter().map(|report| report["state"].as_str().unwrap()).collect();
    assert_eq!((&states[..], code), (&["open", "unreachable", "refused"][..], Some(1)));
    assert!(reports[1]["why"][0].as_str().unwrap().contains("refused"), "{reports:?}");
    assert_eq!((&reports[1]["reachable"], &reports[1]["brokers"]), (&json!(false), &Value::Null));
    let why = reports[2]["why"][0].as_str().unwrap();
    assert!(why.contains("cannot keep locks") && why.contains("start it with -M"), "{why}");
    assert_eq!((&summary["open"], &summary["servers_not_counted"]), (&json!(1), &json!(2)));
    let shown = status(&store, &[]);
    let address = away.address().to_string();
    assert_eq!(row(&shown, &address)[1..], ["1", "unreachable", "-", "-", "-", "-", "-", "-"]);
    assert!(String::from_utf8_lossy(&shown.stderr).contains("2 of 3 shards are not open"), "{shown:?}");
}

#[tokio::test]
async fn what_another_version_or_somebody_else_has_written_is_told_apart() {
    let ends = "N2147480000 D0 C18446744073709551615";
    for (command, state, word) in [
        (format!("ma lockbroker:S J1234567890987654321 {ends}"), "other-version", "format 1"),
        (format!("ma lockbroker:S J10400001987654321001 {ends} E1234567890123400001"), "other-version", "format 4"),
        ("ms lockbroker:S 5\r\nhello".to_owned(), "unreadable", "--key-prefix"),
    ] {
        let memcached = Memcached::start(&[]).await;
        assert_eq!(memcached.command(&command).await, "HD\r\n");
        let before = everything(memcached.address()).await;
        let (report, code) = report(&memcached, &[]);
        assert_eq!((report["state"].as_str(), code), (Some(state), Some(1)), "{report}");
        assert!(report["why"][0].as_str().unwrap().contains(word), "{report}");
        let rehearsed = rehearse(&memcached.store(), &[]);
        let adopts = word == "format 1";
        assert_eq!(rehearsed.status.code(), Some(i32::from(!adopts)), "{rehearsed:?}");
        assert_eq!(row(&rehearsed, &memcached.address().to_string())[2], state);
        assert_eq!(said(&rehearsed).contains("not touched"), !adopts, "{rehearsed:?}");
        assert_eq!(everything(memcached.address()).await, before);
    }
}

#[tokio::test]
async fn a_server_that_lists_no_keys_is_shown_without_its_locks() {
    for (flags, unknown) in [(&["-X"][..], "unknown: -X"), (&["-o", "no_lru_crawler"], "unknown: -o no_lru_crawler")] {
        let memcached = Memcached::start(flags).await;
        let broker = Broker::on(&memcached).await;
        let (_granted, _stream) = acquire(&mut broker.stub().await, once("held")).await;
        seen(&memcached, &[]).await;
        let shown = status(&memcached.store(), &[]);
        assert_eq!(shown.status.code(), Some(0), "{shown:?}");
        let address = memcached.address().to_string();
        assert_eq!(row(&shown, &address)[2..], ["open", "1", unknown, unknown, unknown, unknown, "1"]);
        assert!(said(&shown).contains("start it without"), "{shown:?}");
        assert!(said(&shown).contains("without those of 1 of 1 servers"), "{shown:?}");
        let (report, _) = report(&memcached, &[]);
        assert_eq!(report["locks"], Value::Null);
        assert!(report["locks_unknown"].as_str().unwrap().contains("it does not show its keys"), "{report}");
    }
}

#[tokio::test]
async fn a_broker_is_shown_once_however_many_servers_it_uses() {
    let (first, second) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let store = format!("{},{}", first.store(), second.address());
    let broker = Broker::on_store(&store, &[]).await;
    let mut shown = status(&store, &[]);
    eventually(SOON, "the broker is seen on both", async || {
        shown = status(&store, &[]);
        said(&shown).contains("2 of 2\n")
    })
    .await;
    assert!(said(&shown).ends_with("brokers seen: 1\n"), "{shown:?}");
    for command in [&["--dry-run"][..], &[]] {
        let refused = run(&[&["shard", "adopt", "--stopped", "--store", &store], command].concat());
        let text = said(&refused);
        let reason = text.lines().find(|line| line.contains("not touched: brokers")).unwrap();
        assert_eq!(reason.matches(&broker.address().to_string()).count(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_adopting_does_and_which_locks_would_be_looked_for_elsewhere() {
    let (first, second) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let mut broker = Broker::on_store(&first.store(), &LONG).await;
    let mut stub = broker.stub().await;
    let mut streams = Vec::new();
    let names: Vec<_> = (0..20).map(|number| format!("name {number}")).collect();
    for name in &names {
        streams.push(acquire(&mut stub, once(name)).await);
    }
    let topology = &LONG[2..];
    seen(&first, topology).await;
    let store = format!("{},{}", first.store(), second.address());
    let (one, other) = (first.address().to_string(), second.address().to_string());

    let refused = rehearse(&store, topology);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(row(&refused, &one)[2..6], ["other-topology", "1", "not touched", "20"]);
    let in_the_way = format!("{one}, {other}: not touched: brokers were seen here");
    let text = said(&refused);
    assert!(text.contains(&in_the_way) && text.contains(&broker.address().to_string()), "{text}");
    // Whose it is, they have left there.
    let status = said(&run(&[&["shard", "status", "--store", &store], topology].concat()));
    assert!(status.contains(&format!("Theirs is `--store {} --max-ttl", first.store())), "{status}");

    broker.kill();
    let before = (everything(first.address()).await, everything(second.address()).await);
    let forced = rehearse(&store, &[topology, &["--force"]].concat());
    assert_eq!((everything(first.address()).await, everything(second.address()).await), before);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(row(&forced, &other)[2..], ["no-state", "-", "open, generation 2", "0", "0", "0"]);
    let row = row(&forced, &one);
    assert_eq!(row[2..6], ["other-topology", "1", "open, generation 2", "20"]);
    let elsewhere: usize = row[6].parse().unwrap();
    assert!(said(&forced).contains(&format!("stand: 20, of which {elsewhere} would belong on another")), "{forced:?}");

    // What it said comes true: the locks that stand where nobody looks for them are granted at once.
    let adopted = run(&[&["shard", "adopt", "--stopped", "--force", "--store", &store], topology].concat());
    assert!(adopted.status.success(), "{adopted:?}");
    assert_eq!(first.state().await.0 % 100_000, 2);
    let after = Broker::start(&[&["--store", &store], &LONG[..]].concat()).await;
    let mut stub = after.stub().await;
    let mut granted = Vec::new();
    for name in &names {
        // The broker is ready as soon as one of its two shards is.
        eventually(SOON, "its shard answers", async || match try_acquire(&mut stub, once(name)).await {
            Ok(answer) => {
                granted.extend(answer);
                true
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                false
            }
        })
        .await;
    }
    assert_eq!(granted.len(), elsewhere);
    assert!((1..20).contains(&elsewhere), "{elsewhere}");
}

#[test]
fn bad_input_is_refused() {
    for arguments in [
        &["status"][..],
        &["status", "--store", "memory"],
        &["status", "--store", "memcached://"],
        &["status", "--store", "memcached://a,a"],
        &["status", "--store", "memcached://a", "--max-ttl", "1s"],
        &["status", "--store", "memcached://a", "--key-prefix", ""],
        &["status", "--store", "memcached://a", "--dry-run"],
        &["open", "--store", "memcached://a", "--dry-run"],
        &["adopt", "--store", "memory", "--dry-run"],
        &["adopt", "--store", "memcached://a", "--json"],
    ] {
        let output = run(&[&["shard"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
