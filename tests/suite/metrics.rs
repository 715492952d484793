//! What a broker tells those who watch it.

use std::time::Duration;

use crate::support::{
    Broker, Memcached, RawSession, SOON, Scrape, Stub, acquire, begin, begin_wait, granted, http, lingering,
    next_event, once, open, queue, reattach, release, try_acquire, wait, wait_up_to,
};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{GetLockRequest, ReleaseRequest, WaitAcquireRequest};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tower::Service;

#[tokio::test]
async fn the_admin_listener_serves_metrics_and_health_and_nothing_else() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let admin = broker.admin().await;
    let answer = http(admin, "GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains("content-type: text/plain; version=0.0.4"), "{}", answer.headers);
    assert!(answer.body.contains("# TYPE lockbroker_locks_held gauge\n"), "{}", answer.body);
    assert_eq!(http(admin, "POST", "/metrics").await.status, 405);
    for path in ["/index.html", "/metrics/", "/lockbroker.v1.LockService/Acquire"] {
        assert_eq!(http(admin, "GET", path).await.status, 404, "{path}");
    }

    // Over HTTP/2 as well.
    let mut channel = Endpoint::from_shared(format!("http://{admin}")).unwrap().connect().await.unwrap();
    let get = http::Request::get(format!("http://{admin}/metrics")).body(tonic::body::Body::empty()).unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    assert_eq!(channel.call(get).await.unwrap().status(), 200);
    for service in ["", "lockbroker.v1.LockService", "readiness", "liveness"] {
        assert_eq!(health(channel.clone(), service).await, ServingStatus::Serving, "{service:?}");
    }
    let refusal = LockServiceClient::new(channel.clone()).acquire(once("here")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    let refusal = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
}

#[tokio::test]
async fn it_answers_to_the_end_of_a_drain() {
    let mut broker = Broker::start(&Broker::WATCHED).await;
    let admin = broker.admin().await;
    let (_, lock) = acquire(&mut broker.stub().await, once("held")).await;
    let before = broker.scrape().await;
    assert_eq!((before.sum("lockbroker_ready", &[]), before.sum("lockbroker_draining", &[])), (1.0, 0.0));
    let ended = async {
        let status = broker.terminate(2 * SOON).await;
        assert!(status.success(), "{status:?}");
    };
    let watched = async {
        let draining = async {
            while Scrape::of(admin).await.sum("lockbroker_draining", &[]) != 1.0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, draining).await.expect("the broker drains");
        let channel = Endpoint::from_shared(format!("http://{admin}")).unwrap().connect().await.unwrap();
        assert_eq!(health(channel.clone(), "readiness").await, ServingStatus::NotServing);
        assert_eq!(health(channel, "liveness").await, ServingStatus::Serving);
        let scrape = Scrape::of(admin).await;
        assert_eq!((scrape.sum("lockbroker_ready", &[]), scrape.sum("lockbroker_locks_held", &[])), (0.0, 1.0));
        drop(lock);
    };
    tokio::join!(ended, watched);
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let broker = Broker::start(&Broker::WATCHED).await;
    let mut stub = broker.stub().await;
    let ended =
        |scrape: &Scrape, method, code| scrape.sum("lockbroker_rpcs_total", &[("method", method), ("code", code)]);
    let is_open = |scrape: &Scrape, method| scrape.sum("lockbroker_rpcs_open", &[("method", method)]);

    let session = RawSession::open(&mut stub, None).await;
    let (first, lock) = acquire(&mut stub, once("a")).await;
    let scrape = broker.scrape().await;
    assert_eq!((is_open(&scrape, "Session"), is_open(&scrape, "Acquire")), (1.0, 1.0));
    assert!(scrape.sum("lockbroker_connections", &[]) >= 1.0);
    assert_eq!(ended(&scrape, "Acquire", "CANCELLED"), 0.0);

    assert!(try_acquire(&mut stub, once("a")).await.unwrap().is_none());
    assert_eq!(stub.get_lock(GetLockRequest::default()).await.unwrap_err().code(), Code::InvalidArgument);
    release(&mut stub, "a", &first.lock_id).await;
    drop((lock, session));
    broker
        .scraped("every call has ended, each in its way", |scrape| {
            ended(scrape, "Acquire", "OK") + ended(scrape, "Acquire", "CANCELLED") == 2.0
                && ended(scrape, "Release", "OK") == 1.0
                && ended(scrape, "GetLock", "INVALID_ARGUMENT") == 1.0
                && scrape.sum("lockbroker_rpcs_total", &[("method", "Session")]) == 1.0
                && is_open(scrape, "Session") + is_open(scrape, "Acquire") == 0.0
        })
        .await;
    drop(stub);
    broker.scraped("its connections are gone", |scrape| scrape.sum("lockbroker_connections", &[]) == 0.0).await;
}

#[tokio::test]
async fn every_outcome_of_asking_is_counted() {
    let memcached = Memcached::start(&[]).await;
    let arguments = [&Broker::WATCHED[..], &["--max-locks", "3", "--max-waiters", "1"]].concat();
    let broker = Broker::on_store(&memcached.store(), &arguments).await;
    let mut stub = broker.stub().await;
    let outcome = |scrape: &Scrape, outcome| scrape.sum("lockbroker_acquisitions_total", &[("outcome", outcome)]);

    let (first, lock) = acquire(&mut stub, once("a")).await;
    assert!(try_acquire(&mut stub, once("a")).await.unwrap().is_none());
    let mut late = stub.wait_acquire(wait_up_to(Duration::from_millis(1), "a")).await.unwrap().into_inner();
    while !matches!(next_event(&mut late).await, Kind::NotAcquired(_)) {}
    let (second, _again) = acquire(&mut stub, reattach("a", &first.lock_id)).await;
    assert!(try_acquire(&mut stub, reattach("a", &first.lock_id)).await.unwrap().is_none());
    drop(lock);

    // Handed over, with one too many in the line behind.
    let (_, mut waiter) = queue(&mut stub, wait("a")).await;
    assert_eq!(broker.scrape().await.sum("lockbroker_waiters", &[]), 1.0);
    let refusal = waiting(&mut stub, wait("a")).await;
    assert_eq!(refusal, Code::ResourceExhausted);
    release(&mut stub, "a", &second.lock_id).await;
    granted(&mut waiter).await;

    // It lingers.
    let request =
        lockbroker::proto::AcquireRequest { lock: lingering("b", Duration::from_secs(60)), ..Default::default() };
    let (lingers, lock) = acquire(&mut stub, request).await;
    let (third, _third) = acquire(&mut stub, once("d")).await;
    assert_eq!(try_acquire(&mut stub, once("c")).await.unwrap_err().code(), Code::ResourceExhausted);
    release(&mut stub, "d", &third.lock_id).await;
    release(&mut stub, "b", &lingers.lock_id).await;
    drop(lock);
    assert!(try_acquire(&mut stub, once("b")).await.unwrap().is_none());

    // A client that leaves the line, and one that asks badly, both on a Session.
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin_wait(1, "a"));
    assert!(matches!(session.next_event().await, (1, Kind::Queued(_))));
    session.end(1);
    assert!(matches!(session.next_event().await, (1, Kind::NotAcquired(_))));
    session.begin(begin(2, ""));
    assert!(matches!(session.next_event().await, (2, Kind::Failed(_))));

    let scrape = broker.scrape().await;
    for (name, expected) in [
        ("acquired", 4.0),
        ("reattached", 1.0),
        ("held", 1.0),
        ("lingering", 1.0),
        ("max_wait", 1.0),
        ("cancelled", 1.0),
        ("not_reattachable", 1.0),
        ("exhausted", 2.0),
        ("invalid", 1.0),
        ("unavailable", 0.0),
    ] {
        assert_eq!(outcome(&scrape, name), expected, "{name}: {scrape:#?}");
    }
    assert_eq!(scrape.sum("lockbroker_refused_total", &[("limit", "max_locks")]), 1.0);
    assert_eq!(scrape.sum("lockbroker_refused_total", &[("limit", "max_waiters")]), 1.0);
    assert_eq!(scrape.sum("lockbroker_hand_overs_total", &[]), 1.0);
    for (want, count) in [("once", 3.0), ("wait", 1.0), ("reattach", 1.0)] {
        assert_eq!(scrape.sum("lockbroker_wait_seconds_count", &[("want", want)]), count, "{want}");
    }
    assert_eq!(scrape.sum("lockbroker_hold_seconds_count", &[]), 4.0);
    assert_eq!(scrape.sum("lockbroker_locks_held", &[]), 1.0);
    assert_eq!(scrape.sum("lockbroker_waiters", &[]), 0.0);
    // Its first holder was superseded by the reattach.
    assert_eq!(scrape.sum("lockbroker_locks_lost_total", &[("reason", "taken_over")]), 1.0);
}

