//! `lockbroker run` as the first process of a container, and what its command leaves behind anywhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::*;
use lockbroker::client::Client;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// True where a test may make namespaces and become others; otherwise says what is left out.
fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped, since it takes root: {what}");
    }
    root
}

/// The state and the parent of each process.
fn processes() -> Vec<(i32, char, i32)> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
        Some((pid, fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
    })
    .collect()
}

fn is_running(pid: i32) -> bool {
    processes().iter().any(|&(other, state, _)| other == pid && state != 'Z')
}

/// `lockbroker` as process 1 of a namespace of its own.
fn first_process(arguments: &[&str]) -> (Process, Command) {
    let inner = lockbroker(arguments);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    // Whoever runs the tests in the background may have it ignored.
    unshare.args(["env", "--default-signal=INT"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        assert!(value.is_none());
        unshare.env_remove(name);
    }
    (Process::spawn("unshare", &mut unshare), unshare)
}

/// Its id out here, where signals come from.
async fn inner(outer: &Process) -> i32 {
    let mut found = None;
    eventually(SOON, "the namespace has its first process", async || {
        found = processes().into_iter().find(|&(_, _, parent)| parent == outer.pid() as i32);
        found.is_some()
    })
    .await;
    found.unwrap().0
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn as_the_first_process_it_ends_at_a_signal_while_it_waits() {
    if !is_root("run as process 1") {
        return;
    }
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let _held = client.acquire("a").await.unwrap().guard().unwrap();
    for (asked, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (mut outer, _) = first_process(&["run", "--server", &broker.url(), "--wait", "forever", "a", "--", "true"]);
        let pid = inner(&outer).await;
        eventually(SOON, "it waits", async || outer.log().iter().any(|line| line.contains("waiting"))).await;
        // What a shell that was started inside has left behind.
        let orphan = ["--target", &pid.to_string(), "--pid", "sh", "-c", "sh -c 'exit 3' & exec true"];
        assert!(Command::new("nsenter").args(orphan).status().unwrap().success());
        eventually(SOON, "no zombie stays", async || {
            !processes().iter().any(|&(_, state, parent)| parent == pid && state == 'Z')
        })
        .await;
        signal(pid, asked);
        assert_eq!(outer.wait(SOON).await.code(), Some(code));
    }
    // So do the other commands, at a broker that does not answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = silent.local_addr().unwrap().to_string();
    let (mut outer, _) = first_process(&["health", "--timeout", "1m", "--server", &url]);
    let pid = inner(&outer).await;
    let caught = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).map(String::from);
        u64::from_str_radix(&mask.unwrap_or_default(), 16).unwrap_or_default() & (1 << 14) != 0
    };
    let status = format!("/proc/{pid}/status");
    eventually(SOON, "it catches SIGTERM", async || caught(fs::read_to_string(&status).unwrap_or_default())).await;
    signal(pid, Signal::TERM);
    assert_eq!(outer.wait(SOON).await.code(), Some(143));
}

#[tokio::test]
async fn as_the_first_process_it_passes_signals_on_and_buries_orphans() {
    if !is_root("run as process 1") {
        return;
    }
    let broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    let script = format!(
        "trap 'exit 9' TERM; for n in 1 2 3; do sh -c 'sleep 0.01 & exit'; done; touch {at}/started; \
         while :; do sleep 0.02; done"
    );
    let (mut outer, _) = first_process(&["run", "--server", &broker.url(), "a", "--", "sh", "-c", &script]);
    let pid = inner(&outer).await;
    eventually(SOON, "the command runs", async || directory.path().join("started").exists()).await;
    eventually(SOON, "no zombie stays", async || {
        let all = processes();
        let watchers: Vec<i32> = all.iter().filter(|&&(_, _, parent)| parent == pid).map(|&(pid, ..)| pid).collect();
        !all.iter().any(|&(_, state, parent)| state == 'Z' && (parent == pid || watchers.contains(&parent)))
    })
    .await;
    signal(pid, Signal::TERM);
    assert_eq!(outer.wait(SOON).await.code(), Some(9));
}

