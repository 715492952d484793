//! Unix sockets: made for those whom they are for, never in the place of anything in use, gone at the end.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::client::Client;
use lockbroker::proto::get_lock_response::State;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tempfile::TempDir;

const MS: Duration = Duration::from_millis(1);

/// A broker that listens on a socket in a folder of its own, and on a port beside it for the test's other questions.
async fn broker(arguments: &[&str]) -> (TempDir, String, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("unix:{}", folder.path().join("lb.sock").display());
    let broker = Broker::start(&[&["--listen", &server], arguments].concat()).await;
    (folder, server, broker)
}

fn path(server: &str) -> &Path {
    Path::new(server.strip_prefix("unix:").unwrap())
}

fn mode(server: &str) -> u32 {
    fs::symlink_metadata(path(server)).unwrap().permissions().mode() & 0o7777
}

/// Runs `lockbroker serve` on this address, where it must not start, and returns its one line.
fn refused(listen: &str, arguments: &[&str]) -> String {
    let output = run(&[&["serve", "--listen", listen], arguments].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.contains(listen), "{stderr}");
    stderr
}

#[tokio::test]
async fn the_client_and_the_command_line_reach_a_socket_and_it_is_gone_at_the_end() {
    let (_folder, server, mut broker) = broker(&[]).await;
    assert_eq!(mode(&server), 0o660);
    let client = Client::connect(&*server).unwrap();
    let lock = client.acquire("job").await.unwrap().guard().expect("a lock that nobody has");
    let got = run(&["get", "--server", &server, "job"]);
    assert!(String::from_utf8_lossy(&got.stdout).contains("held"), "{got:?}");
    assert_eq!(run(&["run", "--server", &server, "job", "--", "true"]).status.code(), Some(75));
    lock.release().await.unwrap();
    assert_eq!(run(&["run", "--server", &server, "job", "--", "true"]).status.code(), Some(0));
    assert_eq!(run(&["health", "--server", &server]).status.code(), Some(0));
    drop(client);
    assert!(broker.terminate(SOON).await.success());
    assert!(!path(&server).exists());
}

#[tokio::test]
async fn a_killed_clients_lock_goes_to_the_next_at_once() {
    let (_folder, server, broker) = broker(&[]).await;
    let mut stub = broker.stub().await;
    let mut delays = Vec::new();
    for _ in 0..20 {
        let mut client = Process::spawn(
            "lockbroker run",
            &mut lockbroker(&["run", "--server", &server, "job", "--", "sleep", "600"]),
        );
        eventually(SOON, "the client holds the lock", async || look(&mut stub, "job").await.state() == State::Held)
            .await;
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let killed = Instant::now();
        client.kill();
        let acquired = granted(&mut waiting).await;
        delays.push(killed.elapsed());
        release(&mut stub, "job", &acquired.lock_id).await;
    }
    delays.sort_unstable();
    println!("from the kill to the next grant: {delays:?}");
    assert!(delays[10] < 50 * MS && delays[19] < 1_000 * MS, "{delays:?}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let (_folder, server, mut first) = broker(&[]).await;
    let line = refused(&server, &[]);
    assert!(line.contains("another process listens there"), "{line}");
    assert_eq!(run(&["health", "--server", &server]).status.code(), Some(0));

    first.kill();
    assert!(fs::symlink_metadata(path(&server)).unwrap().file_type().is_socket(), "killed brokers leave it");
    let mut second = Broker::start(&["--listen", &server]).await;
    assert_eq!(run(&["health", "--server", &server]).status.code(), Some(0));

    // What has taken its place in the meantime is not the broker's to remove.
    fs::remove_file(path(&server)).unwrap();
    let _other = UnixListener::bind(path(&server)).unwrap();
    assert!(second.terminate(SOON).await.success());
    assert!(path(&server).exists());
}

/// They take turns by a lock on the folder, or the slower one would take the new socket of the other for the stale one.
#[tokio::test]
async fn of_many_brokers_that_find_a_stale_socket_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("unix:{}", folder.path().join("lb.sock").display());
    drop(UnixListener::bind(path(&server)).unwrap());
    let turn = fs::File::open(folder.path()).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    let mut brokers: Vec<_> = (0..8)
        .map(|number| Process::spawn(&format!("broker {number}"), &mut lockbroker(&["serve", "--listen", &server])))
        .collect();
    for broker in &brokers {
        eventually(SOON, "the broker waits for its turn", async || waits(broker)).await;
    }
    drop(turn);
    eventually(3 * SOON, "all but one have given up", async || {
        brokers.iter_mut().filter_map(Process::exit).filter(|status| status.code() == Some(1)).count() == 7
    })
    .await;
    assert_eq!(run(&["health", "--server", &server]).status.code(), Some(0));
}

