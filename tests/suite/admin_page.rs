//! The page of the admin listener, without a browser: who gets it, and what it is told. scripts/test-page looks at it in one.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::support::{
    Answer, Broker, Memcached, RawSession, SOON, acquire, begin, eventually, http, http_with, lingering, once, queue,
    release, try_acquire, wait,
};
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::revoke_lock_response::Outcome;
use lockbroker::proto::{AcquireRequest, BeginLock, LockSpec, RevokeLockRequest, WaitAcquireRequest};

/// What answers in JSON, and the page's files.
const DATA: [&str; 3] = ["/status.json", "/locks.json", "/waiters.json"];
const FILES: [(&str, &str); 5] = [
    ("/show.js", "text/javascript"),
    ("/", "text/html"),
    ("/page.css", "text/css"),
    ("/page.js", "text/javascript"),
    ("/icon.svg", "image/svg+xml"),
];

async fn json(admin: SocketAddr, path: &str) -> Value {
    let answer = http(admin, "GET", path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert!(answer.headers.contains("content-type: application/json"), "{}", answer.headers);
    serde_json::from_str(&answer.body).unwrap()
}

fn owned(name: &str, owner: &str) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), owner: owner.to_owned(), ..LockSpec::default() })
}

/// Returns the names of the locks, or of those that are waited for.
fn names(list: &Value) -> Vec<&str> {
    let rows = list.get("locks").or(list.get("waiters")).and_then(Value::as_array).unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_running_what_is_not_its_own() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let admin = broker.admin().await;
    let harmless = |answer: &Answer| {
        for header in [
            "content-security-policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.headers.contains(header), "{header}: {answer:?}");
        }
    };
    let files = FILES.into_iter().chain(DATA.map(|path| (path, "application/json")));
    for (path, kind) in files {
        let answer = http(admin, "GET", path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.headers.contains(&format!("content-type: {kind}")), "{path}: {}", answer.headers);
        harmless(&answer);
        let head = http(admin, "HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.headers.contains("content-length: ") && !head.headers.contains("content-length: 0"), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refusal = http(admin, method, path).await;
            assert_eq!(refusal.status, 405, "{method} {path}");
            assert!(refusal.headers.contains("allow: get, head"), "{refusal:?}");
            harmless(&refusal);
        }
        harmless(&http_with(admin, "GET", path, "evil.example", "").await);
    }
    // Nothing of it is inline, or the browser would refuse it.
    let page = http(admin, "GET", "/").await.body;
    assert!(!page.contains("<script>") && !page.contains("<style") && !page.contains("onload="), "{page}");
}

