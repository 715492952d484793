//! Everything that a client can make a broker hold has a limit. Here ten times as much is asked for, and a neighbour is
//! served all the same.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::broker::{self, Failure, Settings};
use lockbroker::client::Client;
use lockbroker::metrics::Metrics;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, BeginLock, ReleaseRequest, session_response};
use lockbroker::store::MemoryStore;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

const TTL: Duration = Duration::from_secs(5);
/// The highest number that a limit can be.
const MOST: &str = "18446744073709551615";

fn used(scrape: &Scrape, limit: &str) -> f64 {
    scrape.sum("lockbroker_limit_used", &[("limit", limit)])
}

fn refused(scrape: &Scrape, limit: &str) -> f64 {
    scrape.sum("lockbroker_refused_total", &[("limit", limit)])
}

fn name(number: usize) -> String {
    format!("lock/{number}")
}

/// A broker on a memcached, which answers later than clients ask.
async fn watched(arguments: &[&str]) -> (Memcached, Broker) {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &[&Broker::WATCHED[..], arguments].concat()).await;
    (memcached, broker)
}

/// How many of so many locks were granted, and how many refused for want of room.
async fn outcomes(session: &mut RawSession, count: usize) -> (usize, usize) {
    let (mut granted, mut exhausted) = (0, 0);
    while granted + exhausted < count {
        match session.next_event().await.1 {
            Kind::Acquired(_) => granted += 1,
            Kind::Failed(failed) if failed.code == i32::from(Code::ResourceExhausted) => exhausted += 1,
            Kind::Queued(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (granted, exhausted)
}

#[tokio::test]
async fn ten_times_the_locks_at_once_are_as_many_as_there_may_be() {
    let (_memcached, broker) = watched(&["--max-locks", "50"]).await;
    let mut session = RawSession::open(&mut broker.stub().await, None).await;
    (1..=500).for_each(|number| session.begin(begin(number, &name(number as usize))));
    assert_eq!(outcomes(&mut session, 500).await, (50, 450));
    let scrape = broker.scrape().await;
    assert_eq!((used(&scrape, "max_locks"), refused(&scrape, "max_locks")), (50.0, 450.0));
    assert_eq!(scrape.sum("lockbroker_limit", &[("limit", "max_locks")]), 50.0);
    drop(session);
    broker.scraped("all room is given back", |scrape| used(scrape, "max_locks") == 0.0).await;
}

#[tokio::test]
async fn ten_times_the_waiters_are_as_many_as_there_may_be() {
    let (_memcached, broker) = watched(&["--max-waiters", "20"]).await;
    let (_, _held) = acquire(&mut broker.stub().await, once("held")).await;
    let mut session = RawSession::open(&mut broker.stub().await, None).await;
    (1..=200).for_each(|number| session.begin(begin_wait(number, "held")));
    assert_eq!(outcomes(&mut session, 180).await, (0, 180));
    let scrape = broker.scrape().await;
    assert_eq!((used(&scrape, "max_waiters"), refused(&scrape, "max_waiters")), (20.0, 180.0));
    drop(session);
    broker.scraped("all room is given back", |scrape| used(scrape, "max_waiters") == 0.0).await;
}

#[tokio::test]
async fn those_who_wait_for_free_locks_get_no_more_than_there_may_be() {
    let (_memcached, broker) = watched(&["--max-locks", "5"]).await;
    let mut stub = broker.stub().await;
    let mut session = RawSession::open(&mut stub, None).await;
    (1..=50).for_each(|number| session.begin(begin_wait(number, &name(number as usize))));
    assert_eq!(outcomes(&mut session, 50).await, (5, 45));
    // What was granted and found no room has been given back.
    drop(session);
    for number in 1..=50 {
        freed(&mut stub, &name(number)).await;
    }
}

/// Here on a broker that has twice as many as it may, since it has taken over what another had.
#[tokio::test]
async fn a_hand_over_needs_no_room() {
    let (memcached, broker) = watched(&["--max-locks", "1"]).await;
    let elsewhere = Broker::on_store(&memcached.store(), &[]).await;
    let (before, _old) = acquire(&mut elsewhere.stub().await, once("held")).await;
    let (too_many, _old) = acquire(&mut elsewhere.stub().await, once("too many")).await;
    let mut stub = broker.stub().await;
    let mut session = RawSession::open(&mut stub, None).await;
    (1..=10).for_each(|number| session.begin(begin_wait(number, "held")));
    broker.scraped("all wait", |scrape| used(scrape, "max_waiters") == 10.0).await;
    let (_, held) = acquire(&mut stub, reattach("held", &before.lock_id)).await;
    let (_, _too_many) = acquire(&mut stub, reattach("too many", &too_many.lock_id)).await;
    drop(held);
    for number in 1..=10 {
        loop {
            match session.next_event().await {
                (lock_ref, Kind::Acquired(_)) => break assert_eq!(lock_ref, number),
                (_, Kind::Queued(_) | Kind::Released(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        // It has the lock, which counts, and nobody else finds room.
        broker.scraped("both count", |scrape| used(scrape, "max_locks") == 2.0).await;
        assert_eq!(try_acquire(&mut stub, once("other")).await.unwrap_err().code(), Code::ResourceExhausted);
        session.end(number);
    }
}

/// At once, and not only when the lock is free.
#[tokio::test]
async fn who_would_wait_at_a_full_broker_is_turned_away() {
    let (memcached, broker) = watched(&["--max-locks", "1"]).await;
    let elsewhere = Broker::on_store(&memcached.store(), &[]).await;
    let (_, _held) = acquire(&mut elsewhere.stub().await, once("held")).await;
    let mut stub = broker.stub().await;
    let (_, full) = acquire(&mut stub, once("full")).await;
    let refusal = stub.wait_acquire(wait("held")).await.unwrap_err();
    assert_eq!((refusal.code(), &*reason(&refusal)), (Code::ResourceExhausted, "MAX_LOCKS"));
    let scrape = broker.scrape().await;
    assert_eq!((used(&scrape, "max_waiters"), refused(&scrape, "max_locks")), (0.0, 1.0));
    drop(full);
    freed(&mut stub, "full").await;
    queue(&mut stub, wait("held")).await;
}

#[tokio::test]
async fn locks_that_linger_count() {
    let (_memcached, broker) = watched(&["--max-locks", "3"]).await;
    let mut stub = broker.stub().await;
    for number in 0..3 {
        let lock = lingering(&name(number), 3 * TTL / 5);
        let (acquired, _stream) = acquire(&mut stub, AcquireRequest { lock, ..Default::default() }).await;
        release(&mut stub, &name(number), &acquired.lock_id).await;
    }
    assert_eq!(try_acquire(&mut stub, once("other")).await.unwrap_err().code(), Code::ResourceExhausted);
    broker.scraped("the lingers are over", |scrape| used(scrape, "max_locks") == 0.0).await;
    acquire(&mut stub, once("other")).await;
}

/// A client that is silent may still believe.
#[tokio::test]
async fn locks_whose_client_is_silent_count() {
    let keepalive = ["--keepalive-interval", "200ms", "--keepalive-timeout", "200ms", "--max-locks", "1"];
    let (_memcached, broker) = watched(&keepalive).await;
    let proxy = Proxy::start(broker.address()).await;
    let mut session = RawSession::open(&mut stub(proxy.address()).await, Some(TTL)).await;
    session.begin(begin(1, "a"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    proxy.black_hole();
    let silent = |scrape: &Scrape| scrape.sum("lockbroker_rpcs_open", &[("method", "Session")]) == 0.0;
    let scrape = broker.scraped("the broker has noticed", silent).await;
    assert_eq!(used(&scrape, "max_locks"), 1.0);
    let mut other = broker.stub().await;
    assert_eq!(try_acquire(&mut other, once("b")).await.unwrap_err().code(), Code::ResourceExhausted);
    broker.scraped("its validity is over", |scrape| used(scrape, "max_locks") == 0.0).await;
    acquire(&mut other, once("b")).await;
}

/// Nobody has had these ids; the linger in them is an hour, and what the calls leave behind lasts for --max-ttl.
#[tokio::test]
async fn releases_of_made_up_ids_are_bounded_in_number_and_in_time() {
    let (mut memcached, broker) = watched(&["--default-ttl", "5s", "--max-ttl", "5s", "--max-locks", "5"]).await;
    let stub = broker.stub().await;
    memcached.stop().await;
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let (mut stub, lock_id) = (stub.clone(), format!("ffff{number:012x}{:014x}36ee80", 1));
        calls.spawn(async move { stub.release(ReleaseRequest { name: name(number), lock_id }).await });
    }
    let codes: Vec<_> = calls.join_all().await.into_iter().map(|ended| ended.unwrap_err().code()).collect();
    let count = |code| codes.iter().filter(|other| **other == code).count();
    assert_eq!((count(Code::ResourceExhausted), count(Code::Unavailable)), (90, 10), "{codes:?}");
    assert_eq!(used(&broker.scrape().await, "max_locks"), 10.0);
    broker.scraped("they have been given up", |scrape| used(scrape, "max_locks") == 0.0).await;
}

#[tokio::test]
async fn ten_times_the_connections_are_as_many_as_there_may_be() {
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--max-connections", "5"]].concat()).await;
    broker.scraped("its first client has gone", |scrape| used(scrape, "max_connections") == 0.0).await;
    let mut turned_away = 0;
    let mut kept = Vec::new();
    for _ in 0..50 {
        let mut client = TcpStream::connect(broker.address()).await.unwrap();
        match timeout(Duration::from_millis(200), client.read_u8()).await {
            // The server's first frame, or nothing yet.
            Ok(Ok(_)) | Err(_) => kept.push(client),
            Ok(Err(_)) => turned_away += 1,
        }
    }
    assert_eq!((kept.len(), turned_away), (5, 45));
    let scrape = broker.scrape().await;
    assert_eq!((used(&scrape, "max_connections"), refused(&scrape, "max_connections")), (5.0, 45.0));
    assert!(broker.logged("was closed at once").await.contains("--max-connections"));
    drop(kept);
    broker.scraped("they have gone", |scrape| used(scrape, "max_connections") == 0.0).await;
    acquire(&mut broker.stub().await, once("a")).await;
}

/// The broker closes the connection before HTTP/2 begins, so that clients ask the next broker. So the client has to say
/// what may be wrong.
#[tokio::test]
async fn a_client_for_whom_there_is_no_room_hears_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("lb.sock").display());
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--max-connections", "1", "--listen", &unix]].concat()).await;
    broker.scraped("its first client has gone", |scrape| used(scrape, "max_connections") == 0.0).await;
    let _only = broker.stub().await;
    for server in [&broker.url(), &unix] {
        let told = |command: &[&str]| String::from_utf8(run(command).stderr).unwrap();
        let client = Client::builder(server).answer_timeout(Duration::from_secs(1)).connect().unwrap();
        for words in [
            told(&["get", "--server", server, "job"]),
            told(&["health", "--server", server]),
            client.release("job", &format!("{:060}", 1)).await.unwrap_err().to_string(),
            client.acquire("job").await.unwrap_err().to_string(),
        ] {
            assert!(words.contains("--max-connections") && words.contains(server), "{words}");
            assert_eq!(words.trim_end().lines().count(), 1, "{words}");
        }
    }
    // The next broker is asked, and one that is not there is something else.
    let elsewhere = Broker::start(&[]).await;
    let servers = format!("{},{}", broker.url(), elsewhere.url());
    assert!(run(&["get", "--server", &servers, "job"]).status.success());
    let nobody = run(&["get", "--server", &format!("127.0.0.1:{}", free_port()), "job"]);
    let stderr = String::from_utf8(nobody.stderr).unwrap();
    assert!(stderr.contains("refused") && !stderr.contains("--max-connections"), "{stderr}");
}

/// With a queue of 128, as the standard library has it, the clients behind those would wait for a second or be reset.
#[tokio::test]
async fn a_thousand_clients_connect_while_the_broker_is_busy() {
    let mut broker = Broker::start(&[]).await;
    broker.stop().await;
    let address = broker.address();
    let connect = |_| timeout(SOON, TcpStream::connect(address));
    let clients: Vec<_> = join_all((0..1_000).map(connect)).await;
    broker.cont();
    for client in clients {
        let mut client = client.expect("there is room in the queue").unwrap();
        timeout(SOON, client.read_u8()).await.expect("the server's first frame").unwrap();
    }
}

#[tokio::test]
async fn the_admin_listener_has_a_limit_of_its_own() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let admin = broker.admin().await;
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        clients.push(TcpStream::connect(admin).await.unwrap());
    }
    let mut stub = broker.stub().await;
    acquire(&mut stub, once("a")).await;
    assert!(broker.logged("was closed at once").await.contains("--admin-listen"));
    let is_closed = |client: &&TcpStream| matches!(client.try_read(&mut [0]), Ok(0));
    eventually(SOON, "the others are closed", async || clients.iter().filter(is_closed).count() == 900).await;
    drop(clients);
    eventually(SOON, "it answers", async || http_or_nothing(admin).await).await;
    assert!(refused(&broker.scrape().await, "admin_connections") >= 900.0);
}

async fn http_or_nothing(admin: std::net::SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(admin).await else { return false };
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    if tokio::io::AsyncWriteExt::write_all(&mut client, request).await.is_err() {
        return false;
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.is_ok() && answer.contains("lockbroker_limit")
}

/// A broker that may have 300 files says so instead of running into it.
#[tokio::test]
async fn connections_fit_the_limit_of_open_files() {
    let limited = |arguments: &str| {
        let mut command = Command::new("sh");
        let serve = format!("ulimit -n 300; exec \"$0\" serve --listen 127.0.0.1:0 {arguments}");
        command.args(["-c", &serve, env!("CARGO_BIN_EXE_lockbroker")]).stdin(Stdio::null());
        command
    };
    let refused = output(&mut limited("--max-connections 300"));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--max-connections 300") && stderr.contains("LimitNOFILE"), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    let refused = output(&mut limited(&format!("--max-connections {MOST}")));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(MOST) && stderr.contains("lower --max-connections"), "{stderr}");

    let broker = Process::spawn("a broker with few files", &mut limited("--log-format json"));
    let told = || broker.log().iter().any(|line| line.contains("leaves room for 136 connections"));
    eventually(SOON, "it says how many may connect", async || told()).await;
}

#[tokio::test]
async fn limits_may_be_as_high_as_numbers_go() {
    let limits = ["--max-locks", "--max-waiters", "--max-streams", "--max-concurrent-rpcs"];
    let broker = Broker::start(&limits.into_iter().flat_map(|limit| [limit, MOST]).collect::<Vec<_>>()).await;
    let mut stub = broker.stub().await;
    let (acquired, _held) = acquire(&mut stub, once("a")).await;
    let (_, mut waiter) = queue(&mut stub, wait("a")).await;
    assert_eq!(release(&mut stub, "a", &acquired.lock_id).await, Outcome::Released);
    granted(&mut waiter).await;
}

#[tokio::test]
async fn a_connection_without_calls_is_closed_and_one_with_a_lock_is_not() {
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--idle-timeout", "1s"]].concat()).await;
    let mut holder = broker.stub().await;
    let (_, mut held) = acquire(&mut holder, once("a")).await;
    let idle = broker.stub().await;
    broker.scraped("both are connected", |scrape| used(scrape, "max_connections") == 2.0).await;
    broker.scraped("one is closed", |scrape| used(scrape, "max_connections") == 1.0).await;
    let lasts = timeout(3 * TTL / 5, async { while matches!(next_event(&mut held).await, Kind::Renewed(_)) {} }).await;
    assert!(lasts.is_err(), "the lock is held on");
    assert_eq!(used(&broker.scrape().await, "max_connections"), 1.0);
    // A client that is closed connects again.
    let mut idle = idle;
    eventually(SOON, "it asks again", async || try_acquire(&mut idle, once("b")).await.is_ok()).await;
}

#[tokio::test]
async fn who_never_says_what_it_wants_is_turned_away() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let says_nothing = TcpStream::connect(broker.address()).await.unwrap();
    let mut stub = broker.stub().await;
    let never = tokio_stream::pending::<lockbroker::proto::SessionRequest>();
    let mut session = stub.session(never).await.unwrap().into_inner();
    let never = tokio_stream::pending::<lockbroker::proto::SessionRequest>();
    let _second = stub.session(never).await.unwrap().into_inner();
    broker.scraped("they are there", |scrape| used(scrape, "max_connections") == 2.0).await;
    let status = timeout(2 * SOON, session.message()).await.expect("an end").unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "REQUEST_INCOMPLETE"));
    assert!(status.message().contains("open"), "{status:?}");
    eventually(2 * SOON, "what said nothing is closed", async || {
        let scrape = broker.scrape().await;
        used(&scrape, "max_connections") == 1.0 && used(&scrape, "max_streams") == 0.0
    })
    .await;
    drop(says_nothing);
}

#[tokio::test]
async fn ten_times_the_calls_are_as_many_as_there_may_be() {
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--max-streams", "10"]].concat()).await;
    let mut stub = broker.stub().await;
    let (held, _held) = acquire(&mut stub, once("held")).await;
    let mut sessions = Vec::new();
    let mut exhausted = 0;
    for _ in 0..100 {
        match stub.session(tokio_stream::pending()).await {
            Ok(session) => sessions.push(session),
            Err(status) => {
                assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "MAX_STREAMS"));
                assert!(status.message().contains("--max-streams"), "{status:?}");
                exhausted += 1;
            }
        }
    }
    assert_eq!((sessions.len(), exhausted), (9, 91));
    assert_eq!(broker.health("readiness").await, Some(tonic_health::pb::health_check_response::ServingStatus::Serving));
    assert_eq!(release(&mut stub, "held", &held.lock_id).await, Outcome::Released);
    let scrape = broker.scrape().await;
    assert!(refused(&scrape, "max_streams") >= 91.0);
    drop(sessions);
    broker.scraped("all room is given back", |scrape| used(scrape, "max_streams") == 0.0).await;
}

