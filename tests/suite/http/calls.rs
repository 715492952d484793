//! Calls with one answer, and what is wrong with others.

use data_encoding::BASE64_NOPAD;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{GetLockRequest, GetLockResponse};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic_types::pb;

use super::{DOOR, Holding, call, curl, door, lock_json, url};
use crate::support::*;

#[tokio::test]
async fn calls_are_answered_as_grpc_answers_them() {
    for (_memcached, broker) in brokers(&[&DOOR[..], &Broker::WATCHED].concat()).await {
        let door = door(&broker).await;
        let mut stub = broker.stub().await;
        let free = call(door, "GetLock", &json!({ "name": "a" }));
        assert_eq!((free.status, free.body.as_str()), (200, r#"{"state":"STATE_FREE"}"#));

        let (acquired, mut stream) = acquire(&mut stub, once("a")).await;
        let held = call(door, "GetLock", &json!({ "name": "a", "lock_id": acquired.lock_id })).json();
        assert_eq!(held["state"], "STATE_HELD");
        assert_eq!(held["fencingToken"], acquired.fencing_token.to_string());
        let valid = held["expiresAfterRequest"].as_str().unwrap();
        assert!(valid.ends_with('s') && valid.trim_end_matches('s').parse::<f64>().unwrap() > 10.0, "{valid}");
        let names = |list: &Value| {
            list["locks"].as_array().unwrap().iter().map(|lock| lock["name"].clone()).collect::<Vec<_>>()
        };
        let list = call(door, "LockAdmin/ListLocks", &json!({}));
        assert!(list.headers.contains("content-type: application/x-ndjson"), "{list:?}");
        assert_eq!(names(&list.json()), ["a"]);

        let mine = json!({ "name": "a", "lockId": acquired.lock_id });
        assert_eq!(call(door, "Release", &mine).json(), json!({ "outcome": "OUTCOME_RELEASED" }));
        assert!(matches!(after_renewals(&mut stream).await, Kind::Released(_)));
        assert_eq!(call(door, "Release", &mine).json()["outcome"], "OUTCOME_NOT_HELD");
        let revoked = call(door, "LockAdmin/RevokeLock", &json!({ "name": "a" })).json();
        assert_eq!(revoked["outcome"], "OUTCOME_NOT_HELD");
        let calls = broker.scrape().await;
        let counted = |method| calls.sum("lockbroker_rpcs_total", &[("method", method), ("code", "OK")]);
        assert_eq!((counted("GetLock"), counted("Release"), counted("RevokeLock")), (2.0, 2.0, 1.0));
    }
}

#[tokio::test]
async fn leases_share_a_lock() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let seat = json!({ "lock": { "name": "seats", "mode": "MODE_SHARED", "limit": 2 } });
    let first = call(door, "AcquireLease", &seat).json();
    // Unlike other fields that are 0, this one is told.
    assert_eq!(first["acquired"]["permit"], 0, "{first}");
    let second = call(door, "AcquireLease", &seat).json();
    assert_eq!(second["acquired"]["permit"], 1);
    assert_eq!(call(door, "AcquireLease", &seat).json()["notAcquired"]["reason"], "REASON_HELD");
    assert_eq!(call(door, "GetLock", &json!({ "name": "seats" })).json()["sharedCount"], 2);
    let mine = json!({ "name": "seats", "lockId": first["acquired"]["lockId"] });
    assert!(call(door, "RenewLease", &mine).json()["renewed"]["expiresAfterRequest"].is_string());
    assert_eq!(call(door, "Release", &mine).json()["outcome"], "OUTCOME_RELEASED");
    assert_eq!(call(door, "AcquireLease", &seat).json()["acquired"]["permit"], 0);
    let odd = call(door, "AcquireLease", &json!({ "lock": { "name": "seats", "limit": 2 } }));
    assert_eq!((odd.status, odd.reason().as_str()), (400, "INVALID_FIELD"));
    assert!(odd.body.contains("lock.limit: is 2"), "{odd:?}");
}

#[tokio::test]
async fn a_lease_is_held_by_calls_alone() {
    let broker = Broker::start(&[&DOOR[..], &Broker::WATCHED].concat()).await;
    let door = door(&broker).await;
    let lease = call(door, "AcquireLease", &lock_json("a")).json();
    let mine = json!({ "name": "a", "lockId": lease["acquired"]["lockId"] });
    assert!(call(door, "RenewLease", &mine).json()["renewed"]["expiresAfterRequest"].is_string());
    let other = call(door, "AcquireLease", &lock_json("a"));
    assert_eq!((other.status, &other.json()["notAcquired"]["reason"]), (200, &"REASON_HELD".into()));
    assert_eq!(call(door, "Release", &mine).json()["outcome"], "OUTCOME_RELEASED");
    assert_eq!(call(door, "RenewLease", &mine).json()["lost"]["reason"], "REASON_GONE");
    let calls = broker.scrape().await;
    let counted = |method| calls.sum("lockbroker_rpcs_total", &[("method", method), ("code", "OK")]);
    assert_eq!((counted("AcquireLease"), counted("RenewLease")), (2.0, 2.0));
}

/// As generated clients of Connect ask by default.
#[tokio::test]
async fn connects_binary_format_is_taken() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("request");
    let ask = |name: &str| {
        std::fs::write(&file, GetLockRequest { name: name.into(), ..Default::default() }.encode_to_vec()).unwrap();
        let body = format!("@{}", file.display());
        let version = "connect-protocol-version: 1";
        let timeout = "connect-timeout-ms: 5000";
        curl(&[
            "-H",
            "content-type: application/proto",
            "-H",
            version,
            "-H",
            timeout,
            "--data-binary",
            &body,
            &url(door, "GetLock"),
        ])
    };
    let got = ask("a");
    assert!(got.headers.contains("content-type: application/proto"), "{got:?}");
    assert_eq!(GetLockResponse::decode(&*got.bytes).unwrap().state, 1);
    let wrong = ask("");
    assert!(wrong.status == 400 && wrong.headers.contains("content-type: application/json"), "{wrong:?}");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_connects_form() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let get_lock = url(door, "GetLock");
    let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(4096));
    let with = |header: &'static str| vec!["-H", header, "--json", r#"{"name": "a"}"#, &get_lock];
    let wrong: [(Vec<&str>, u16, &str, &str, &str); 10] = [
        (
            vec!["--json", r#"{"name": ""}"#, &get_lock],
            400,
            "invalid_argument",
            "INVALID_FIELD",
            "name: must not be empty",
        ),
        (
            vec!["--json", r#"{"nme": "a"}"#, &get_lock],
            400,
            "invalid_argument",
            "INVALID_FIELD",
            "'nme' at line 1 column 6",
        ),
        (vec!["--json", "{", &get_lock], 400, "invalid_argument", "INVALID_FIELD", "line 1 column 1"),
        (vec!["--json", &long, &get_lock], 429, "resource_exhausted", "MESSAGE_TOO_LARGE", "4096"),
        (vec!["-d", "{}", &get_lock], 415, "invalid_argument", "INVALID_FIELD", "application/json"),
        (vec![&get_lock], 405, "unimplemented", "UNKNOWN_METHOD", "POST"),
        (
            vec!["-H", "content-type: text/plain", "-H", "content-type: application/json", "-d", "{}", &get_lock],
            415,
            "invalid_argument",
            "INVALID_FIELD",
            "content-type",
        ),
        (with("content-encoding: gzip"), 501, "unimplemented", "UNSUPPORTED_ENCODING", "uncompressed"),
        (with("connect-protocol-version: 2"), 400, "invalid_argument", "INVALID_FIELD", "connect-protocol-version"),
        (with("connect-timeout-ms: soon"), 400, "invalid_argument", "INVALID_FIELD", "connect-timeout-ms"),
    ];
    for (arguments, status, code, reason, says) in wrong {
        let got = curl(&arguments);
        assert_eq!((got.status, &got.json()["code"], &*got.reason()), (status, &code.into(), reason), "{arguments:?}");
        assert!(got.json()["message"].as_str().unwrap().contains(says), "{arguments:?}: {got:?}");
        assert!(got.headers.contains("content-type: application/json"), "{got:?}");
    }
    let nothing = call(door, "Nothing", &json!({}));
    assert_eq!((nothing.status, &*nothing.reason()), (404, "UNKNOWN_METHOD"));
    let session = call(door, "Session", &json!({}));
    assert!(session.status == 501 && session.body.contains("gRPC"), "{session:?}");
    assert!(curl(&[&get_lock]).headers.contains("allow: post"));
    assert!(curl(&["-d", "{}", &get_lock]).headers.contains("accept-post: application/json"));

    // The field is named for programs, too.
    let error = call(door, "GetLock", &json!({ "name": "" })).json();
    let details = error["details"].as_array().unwrap();
    let field = details.iter().find(|detail| detail["type"] == "google.rpc.BadRequest").unwrap();
    let value = BASE64_NOPAD.decode(field["value"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(pb::BadRequest::decode(&*value).unwrap().field_violations[0].field, "name");
}

/// One that the operator can do something about says when to try again.
#[tokio::test]
async fn a_store_that_is_away_is_unavailable_for_a_while() {
    let broker = Broker::start_unready(&[&DOOR[..], &["--store", "memcached://127.0.0.1:1"]].concat()).await;
    let got = call(door(&broker).await, "Acquire", &lock_json("a"));
    let last: Value = serde_json::from_str(got.body.lines().last().unwrap()).unwrap();
    let error = if got.status == 200 { &last["error"] } else { &last };
    assert_eq!(error["code"], "unavailable", "{got:?}");
    let got = call(door(&broker).await, "GetLock", &json!({ "name": "a" }));
    assert_eq!((got.status, &got.json()["code"]), (503, &"unavailable".into()));
    assert!(got.headers.contains("retry-after: "), "{got:?}");
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &DOOR).await;
    let get_lock = url(door(&broker).await, "GetLock");
    memcached.stop().await;
    let got = curl(&["-H", "connect-timeout-ms: 200", "--json", r#"{"name": "a"}"#, &get_lock]);
    assert_eq!((got.status, &*got.reason()), (504, "DEADLINE_OVER"));
}

/// One connection serves one call after another, streams that end by themselves included.
#[tokio::test]
async fn a_connection_is_kept_for_the_next_call() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut other = Holding::start(door, "Acquire", &lock_json("a"));
    other.event("acquired").await;
    let mut connection = TcpStream::connect(door).await.unwrap();
    for (method, body, answered) in [
        ("Acquire", r#"{"lock":{"name":"a"}}"#, "REASON_HELD"),
        ("GetLock", r#"{"name":"b"}"#, "STATE_FREE"),
        ("GetLock", r#"{"name":""}"#, "INVALID_FIELD"),
        ("GetLock", r#"{"name":"a"}"#, "STATE_HELD"),
    ] {
        let length = body.len();
        let request = format!(
            "POST /lockbroker.v1.LockService/{method} HTTP/1.1\r\nhost: {door}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.contains(answered) || !(answer.ends_with('}') || answer.ends_with("0\r\n\r\n")) {
            let mut buf = [0; 4096];
            let read = timeout(SOON, connection.read(&mut buf)).await.expect("an answer soon").unwrap();
            assert!(read > 0, "closed after {answer}");
            answer.push_str(std::str::from_utf8(&buf[..read]).unwrap());
        }
    }
}

#[tokio::test]
async fn the_description_names_all_calls_that_there_are() {
    let broker = Broker::start(&DOOR).await;
    let got = curl(&[&format!("http://{}/openapi.json", door(&broker).await)]);
    let description = got.json();
    assert_eq!((got.status, &description["openapi"]), (200, &"3.1.0".into()));
    let head = curl(&["-I", &format!("http://{}/openapi.json", door(&broker).await)]);
    assert!(head.status == 200 && head.headers.contains(&format!("content-length: {}", got.bytes.len())), "{head:?}");
    for path in description["paths"].as_object().unwrap().keys() {
        let got = curl(&["--json", "[]", &format!("http://{}{path}", door(&broker).await)]);
        assert_eq!((got.status, &*got.reason()), (400, "INVALID_FIELD"), "{path}");
    }
    assert_eq!(description["components"]["schemas"]["Acquired"]["properties"]["fencingToken"]["type"], "string");
}
