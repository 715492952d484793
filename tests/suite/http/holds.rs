//! Streams: a line for each event, and locks that end with their connections.

use std::time::{Duration, Instant};

use lockbroker::proto::get_lock_response::State;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DOOR, Holding, call, curl, door, lock_json, reason_of, url};
use crate::support::*;

const MS: Duration = Duration::from_millis(1);
/// A ttl, and for how long a lock of it is kept for a client that is silent, at least.
const TTL: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn curl_holds_a_lock_until_it_ends_in_whatever_way() {
    for (_memcached, broker) in brokers(&DOOR).await {
        let door = door(&broker).await;
        let mut stub = broker.stub().await;
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for signal in [Signal::INT, Signal::KILL] {
                let arguments =
                    [version, "--json", r#"{"lock": {"name": "job", "owner": "cron"}}"#, &url(door, "Acquire")];
                let mut holder = Holding::with(&arguments);
                let acquired = holder.event("acquired").await;
                assert_eq!(acquired["lockId"].as_str().unwrap().len(), 36);
                assert_eq!(look(&mut stub, "job").await.owner, "cron");
                let (_, mut waiting) = queue(&mut stub, wait("job")).await;
                let ended = Instant::now();
                holder.process.signal(signal);
                let next = granted(&mut waiting).await;
                assert!(ended.elapsed() < 1_000 * MS, "{version} {signal:?}: {:?}", ended.elapsed());
                assert!(next.fencing_token > acquired["fencingToken"].as_str().unwrap().parse().unwrap());
                release(&mut stub, "job", &next.lock_id).await;
            }
        }
    }
}

#[tokio::test]
async fn one_waits_behind_the_other_and_one_that_does_not_wait_is_told() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut first = Holding::start(door, "WaitAcquire", &lock_json("job"));
    first.event("acquired").await;
    let mut second = Holding::start(door, "WaitAcquire", &lock_json("job"));
    assert_eq!(second.event("queued").await, json!({ "position": 1 }));
    let waiters = call(door, "LockAdmin/ListWaiters", &json!({ "name": "job" })).json();
    assert_eq!(waiters["waiters"][0]["position"], 1);

    let refused = call(door, "Acquire", &lock_json("job"));
    assert_eq!((refused.status, &refused.json()["event"]["notAcquired"]["reason"]), (200, &"REASON_HELD".into()));
    let wait = json!({ "lock": { "name": "job" }, "wait": { "maxWait": "0.3s" } });
    let over = call(door, "WaitAcquire", &wait);
    let last: Value = serde_json::from_str(over.body.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"]["notAcquired"]["reason"], "REASON_MAX_WAIT");

    let renewed = first.event("renewed").await;
    assert!(renewed["expiresAfterRequest"].is_string(), "{renewed}");
    first.process.kill();
    second.event("acquired").await;
}

#[tokio::test]
async fn a_stream_that_fails_says_so_in_its_last_line() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut holder = Holding::start(door, "Acquire", &lock_json("job"));
    holder.event("acquired").await;
    let revoked = call(door, "LockAdmin/RevokeLock", &json!({ "name": "job" })).json();
    assert_eq!(revoked["outcome"], "OUTCOME_REVOKED");
    assert_eq!(holder.event("lost").await["reason"], "REASON_REVOKED");
    let last = holder.line().await.unwrap();
    assert_eq!((&last["error"]["code"], &*reason_of(&last["error"])), (&"aborted".into(), "LOST_REVOKED"));
    assert!(holder.line().await.is_none());
    assert!(holder.process.wait(SOON).await.success());
}

