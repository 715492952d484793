//! Bad, odd and too much input: it gets its answer, and nobody else notices.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::server::raw::{self, CANCEL, DATA, END_STREAM, GOAWAY, PING, RST_STREAM, frame, headers};
use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use lockbroker::proto::{AcquireRequest, GetLockRequest, LockSpec, ReleaseRequest, WaitAcquireRequest, WaitSpec};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_bad_field_is_named_with_its_limit_and_the_store_hears_nothing() {
    for (memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let items = async || match &memcached {
            Some(memcached) => memcached.stat("cmd_meta").await,
            None => 0,
        };
        let before = items().await;

        let long = "x".repeat(129);
        for (name, says) in
            [("", "empty"), (&*long, "128"), ("a\nb", "U+000A"), ("\0", "U+0000"), ("a\u{85}", "U+0085")]
        {
            let release = ReleaseRequest { name: name.into(), lock_id: "0".repeat(36) };
            let look = GetLockRequest { name: name.into(), ..Default::default() };
            names(stub.acquire(once(name)).await, "lock.name", says);
            names(stub.wait_acquire(wait(name)).await, "lock.name", says);
            names(stub.release(release).await, "name", says);
            names(stub.get_lock(look).await, "name", says);
        }
        names(stub.acquire(AcquireRequest::default()).await, "lock.name", "empty");

        for (owner, says) in [(&*long, "128"), ("a\tb", "U+0009")] {
            let owned = || Some(LockSpec { owner: owner.into(), ..lock("job").unwrap() });
            names(stub.acquire(AcquireRequest { lock: owned(), ..once("job") }).await, "lock.owner", says);
            names(stub.wait_acquire(WaitAcquireRequest { lock: owned(), ..wait("job") }).await, "lock.owner", says);
        }

        for (ttl, says) in [(Duration::ZERO, "5s"), (4_999 * MS, "5s"), (15_001 * MS, "15s"), (HOUR * 24 * 366, "15s")]
        {
            names(stub.acquire(AcquireRequest { ttl: span(ttl), ..once("job") }).await, "ttl", says);
            names(stub.wait_acquire(WaitAcquireRequest { ttl: span(ttl), ..wait("job") }).await, "ttl", says);
        }
        let too_long = lingering("job", HOUR + MS);
        names(stub.acquire(AcquireRequest { lock: too_long, ..once("job") }).await, "lock.linger", "3600s");
        let too_long = Some(LockSpec { min_hold: span(HOUR + MS), ..lock("job").unwrap() });
        names(stub.acquire(AcquireRequest { lock: too_long, ..once("job") }).await, "lock.min_hold", "3600s");
        for (mode, limit, field, says) in [
            (0, 1, "lock.limit", "MODE_SHARED"),
            (1, 9, "lock.limit", "MODE_SHARED"),
            (2, -1, "lock.limit", "4096"),
            (2, 4097, "lock.limit", "4096"),
            (3, 0, "lock.mode", "MODE_SHARED"),
        ] {
            let odd = || Some(LockSpec { mode, limit, ..lock("job").unwrap() });
            names(stub.acquire(AcquireRequest { lock: odd(), ..once("job") }).await, field, says);
            names(stub.wait_acquire(WaitAcquireRequest { lock: odd(), ..wait("job") }).await, field, says);
        }
        for permit in [-1, 4096] {
            let look = GetLockRequest { name: "job".into(), permit: Some(permit), ..Default::default() };
            names(stub.get_lock(look).await, "permit", "4095");
        }
        let waits = |wait| WaitAcquireRequest { wait: Some(wait), ..self::wait("job") };
        for poll_interval in [Duration::ZERO, HOUR + MS] {
            let spec = WaitSpec { poll_interval: span(poll_interval), ..WaitSpec::default() };
            names(stub.wait_acquire(waits(spec)).await, "wait.poll_interval", "3600s");
        }

        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let lingers = Some(LockSpec { linger: negative, ..lock("job").unwrap() });
        names(stub.acquire(AcquireRequest { ttl: negative, ..once("job") }).await, "ttl", "negative");
        names(stub.acquire(AcquireRequest { lock: lingers, ..once("job") }).await, "lock.linger", "negative");
        let spec = WaitSpec { max_wait: negative, ..WaitSpec::default() };
        names(stub.wait_acquire(waits(spec)).await, "wait.max_wait", "negative");
        let spec = WaitSpec { poll_interval: negative, ..WaitSpec::default() };
        names(stub.wait_acquire(waits(spec)).await, "wait.poll_interval", "negative");

        for lock_id in ["x", &"0".repeat(35), &"0".repeat(36), &"G".repeat(36), &"é".repeat(18), &"f".repeat(36)] {
            let release = ReleaseRequest { name: "job".into(), lock_id: lock_id.into() };
            let look = GetLockRequest { name: "job".into(), lock_id: lock_id.into(), ..Default::default() };
            names(stub.acquire(reattach("job", lock_id)).await, "reattach_lock_id", "36");
            names(stub.release(release).await, "lock_id", "36");
            names(stub.get_lock(look).await, "lock_id", "36");
        }
        let release = ReleaseRequest { name: "job".into(), lock_id: String::new() };
        names(stub.release(release).await, "lock_id", "36");

        assert_eq!(items().await, before);
    }
}

