//! Every error status says why it is one, for programs: a reason that stays, and the lock that it is about.

use std::time::{Duration, Instant};

use crate::support::{
    Broker, Memcached, RawSession, SOON, Stub, acquire, after_renewals, begin, end_of, eventually, lock, next_event,
    once, queue, try_acquire, wait,
};
use http::uri::PathAndQuery;
use lockbroker::client::{Client, ErrorReason};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, AcquireResponse, Failed, GetLockRequest, OpenSession, session_request};
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "5s"];

/// Asserts that the status has this reason, its code and its lock.
#[track_caller]
fn assert_reason(status: &Status, reason: ErrorReason, lock: Option<&str>) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("lockbroker", reason.as_str()), "{status:?}");
    assert_eq!(status.code(), reason.code(), "{status:?}");
    assert_eq!(info.metadata.get("lock").map(String::as_str), lock, "{status:?}");
    if let Some(lock) = lock {
        assert!(status.message().contains(&format!("{lock:?}")), "the text names no lock: {status:?}");
    }
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(retry.is_some_and(|delay| !delay.is_zero()), reason.code() == Code::Unavailable, "{status:?}");
    assert!(!status.message().is_empty(), "{status:?}");
}

/// Makes one call with a message that is not `AcquireRequest`, or by another path.
async fn call(
    channel: &Channel,
    path: &'static str,
    message: impl Message + 'static,
    headers: &[(&str, &str)],
) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(message);
    for (name, value) in headers {
        let name: tonic::metadata::MetadataKey<tonic::metadata::Ascii> = name.parse().unwrap();
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<_, AcquireResponse>::default();
    match grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await {
        Err(status) => status,
        Ok(answer) => end_of(&mut answer.into_inner()).await,
    }
}

#[tokio::test]
async fn what_never_reaches_the_service_has_a_reason() {
    let broker = Broker::memory().await;
    let channel = Endpoint::from_shared(broker.url()).unwrap().connect().await.unwrap();
    const ACQUIRE: &str = "/lockbroker.v1.LockService/Acquire";
    let rest = AcquireRequest { lock: lock("a"), ..AcquireRequest::default() };
    let unknown = call(&channel, "/lockbroker.v1.LockService/Steal", rest.clone(), &[]).await;
    assert_reason(&unknown, ErrorReason::UnknownMethod, None);
    let unknown = call(&channel, "/lockbroker.v2.LockService/Acquire", rest.clone(), &[]).await;
    assert_reason(&unknown, ErrorReason::UnknownMethod, None);
    // A number where a message ought to be.
    let span = prost_types::Duration { seconds: 7, nanos: 0 };
    assert_reason(&call(&channel, ACQUIRE, span, &[]).await, ErrorReason::MalformedMessage, None);
    let deflated = call(&channel, ACQUIRE, rest, &[("grpc-encoding", "deflate")]).await;
    assert_reason(&deflated, ErrorReason::UnsupportedEncoding, None);

    let mut stub = broker.stub().await;
    let long = stub.acquire(once(&"a".repeat(70_000))).await.unwrap_err();
    assert_reason(&long, ErrorReason::MessageTooLarge, None);
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, &"a".repeat(70_000)));
    assert_reason(&end_of(&mut session.responses).await, ErrorReason::MessageTooLarge, None);
    let service = HealthCheckRequest { service: "nobody".into() };
    let unknown = HealthClient::new(channel).check(service).await.unwrap_err();
    assert_reason(&unknown, ErrorReason::UnknownService, None);
}