#[tokio::test]
async fn a_page_elsewhere_cannot_read_it() {
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--admin-host", "locks.example.org,other"]].concat()).await;
    let admin = broker.admin().await;
    let status = async |path, host: &str, headers: &str| http_with(admin, "GET", path, host, headers).await.status;
    for path in FILES.map(|(path, _)| path).into_iter().chain(DATA) {
        for host in ["localhost:1", "127.0.0.1", "[::1]:28552", "10.0.0.1", "locks.example.org", "OTHER:5"] {
            assert_eq!(status(path, host, "").await, 200, "{path} at {host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"] {
            assert_eq!(status(path, host, "").await, 403, "{path} at {host}");
        }
        let why = http_with(admin, "GET", path, "evil.example", "").await.body;
        assert!(why.contains("--admin-host=evil.example"), "{why}");
    }
    // Whoever scrapes calls it by any name.
    assert_eq!(status("/metrics", "lockbroker.lockbroker.svc:28552", "").await, 200);
    for path in DATA {
        for own in ["Origin: http://localhost:1\r\n", "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n"] {
            assert_eq!(status(path, "localhost:1", own).await, 200, "{path}: {own}");
        }
        for other in [
            "Origin: http://evil.example\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
        ] {
            assert_eq!(status(path, "localhost:1", other).await, 403, "{path}: {other}");
        }
    }
    // A link to it may stand anywhere.
    assert_eq!(status("/", "localhost:1", "Sec-Fetch-Site: cross-site\r\n").await, 200);
}

#[tokio::test]
async fn it_can_be_left_out() {
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--no-admin-page"]].concat()).await;
    let admin = broker.admin().await;
    for path in FILES.map(|(path, _)| path).into_iter().chain(DATA) {
        assert_eq!(http(admin, "GET", path).await.status, 404, "{path}");
    }
    assert_eq!(http(admin, "GET", "/metrics").await.status, 200);
}

#[tokio::test]
async fn locks_and_waiters_are_listed_by_name_and_place() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let other = Broker::start(&["--store", &memcached.store()]).await;
    let admin = broker.admin().await;
    let (mut stub, mut elsewhere) = (broker.stub().await, other.stub().await);

    let injected = "<img src=x onerror=alert(1)>";
    let (held, _first) =
        acquire(&mut stub, AcquireRequest { lock: owned(injected, "\"me\""), ..Default::default() }).await;
    let request = AcquireRequest { lock: owned("b b", "elsewhere"), ..Default::default() };
    let (second, _second) = acquire(&mut elsewhere, request).await;
    let lock = lingering("c", Duration::from_secs(60));
    let (lingers, stream) = acquire(&mut stub, AcquireRequest { lock, ..Default::default() }).await;
    release(&mut stub, "c", &lingers.lock_id).await;
    drop(stream);
    let (_, _waits) = queue(&mut stub, WaitAcquireRequest { lock: owned(injected, "one"), ..Default::default() }).await;
    let (_, _waits_too) = queue(&mut stub, wait("b b")).await;
    let (_, _waits_behind) = queue(&mut stub, wait(injected)).await;

    let mut locks = Value::Null;
    // The label is a note, which may come later.
    eventually(SOON, "all are listed", async || {
        locks = json(admin, "/locks.json").await;
        locks["locks"][0]["owner"] == "\"me\"" && locks["locks"][1]["owner"] == "elsewhere"
    })
    .await;
    assert_eq!(names(&locks), [injected, "b b", "c"]);
    let rows = &locks["locks"];
    let states = [0, 1, 2].map(|row| rows[row]["state"].as_str().unwrap());
    assert_eq!((states, &locks["total"]), (["held", "held", "lingering"], &Value::from(3)));
    // The broker that keeps it knows; of another's it is noted.
    for (row, token) in [(0, held.fencing_token), (1, second.fencing_token)] {
        assert_eq!(rows[row]["fencing_token"], token, "{rows}");
        assert!((0.0..60.0).contains(&rows[row]["held_for_seconds"].as_f64().unwrap()), "{rows}");
    }
    assert_eq!(rows[2].get("held_for_seconds"), None);
    let expiry = |row: usize| rows[row]["expires_in_seconds"].as_f64().unwrap();
    assert!((1.0..=16.0).contains(&expiry(0)) && (40.0..=76.0).contains(&expiry(2)), "{rows}");
    assert!(!locks.to_string().contains(&held.lock_id), "{locks}");

    let waiters = json(admin, "/waiters.json").await;
    assert_eq!(names(&waiters), [injected, injected, "b b"]);
    let places = [0, 1, 2].map(|row| waiters["waiters"][row]["position"].as_u64().unwrap());
    assert_eq!((places, &waiters["waiters"][0]["owner"]), ([1, 2, 1], &Value::from("one")));

    assert_eq!(names(&json(admin, "/locks.json?prefix=b%20").await), ["b b"]);
    assert_eq!(names(&json(admin, "/waiters.json?prefix=b+").await), ["b b"]);
    let cut = json(admin, "/locks.json?limit=2").await;
    assert_eq!((names(&cut), &cut["total"]), (vec![injected, "b b"], &Value::from(3)));
    for wrong in ["limit=0", "limit=10001", "limit=x", "prefix=%0a", "cursor=1"] {
        let answer = http(admin, "GET", &format!("/locks.json?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.body.contains("\"error\":"), "{answer:?}");
    }
}

/// Of more locks than a list has rows, the first by name are shown, and how many there are.
#[tokio::test]
async fn a_list_that_is_cut_has_the_first_by_name() {
    const LOCKS: usize = 3_000;
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    // What a broker that has died has left.
    let item = |n| format!("ms lockbroker:L:left/{n:06} 0 T600 E{} q\r\n", 12_345_678_901_234_500_000 + n as u64);
    memcached.command(&(0..LOCKS).map(item).collect::<Vec<_>>().join("\r\n")).await;
    let admin = broker.admin().await;
    let list = json(admin, "/locks.json?limit=500").await;
    assert_eq!((list["total"].as_u64(), names(&list).len()), (Some(LOCKS as u64), 500));
    assert!(names(&list).iter().enumerate().all(|(n, name)| *name == format!("left/{n:06}")), "not the first");
    let few = json(admin, "/locks.json?limit=1&prefix=left/0015").await;
    assert_eq!((names(&few), few["total"].as_u64()), (vec!["left/001500"], Some(100)));
}

