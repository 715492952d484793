//! `lockbroker health`: exit code 0 if and only if the broker says SERVING, and one line otherwise.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::*;

/// Exit code and what was said.
fn health(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["health"], arguments].concat());
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Asserts that it failed, and returns its one line.
fn line((code, said): (Option<i32>, String)) -> String {
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("lockbroker: ") && said.trim_end().lines().count() == 1, "{said}");
    said
}

#[tokio::test]
async fn it_says_what_the_health_service_says() {
    let memcached = Memcached::start(&[]).await;
    // In quarantine: it lives, and is of no use yet.
    let mut broker = Broker::start_unready(&["--store", &memcached.store()]).await;
    let url = broker.url();
    assert!(line(health(&["--server", &url])).contains("NOT_SERVING"));
    assert_eq!(health(&["--server", &url, "--service", "liveness"]), (Some(0), String::new()));
    open(&memcached.store(), &[]);
    broker.ready().await;
    assert_eq!(health(&["--address", &url]), (Some(0), String::new()));
    let service = "lockbroker.v1.LockService";
    assert_eq!(health(&["--server", &url, "--service", service]), (Some(0), String::new()));
    assert!(line(health(&["--server", &url, "--service", "nonsense"])).contains("\"nonsense\""));
    let by_environment = lockbroker(&["health"]).env("LOCKBROKER_SERVER", &url).status().unwrap();
    assert!(by_environment.success());

    // Stopped, it accepts connections and answers nothing.
    broker.stop().await;
    let began = Instant::now();
    assert!(line(health(&["--server", &url, "--timeout", "300ms"])).contains("300ms"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    broker.cont();
    broker.kill();
    assert!(line(health(&["--server", &url])).contains("refused"));
}

#[test]
fn wrong_usage_is_2_and_a_stranger_at_the_port_is_1() {
    assert_eq!(health(&["--server", "nonsense://"]).0, Some(2));
    assert_eq!(health(&["--timeout", "soon"]).0, Some(2));
    // It accepts, by the kernel's hand, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    assert!(line(health(&["--server", &url, "--timeout", "200ms"])).contains("no answer"));
}