/// A broker's whole life, and at its end every metric has been seen to move, and is one that the documentation tells of.
#[tokio::test]
async fn every_metric_moves_and_is_documented() {
    let mut memcached = Memcached::bare(&[]).await;
    memcached.kill();
    let store = memcached.store();
    let arguments = [
        &Broker::WATCHED[..],
        &["--store", &store, "--allow-unsafe-store", "--max-concurrent-rpcs", "1", "--max-locks", "2"],
    ]
    .concat();
    let broker = Broker::start_unready(&arguments).await;
    let mut watch = Watch { broker: &broker, scrapes: vec![broker.scrape().await] };
    let shard = memcached.address().to_string();
    let state =
        |scrape: &Scrape, state: &str| scrape.sum("lockbroker_shard_state", &[("shard", &shard), ("state", state)]);
    watch.until("the shard is connecting", |scrape| state(scrape, "connecting") == 1.0).await;

    memcached.start_again().await;
    let closed = watch.until("the shard is in quarantine", |scrape| state(scrape, "closed") == 1.0).await;
    let left = closed.sum("lockbroker_shard_quarantine_seconds", &[]);
    assert!((1.0..=15.0).contains(&left), "{left} s");
    assert_eq!(closed.sum("lockbroker_shard_unsafe", &[]), 1.0);
    let mut stub = broker.stub().await;
    assert_eq!(try_acquire(&mut stub, once("early")).await.unwrap_err().code(), Code::Unavailable);
    watch
        .until("it is counted", |scrape| scrape.sum("lockbroker_store_errors_total", &[("kind", "unavailable")]) >= 1.0)
        .await;
    open(&memcached.store(), &["--allow-unsafe-store"]);
    let open = watch
        .until("the shard is open", |scrape| {
            state(scrape, "open") == 1.0
                && state(scrape, "closed") == 0.0
                && scrape.sum("lockbroker_shard_quarantine_seconds", &[]) == 0.0
                && scrape.sum("lockbroker_ready", &[]) == 1.0
        })
        .await;

    // A lock, renewed once, deleted behind the broker's back, and so lost.
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "a"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let held = watch.until("the lock is held", |scrape| scrape.sum("lockbroker_locks_held", &[]) == 1.0).await;
    session.beat();
    watch
        .until("it is renewed", |scrape| {
            scrape.sum("lockbroker_renewal_lag_seconds_count", &[]) == 1.0
                && scrape.sum("lockbroker_heartbeat_lag_seconds_count", &[]) == 1.0
        })
        .await;
    assert_eq!(memcached.command("md lockbroker:L:a").await, "HD\r\n");
    session.beat();
    assert!(matches!(session.next_event().await, (1, Kind::Lost(_))));
    let lost = watch.look().await;
    assert_eq!(lost.sum("lockbroker_locks_lost_total", &[("reason", "gone")]), 1.0);
    let commands = |scrape: &Scrape| scrape.sum("lockbroker_batch_commands_sum", &[]);
    assert!(commands(&lost) > commands(&held));

    // A hand-over.
    let (first, _lock) = acquire(&mut stub, once("b")).await;
    let (_, mut waiter) = queue(&mut stub, wait("b")).await;
    watch.until("it waits", |scrape| scrape.sum("lockbroker_waiters", &[]) == 1.0).await;
    release(&mut stub, "b", &first.lock_id).await;
    granted(&mut waiter).await;
    let (_, _other) = acquire(&mut stub, once("c")).await;
    assert_eq!(try_acquire(&mut stub, once("d")).await.unwrap_err().code(), Code::ResourceExhausted);

    // A connection that ends, and the others with the broker.
    drop(broker.stub().await);
    watch
        .until("its end is counted", |scrape| {
            scrape.sum("lockbroker_connections_ended_total", &[("how", "closed")]) >= 1.0
        })
        .await;

    // A memcached that hangs: one look waits for it, and another is one too many.
    memcached.stop().await;
    let mut other = stub.clone();
    let look = |stub: &mut Stub| {
        let mut stub = stub.clone();
        async move { stub.get_lock(GetLockRequest { name: "b".into(), ..Default::default() }).await.unwrap_err().code() }
    };
    // What is asked behind it waits its turn, once each of the broker's connections is taken.
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(broker.stub().await);
    }
    let behind = async |pause: u32, stub: &mut Stub| {
        tokio::time::sleep(Duration::from_millis(50) * pause).await;
        let lock_id = format!("ffff{:012x}{:014x}000000", 1, 1);
        stub.release(ReleaseRequest { name: "e".into(), lock_id }).await.unwrap_err().code()
    };
    let looks = async {
        let (one, two) = (std::pin::pin!(look(&mut stub)), std::pin::pin!(look(&mut other)));
        let (shed, under_way) = futures_util::future::select(one, two).await.factor_first();
        let behind = others.iter_mut().zip(1..).map(|(stub, pause)| behind(pause, stub));
        let (waited, released) = tokio::join!(under_way, futures_util::future::join_all(behind));
        (shed, waited, released)
    };
    let waits = watch.until("something waits for it", |scrape| scrape.sum("lockbroker_shard_waiting", &[]) >= 1.0);
    let ((shed, waited, released), _) = tokio::join!(looks, waits);
    assert_eq!((shed, waited), (Code::ResourceExhausted, Code::Unavailable));
    // Twice --max-locks of them.
    assert_eq!(released[..2], [Code::Unavailable; 2], "{released:?}");
    let hung = watch.look().await;
    assert!(hung.sum("lockbroker_store_errors_total", &[("kind", "uncertain")]) >= 1.0);
    assert_eq!(hung.sum("lockbroker_rpcs_shed_total", &[]), 1.0);
    let slow = hung.sum("lockbroker_batch_seconds_bucket", &[("le", "+Inf")])
        - hung.sum("lockbroker_batch_seconds_bucket", &[("le", "0.4096")]);
    assert!(slow >= 1.0, "{hung:#?}");
    memcached.cont();

    // Another list of servers is announced.
    assert_eq!(open.sum("lockbroker_topology_generation", &[]), 1.0);
    let announced = memcached.command("ma lockbroker:N:2 N0 J1000000007 D0").await;
    assert_eq!(announced, "HD\r\n");
    watch.until("it changes", |scrape| scrape.sum("lockbroker_topology_changing", &[]) == 1.0).await;

    // A memory from before the latest tokens.
    let epoch = memcached.epoch().await;
    let set = memcached.command(&format!("ms lockbroker:F:{epoch} 16\r\n1000000000000000")).await;
    assert_eq!(set, "HD\r\n");
    let fell = [("shard", &*shard), ("reason", "tokens_fell")];
    watch.until("it is distrusted", |scrape| scrape.sum("lockbroker_shard_distrusted", &fell) == 1.0).await;

    let Watch { scrapes, .. } = watch;
    let mut broker = broker;
    let admin = broker.admin().await;
    let drain = broker.terminate(2 * SOON);
    let drained = async {
        while Scrape::of(admin).await.sum("lockbroker_draining", &[]) != 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let last = Scrape::of(admin).await;
        drop((session, waiter, _lock, _other));
        last
    };
    let (_, last) = tokio::join!(drain, drained);

    let moved = |name: &str| {
        let of = |scrape: &Scrape| {
            let samples = scrape.0.iter().filter(|(sample, _)| belongs(sample, name));
            samples.map(|(sample, value)| (sample.clone(), value.to_bits())).collect::<Vec<_>>()
        };
        let first = of(&scrapes[0]);
        assert!(!first.is_empty(), "{name} is not exposed");
        scrapes.iter().chain([&last]).any(|scrape| of(scrape) != first)
    };
    let documented = documented();
    // Those of quotas are in `quotas`.
    for name in documented.iter().filter(|name| !name.starts_with("lockbroker_quota_")) {
        let is_constant =
            ["lockbroker_build_info", "lockbroker_start_time_seconds", "lockbroker_limit"].contains(&name.as_str());
        assert_ne!(moved(name), is_constant, "{name}");
    }
    let unknown: Vec<_> =
        last.names().into_iter().filter(|sample| !documented.iter().any(|name| belongs(sample, name))).collect();
    assert!(unknown.is_empty(), "docs/monitoring.md does not tell of {unknown:?}");
    let version = format!("lockbroker_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(last.0.get(&version), Some(&1.0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - last.sum("lockbroker_start_time_seconds", &[]);
    assert!((0.0..600.0).contains(&age), "{age} s");
}

/// Remembers every scrape.
struct Watch<'a> {
    broker: &'a Broker,
    scrapes: Vec<Scrape>,
}

impl Watch<'_> {
    async fn until(&mut self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        self.scrapes.push(self.broker.scraped(what, wanted).await);
        self.scrapes.last().unwrap().clone()
    }

    async fn look(&mut self) -> Scrape {
        self.until("a scrape", |_| true).await
    }
}

/// The metrics in the table of docs/monitoring.md.
fn documented() -> Vec<String> {
    let text = include_str!("../../docs/monitoring.md");
    let names: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Whether a sample is one of this metric's; a histogram has several.
fn belongs(sample: &str, metric: &str) -> bool {
    let name = sample.split('{').next().unwrap_or(sample);
    name.strip_prefix(metric).is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
}

async fn health(channel: Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}

/// The status of a wait that is refused.
async fn waiting(stub: &mut Stub, request: WaitAcquireRequest) -> Code {
    stub.wait_acquire(request).await.map(drop).unwrap_err().code()
}