/// A client that does not read what it is sent is not read any more, and gets all of it when it does.
#[tokio::test]
async fn what_a_client_leaves_unread_is_bounded() {
    const ASKED: i64 = 80_000;
    // Long enough for a busy machine to read it all without a heartbeat.
    const LONG: Duration = Duration::from_secs(60);
    let broker = Broker::start(&[&Broker::WATCHED[..], &["--max-ttl", "60s"]].concat()).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("held")).await;
    let endpoint = Endpoint::from_shared(broker.url()).unwrap().initial_stream_window_size(65_535);
    let mut session = RawSession::open(&mut Stub::new(endpoint.connect().await.unwrap()), Some(LONG)).await;
    (1..=ASKED).for_each(|number| session.begin(BeginLock { lock_ref: number, ..begin(number, "held") }));
    broker.scraped("it is read no more", |scrape| used(scrape, "unread_events") > 8_192.0).await;
    for number in 0..20 {
        acquire(&mut stub, once(&name(number))).await;
        let unread = used(&broker.scrape().await, "unread_events");
        assert!(unread < 8_500.0, "{unread} events wait");
        sleep(Duration::from_millis(10)).await;
    }
    let mut told = 0;
    while told < ASKED {
        if let session_response::Kind::Event(_) = session.next().await {
            told += 1;
        }
    }
    drop(session);
    broker.scraped("nothing is left", |scrape| used(scrape, "unread_events") == 0.0).await;
}

