//! A client in another language, made only from the proto, as most users' are.

use std::path::Path;
use std::process::Command;

use crate::support::{Broker, Memcached, tool};

const CURRENT: &str = "requirements.txt";
/// Its C core is two years older, and closes calls in other ways.
const OLD: &str = "requirements-old.txt";

#[tokio::test]
async fn a_client_made_only_from_the_proto_does_all_that_there_is() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    client(CURRENT, &broker.address().to_string(), &memcached, Path::new("."));
}

/// It sends the socket's path for an authority, percent-encoded.
#[tokio::test]
async fn so_it_does_over_a_unix_socket() {
    over_a_socket(CURRENT, |path| (format!("unix://{}", path.display()), Path::new("."))).await;
}

#[tokio::test]
async fn so_it_does_over_a_unix_socket_by_a_relative_path() {
    over_a_socket(CURRENT, |path| (format!("unix:{}", path.strip_prefix("/").unwrap().display()), Path::new("/")))
        .await;
}

#[tokio::test]
async fn so_does_an_old_one() {
    over_a_socket(OLD, |path| (format!("unix:{}", path.display()), Path::new("."))).await;
}

/// Runs it with a broker on a socket: with the target, and in the folder, that `target` makes of the socket's path.
async fn over_a_socket(requirements: &str, target: impl Fn(&Path) -> (String, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.sock");
    let memcached = Memcached::start(&[]).await;
    let _broker = Broker::on_store(&memcached.store(), &["--listen", &format!("unix:{}", path.display())]).await;
    let (target, runs_in) = target(&path);
    client(requirements, &target, &memcached, runs_in);
}

/// Runs `client.py` to its end, in this folder.
fn client(requirements: &str, broker: &str, memcached: &Memcached, folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = match requirements {
        CURRENT => tool("LOCKBROKER_TEST_PYTHON", &["scripts/venv", "tests/python/requirements.txt"]),
        _ => tool("LOCKBROKER_TEST_OLD_PYTHON", &["scripts/venv", "tests/python/requirements-old.txt"]),
    };
    let stubs = tempfile::tempdir().unwrap();
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(root.join("proto"));
    for out in ["--python_out", "--grpc_python_out"] {
        generate.arg(format!("{out}={}", stubs.path().display()));
    }
    succeeds(generate.arg("lockbroker/v1/lockbroker.proto"));

    let mut client = Command::new(&python);
    client.current_dir(folder).arg(root.join("tests/python/client.py")).arg(stubs.path());
    succeeds(client.args([broker, &memcached.address().to_string()]));
}

/// Runs a program to its end and shows what it printed.
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}", output.status);
}
