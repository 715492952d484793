//! An output that is full, closed or not read ends nothing and delays nothing.

use std::fs::{self, File};
use std::io::{PipeWriter, pipe};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::*;
use lockbroker::client::Client;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tempfile::TempDir;

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn closed_pipe() -> Stdio {
    pipe().unwrap().1.into()
}

/// A pipe that is full and that nobody reads; its reader is to be kept.
fn stuck_pipe() -> (std::io::PipeReader, PipeWriter) {
    use std::io::Write;
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// Runs a command whose stderr goes to `stderr`, and returns its exit code.
fn code(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let mut timed = Command::new("timeout");
    timed.arg("30").arg(command.get_program()).args(command.get_args());
    timed.stdin(Stdio::null()).stdout(stdout).stderr(stderr).status().unwrap().code()
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_told_and_one_that_nobody_wants_is_not() {
    let broker = Broker::memory().await;
    let url = broker.url();
    let bench = ["bench", "cycle", "--server", &url, "--duration", "100ms", "--warm-up", "0s"];
    for arguments in [&["get", "--server", &url, "a"][..], &["get", "--json", "--server", &url, "a"], &bench] {
        let output = lockbroker(arguments).stdout(full_disk()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {err}");
        assert!(err.contains("cannot write to stdout: No space left on device"), "{err}");
        let output = lockbroker(arguments).stdout(closed_pipe()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        assert!(!err.contains("stdout"), "{err}");
    }
    let memcached = Memcached::start(&[]).await;
    let open = ["shard", "open", "--store", &memcached.store()];
    assert_eq!(code(&mut lockbroker(&open), full_disk(), Stdio::null()), Some(74));
    assert_eq!(code(&mut lockbroker(&open), closed_pipe(), Stdio::null()), Some(0));
}

#[tokio::test]
async fn a_message_that_cannot_be_written_changes_no_exit_code() {
    let broker = Broker::memory().await;
    let (url, client) = (broker.url(), Client::connect(broker.url()).unwrap());
    let _held = client.acquire("held").await.unwrap().guard().unwrap();
    let (_reader, stuck) = stuck_pipe();
    for (arguments, expected) in [
        (&["run", "--server", &url, "held", "--", "true"][..], 75),
        (&["run", "--server", &url, "a", "--", "no-such-command"], 127),
        (&["health", "--server", "127.0.0.1:1"], 1),
        (&["get", "--server", "127.0.0.1:1", "a"], 69),
        (&["serve", "--listen", "192.0.2.1:1", "--store", "memory"], 1),
    ] {
        for stderr in [full_disk(), closed_pipe(), stuck.try_clone().unwrap().into()] {
            assert_eq!(code(&mut lockbroker(arguments), Stdio::null(), stderr), Some(expected), "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn a_holder_whose_stderr_takes_nothing_stops_its_command_at_the_loss() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_reader, stuck) = stuck_pipe();
    for stderr in [full_disk(), closed_pipe(), stuck.into()] {
        let directory = TempDir::new().unwrap();
        let at = directory.path().display();
        let script = format!(
            "exec 2>/dev/null; trap 'touch {at}/term; exit' TERM; echo $LOCKBROKER_LOCK_ID > {at}/id; mv {at}/id {at}/started; \
             while :; do sleep 0.02; done"
        );
        let mut run = lockbroker(&["run", "--server", &broker.url(), "a", "--", "sh", "-c", &script]);
        let mut run = run.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let started = directory.path().join("started");
        eventually(SOON, "the command runs", async || started.exists()).await;
        client.release("a", fs::read_to_string(started).unwrap().trim()).await.unwrap();
        eventually(SOON, "the command is told", async || directory.path().join("term").exists()).await;
        let mut ended = None;
        eventually(SOON, "run ends", async || {
            ended = run.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert_eq!(ended.unwrap().code(), Some(70));
    }
}

#[tokio::test]
async fn a_broker_whose_log_takes_nothing_serves_on() {
    let (_reader, stuck) = stuck_pipe();
    for stderr in [full_disk(), closed_pipe(), stuck.into()] {
        let directory = TempDir::new().unwrap();
        let socket = format!("unix:{}", directory.path().join("lb.sock").display());
        // At this level every call is logged.
        let mut serve = lockbroker(&["serve", "--listen", &socket, "--log", "trace"]);
        let mut serve = serve.stderr(stderr).spawn().unwrap();
        let client = Client::connect(&*socket).unwrap();
        eventually(SOON, "a lock is granted", async || client.acquire("a").await.is_ok()).await;
        for _ in 0..100 {
            let lock = client.acquire("b").await.unwrap().guard().unwrap();
            lock.release().await.unwrap();
        }
        assert!(serve.try_wait().unwrap().is_none(), "it has ended");
        rustix::process::kill_process(rustix::process::Pid::from_child(&serve), rustix::process::Signal::TERM).unwrap();
        drop(client);
        let mut ended = None;
        eventually(Duration::from_secs(10), "the broker ends", async || {
            ended = serve.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert!(ended.unwrap().success(), "{ended:?}");
    }
}
