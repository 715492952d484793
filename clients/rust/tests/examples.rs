//! The examples do what they say.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use lockbroker_client::testing::TestBroker;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs an example to its end. Cargo builds it before it runs all tests.
async fn run(name: &str, server: &str) -> Output {
    let program: PathBuf = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(name);
    let mut command = Command::new(&program);
    let output = command.env("LOCKBROKER_SERVER", server).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(30), output).await.expect("its end");
    output.unwrap_or_else(|error| panic!("{}: {error}: run `cargo build --examples`", program.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_writer_is_refused() {
    let broker = TestBroker::start().await;
    let output = run("fencing", &broker.url()).await;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["the second writes: true", "the first wakes up and writes: false", "the report says \"new\""],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