/// Whether a broker that starts says that others come first, and who.
fn waits(broker: &Process) -> bool {
    let us = format!(r#""by":{}"#, std::process::id());
    broker.log().iter().any(|line| line.contains("waits for a lock") && line.contains(&us))
}

#[test]
fn a_folder_that_another_process_keeps_locked_stops_the_start_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let turn = fs::File::open(folder.path()).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    let server = format!("unix:{}", folder.path().join("lb.sock").display());
    let began = Instant::now();
    let output = run(&["serve", "--log", "warn", "--listen", &server]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for told in [&server, &format!("process {}", std::process::id()), folder.path().to_str().unwrap(), "flock"] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
}

/// A broker that cannot listen everywhere says of no address that it listens there.
#[tokio::test]
async fn a_broker_listens_everywhere_or_nowhere() {
    let (stream, datagram) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
    let tcp = stream.local_addr().unwrap().to_string();
    let udp = format!("127.0.0.1:{}", datagram.local_addr().unwrap().port());
    let memcached = ["--store", "memcached://127.0.0.1:1"];
    for taken in [
        &["--listen", &tcp][..],
        &["--admin-listen", &tcp],
        &[&memcached[..], &["--advertise", &udp]].concat(),
        &["--listen", "unix:/nowhere/lb.sock"],
    ] {
        let output = run(&[&["serve", "--listen", "127.0.0.1:0"], taken].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{taken:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{taken:?}: {stderr}");
        assert!(stderr.contains(taken.last().unwrap()), "{taken:?}: {stderr}");
    }
}

#[test]
fn what_is_in_the_way_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for path in [&file, &link, &folder.path().to_owned()] {
        let line = refused(&format!("unix:{}", path.display()), &[]);
        assert!(line.contains("no socket"), "{line}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(link.symlink_metadata().is_ok());

    let missing = refused(&format!("unix:{}/none/lb.sock", folder.path().display()), &[]);
    assert!(missing.contains("No such file") && missing.contains("make it, and let the broker's user"), "{missing}");
}

#[tokio::test]
async fn the_longest_path_is_107_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let room = 107 - folder.path().as_os_str().len() - 1;
    let of_length = |length: usize| format!("unix:{}/{}", folder.path().display(), "x".repeat(length));
    let line = refused(&of_length(room + 1), &[]);
    assert!(line.contains("108 bytes long") && line.contains("107"), "{line}");
    let _broker = Broker::start(&["--listen", &of_length(room)]).await;
    assert_eq!(run(&["health", "--server", &of_length(room)]).status.code(), Some(0));
}

#[test]
fn a_group_that_there_is_not_is_told_and_leaves_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("unix:{}", folder.path().join("lb.sock").display());
    let line = refused(&server, &["--socket-group", "no-such-group"]);
    assert!(line.contains("--socket-group") && line.contains("`groupadd --system no-such-group`"), "{line}");
    assert!(!path(&server).exists());
}

/// A user in the socket's group may connect, and a user outside of it may not.
#[tokio::test]
async fn a_socket_is_for_its_group() {
    const GROUP: u32 = 54_321;
    assert!(geteuid().is_root(), "this test changes users: run it as root");
    let (folder, server, broker) = broker(&["--socket-mode", "0660", "--socket-group", &GROUP.to_string()]).await;
    let socket = fs::symlink_metadata(path(&server)).unwrap();
    assert_eq!((socket.gid(), mode(&server)), (GROUP, 0o660));
    // The folder and the program have to be within everybody's reach.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program: PathBuf = folder.path().join("lockbroker");
    fs::copy(env!("CARGO_BIN_EXE_lockbroker"), &program).unwrap();
    let as_user = |uid: u32, gid: u32, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"]);
        command.arg(&program).args(arguments).env("LOCKBROKER_SERVER", &server).output().unwrap()
    };
    let inside = as_user(12_345, GROUP, &["run", "job", "--", "sh", "-c", "id -u; id -g"]);
    assert_eq!(String::from_utf8_lossy(&inside.stdout), format!("12345\n{GROUP}\n"), "{inside:?}");
    let outside = as_user(12_345, 12_345, &["run", "job", "--", "true"]);
    assert_eq!(outside.status.code(), Some(69), "{outside:?}");
    assert!(String::from_utf8_lossy(&outside.stderr).contains("Permission denied"), "{outside:?}");
    drop(broker);

    // A broker's user who is not in the group cannot give it the socket, and one who may not write there makes none.
    let (own, others) = (folder.path().join("own"), folder.path().join("others"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&others).unwrap();
    std::os::unix::fs::chown(&own, Some(12_345), None).unwrap();
    for (folder, says) in [(own, "has to be a member of it"), (others, "let that user write to the folder")] {
        let listen = format!("unix:{}", folder.join("lb.sock").display());
        let output = as_user(12_345, 12_345, &["serve", "--listen", &listen, "--socket-group", &GROUP.to_string()]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && stderr.contains(says), "{stderr}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a socket is left");
    }
}