#[tokio::test]
async fn odd_names_work_and_none_is_another() {
    let names: Vec<String> = [
        "a b",
        "a  b",
        " a b",
        "a b ",
        "a+b",
        "a%20b",
        "a%2520b",
        "a:b",
        "a::b",
        "a/b",
        "/a/b",
        "a\\b",
        "%",
        "%%",
        "%s",
        "#1",
        "job",
        "Job",
        "j\u{f6}b",
        "jo\u{308}b",
        "🔒",
        "🔓",
        "🔒🔒",
        "..",
        ".",
        "*",
        "'",
        "\"",
        "\u{feff}",
        "\u{200b}",
        "x",
        "lockbroker:x",
        ":",
        "0",
        "00",
        "-",
        "get x",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([128, 127].map(|length| "x".repeat(length)))
    .chain([128, 124].map(|length| "🔒".repeat(length / 4)))
    .chain([format!("{}y", "x".repeat(127)), format!("{}🔓", "🔒".repeat(31)), format!("y{}", "x".repeat(127))])
    .chain([" ".repeat(128), "%".repeat(128), ":".repeat(128), "/".repeat(128), "ö".repeat(64)])
    .collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let mut held = Vec::new();
        for name in &names {
            held.push(acquire(&mut stub, once(name)).await);
        }
        for (name, (acquired, _)) in names.iter().zip(&held) {
            let mut second = stub.acquire(once(name)).await.unwrap().into_inner();
            let Kind::NotAcquired(refusal) = next_event(&mut second).await else { panic!("not refused") };
            assert_eq!(refusal.reason(), Reason::Held);
            assert_eq!(release(&mut stub, name, &acquired.lock_id).await, Outcome::Released, "{name:?}");
            assert_eq!(look(&mut stub, name).await.state(), State::Free, "{name:?}");
        }
    }
}

#[tokio::test]
async fn a_thousand_cancels_at_once_free_a_thousand_locks_and_no_other() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (neighbour, _held) = acquire(&mut stub, once("neighbour")).await;
        let name = |number| format!("job {number}");
        let locks = (0..1_000).map(|number| {
            let mut stub = stub.clone();
            async move { acquire(&mut stub, once(&name(number))).await }
        });
        let locks = join_all(locks).await;
        drop(locks);
        for number in 0..1_000 {
            freed(&mut stub, &name(number)).await;
        }
        still_held(&mut stub, "neighbour", &neighbour.lock_id).await;
        acquire(&mut stub, once("job 0")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cancels_in_a_row_leave_a_neighbour_alone() {
    const CALLS: u32 = 10_000;
    // The raw client answers no ping.
    let arguments = ["--keepalive-interval", "1h"];
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &arguments).await;
    let begun = Instant::now();
    let mut client = raw::Client::connect(broker.address()).await;
    client.send(&acquire_frames(1, &once("neighbour"))).await;
    let mut stub = broker.stub().await;
    eventually(SOON, "the neighbour has its lock", async || look(&mut stub, "neighbour").await.state() == State::Held)
        .await;

    // Every other lot is cancelled call by call, before the broker has looked at most of them; of the rest many
    // have the lock, or stand in line for it, by then.
    let lot = |number: u32| {
        let streams = (0..100).map(move |n| 2 * (100 * number + n) + 3);
        let begin = |stream: u32| match stream % 4 {
            1 => acquire_frames(stream, &once(&format!("job {}", stream / 2 % 10))),
            _ => wait_frames(stream, &wait(&format!("job {}", stream / 2 % 10))),
        };
        let cancel = |stream| frame(RST_STREAM, 0, stream, &CANCEL);
        if number.is_multiple_of(2) {
            streams.flat_map(|stream| [begin(stream), cancel(stream)].concat()).collect::<Vec<_>>()
        } else {
            streams.clone().flat_map(begin).chain(streams.flat_map(cancel)).collect()
        }
    };
    let (mut reader, mut writer) = client.0.into_split();
    let goes_on = tokio::spawn(async move { next_ping(&mut reader).await });
    for number in 0..CALLS / 100 {
        writer.write_all(&lot(number)).await.unwrap();
    }
    // Begun last, seen last.
    writer.write_all(&acquire_frames(2 * CALLS + 3, &once("last"))).await.unwrap();
    eventually(3 * SOON, "the last call is heeded", async || look(&mut stub, "last").await.state() == State::Held)
        .await;
    for number in 0..10 {
        freed(&mut stub, &format!("job {number}")).await;
    }
    assert_eq!(look(&mut stub, "neighbour").await.state(), State::Held);
    writer.write_all(&frame(PING, 0, 0, b"the end!")).await.unwrap();
    assert!(tokio::time::timeout(SOON, goes_on).await.unwrap().unwrap(), "the connection has ended");
    println!("{CALLS} cancels: {:?}", begun.elapsed());
    // Its end is that of the locks that were left on it.
    drop(writer);
    freed(&mut stub, "neighbour").await;
    freed(&mut stub, "last").await;
}

