//! The client commands where there are several brokers, where there is none, and where one refuses: who is asked, for how
//! long, and what is said.

use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::client::Client;

const MS: Duration = Duration::from_millis(1);

/// What a command's end says.
fn end(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// An address at which connections are accepted and nothing is said.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn brokers_are_asked_in_turn_and_one_that_is_dead_costs_no_more_than_its_share() {
    let broker = Broker::memory().await;
    let (_silent, silent) = silent();
    // Nobody listens there.
    let closed = "127.0.0.1:1";
    for dead in [closed, &silent] {
        let both = format!("{dead},{}", broker.url());
        let began = Instant::now();
        assert!(run(&["get", "--server", &both, "a"]).status.success());
        assert!(run(&["run", "--server", dead, "--server", &broker.url(), "a", "--", "true"]).status.success());
        assert!(run(&["run", "--server", &both, "--wait", "10s", "a", "--", "true"]).status.success());
        // Half of 5 s for each, and the processes' own time.
        assert!(began.elapsed() < 3 * 2_500 * MS + 2_500 * MS, "{:?}", began.elapsed());
        let by_environment =
            lockbroker(&["health", "--timeout", "2s"]).env("LOCKBROKER_SERVER", &both).output().unwrap();
        assert_eq!(end(&by_environment), (Some(0), String::new()));
    }
    let (code, err) = end(&run(&["run", "--server", "127.0.0.1:1,127.0.0.1:2", "a", "--", "true"]));
    assert_eq!(code, Some(69));
    assert!(err.contains("127.0.0.1:1: ") && err.contains("127.0.0.1:2: ") && err.lines().count() == 1, "{err}");
}

#[tokio::test]
async fn a_lock_moves_to_the_next_broker_of_the_list() {
    let memcached = Memcached::start(&[]).await;
    let (mut one, other) = (Broker::on(&memcached).await, Broker::on(&memcached).await);
    let client = Client::builder(one.url()).endpoint(other.url()).connect().unwrap();
    let lock = client.acquire("a").await.unwrap().guard().unwrap();
    let id = lock.lock_id();
    one.kill();
    eventually(SOON, "the lock has moved", async || lock.lock_id() != id && !lock.remaining().is_zero()).await;
    assert_eq!(client.get("a", None).await.unwrap().state.to_string(), "held");
    lock.release().await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_when_it_is_over_with_a_broker_and_without() {
    let (_silent, silent) = silent();
    for server in ["127.0.0.1:1", &silent] {
        let began = Instant::now();
        let (code, err) = end(&run(&["run", "--server", server, "--wait", "6s", "a", "--", "true"]));
        let took = began.elapsed();
        assert_eq!(code, Some(69), "{err}");
        assert!(took >= 6_000 * MS && took < 7_500 * MS, "{server}: {took:?}");
    }
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let _held = client.acquire("a").await.unwrap().guard().unwrap();
    let began = Instant::now();
    let (code, err) = end(&run(&["run", "--server", &broker.url(), "--wait", "1s", "a", "--", "true"]));
    let took = began.elapsed();
    assert_eq!(code, Some(75), "{err}");
    assert!(took >= 1_000 * MS && took < 2_000 * MS, "{took:?}");
}

#[tokio::test]
async fn what_is_no_address_of_a_broker_is_refused_with_those_that_are() {
    let broker = Broker::memory().await;
    let address = broker.address();
    for scheme in ["grpcs", "grpc", "ftp", "tcp", "dns", "HTTP"] {
        for command in [&["get", "a"][..], &["health"], &["run", "a"], &["bench", "cycle"]] {
            let server = format!("{scheme}://{address}");
            let tail: &[&str] = if command[0] == "run" { &["--", "true"] } else { &[] };
            let (code, err) = end(&run(&[command, &["--server", &server], tail].concat()));
            assert_eq!(code, Some(2), "{server}: {err}");
            for part in [scheme, "http://HOST:PORT", "https://HOST:PORT", "unix:/PATH", "(--server)"] {
                assert!(err.contains(part), "{part}: {err}");
            }
        }
    }
    let by_environment = lockbroker(&["get", "a"]).env("LOCKBROKER_SERVER", "ftp://a").output().unwrap();
    let (code, err) = end(&by_environment);
    assert!(code == Some(2) && err.contains("(LOCKBROKER_SERVER)"), "{err}");
    assert_eq!(end(&run(&["get", "--server", &format!("http://{address}/path"), "a"])).0, Some(2));
}

#[tokio::test]
async fn a_refusal_by_the_policy_and_a_stranger_at_the_port_have_codes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "").unwrap();
    let broker = Broker::start(&["--policy", policy.to_str().unwrap()]).await;
    for command in [&["get", "a"][..], &["run", "a", "--", "true"], &["run", "--wait", "1m", "a", "--", "true"]] {
        let mut command = lockbroker(command);
        let (code, err) = end(&output(command.env("LOCKBROKER_SERVER", broker.url())));
        assert_eq!(code, Some(77), "{err}");
        assert!(err.contains("not allowed") && err.contains("--policy") && err.lines().count() == 1, "{err}");
    }
    broker.logged("every call here will be refused").await;

    // A gRPC server of another kind: the broker's own health checks, without the lock service.
    let watched = Broker::start(&Broker::WATCHED).await;
    let (code, err) = end(&run(&["get", "--server", &watched.admin().await.to_string(), "a"]));
    assert_eq!(code, Some(76), "{err}");
}