#[tokio::test]
async fn where_all_clients_leave_much_unread_each_is_read_no_more_sooner() {
    let max = std::num::NonZeroUsize::new(10).unwrap();
    let (default_ttl, poll_interval) = (TTL, Duration::from_secs(1));
    let settings = Settings { default_ttl, max_ttl: TTL, poll_interval, max_locks: max, max_waiters: max };
    let broker = broker::Broker::new(MemoryStore::new(), settings, &Metrics::default());
    // `opened` is one more.
    let unread = |count: i64| {
        let stream = broker.stream(None);
        // Silent for long enough.
        let session = broker.open(stream.key(), Duration::from_secs(3_600)).unwrap();
        let no = Failure::Invalid { why: "no".into() };
        session.turn(|turn| (1..count).for_each(|lock_ref| turn.turn_back(lock_ref, no.clone())));
        (stream, session)
    };
    let (few, some, many) = (unread(64), unread(65), unread(8_193));
    let backed_up = || [&few, &some, &many].map(|(stream, _)| broker.is_backed_up(stream.key()));
    assert_eq!(backed_up(), [false, false, true]);
    let others = unread(1_000_000);
    assert_eq!(backed_up(), [false, true, true]);
    drop(others);
    assert_eq!(backed_up(), [false, false, true]);
}
