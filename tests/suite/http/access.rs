//! Who is let in, and how many.

use std::fs;
use std::time::Instant;

use lockbroker::proto::get_lock_response::State;
use rustix::process::geteuid;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DOOR, Holding, SERVICE, call, curl, door, lock_json, url};
use crate::support::*;

const ASK: [&str; 2] = ["--json", r#"{"name": "a/1"}"#];

/// Writes a policy that lets `who` do what it likes with locks below a/.
fn policy(folder: &TempDir, who: &str) -> String {
    let file = folder.path().join("policy.toml");
    let rule = format!("[[rule]]\nwho = [{who:?}]\nmay = [\"acquire\", \"look\"]\nprefixes = [\"a/\"]\n");
    fs::write(&file, rule).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn on_a_socket_the_policy_goes_by_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock").to_str().unwrap().to_owned();
    let policy = policy(&folder, &format!("uid:{}", geteuid().as_raw()));
    let on = ["--http-listen", &format!("unix:{socket}"), "--policy", &policy];
    let broker = Broker::start(&[&DOOR[..], &on].concat()).await;
    broker.logged(&socket).await;
    let over = ["--unix-socket", &socket];
    // There is no host to be had by anybody else.
    let get_lock = url("lockbroker", "GetLock");
    let got = curl(&[&over[..], &ASK, &[&get_lock]].concat());
    assert_eq!((got.status, &got.json()["state"]), (200, &"STATE_FREE".into()));
    let denied = curl(&[&over[..], &["--json", r#"{"name": "b"}"#, &get_lock]].concat());
    assert_eq!((denied.status, &*denied.reason()), (403, "POLICY_DENIED"));
    // On TCP nobody is known.
    let unknown = call(door(&broker).await, "GetLock", &json!({ "name": "a/1" }));
    assert_eq!((unknown.status, &*unknown.reason()), (401, "UNKNOWN_CALLER"));

    let mut stub = broker.stub().await;
    let acquire = url("lockbroker", "Acquire");
    let mut holder = Holding::with(&[&over[..], &["--json", r#"{"lock": {"name": "a/1"}}"#, &acquire]].concat());
    holder.event("acquired").await;
    holder.process.kill();
    eventually(SOON, "the lock is free", async || {
        curl(&[&over[..], &ASK, &[&get_lock]].concat()).json()["state"] == "STATE_FREE"
    })
    .await;
    assert!(stub.acquire(once("a/1")).await.is_err());
}

#[tokio::test]
async fn by_tls_the_policy_goes_by_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let [authority, clients] = ["authority", "clients"].map(|name| Authority::new(folder.path(), name));
    let (server, client) = (authority.server("broker"), clients.client("cron", &[]));
    let policy = policy(&folder, "cn:cron");
    let socket = format!("unix:{}", folder.path().join("lb.sock").display());
    let broker = Broker::start_unready(
        &[
            &DOOR[..],
            &["--listen", &socket, "--policy", &policy],
            &["--tls-cert", &server.cert, "--tls-key", &server.key, "--tls-client-ca", &clients.file()],
        ]
        .concat(),
    )
    .await;
    let port = door(&broker).await.port();
    let [get_lock, acquire] =
        ["GetLock", "Acquire"].map(|method| format!("https://localhost:{port}/{SERVICE}/{method}"));
    let ca = authority.file();
    let known = ["--cacert", &ca, "--cert", &client.cert, "--key", &client.key];
    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let got = curl(&[&known[..], &ASK, &[version, &get_lock]].concat());
        assert_eq!((got.status, &*got.http, &got.json()["state"]), (200, spoken, &"STATE_FREE".into()));
        let denied = curl(&[&known[..], &["--json", r#"{"name": "b"}"#, version, &get_lock]].concat());
        assert_eq!((denied.status, &*denied.reason()), (403, "POLICY_DENIED"));

        let mut holder =
            Holding::with(&[&known[..], &["--json", r#"{"lock": {"name": "a/1"}}"#, version, &acquire]].concat());
        holder.event("acquired").await;
        let killed = Instant::now();
        holder.process.kill();
        eventually(SOON, "the lock is free", async || {
            curl(&[&known[..], &ASK, &[&get_lock]].concat()).json()["state"] == "STATE_FREE"
        })
        .await;
        assert!(killed.elapsed().as_secs() < 2, "{:?}", killed.elapsed());
    }
    let stranger = output(std::process::Command::new("curl").args(["-sS", "--cacert", &ca]).args(ASK).arg(&get_lock));
    assert!(!stranger.status.success(), "{stranger:?}");
}

#[tokio::test]
async fn web_pages_are_kept_out_unless_their_site_is_named() {
    let named = ["--http-origin", "https://app.example.org", "--http-host", "locks.example.org"];
    let broker = Broker::start(&[&DOOR[..], &named].concat()).await;
    let get_lock = url(door(&broker).await, "GetLock");
    let with = |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let all: Vec<_> = headers.chain(ASK).chain([&*get_lock]).collect();
        curl(&all)
    };
    assert_eq!(with(&["host: locks.example.org"]).status, 200);
    for headers in [&["origin: http://evil.example"][..], &["origin: null"], &["host: evil.example"]] {
        let got = with(headers);
        assert_eq!((got.status, &got.json()["code"]), (403, &"permission_denied".into()), "{headers:?}");
        assert_eq!(got.reason(), "ORIGIN_REFUSED");
        assert!(!got.headers.contains("access-control"), "{got:?}");
    }
    let named = with(&["origin: https://app.example.org"]);
    assert!(named.status == 200 && named.headers.contains("access-control-allow-origin: https://app.example.org"));
    let asks = ["-X", "OPTIONS", "-H", "origin: https://app.example.org", &get_lock];
    let asked = curl(&asks);
    assert!(asked.status == 204 && asked.headers.contains("access-control-allow-headers: content-type"), "{asked:?}");
}

#[tokio::test]
async fn the_limits_are_those_of_grpc() {
    let limits = ["--max-connections", "3", "--max-streams", "1", "--max-locks", "1"];
    let broker = Broker::start_unready(&[&DOOR[..], &Broker::WATCHED, &limits].concat()).await;
    let door = door(&broker).await;
    eventually(SOON, "the broker is ready", async || call(door, "GetLock", &json!({ "name": "a" })).status == 200)
        .await;
    let mut holder = Holding::start(door, "Acquire", &lock_json("a"));
    holder.event("acquired").await;
    let full = call(door, "GetLock", &json!({ "name": "a" }));
    assert_eq!((full.status, &*full.reason()), (429, "MAX_STREAMS"));

    // A place is left for one that says nothing, and one that says too much.
    let _silent = TcpStream::connect(door).await.unwrap();
    let mut big = TcpStream::connect(door).await.unwrap();
    let header = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n", "x".repeat(20_000));
    // The broker may have closed it by then.
    let _ = big.write_all(header.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, big.read_to_end(&mut answer)).await.expect("an end soon");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let _another = TcpStream::connect(door).await.unwrap();
    let mut refused = TcpStream::connect(door).await.unwrap();
    let ended = timeout(SOON, refused.read(&mut [0])).await.expect("an end soon");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    broker
        .scraped("a connection is refused", |scrape| {
            scrape.sum("lockbroker_refused_total", &[("limit", "max_connections")]) >= 1.0
        })
        .await;
}

#[tokio::test]
async fn a_connection_without_calls_is_closed_and_one_with_a_lock_is_not() {
    let broker = Broker::start(&[&DOOR[..], &["--idle-timeout", "1s"]].concat()).await;
    let door = door(&broker).await;
    let mut holder = Holding::start(door, "Acquire", &lock_json("a"));
    holder.event("acquired").await;
    let mut idle = TcpStream::connect(door).await.unwrap();
    let began = Instant::now();
    idle.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, idle.read_to_end(&mut answer)).await.expect("an end soon").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK") && began.elapsed().as_millis() > 900, "{:?}", began.elapsed());
    // After five times that.
    holder.event("renewed").await;
}

/// What a page of another site can make a browser send without asking first.
#[tokio::test]
async fn what_a_form_can_send_is_not_taken() {
    let broker = Broker::start(&DOOR).await;
    let acquire = url(door(&broker).await, "Acquire");
    let lock = r#"{"lock": {"name": "a"}, "x": "="}"#;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
        let got = curl(&["-H", &format!("content-type: {content_type}"), "-d", lock, &acquire]);
        assert_eq!((got.status, &*got.reason()), (415, "INVALID_FIELD"), "{content_type}");
    }
    let got = curl(&["-H", "content-type;", "-H", "origin: null", "-d", lock, &acquire]);
    assert_eq!((got.status, &*got.reason()), (403, "ORIGIN_REFUSED"));
    assert_eq!(look(&mut broker.stub().await, "a").await.state(), State::Free);
}

#[tokio::test]
async fn a_body_that_has_no_end_is_refused_and_its_connection_closed() {
    let broker = Broker::start(&DOOR).await;
    for path in [&format!("/{SERVICE}/Acquire"), "/nothing"] {
        let mut endless = TcpStream::connect(door(&broker).await).await.unwrap();
        let head = "host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked";
        let request = format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n1388\r\n{}\r\n", " ".repeat(5000));
        endless.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, endless.read_to_end(&mut answer)).await.expect("an end soon").unwrap();
        let status = if path == "/nothing" { 404 } else { 429 };
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_quota_counts_here_too_and_says_when_to_ask_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock").to_str().unwrap().to_owned();
    let us = format!("uid:{}", geteuid().as_raw());
    let policy = policy(&folder, &us);
    let quota = format!("[[quota]]\nwho = [{us:?}]\nmax_locks = 1\nmax_rate = 0.2\nburst = 2\n");
    fs::write(&policy, fs::read_to_string(&policy).unwrap() + &quota).unwrap();
    let broker = Broker::start(&["--http-listen", &format!("unix:{socket}"), "--policy", &policy]).await;
    broker.logged(&socket).await;
    let over = ["--unix-socket", &socket];
    let ask = |name: &str, method: &str| {
        let lock = lock_json(name).to_string();
        curl(&[&over[..], &["--json", &lock, &url("lockbroker", method)]].concat())
    };
    assert_eq!(ask("a/1", "AcquireLease").status, 200);
    let full = ask("a/2", "AcquireLease");
    assert_eq!((full.status, &*full.reason()), (429, "QUOTA_LOCKS"));
    assert!(!full.headers.contains("retry-after"), "{full:?}");
    let often = ask("a/2", "Acquire");
    assert_eq!((often.status, &*often.reason()), (429, "QUOTA_RATE"));
    assert!(["retry-after: 5", "retry-after: 4"].iter().any(|after| often.headers.contains(after)), "{often:?}");
    assert!(often.json()["message"].as_str().unwrap().contains(&us), "{often:?}");
    assert_eq!(curl(&[&over[..], &ASK, &[&url("lockbroker", "GetLock")]].concat()).status, 200);
}