/// Starts a command that leaves a child in a session of its own, whose parent has gone, and returns that child's id.
async fn leaving(run: &[&str], directory: &TempDir) -> (Process, i32) {
    let at = directory.path().display();
    let child = format!("setsid sh -c 'echo $$ > {at}/pid; mv {at}/pid {at}/child; exec sleep 600' &");
    let script = format!("echo $LOCKBROKER_LOCK_ID > {at}/id; sh -c \"{}\"; exec sleep 600", child.replace('$', "\\$"));
    let run = Process::spawn("run", &mut lockbroker(&[run, &["a", "--", "sh", "-c", &script]].concat()));
    let path = directory.path().join("child");
    eventually(SOON, "the child runs", async || path.exists()).await;
    (run, fs::read_to_string(path).unwrap().trim().parse().unwrap())
}

#[tokio::test]
async fn what_has_left_the_commands_group_ends_with_run_and_with_the_lock() {
    let broker = Broker::memory().await;
    let arguments = ["run", "--server", &broker.url()];
    let directory = TempDir::new().unwrap();
    let (mut run, child) = leaving(&arguments, &directory).await;
    assert!(is_running(child));
    run.kill();
    eventually(SOON, "the child is gone", async || !is_running(child)).await;

    let directory = TempDir::new().unwrap();
    let (mut run, child) = leaving(&arguments, &directory).await;
    let id = fs::read_to_string(directory.path().join("id")).unwrap();
    Client::connect(broker.url()).unwrap().release("a", id.trim()).await.unwrap();
    assert_eq!(run.wait(SOON).await.code(), Some(70));
    assert!(!is_running(child), "it has left the group, and runs on without the lock");
}

#[tokio::test]
async fn what_a_command_leaves_behind_that_ends_by_itself_is_left_alone() {
    let broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    let at = directory.path().display();
    let script = format!("setsid sh -c 'echo $$ > {at}/pid; mv {at}/pid {at}/child; exec sleep 600' & exit 4");
    let mut run =
        Process::spawn("run", &mut lockbroker(&["run", "--server", &broker.url(), "a", "--", "sh", "-c", &script]));
    assert_eq!(run.wait(SOON).await.code(), Some(4));
    let path = directory.path().join("child");
    eventually(SOON, "the child runs", async || path.exists()).await;
    let child = fs::read_to_string(path).unwrap().trim().parse().unwrap();
    assert!(is_running(child));
    signal(child, Signal::KILL);
}

#[tokio::test]
async fn a_setuid_command_does_not_outlive_run() {
    if !is_root("a setuid command") {
        return;
    }
    let broker = Broker::memory().await;
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let sleep = directory.path().join("sleep");
    fs::copy("/bin/sleep", &sleep).unwrap();
    fs::set_permissions(&sleep, Permissions::from_mode(0o4755)).unwrap();
    let run = lockbroker(&["run", "--server", &broker.url(), "a", "--", sleep.to_str().unwrap(), "600"]);
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(run.get_program()).args(run.get_args());
    let mut run = Process::spawn("run", &mut nobody);
    let mut command = None;
    eventually(SOON, "the command runs", async || {
        let runs = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == sleep);
        command = processes().into_iter().map(|(pid, ..)| pid).find(|&pid| runs(pid));
        command.is_some()
    })
    .await;
    run.kill();
    eventually(SOON, "the command is gone", async || !is_running(command.unwrap())).await;
}

/// `scripts/night` builds the image. What makes that fail most often shows here: cargo wants to see the whole workspace.
#[test]
fn the_image_is_built_of_the_whole_workspace() {
    let [dockerfile, workspace] = ["Dockerfile", "Cargo.toml"].map(|file| fs::read_to_string(file).unwrap());
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).expect("the members in a line");
    for member in members.split('"').skip(1).step_by(2) {
        let copied = format!("COPY {member}/Cargo.toml {member}/\n");
        assert!(dockerfile.contains(&copied), "{copied}is missing in the Dockerfile");
    }
    // The crates that the broker is made of, and are not only named.
    for sources in ["clients", "core", "src"] {
        assert!(dockerfile.contains(&format!("COPY {sources} {sources}\n")), "{sources} is missing in the Dockerfile");
    }
}