/// As Connect's clients ask for streams: each message with a prefix, and a last one that says how it ended.
#[tokio::test]
async fn connects_own_streams_are_served() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut other = Holding::start(door, "Acquire", &lock_json("job"));
    other.event("acquired").await;
    let folder = tempfile::tempdir().unwrap();
    let ask = |message: &str| {
        let file = folder.path().join("request");
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        std::fs::write(&file, [&[0], &length[..], message.as_bytes()].concat()).unwrap();
        let body = format!("@{}", file.display());
        curl(&["-H", "content-type: application/connect+json", "--data-binary", &body, &url(door, "Acquire")])
    };
    let got = ask(r#"{"lock":{"name":"job"}}"#);
    assert!(got.headers.contains("content-type: application/connect+json"), "{got:?}");
    let [first, end] = [r#"{"event":{"notAcquired":{"reason":"REASON_HELD"}}}"#, "{}"];
    let length = u8::try_from(first.len()).unwrap();
    assert_eq!(got.bytes, [&[0, 0, 0, 0, length], first.as_bytes(), &[2, 0, 0, 0, 2], end.as_bytes()].concat());
    let wrong = ask(r#"{"lock":{}}"#);
    assert_eq!((wrong.status, wrong.bytes[0]), (200, 2));
    let error: Value = serde_json::from_slice(&wrong.bytes[5..]).unwrap();
    assert_eq!(error["error"]["code"], "invalid_argument");
}

/// Asks for a lock of that ttl on a connection of its own, and returns that when it is granted. `more` comes behind the request.
async fn raw(door: std::net::SocketAddr, name: &str, more: &str) -> TcpStream {
    let body = json!({ "lock": { "name": name }, "ttl": "5s" }).to_string();
    let request = format!(
        "POST /lockbroker.v1.LockService/Acquire HTTP/1.1\r\nhost: {door}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}{more}",
        body.len()
    );
    let mut connection = TcpStream::connect(door).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("acquired") {
        let mut buf = [0; 4096];
        let read = timeout(SOON, connection.read(&mut buf)).await.expect("an answer soon").unwrap();
        assert!(read > 0, "closed after {answer}");
        answer.push_str(std::str::from_utf8(&buf[..read]).unwrap());
    }
    connection
}

/// R7a: by a machine in between, the client's half may stay.
#[tokio::test]
async fn a_reset_is_silence_and_a_fin_a_close() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut stub = broker.stub().await;
    let asked = Instant::now();
    let reset = raw(door, "reset", "").await;
    set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
    drop(reset);
    let closed = raw(door, "closed", "").await;
    let (_, mut waiting) = queue(&mut stub, wait("closed")).await;
    let (_, mut behind) = queue(&mut stub, wait("reset")).await;
    let fin = Instant::now();
    // A half-close, too.
    let (_reading, mut writing) = closed.into_split();
    writing.shutdown().await.unwrap();
    granted(&mut waiting).await;
    assert!(fin.elapsed() < 1_000 * MS, "{:?}", fin.elapsed());
    granted(&mut behind).await;
    assert!(asked.elapsed() > LEASE && asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

/// Nothing is read then, so it is a write that finds out that the client has gone.
#[tokio::test]
async fn a_client_that_sends_more_than_its_request_does_not_hold_for_ever() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut stub = broker.stub().await;
    let connection = raw(door, "job", "POST /more HTTP/1.1\r\n").await;
    let (_, mut waiting) = queue(&mut stub, wait("job")).await;
    drop(connection);
    timeout(4 * TTL, granted_whenever(&mut waiting)).await.expect("the lock after some renewals");
}

#[tokio::test]
async fn a_broker_that_goes_tells_its_holders_and_waits_for_them() {
    let mut broker = Broker::start(&[&DOOR[..], &["--drain", "60s"]].concat()).await;
    let door = door(&broker).await;
    let mut holder = Holding::start(door, "Acquire", &lock_json("job"));
    holder.event("acquired").await;
    rustix::process::kill_process(rustix::process::Pid::from_raw(broker.pid() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(holder.event("draining").await, json!({ "grace": "60s" }));
    let refused = call(door, "Acquire", &lock_json("another"));
    assert!(refused.body.contains("BROKER_DRAINING"), "{refused:?}");
    holder.event("renewed").await;
    assert!(broker.exit().is_none());
    holder.process.kill();
    eventually(SOON, "the broker ends", async || broker.exit().is_some_and(|status| status.success())).await;
}

#[tokio::test]
async fn a_lock_is_held_over_http_and_seen_by_grpc() {
    let broker = Broker::start(&DOOR).await;
    let mut holder = Holding::start(door(&broker).await, "Acquire", &lock_json("job"));
    let id = holder.event("acquired").await["lockId"].as_str().unwrap().to_owned();
    let mut stub = broker.stub().await;
    assert_eq!(look(&mut stub, "job").await.state(), State::Held);
    release(&mut stub, "job", &id).await;
    holder.event("released").await;
    assert!(holder.process.wait(SOON).await.success());
    assert!(!broker.log().iter().any(|line| line.contains(&id)));
}

#[tokio::test]
async fn curl_leads_and_follows() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut follower = Holding::start(door, "Observe", &json!({ "name": "leader" }));
    assert_eq!(follower.line().await.unwrap(), json!({ "state": "STATE_FREE" }));
    let value = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let lock = json!({ "lock": { "name": "leader", "value": value("here") } });
    let mut leader = Holding::start(door, "Acquire", &lock);
    let acquired = leader.event("acquired").await;
    let update = json!({ "name": "leader", "lockId": acquired["lockId"], "value": value("there") });
    assert_eq!(call(door, "UpdateLock", &update).json(), json!({ "outcome": "OUTCOME_UPDATED" }));
    loop {
        let seen = follower.line().await.unwrap();
        assert!(seen["state"] == "STATE_FREE" || seen["fencingToken"] == acquired["fencingToken"], "{seen}");
        if seen["value"] == value("there") {
            break;
        }
    }
    leader.process.signal(Signal::INT);
    assert_eq!(follower.line().await.unwrap(), json!({ "state": "STATE_FREE" }));
}
