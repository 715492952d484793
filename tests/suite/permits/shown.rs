//! What people see of permits, and what operators and the command line do with them.

use std::process::Command;

use super::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::revoke_lock_response::Outcome as Effect;
use lockbroker::proto::{ListLocksRequest, LockInfo, RevokeLockRequest, lost};
use serde_json::Value;
use tonic::Code;

/// The shortest ttl, as the longest one too: so what is revoked is free again soon.
const SHORT: &[&str] = &["--max-ttl", "5s", "--default-ttl", "5s"];

/// Acquires a permit under a label.
async fn labelled(broker: &Broker, owner: &str) -> (Acquired, Streaming<AcquireResponse>) {
    let lock = LockSpec { owner: owner.to_owned(), ..shared("a:1", 9).unwrap() };
    acquire(&mut broker.stub().await, AcquireRequest { lock: Some(lock), ..Default::default() }).await
}

async fn list(broker: &Broker, prefix: &str) -> Vec<LockInfo> {
    let request = ListLocksRequest { prefix: prefix.to_owned(), limit: 0 };
    let mut stream = admin(broker).await.list_locks(request).await.unwrap().into_inner();
    let mut locks = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        locks.extend(chunk.locks);
    }
    locks
}

/// Runs the binary at `broker`. Returns its code, and what it printed.
fn cli(broker: &Broker, command: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(&[&[command, "--server", &broker.url()], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn each_permit_is_listed_and_shown() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let memory = Broker::memory().await;
    for [one, other] in [[&here, &there], [&memory, &memory]] {
        let (first, _first) = labelled(one, "worker 1").await;
        let (second, _second) = labelled(other, "worker 2").await;
        // Its name looks like a permit's key.
        let (_, _alone) = acquire(&mut one.stub().await, once("1:a:1")).await;
        let shown = |of: &LockInfo| (of.name.clone(), of.permit, of.owner.clone(), of.fencing_token);
        let entry = |of: &Acquired, owner: &str| ("a:1".to_owned(), of.permit, owner.to_owned(), of.fencing_token);
        let mut expected = vec![entry(&first, "worker 1"), entry(&second, "worker 2")];
        expected.sort();
        // A label is written a moment after the grant.
        eventually(SOON, "both are listed", async || {
            list(one, "a:").await.iter().map(shown).collect::<Vec<_>>() == expected
        })
        .await;
        let all = list(other, "").await;
        assert_eq!(all.iter().map(|lock| lock.permit).collect::<Vec<_>>(), [None, Some(0), Some(1)]);
        assert!(all.iter().all(|lock| lock.state() == State::Held && lock.etag.len() == 16));

        let seen = look(&mut other.stub().await, "a:1").await;
        assert_eq!((seen.state(), seen.shared_count, &*seen.owner, &*seen.etag), (State::Held, 2, "", ""));
        assert!(!seen.claimed);
        let seen = other.stub().await.get_lock(of_permit("a:1", permit(&first))).await.unwrap().into_inner();
        assert_eq!((&*seen.owner, seen.fencing_token), ("worker 1", first.fencing_token));
        let mine = GetLockRequest { name: "a:1".into(), lock_id: first.lock_id.clone(), permit: None };
        let seen = one.stub().await.get_lock(mine).await.unwrap().into_inner();
        assert_eq!(seen.fencing_token, first.fencing_token);
        assert!(duration(seen.expires_after_request) > Duration::from_secs(5));
        let wrong = GetLockRequest { name: "a:1".into(), lock_id: first.lock_id, permit: second.permit };
        assert_eq!(one.stub().await.get_lock(wrong).await.unwrap_err().code(), Code::InvalidArgument);

        let (_, table, _) = cli(one, "list", &["a:"]);
        assert!(table.starts_with("NAME  PERMIT  STATE"), "{table}");
        assert!(table.contains("a:1   1       held"), "{table}");
        let (_, text, _) = cli(one, "get", &["a:1"]);
        assert!(text.contains("state: held\nshared by: 2\n"), "{text}");
        let (_, json, _) = cli(one, "get", &["--json", "--permit", "1", "a:1"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["permit"], &json["state"]), (&1.into(), &"held".into()));
        assert!(json["shared_count"].is_null() && json["claimed"].is_null(), "it says nothing of the others: {json}");
        let (code, _, err) = cli(one, "get", &["--permit", "4096", "a:1"]);
        assert_eq!(code, Some(2), "{err}");
    }
}

/// A permit that nobody has is no permit that one can get, while one has the lock alone or waits for that.
#[tokio::test]
async fn a_free_permit_is_shown_as_closed_by_who_has_the_lock_alone() {
    let (_memcached, [here, there]) = two_brokers(SHORT).await;
    let memory = Broker::start(&[&["--store", "memory"], SHORT].concat()).await;
    for [one, other] in [[&here, &there], [&memory, &memory]] {
        let text = || cli(other, "get", &["--permit", "1", "a:1"]).1;
        let json = || serde_json::from_str::<Value>(&cli(other, "get", &["--json", "--permit", "1", "a:1"]).1).unwrap();
        assert_eq!(text(), "state: free\n");
        assert!(json()["closed_by"].is_null());

        let lock =
            LockSpec { owner: "writer".to_owned(), linger: span(Duration::from_secs(20)), ..lock("a:1").unwrap() };
        let alone = AcquireRequest { lock: Some(lock), ..Default::default() };
        let (first, stream) = acquire(&mut one.stub().await, alone).await;
        // A label is written a moment after the grant.
        eventually(SOON, "it says who has the lock alone", async || text().ends_with("\nheld by: writer\n")).await;
        let shown = text();
        assert!(shown.starts_with("state: free\nclosed: the lock is held by one alone, for "), "{shown}");
        let shown = json();
        assert_eq!((&shown["state"], &shown["closed_by"]["state"]), (&"free".into(), &"held".into()));
        assert_eq!((&shown["owner"], &shown["closed_by"]["owner"]), (&"".into(), &"writer".into()));
        assert_eq!(release(&mut one.stub().await, "a:1", &first.lock_id).await, Outcome::Released);
        drop(stream);
        let shown = text();
        assert!(shown.starts_with("state: free\nclosed: the lock itself is lingering, for "), "{shown}");
        assert_eq!(json()["closed_by"]["state"], "lingering");
        let (code, _, err) = cli(other, "revoke", &["--immediate", "a:1"]);
        assert_eq!(code, Some(0), "{err}");

        let (_, _reading) = take(one, "a:1", 9).await;
        assert_eq!(text(), "state: free\n", "another permit closes none");
        let (_, _writer) = queue(&mut one.stub().await, wait("a:1")).await;
        eventually(SOON, "it says that it is claimed", async || {
            text() == "state: free\nclaimed: somebody waits for those who share it, and lets no new ones in\n"
        })
        .await;
        assert_eq!(json()["closed_by"]["state"], "claimed");
    }
}

#[tokio::test]
async fn a_permit_is_revoked_and_the_others_stay() {
    let (_memcached, [here, there]) = two_brokers(SHORT).await;
    let memory = Broker::start(&[&["--store", "memory"], SHORT].concat()).await;
    for [one, other] in [[&here, &there], [&here, &here], [&memory, &memory]] {
        let (first, mut first_stream) = labelled(one, "worker 1").await;
        let (second, _second) = labelled(one, "worker 2").await;
        // A label is written a moment after the grant.
        eventually(SOON, "its label is known", async || {
            let seen = other.stub().await.get_lock(of_permit("a:1", permit(&first))).await;
            seen.is_ok_and(|seen| seen.get_ref().owner == "worker 1")
        })
        .await;
        let (code, _, err) = cli(other, "revoke", &["a:1"]);
        assert!(code == Some(1) && err.contains(", and --permit says"), "{code:?} {err}");
        let number = permit(&first).to_string();
        let (code, out, err) = cli(other, "revoke", &["--permit", &number, "a:1"]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.starts_with("revoked from worker 1"), "{out}");
        match after_renewals(&mut first_stream).await {
            Kind::Lost(lost) => assert_eq!(lost.reason(), lost::Reason::Revoked),
            other => panic!("{other:?}"),
        }
        let seen = one.stub().await.get_lock(of_permit("a:1", permit(&first))).await.unwrap().into_inner();
        assert_eq!(seen.state(), State::Revoked);
        let seen = look(&mut one.stub().await, "a:1").await;
        assert_eq!((seen.state(), seen.shared_count), (State::Held, 1));
        // Nobody has the permit before its holder believes no more.
        let (third, _third) = labelled(other, "worker 3").await;
        assert!(![first.permit, second.permit].contains(&third.permit));
        let by = |etag: String| RevokeLockRequest { name: "a:1".into(), permit: first.permit, etag, immediate: true };
        let odd = admin(other).await.revoke_lock(by("0".repeat(16))).await.unwrap().into_inner();
        assert_eq!(odd.outcome(), Effect::Changed);
        let freed = admin(other).await.revoke_lock(by(String::new())).await.unwrap().into_inner();
        assert_eq!(freed.outcome(), Effect::Freed);
        let seen = one.stub().await.get_lock(of_permit("a:1", permit(&first))).await.unwrap().into_inner();
        assert_eq!(seen.state(), State::Free);
    }
}

/// `lockbroker run` with a command that says its permit, and then waits for its end.
fn worker(broker: &Broker, arguments: &[&str], at: &std::path::Path, name: &str) -> Command {
    let mut command = lockbroker(&["run", "--server", &broker.url()]);
    let file = at.join(name).display().to_string();
    let script = format!("echo $LOCKBROKER_PERMIT > {file}.new; mv {file}.new {file}; while :; do sleep 0.02; done");
    command.args(arguments).args(["workers", "--", "sh", "-c", &script]);
    command
}

#[tokio::test]
async fn run_shares_a_lock_among_as_many_as_it_says() {
    let (_memcached, [here, there]) = two_brokers(POLLS_EVERY).await;
    let folder = tempfile::tempdir().unwrap();
    let said = async |name: &str| {
        let path = folder.path().join(name);
        eventually(SOON, "the command runs", async || path.exists()).await;
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    let limit = ["--limit", "2"];
    let mut first = Process::spawn("run", &mut worker(&here, &limit, folder.path(), "first"));
    let one = said("first").await;
    let mut second = Process::spawn("run", &mut worker(&there, &limit, folder.path(), "second"));
    let mut both = [one.clone(), said("second").await];
    both.sort();
    assert_eq!(both, ["0", "1"]);
    let (code, _, err) = cli(&here, "run", &["--limit", "2", "workers", "--", "true"]);
    assert!(code == Some(75) && err.contains("is held") && err.contains("--wait"), "{code:?} {err}");
    let (code, ..) = cli(&here, "run", &["workers", "--", "true"]);
    assert_eq!(code, Some(75), "it has it alone");

    let waits = ["--wait", "1m", "--limit", "2"];
    let mut third = Process::spawn("run", &mut worker(&there, &waits, folder.path(), "third"));
    eventually(SOON, "it says why it waits", async || {
        third.log().iter().any(|line| line.contains(r#"lock "workers" is shared by 2; waiting"#))
    })
    .await;
    // Killed, it frees its permit all the same.
    first.kill();
    assert_eq!(said("third").await, one);
    second.terminate(SOON).await;
    third.terminate(SOON).await;
}

#[tokio::test]
async fn the_command_of_run_has_the_permit_of_its_own_lock_and_none_of_another() {
    let broker = Broker::memory().await;
    let run = format!("{} run --server {}", env!("CARGO_BIN_EXE_lockbroker"), broker.url());
    let (code, out, err) = cli(
        &broker,
        "run",
        &["--shared", "a", "--", "sh", "-c", &format!("{run} b -- sh -c 'echo \"<$LOCKBROKER_PERMIT>\"'")],
    );
    assert_eq!((code, out.as_str()), (Some(0), "<>\n"), "{err}");
    // One within the other shares the lock with it, and does not wait for it in vain.
    let inner = format!("{run} --wait 5s --limit 2 a -- sh -c 'echo $LOCKBROKER_PERMIT'");
    let (code, out, err) = cli(&broker, "run", &["--limit", "2", "a", "--", "sh", "-c", &inner]);
    assert_eq!((code, out.as_str()), (Some(0), "1\n"), "{err}");
    let inner = format!("{run} --wait 5s a -- true");
    let (code, _, err) = cli(&broker, "run", &["--limit", "2", "a", "--", "sh", "-c", &inner]);
    assert!(code == Some(75) && err.contains("waits for it to end"), "{code:?} {err}");
    for (limit, says) in [("0", "1..=4096"), ("4097", "1..=4096"), ("many", "invalid")] {
        let (code, _, err) = cli(&broker, "run", &["--limit", limit, "a", "--", "true"]);
        assert!(code == Some(2) && err.contains(says), "{err}");
    }
}

#[tokio::test]
async fn run_takes_several_permits_and_its_command_finds_them_all() {
    let broker = Broker::memory().await;
    let told =
        r#"echo "$LOCKBROKER_NAME $LOCKBROKER_PERMIT" $LOCKBROKER_PERMITS; echo "$LOCKBROKER_FENCING_TOKENS" | wc -l"#;
    let (code, out, err) = cli(&broker, "run", &["--limit", "4", "--weight", "3", "seats", "--", "sh", "-c", told]);
    assert_eq!((code, out.as_str()), (Some(0), "seats 0 0 1 2\n3\n"), "{err}");
    // With several names none stands for the others.
    let (code, out, err) = cli(&broker, "run", &["a", "b", "--", "sh", "-c", "echo \"<$LOCKBROKER_NAME>\""]);
    assert_eq!((code, out.as_str()), (Some(0), "<>\n"), "{err}");
    let _held = take(&broker, "seats", 4).await;
    let (code, _, err) = cli(&broker, "run", &["--limit", "4", "--weight", "4", "seats", "--", "true"]);
    assert!(code == Some(75) && err.contains("is held"), "{code:?} {err}");
    let names: Vec<String> = (0..17).map(|number| format!("seat {number}")).collect();
    let many: Vec<&str> = names.iter().map(String::as_str).collect();
    for (wrong, says) in [
        (&["--limit", "4", "--weight", "5", "seats"][..], "it may be 1 to 4, which --limit says"),
        (&["--limit", "4", "--weight", "17", "seats"], "1..=16"),
        (&["--weight", "2", "seats"], "--limit"),
        (&["--limit", "4", "--weight", "2", "seats", "tables"], "--weight takes several permits of one lock alone"),
        (&["--limit", "4", "--weight", "2", "--at-least", "1m", "seats"], "--at-least is for one permit alone"),
        (&["--at-least", "1m", "seats", "tables"], "--at-least is for one lock alone"),
        (&["seats", "seats"], "\"seats\" is named twice"),
        (&many[..], "17 locks are named, and at most 16 can be held together"),
        (&["--linger", "2h", "seats"], "--linger is 7200s; it may be 0s to 3600s"),
    ] {
        let (code, _, err) = cli(&broker, "run", &[wrong, &["--", "true"]].concat());
        assert!(code == Some(2) && err.contains(says), "{wrong:?}: {code:?} {err}");
        // No field of the wire is named.
        assert!(!err.contains("begin.") && !err.contains("refuses"), "{wrong:?}: {err}");
    }
}
