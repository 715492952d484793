//! A client in another language, made only from the proto, as most users' are.

use std::path::Path;
use std::process::Command;

use crate::support::{Broker, Memcached, tool};

#[tokio::test]
async fn a_client_made_only_from_the_proto_does_all_that_there_is() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tool("LOCKBROKER_TEST_PYTHON", &["scripts/venv", "tests/python/requirements.txt"]);

    let stubs = tempfile::tempdir().unwrap();
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(root.join("proto"));
    for out in ["--python_out", "--grpc_python_out"] {
        generate.arg(format!("{out}={}", stubs.path().display()));
    }
    succeeds(generate.arg("lockbroker/v1/lockbroker.proto"));

    let mut client = Command::new(&python);
    client.arg(root.join("tests/python/client.py")).arg(stubs.path());
    succeeds(client.args([broker.address().to_string(), memcached.address().to_string()]));
}

/// Runs a program to its end and shows what it printed.
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}", output.status);
}
