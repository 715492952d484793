//! SIGTERM: the broker moves its clients on and keeps what they hold until they have gone.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, session_response};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_broker_that_goes_lets_its_clients_go_first() {
    for (_memcached, mut broker) in brokers(&["--drain", "60s"]).await {
        let mut stub = broker.stub().await;
        let (_, mut held) = acquire(&mut stub, AcquireRequest { ttl: span(TTL), ..once("job") }).await;
        let mut session = RawSession::open(&mut stub, Some(TTL)).await;
        session.begin(begin(1, "another"));
        session.next_event().await;
        session.begin(begin_wait(2, "job"));
        session.next_event().await;
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;

        terminate(&broker);
        let Kind::Draining(draining) = after_renewals(&mut held).await else { panic!("not told") };
        assert_eq!(duration(draining.grace), Duration::from_secs(60));
        assert!(matches!(next_event(&mut waiting).await, Kind::Draining(_)));
        let status = end_of(&mut waiting).await;
        assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "BROKER_DRAINING"));
        let (mut told, mut failed) = (false, false);
        while !(told && failed) {
            match session.next_event().await {
                (0, Kind::Draining(_)) => told = true,
                (2, Kind::Failed(failure)) => failed = failure.code == Code::Unavailable as i32,
                other => panic!("{other:?}"),
            }
        }

        // It answers still, but takes nothing on.
        assert_eq!(broker.health("readiness").await, Some(ServingStatus::NotServing));
        assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));
        assert_eq!(refused(stub.acquire(once("new")).await).await, Code::Unavailable);
        assert_eq!(refused(stub.wait_acquire(wait("new")).await).await, Code::Unavailable);
        session.begin(begin(3, "new"));
        assert!(matches!(session.next_event().await, (3, Kind::Failed(_))));

        // What is held is renewed.
        assert!(matches!(next_event(&mut held).await, Kind::Renewed(_)));
        session.beat();
        let session_response::Kind::HeartbeatAck(ack) = session.next().await else { panic!("not acknowledged") };
        assert!(ack.not_renewed.is_empty());

        // The last of them to go ends the broker.
        drop(held);
        freed(&mut stub, "job").await;
        drop(session);
        let gone = Instant::now();
        eventually(SOON, "the broker ends", async || broker.exit().is_some()).await;
        assert!(broker.exit().unwrap().success() && gone.elapsed() < 2_000 * MS, "{:?}", gone.elapsed());
        well(&broker);
    }
}

#[tokio::test]
async fn a_reattach_moves_the_last_lock_to_another_broker() {
    let memcached = Memcached::start(&[]).await;
    let [mut old, new] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let (acquired, mut held) = acquire(&mut old.stub().await, once("job")).await;
    terminate(&old);
    assert!(matches!(after_renewals(&mut held).await, Kind::Draining(_)));
    let (moved, _held) = acquire(&mut new.stub().await, reattach("job", &acquired.lock_id)).await;
    assert_eq!(moved.fencing_token, acquired.fencing_token);
    drop(held);
    eventually(SOON, "the broker ends", async || old.exit().is_some()).await;
    assert!(old.exit().unwrap().success());
    well(&old);
    assert_eq!(release(&mut new.stub().await, "job", &moved.lock_id).await, Outcome::Released);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut broker = Broker::memory().await;
    let (_, mut held) = acquire(&mut broker.stub().await, once("job")).await;
    terminate(&broker);
    assert!(matches!(after_renewals(&mut held).await, Kind::Draining(_)));
    let status = broker.terminate(SOON).await;
    assert_eq!(status.code(), Some(1));
    well(&broker);
}

#[tokio::test]
async fn it_waits_no_longer_than_the_grace_and_what_is_held_then_stands() {
    let memcached = Memcached::start(&[]).await;
    let mut broker = Broker::on_store(&memcached.store(), &["--drain", "500ms"]).await;
    let other = Broker::on(&memcached).await;
    let (acquired, mut held) = acquire(&mut broker.stub().await, once("job")).await;
    terminate(&broker);
    let begun = Instant::now();
    assert!(matches!(after_renewals(&mut held).await, Kind::Draining(_)));
    eventually(SOON, "the broker ends", async || broker.exit().is_some()).await;
    assert!(begun.elapsed() >= 400 * MS && broker.exit().unwrap().success());
    well(&broker);
    let (moved, _held) = acquire(&mut other.stub().await, reattach("job", &acquired.lock_id)).await;
    assert_eq!(moved.fencing_token, acquired.fencing_token);
}

fn terminate(broker: &Broker) {
    kill_process(Pid::from_raw(broker.pid() as i32).unwrap(), Signal::TERM).unwrap();
}

/// Asserts that nothing went wrong on the way out.
fn well(broker: &Broker) {
    let log = broker.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
}

/// The status that a call is refused with, be it instead of a stream or on it.
async fn refused<M: std::fmt::Debug>(answer: Result<tonic::Response<tonic::Streaming<M>>, tonic::Status>) -> Code {
    match answer {
        Ok(stream) => end_of(&mut stream.into_inner()).await.code(),
        Err(status) => status.code(),
    }
}