#[tokio::test]
async fn the_status_tells_what_the_metrics_do() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let admin = broker.admin().await;
    let mut stub = broker.stub().await;
    let (lock, stream) = acquire(&mut stub, once("a")).await;
    assert!(try_acquire(&mut stub, once("a")).await.unwrap().is_none());
    let (_, waiter) = queue(&mut stub, wait("a")).await;
    let status = json(admin, "/status.json").await;
    assert_eq!((&status["ready"], &status["draining"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!((&status["held"], &status["waiting"]), (&1.into(), &1.into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    // The embedded store has none.
    assert_eq!(status["shards"], Value::Array(Vec::new()));
    release(&mut stub, "a", &lock.lock_id).await;
    drop((stream, waiter));
    let totals = serde_json::json!({ "grants": 2, "releases": 2, "hand_overs": 1, "losses": 0, "refusals": 1 });
    eventually(SOON, "all is counted", async || json(admin, "/status.json").await["totals"] == totals).await;
}

#[tokio::test]
async fn a_shard_says_why_it_grants_nothing_and_for_how_long() {
    let mut memcached = Memcached::start(&[]).await;
    let arguments = [&Broker::WATCHED[..], &["--max-ttl", "5s"]].concat();
    let broker = Broker::on_store(&memcached.store(), &arguments).await;
    let admin = broker.admin().await;
    let shard = async || json(admin, "/status.json").await["shards"][0].clone();
    let open = shard().await;
    assert_eq!((&open["state"], &open["address"]), (&"open".into(), &memcached.address().to_string().into()));
    assert_eq!((open.get("reason"), open.get("opens_in_seconds")), (None, None));

    memcached.kill();
    eventually(SOON, "it is away, and why", async || {
        let shard = shard().await;
        shard["state"] == "connecting" && shard["reason"].as_str().is_some_and(|why| why.contains("refused"))
    })
    .await;
    let answer = http(admin, "GET", "/locks.json").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains(&memcached.address().to_string()), "{answer:?}");

    memcached.start_again().await;
    let mut left = Vec::new();
    eventually(SOON, "it counts down and opens", async || {
        let shard = shard().await;
        if shard["state"] == "closed" {
            left.push(shard["opens_in_seconds"].as_f64().unwrap());
        }
        shard["state"] == "open" && shard.get("reason").is_none()
    })
    .await;
    let is_left = |seconds: &f64| (0.0..=5.0).contains(seconds);
    assert!(left.len() > 1 && left.iter().all(is_left) && left.is_sorted_by(|a, b| a >= b), "{left:?}");
}

/// Lists are long. Whoever asks for them and does not read makes the broker keep a few, and no more.
#[tokio::test]
async fn lists_that_nobody_reads_are_few() {
    const MOST: usize = 16;
    const HOUR: Duration = Duration::from_secs(3600);
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--max-ttl", "1h"]].concat()).await;
    let admin = broker.admin().await;
    // More than the sockets between hold, and what hyper writes ahead.
    let mut session = RawSession::open(&mut broker.stub().await, Some(HOUR)).await;
    for n in 1..=10_000 {
        session.begin(BeginLock { lock: owned(&format!("{n:0128}"), &"o".repeat(128)), ..begin(n, "") });
        if n % 1_000 == 0 {
            for _ in 0..1_000 {
                assert!(matches!(session.next_event().await, (_, Kind::Acquired(_))));
            }
        }
    }
    let ask = async || {
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let mut client = client.connect(admin).await.unwrap();
        let request = format!("GET /locks.json?limit=10000 HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(SOON, client.read_exact(&mut first)).await.unwrap().unwrap();
        (client, String::from_utf8_lossy(&first).into_owned())
    };
    let mut unread = Vec::new();
    for _ in 0..MOST {
        let (client, first) = ask().await;
        assert_eq!(first, "HTTP/1.1 200");
        unread.push(client);
    }
    assert_eq!(ask().await.1, "HTTP/1.1 503");
    assert_eq!(http(admin, "GET", "/status.json").await.status, 200);
    let used = broker.scrape().await.sum("lockbroker_limit_used", &[("limit", "admin_lists")]);
    assert_eq!(used, MOST as f64);
    drop(unread);
    eventually(SOON, "there is room again", async || http(admin, "GET", "/locks.json").await.status == 200).await;
}

#[tokio::test]
async fn a_revoked_lock_says_so() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let admin = broker.admin().await;
    let (_, _lock) = acquire(&mut broker.stub().await, once("taken")).await;
    let mut operator = LockAdminClient::connect(broker.url()).await.unwrap();
    let request = RevokeLockRequest { name: "taken".to_owned(), ..Default::default() };
    let revoked = operator.revoke_lock(request).await.unwrap().into_inner();
    assert_eq!(revoked.outcome(), Outcome::Revoked);
    eventually(SOON, "it is closed by the revocation", async || {
        json(admin, "/locks.json").await["locks"][0]["state"] == "revoked"
    })
    .await;
}
