//! The examples do what they say.

use std::path::PathBuf;
use std::process::Output;

use lockbroker_client::testing::TestBroker;
use tokio::process::Command;

/// Runs an example to its end. Cargo has built it, next to this program's folder.
async fn run(name: &str, arguments: &[&str]) -> Output {
    let program: PathBuf = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(name);
    Command::new(&program)
        .args(arguments)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_writer_is_refused() {
    let broker = TestBroker::start().await;
    let output = run("fencing", &[&broker.url()]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["the second writes: true", "the first wakes up and writes: false", "the report says \"new\""],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
