//! `lockbroker run` and `lockbroker get` with a real broker.

use std::fs;
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Broker, Memcached, Process, SOON, eventually, lockbroker, run};
use lockbroker::client::{Client, LockState};
use rustix::process::Signal;
use tempfile::TempDir;

/// The time between SIGTERM and SIGKILL when the lock is lost, and what a slow machine may add to it.
const STOP_BEFORE: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_secs(2);

/// `lockbroker run` at `broker`, with its options and all that follows them.
fn held(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = lockbroker(&["run", "--server", &broker.url()]);
    command.args(arguments);
    command
}

fn output(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = crate::support::output(&mut command);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A command that runs until it is told to end, says so in `started`, and notes a SIGTERM in `term`.
fn long(directory: &TempDir) -> String {
    let at = directory.path().display();
    format!(
        "trap 'touch {at}/term; exit 9' TERM; echo $$ > {at}/pid; mv {at}/pid {at}/started; while :; do sleep 0.02; done"
    )
}

/// Waits until it runs, and returns its process id.
async fn started(directory: &TempDir) -> u32 {
    let path = directory.path().join("started");
    eventually(SOON, "the command runs", async || path.exists()).await;
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn the_command_gets_the_token_and_gives_its_exit_code() {
    let broker = Broker::memory().await;
    let (code, out, err) =
        output(held(&broker, &["a", "--", "sh", "-c", "echo $LOCKBROKER_FENCING_TOKEN $LOCKBROKER_LOCK_ID; exit 7"]));
    assert_eq!((code, err.as_str()), (Some(7), ""));
    let (token, id) = out.trim().split_once(' ').unwrap();
    assert!(token.parse::<i64>().unwrap() > 0);
    assert_eq!(id.len(), 36);
    let (code, ..) = output(held(&broker, &["a", "--", "sh", "-c", "kill -USR1 $$"]));
    assert_eq!(code, Some(128 + Signal::USR1.as_raw()));
}

#[tokio::test]
async fn failures_have_exit_codes_of_their_own_and_one_line() {
    let broker = Broker::memory().await;
    let line = |err: &str, text: &str| {
        assert!(err.starts_with("lockbroker: ") && err.contains(text) && err.lines().count() == 1, "{err}");
    };
    let (code, _, err) = output(held(&broker, &["a", "--", "no-such-command"]));
    assert_eq!(code, Some(127));
    line(&err, "command not found");
    let (code, _, err) = output(held(&broker, &["a", "--", "/"]));
    assert_eq!(code, Some(126));
    line(&err, "cannot be run");
    let long = "a".repeat(129);
    let wrong = [
        (&["--ttl", "1m", "a"][..], "--ttl is 60s; it may be 5s to 15s; the broker's --max-ttl is the most"),
        (&["--wait", "forever", "--ttl", "1s", "a"], "--ttl is 1s"),
        (&["--linger", "2h", "a"], "--linger is 7200s"),
        (&["--owner", &long, "a"], "--owner has 129 bytes"),
        (&[&long], "NAME has 129 bytes"),
        (&[""], "NAME must not be empty"),
    ];
    for (arguments, says) in wrong {
        let (code, _, err) = output(held(&broker, &[arguments, &["--", "true"]].concat()));
        assert_eq!(code, Some(2), "{err}");
        line(&err, says);
    }
    let (code, _, err) = output(lockbroker(&["get", "--server", &broker.url(), ""]));
    assert_eq!(code, Some(2));
    line(&err, "NAME must not be empty");
    assert_eq!(output(held(&broker, &["a", "true"])).0, Some(2));
    let nobody = lockbroker(&["run", "--server", "127.0.0.1:1", "a", "--", "true"]);
    let (code, _, err) = output(nobody);
    assert_eq!(code, Some(69));
    line(&err, "127.0.0.1:1");
}

#[tokio::test]
async fn a_second_run_is_refused_or_waits() {
    let broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let mut holder = held(&broker, &["--owner", "the first", "a", "--", "sh", "-c", &long(&directory)]);
    let mut first = Process::spawn("run", &mut holder);
    started(&directory).await;

    let (code, _, err) = output(held(&broker, &["a", "--", "true"]));
    assert_eq!(code, Some(75));
    assert!(err.contains("the first") && err.contains("--wait"), "{err}");
    assert_eq!(output(held(&broker, &["--conflict-exit-code", "3", "a", "--", "true"])).0, Some(3));
    assert_eq!(output(held(&broker, &["--wait", "50ms", "a", "--", "true"])).0, Some(75));

    let get = |arguments: &[&str]| {
        let output = run(&[&["get", "--server", &broker.url()], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = get(&["a"]);
    assert!(text.starts_with("state: held\nowner: the first\nfencing token: "), "{text}");
    assert!(text.contains("\nheld for: ") && text.contains("\nexpires in: "), "{text}");
    assert!(get(&["--json", "a"]).contains(r#""state":"held""#));
    assert_eq!(get(&["b"]), "state: free\n");
    let free = r#"{"claimed":false,"closed_by":null,"etag":"","fencing_token":null,"free_within_seconds":null,"held_for_seconds":null,"name":"a\"b","owner":"","permit":null,"shared_count":0,"state":"free"}"#;
    assert_eq!(get(&["--json", "a\"b"]).trim_end(), free);

    let mut second = Process::spawn("run", &mut held(&broker, &["--wait", "forever", "a", "--", "true"]));
    eventually(SOON, "it says why it waits", async || {
        second.log() == [r#"lockbroker: lock "a" is held by the first; waiting"#]
    })
    .await;
    assert_eq!(first.terminate(SOON).await.code(), Some(9));
    assert!(second.wait(SOON).await.success());
}

#[tokio::test]
async fn signals_are_passed_on_and_nothing_outlives_run() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let directory = TempDir::new().unwrap();
    let mut process = Process::spawn("run", &mut held(&broker, &["a", "--", "sh", "-c", &long(&directory)]));
    started(&directory).await;
    assert_eq!(process.terminate(SOON).await.code(), Some(9));
    assert!(directory.path().join("term").exists());
    assert_eq!(client.get("a", None).await.unwrap().state, LockState::Free);

    let directory = TempDir::new().unwrap();
    let mut process = Process::spawn("run", &mut held(&broker, &["a", "--", "sh", "-c", &long(&directory)]));
    let command = started(&directory).await;
    assert!(is_running(command));
    process.kill();
    eventually(SOON, "the command is gone", async || !is_running(command)).await;
    eventually(SOON, "the lock is free", async || client.get("a", None).await.unwrap().state == LockState::Free).await;
}

/// Runs a shell script on a terminal of its own, types `keys` when it has said `ready`, and returns what
/// the terminal showed.
fn on_a_terminal(script: &str, keys: &str) -> String {
    // A shell that waits for keys for ever would hang the test.
    let mut terminal = Command::new("timeout");
    terminal.args(["60", "script", "--quiet", "--return", "--command", script, "/dev/null"]);
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(b"ready") {
        stdout.read_exact(&mut byte).unwrap();
        shown.extend(byte);
    }
    stdin.write_all(keys.as_bytes()).unwrap();
    stdout.read_to_end(&mut shown).unwrap();
    terminal.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[tokio::test]
async fn the_command_has_the_terminal_and_gives_it_back() {
    let broker = Broker::memory().await;
    let run = format!("{} run --server {} a -- sh -c", env!("CARGO_BIN_EXE_lockbroker"), broker.url());
    let script = format!(r#"{run} 'printf ready; read a; echo "got $a"'; read b; echo "then $b""#);
    let shown = on_a_terminal(&script, "one\ntwo\n");
    assert!(shown.contains("got one") && shown.contains("then two"), "{shown}");
    // Ctrl-Z does not stop what holds a lock.
    let shown = on_a_terminal(&format!(r#"{run} 'printf ready; read a; echo "got $a"'"#), "\x1aone\n");
    assert!(shown.contains("cannot suspend") && shown.contains("got one"), "{shown}");
    // Ctrl-C ends the command, and the shell goes on.
    let script = format!("trap : INT; {run} 'printf ready; exec sleep 60'; echo code $?");
    let shown = on_a_terminal(&script, "\x03");
    assert!(shown.contains("code 130"), "{shown}");
}

#[tokio::test]
async fn a_lock_that_is_lost_takes_its_command_along() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    let script = format!("echo $LOCKBROKER_LOCK_ID > {at}/id; {}", long(&directory));
    let mut process = Process::spawn("run", &mut held(&broker, &["a", "--", "sh", "-c", &script]));
    started(&directory).await;
    let id = fs::read_to_string(directory.path().join("id")).unwrap();
    client.release("a", id.trim()).await.unwrap();
    assert_eq!(process.wait(SOON).await.code(), Some(70));
    assert!(directory.path().join("term").exists());
    assert!(process.log().iter().any(|line| line.contains("was lost")), "{:?}", process.log());
}

#[tokio::test]
async fn a_command_that_heeds_nothing_is_killed_when_the_lock_runs_out() {
    let mut broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let script = long(&directory).replace("exit 9", ":");
    let arguments = ["--ttl", "5s", "a", "--", "sh", "-c", &script];
    let mut process = Process::spawn("run", &mut held(&broker, &arguments));
    let command = started(&directory).await;
    broker.kill();
    // The lease of a ttl of 5 s ends after 3 s.
    assert_eq!(process.wait(SOON).await.code(), Some(70));
    assert!(!is_running(command));
    assert!(process.log().iter().any(|line| line.contains("about to run out")), "{:?}", process.log());
}

#[tokio::test]
async fn a_command_that_heeds_nothing_is_killed_though_a_broker_comes_back_or_its_lock_was_taken() {
    let mut broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    let script = format!("echo $LOCKBROKER_LOCK_ID > {at}/id; {}", long(&directory).replace("exit 9", ":"));
    let arguments = ["--ttl", "15s", "a", "--", "sh", "-c", &script];
    let mut process = Process::spawn("run", &mut held(&broker, &arguments));
    let command = started(&directory).await;
    broker.stop().await;
    let term = directory.path().join("term");
    eventually(2 * SOON, "the command is told", async || term.exists()).await;
    // There is time to renew the lock.
    broker.cont();
    let told = Instant::now();
    assert_eq!(process.wait(SOON).await.code(), Some(70));
    assert!(!is_running(command) && told.elapsed() < STOP_BEFORE + SLOW, "{:?}", told.elapsed());

    fs::remove_file(term).unwrap();
    fs::remove_file(directory.path().join("started")).unwrap();
    let mut process = Process::spawn("run", &mut held(&broker, &arguments));
    let command = started(&directory).await;
    let id = fs::read_to_string(directory.path().join("id")).unwrap();
    // Whoever knows the id may release it, and then somebody else may have it.
    Client::connect(broker.url()).unwrap().release("a", id.trim()).await.unwrap();
    let told = Instant::now();
    assert_eq!(process.wait(2 * SOON).await.code(), Some(70));
    assert!(!is_running(command) && told.elapsed() < STOP_BEFORE + SLOW, "{:?}", told.elapsed());
}

#[tokio::test]
async fn nobody_gets_the_lock_while_its_command_is_alive() {
    let memcached = Memcached::start(&[]).await;
    let (mut one, other) = (Broker::on(&memcached).await, Broker::on(&memcached).await);
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    // Neither it nor its child heeds a SIGTERM. They are in one process group.
    let child = format!("(trap '' TERM; exec sleep 600) & echo $! > {at}/child");
    let script = format!("{child}; {}", long(&directory).replace("exit 9", ":"));
    let arguments = ["--ttl", "5s", "a", "--", "sh", "-c", &script];
    let mut process = Process::spawn("run", &mut held(&one, &arguments));
    let command = started(&directory).await;
    let child = fs::read_to_string(directory.path().join("child")).unwrap().trim().parse().unwrap();
    let rival = Client::connect(other.url()).unwrap();
    let waiting = tokio::spawn(rival.wait_acquire("a").max_wait(Duration::from_secs(20)).into_future());

    // It says nothing any more, and neither does its kernel.
    one.stop().await;
    let next = waiting.await.unwrap().unwrap().guard();
    assert!(!is_running(command) && !is_running(child), "it runs, and somebody else has the lock");
    assert!(next.is_some());
    assert!(directory.path().join("term").exists(), "it was not warned");
    assert_eq!(process.wait(SOON).await.code(), Some(70));
}

#[tokio::test]
async fn a_command_has_no_longer_than_its_timeout_and_keeps_its_lock_until_it_has_ended() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    let script = format!(
        "trap 'touch {at}/term; while [ ! -e {at}/go ]; do sleep 0.02; done; exit 9' TERM; while :; do sleep 0.02; done"
    );
    let arguments = ["--timeout", "300ms", "a", "--", "sh", "-c", &script];
    let mut process = Process::spawn("run", &mut held(&broker, &arguments));
    eventually(SOON, "the command is told", async || directory.path().join("term").exists()).await;
    assert_eq!(client.get("a", None).await.unwrap().state, LockState::Held);
    fs::write(directory.path().join("go"), "").unwrap();
    assert_eq!(process.wait(SOON).await.code(), Some(124));
    assert!(process.log().iter().any(|line| line.contains("--timeout is over")), "{:?}", process.log());
    let (code, ..) = output(held(&broker, &["--timeout", "1m", "a", "--", "sh", "-c", "exit 3"]));
    assert_eq!(code, Some(3));
}

#[tokio::test]
async fn after_a_loss_it_begins_again_where_that_is_wanted() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    // It ends by itself when it has the lock for the second time.
    let script = format!(
        "test -e {at}/id && exit 7; echo $LOCKBROKER_LOCK_ID > {at}/new; mv {at}/new {at}/id; while :; do sleep 0.02; done"
    );
    let arguments = ["--wait", "forever", "--again", "a", "--", "sh", "-c", &script];
    let mut process = Process::spawn("run", &mut held(&broker, &arguments));
    let path = directory.path().join("id");
    eventually(SOON, "the command runs", async || path.exists()).await;
    client.release("a", fs::read_to_string(path).unwrap().trim()).await.unwrap();
    assert_eq!(process.wait(2 * SOON).await.code(), Some(7));
    // A lock that was given up is not asked for again.
    assert_eq!(output(held(&broker, &["--again", "a", "--", "true"])).0, Some(2));
}

#[tokio::test]
async fn a_signal_that_comes_while_the_command_is_stopped_for_its_lock_is_the_end() {
    for heeds in ["exit 9", ":"] {
        let mut broker = Broker::memory().await;
        let client = Client::connect(broker.url()).unwrap();
        let directory = TempDir::new().unwrap();
        let script = long(&directory).replace("exit 9", heeds);
        let arguments = ["--wait", "forever", "--again", "--ttl", "5s", "a", "--", "sh", "-c", &script];
        let mut process = Process::spawn("run", &mut held(&broker, &arguments));
        started(&directory).await;
        broker.stop().await;
        eventually(2 * SOON, "the command is told", async || directory.path().join("term").exists()).await;
        process.signal(Signal::TERM);
        let code = process.wait(SOON).await.code();
        broker.cont();
        assert!(matches!(code, Some(70 | 143)), "{code:?}");
        let is_free = async || client.get("a", None).await.is_ok_and(|lock| lock.state == LockState::Free);
        eventually(SOON, "the lock is free", is_free).await;
    }
}

/// Returns true if a child of this process catches SIGTERM: the one that is about to start the command, or has just started it.
fn has_watcher(run: u32) -> bool {
    let children = fs::read_to_string(format!("/proc/{run}/task/{run}/children")).unwrap_or_default();
    children.split_whitespace().any(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        let is_watcher =
            fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.starts_with(b"lockbroker\0exec-watch"));
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        is_watcher && caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
    })
}

#[tokio::test]
async fn a_signal_that_comes_just_before_the_command_starts_ends_it() {
    let broker = Broker::memory().await;
    for number in 0..20 {
        let mut process = Process::spawn("run", &mut held(&broker, &[&format!("job {number}"), "--", "sleep", "600"]));
        let started = Instant::now();
        while !has_watcher(process.pid()) {
            assert!(started.elapsed() < SOON, "the command is never started");
        }
        process.signal(Signal::TERM);
        assert_eq!(process.wait(SOON).await.code(), Some(128 + Signal::TERM.as_raw()), "{number}");
    }
}

#[tokio::test]
async fn several_locks_are_held_together_and_told_line_by_line() {
    let broker = Broker::memory().await;
    let script = "echo \"$LOCKBROKER_NAMES\"; echo \"$LOCKBROKER_FENCING_TOKENS\" | wc -l; echo ${LOCKBROKER_NAME-none}; \
                  echo ${LOCKBROKER_PERMITS-none}";
    let (code, out, err) = output(held(&broker, &["b", "a", "--", "sh", "-c", script]));
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "b\na\n2\nnone\nnone\n", ""));
    let (code, out, _) = output(held(&broker, &["b", "a", "--shared", "--", "sh", "-c", "echo $LOCKBROKER_PERMITS"]));
    assert_eq!((code, out.as_str()), (Some(0), "0 0\n"));
    // One that is held is named, by whoever wants both.
    let other = format!("{:?}", env!("CARGO_BIN_EXE_lockbroker"));
    let inner = format!("{other} run --server {} c a --owner x -- true", broker.url());
    let (code, _, err) = output(held(&broker, &["a", "--owner", "outer", "--", "sh", "-c", &inner]));
    assert_eq!(code, Some(75));
    assert!(err.contains("lock \"a\" is held (holder: outer)") && err.contains("started this one"), "{err}");
}

#[tokio::test]
async fn a_timeout_of_any_length_is_taken() {
    let broker = Broker::memory().await;
    let (code, _, err) = output(held(&broker, &["--timeout", "18446744073709551615s", "a", "--", "true"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_script_can_lock_itself_and_one_that_waits_for_itself_is_told() {
    let broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let script = directory.path().join("script");
    // As docs/command-line.md has it.
    let page = include_str!("../../docs/command-line.md");
    let idiom = page.split("```sh\n#!/bin/sh\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(&script, format!("#!/bin/sh\n{idiom}echo name=$LOCKBROKER_NAME args=$*\nexit 5\n")).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run_script = || {
        let mut command = Command::new(&script);
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_lockbroker"));
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.arg("x").env("PATH", path).env("LOCKBROKER_SERVER", broker.url());
        output(command)
    };
    let (code, out, err) = run_script();
    assert_eq!((code, out.as_str()), (Some(5), "name=nightly args=x\n"), "{err}");
    let client = Client::connect(broker.url()).unwrap();
    let holder = client.acquire("nightly").await.unwrap().guard().unwrap();
    assert_eq!(run_script().0, Some(75));
    drop(holder);

    let run = format!("{} run --server {}", env!("CARGO_BIN_EXE_lockbroker"), broker.url());
    let inner = format!("{run} b -- {run} --wait forever a -- true");
    let (code, _, err) = output(held(&broker, &["a", "--", "sh", "-c", &inner]));
    assert_eq!(code, Some(75), "{err}");
    assert!(err.contains("that started this one has it"), "{err}");
    let (code, _, err) = output(held(&broker, &["a", "--", "sh", "-c", &format!("{run} --wait 1s c -- true")]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_lock_that_lingers_is_shown_as_such() {
    let broker = Broker::memory().await;
    let (code, ..) = output(held(&broker, &["--linger", "1m", "a", "--", "true"]));
    assert_eq!(code, Some(0));
    let (code, out, err) = output(lockbroker(&["get", "--server", &broker.url(), "a"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("state: lingering\nfree in: "), "{out}");
    let (code, _, err) = output(held(&broker, &["a", "--", "true"]));
    assert_eq!(code, Some(75));
    assert!(err.contains("lingering after its release, for another ") && err.lines().count() == 1, "{err}");
}

/// Whoever finds a lock closed by a revocation is told so, and for how long.
#[tokio::test]
async fn a_lock_that_was_revoked_is_shown_as_such() {
    let broker = Broker::memory().await;
    let mut holder = Process::spawn("lockbroker run", &mut held(&broker, &["a", "--", "sleep", "60"]));
    let revoke = || output(lockbroker(&["revoke", "--server", &broker.url(), "a"]));
    eventually(SOON, "it is revoked", async || revoke().0 == Some(0)).await;
    let (code, out, err) = output(lockbroker(&["get", "--server", &broker.url(), "a"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("state: revoked\nfree in: "), "{out}");
    let (code, _, err) = output(held(&broker, &["a", "--", "true"]));
    assert_eq!(code, Some(75));
    assert!(err.contains("is revoked, and closed until ") && err.contains("for another 1"), "{err}");
    assert!(err.contains(" s at most; --wait waits for it") && err.lines().count() == 1, "{err}");
    let (code, _, err) = output(held(&broker, &["--wait", "2s", "a", "--", "true"]));
    assert_eq!(code, Some(75));
    assert!(err.contains("is revoked, and closed until its holder can believe in it no more; waiting"), "{err}");
    // Freed early, it is had at once.
    let (code, out, _) = output(lockbroker(&["revoke", "--immediate", "--server", &broker.url(), "a"]));
    assert_eq!((code, out.as_str()), (Some(0), "nobody held it, and it was closed; it is free now\n"));
    let (code, _, err) = output(held(&broker, &["a", "--", "true"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    holder.kill();
}