#[tokio::test]
async fn a_message_above_the_limit_fails_alone() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let (acquired, _held) = acquire(&mut stub, once("job")).await;
    let mut session = RawSession::open(&mut stub, None).await;
    let too_much = "x".repeat(65 * 1_024);
    assert_eq!(stub.acquire(once(&too_much)).await.unwrap_err().code(), Code::ResourceExhausted);
    let mut other = RawSession::open(&mut stub, None).await;
    other.begin(begin(1, &too_much));
    assert_eq!(end_of(&mut other.responses).await.code(), Code::ResourceExhausted);
    // All on the same connection.
    still_held(&mut stub, "job", &acquired.lock_id).await;
    session.beat();
    session.next().await;
}

#[tokio::test]
async fn garbage_on_the_port_ends_its_connection_and_no_other() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let (acquired, _held) = acquire(&mut stub, once("job")).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut after_the_preface = preface.clone();
    after_the_preface.extend([0xff; 4_096]);
    for garbage in [
        vec![0; 4_096],
        vec![0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"set k 0 0 1\r\nv\r\n".repeat(8),
        after_the_preface,
    ] {
        let end = tokio::time::timeout(SOON, say(broker.address(), &garbage)).await;
        assert!(end.is_ok(), "the connection stays open after {:?}", &garbage[..8]);
    }
    still_held(&mut stub, "job", &acquired.lock_id).await;
    acquire(&mut broker.stub().await, once("another")).await;
}

#[test]
fn bad_flags_are_refused_with_the_usage() {
    for flags in [
        &["--no-such-flag"][..],
        &["--store", "redis://localhost"],
        &["--store", "memcached://"],
        &["--store", "memcached://a:11211,a:11211"],
        &["--store", "memcached://a:11211=0"],
        &["--listen", "nowhere"],
        &["--default-ttl", "4s"],
        &["--max-locks", "0"],
    ] {
        let output = run(&[&["serve"], flags].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains("--help"), "{flags:?}: {stderr}");
    }
}

#[test]
fn two_brokers_with_a_memory_each_are_not_started_by_accident() {
    let output = run(&["serve", "--listen", "0.0.0.0:0"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.contains("loopback") && stderr.contains("--store memcached://"), "{stderr}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_line() {
    let broker = Broker::memory().await;
    let address = broker.address().to_string();
    let output = run(&["serve", "--listen", &address]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("lockbroker: ") && stderr.contains(&address), "{stderr}");
}

/// Asserts that a call was refused for this field, and that the message says what the limit is.
#[track_caller]
fn names<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str, says: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, field);
    assert!(violations[0].description.contains(says), "{:?} does not say {says:?}", violations[0].description);
    assert!(status.message().starts_with(field), "{:?}", status.message());
}

/// Asserts that this very grant holds the lock: only for that does GetLock tell for how long it is valid.
async fn still_held(stub: &mut Stub, name: &str, lock_id: &str) {
    let request = GetLockRequest { name: name.to_owned(), lock_id: lock_id.to_owned(), ..Default::default() };
    let seen = stub.get_lock(request).await.unwrap().into_inner();
    assert!(seen.state() == State::Held && seen.expires_after_request.is_some(), "{seen:?}");
}

/// Says something to a port and waits until that closes the connection.
async fn say(address: SocketAddr, words: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(words).await;
    // An end or an error, as the system pleases.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Reads until a ping is answered (true) or the connection ends, or is about to (false).
async fn next_ping(reader: &mut (impl AsyncReadExt + Unpin)) -> bool {
    let mut head = [0; 9];
    loop {
        if reader.read_exact(&mut head).await.is_err() || head[3] == GOAWAY {
            return false;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if reader.read_exact(&mut payload).await.is_err() {
            return false;
        }
        if head[3] == PING && payload == b"the end!" {
            return true;
        }
    }
}

fn acquire_frames(stream: u32, request: &AcquireRequest) -> Vec<u8> {
    call(stream, "/lockbroker.v1.LockService/Acquire", request)
}

fn wait_frames(stream: u32, request: &WaitAcquireRequest) -> Vec<u8> {
    call(stream, "/lockbroker.v1.LockService/WaitAcquire", request)
}

/// The frames of a whole call.
fn call(stream: u32, path: &str, request: &impl Message) -> Vec<u8> {
    let message = request.encode_to_vec();
    let length = (message.len() as u32).to_be_bytes();
    let data = [&[0], &length[..], &message].concat();
    [headers(stream, path), frame(DATA, END_STREAM, stream, &data)].concat()
}