#[tokio::test]
async fn what_the_client_got_wrong_has_a_reason() {
    let broker = Broker::start(&["--store", "memory", "--max-locks", "1", "--max-waiters", "1"]).await;
    let mut stub = broker.stub().await;
    let wrong = stub.acquire(once("")).await.unwrap_err();
    assert_reason(&wrong, ErrorReason::InvalidField, None);
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "lock.name");
    let wrong = stub
        .get_lock(GetLockRequest { name: "a".into(), lock_id: "none".into(), ..Default::default() })
        .await
        .unwrap_err();
    assert_reason(&wrong, ErrorReason::InvalidField, None);

    let mut session = RawSession::open(&mut stub, None).await;
    session.send(session_request::Kind::Open(OpenSession::default()));
    assert_reason(&end_of(&mut session.responses).await, ErrorReason::InvalidField, None);

    let (_, _held) = acquire(&mut stub, once("a")).await;
    assert_reason(&stub.acquire(once("b")).await.unwrap_err(), ErrorReason::MaxLocks, Some("b"));
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "b"));
    let (1, Kind::Failed(Failed { code, reason, .. })) = session.next_event().await else { panic!() };
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted.into(), "MAX_LOCKS"));
    let error = Client::connect(broker.url()).unwrap().acquire("b").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::MaxLocks), "{error}");

    let broker = Broker::start(&["--store", "memory", "--max-waiters", "1"]).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("a")).await;
    let _waiter = queue(&mut stub, wait("a")).await;
    assert_reason(&stub.wait_acquire(wait("a")).await.unwrap_err(), ErrorReason::MaxWaiters, Some("a"));
}

#[tokio::test]
async fn a_store_that_is_not_there_has_a_reason() {
    let old = Memcached::old(&["-M", "-F"]).await;
    let broker = Broker::start_unready(&["--store", &old.store()]).await;
    let mut stub = broker.stub().await;
    eventually(SOON, "the broker knows the server", async || {
        first(&mut stub, "a").await.message().contains("is refused")
    })
    .await;
    assert_reason(&first(&mut broker.stub().await, "a").await, ErrorReason::StoreRefused, Some("a"));

    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
    broker.logged("has lost its memory, or is new").await;
    let mut stub = broker.stub().await;
    // Again and again, for the last instant of the quarantine.
    let start = Instant::now();
    loop {
        match try_acquire(&mut stub, once("a")).await {
            Err(status) => {
                assert_reason(&status, ErrorReason::StoreQuarantined, Some("a"));
                let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
                assert!(delay >= Duration::from_millis(100), "{delay:?}");
                assert!(!status.message().contains("for 0 s"), "{status:?}");
            }
            Ok(granted) => break assert!(granted.is_some()),
        }
        assert!(start.elapsed() < SOON, "it is never granted");
    }
    memcached.kill();
    assert_reason(&first(&mut stub, "b").await, ErrorReason::StoreUnavailable, Some("b"));
    let look = GetLockRequest { name: "b".into(), ..Default::default() };
    assert_reason(&stub.get_lock(look).await.unwrap_err(), ErrorReason::StoreUnavailable, Some("b"));
    let error = Client::connect(broker.url()).unwrap().get("b", None).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::StoreUnavailable), "{error}");
    assert!(error.retry_after().is_some());
    assert_eq!(error.to_string().matches("\"b\"").count(), 1, "{error}");
}

/// The status of an Acquire that fails.
async fn first(stub: &mut Stub, name: &str) -> Status {
    try_acquire(stub, once(name)).await.unwrap_err()
}

#[tokio::test]
async fn a_loss_has_a_reason() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &SHORT).await;
    let mut stub = broker.stub().await;
    let (_, mut gone) = acquire(&mut stub, once("gone")).await;
    memcached.command("md lockbroker:L:gone").await;
    let mut silent = RawSession::open(&mut stub, None).await;
    let (taken, mut old) = acquire(&mut stub, once("taken")).await;
    let again = AcquireRequest { reattach_lock_id: taken.lock_id, ..once("taken") };
    let (_, _new) = acquire(&mut stub, again).await;

    assert!(matches!(after_renewals(&mut old).await, Kind::Lost(_)));
    assert_reason(&end_of(&mut old).await, ErrorReason::LostTakenOver, Some("taken"));
    assert!(matches!(next_event(&mut gone).await, Kind::Lost(_)));
    assert_reason(&end_of(&mut gone).await, ErrorReason::LostGone, Some("gone"));
    assert_reason(&end_of(&mut silent.responses).await, ErrorReason::SessionSilent, None);

    let (_, mut expired) = acquire(&mut stub, once("expired")).await;
    drop(memcached);
    assert!(matches!(after_renewals(&mut expired).await, Kind::Lost(_)));
    assert_reason(&end_of(&mut expired).await, ErrorReason::LostExpired, Some("expired"));
}
