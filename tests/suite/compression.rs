//! A client whose channel compresses is served as any other, and cannot make a little mean a lot.

use std::time::Duration;

use crate::support::{Broker, RawSession, Stub, acquire, begin, end_of, lock, look, once, queue, release, wait_up_to};
use lockbroker::client::ErrorReason;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::release_response::Outcome;
use lockbroker::proto::{GetLockRequest, get_lock_response};
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

async fn compressing(broker: &Broker) -> Stub {
    broker.stub().await.send_compressed(Gzip).accept_compressed(Gzip)
}

#[tokio::test]
async fn every_call_takes_gzip() {
    let broker = Broker::memory().await;
    let mut stub = compressing(&broker).await;
    let (acquired, _stream) = acquire(&mut stub, once("a")).await;
    // The longest wait that there is, too.
    let for_ever = Duration::new(315_576_000_000, 999_999_999);
    assert_eq!(queue(&mut stub, wait_up_to(for_ever, "a")).await.0, 1);
    assert_eq!(look(&mut stub, "a").await.state(), get_lock_response::State::Held);
    assert_eq!(release(&mut stub, "a", &acquired.lock_id).await, Outcome::Released);

    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "b"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    session.beat();
    session.end(1);
    assert!(matches!(session.next_event().await, (1, Kind::Released(_))));

    let channel = tonic::transport::Endpoint::from_shared(broker.url()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel).send_compressed(Gzip);
    health.check(HealthCheckRequest { service: "readiness".into() }).await.unwrap();
}

#[tokio::test]
async fn what_is_too_long_when_decompressed_is_refused() {
    let broker = Broker::memory().await;
    let mut stub = compressing(&broker).await;
    // Some 2 KB on the wire, which may be 4.
    let bomb = "a".repeat(2_000_000);
    let refused = stub.get_lock(GetLockRequest { name: bomb.clone(), ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, ErrorReason::MessageTooLarge.as_str(), "{refused:?}");
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(lockbroker::proto::BeginLock { lock_ref: 1, lock: lock(&bomb), ..Default::default() });
    assert_eq!(end_of(&mut session.responses).await.code(), Code::ResourceExhausted);
    assert!(memory(broker.pid()) < 40_000, "{} KiB", memory(broker.pid()));
    look(&mut stub, "a").await;
}

/// The most memory that a process has had, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
