//! Limits: of values, and of those who observe. And the end of a broker.

use super::*;
use crate::policy::{Guarded, for_us};
use lockbroker::proto::{AcquireLeaseRequest, lock_spec};
use tonic::Code;

#[tokio::test]
async fn a_value_has_at_most_a_kibibyte() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (most, too_long) = ("x".repeat(1_024), "x".repeat(1_025));
        let longest = LockSpec {
            // The longest of everything still fits into a message.
            owner: "o".repeat(128),
            ..valued(&"n".repeat(128), &most).unwrap()
        };
        let request = AcquireRequest { lock: Some(longest), ..AcquireRequest::default() };
        let (leader, _stream) = acquire(&mut stub, request).await;
        let name = "n".repeat(128);
        let mut observer = Observer::at(&broker, &name).await;
        observer.value(SOON, &most).await;
        let status = update(&broker, &name, &leader.lock_id, &too_long).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "INVALID_FIELD"));
        assert!(status.message().starts_with("value: has 1025 bytes"), "{status:?}");
        let status = try_acquire(&mut stub, campaign("leader", &too_long)).await.unwrap_err();
        assert!(status.message().starts_with("lock.value: has 1025 bytes, the limit is 1024"), "{status:?}");
    }
}

#[tokio::test]
async fn permits_and_leases_have_no_value() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let mode = lock_spec::Mode::Shared.into();
    let lock = Some(LockSpec { mode, ..valued("pool", "x").unwrap() });
    let status = try_acquire(&mut stub, AcquireRequest { lock, ..AcquireRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("lock.value: is set, and the mode is MODE_SHARED"), "{status:?}");
    let request = AcquireLeaseRequest { lock: valued("job", "x"), ..AcquireLeaseRequest::default() };
    let status = stub.acquire_lease(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("lock.value: is set; a lease has none"), "{status:?}");
}

#[tokio::test]
async fn so_many_observe_at_a_broker_and_no_more() {
    for (_memcached, broker) in brokers(&["--max-observers", "2"]).await {
        let first = Observer::at(&broker, "a").await;
        let _second = Observer::at(&broker, "b").await;
        let mut stub = broker.stub().await;
        let request = || ObserveRequest { name: "a".to_owned() };
        let status = stub.observe(request()).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "MAX_OBSERVERS"));
        assert!(status.message().contains("--max-observers"), "{status:?}");
        drop(first);
        eventually(SOON, "there is room again", async || stub.observe(request()).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_name_has_to_be_one() {
    let broker = Broker::memory().await;
    for name in ["", "a\nb"] {
        let status = broker.stub().await.observe(ObserveRequest { name: name.to_owned() }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}");
        let status = update(&broker, name, "x", "x").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}");
    }
    let status = update(&broker, "a", "no lock id", "x").await.unwrap_err();
    assert!(status.message().starts_with("lock_id: "), "{status:?}");
}

#[tokio::test]
async fn a_broker_that_goes_away_tells_those_who_observe() {
    for (_memcached, mut broker) in brokers(&[]).await {
        let (_, stream) = acquire(&mut broker.stub().await, campaign("leader", "value")).await;
        let mut observer = Observer::at(&broker, "leader").await;
        observer.value(SOON, "value").await;
        let mut stub = broker.stub().await;
        let pid = rustix::process::Pid::from_raw(broker.pid() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let began = Instant::now();
        let status = loop {
            match timeout(SOON, observer.stream.message()).await.expect("it is told soon") {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends without a word"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "BROKER_DRAINING"));
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        let status = stub.observe(ObserveRequest { name: "leader".to_owned() }).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "BROKER_DRAINING"));
        drop(stream);
        eventually(SOON, "the broker has gone", async || broker.exit().is_some()).await;
    }
}

#[tokio::test]
async fn who_may_look_may_observe_and_who_may_acquire_may_update() {
    let guarded = Guarded::start(&for_us(r#"["acquire", "look"]"#, r#"["a/"]"#), &[]).await;
    let mut stub = guarded.stub().await;
    let (leader, _stream) = acquire(&mut stub, campaign("a/leader", "value")).await;
    let observe = |name: &str| ObserveRequest { name: name.to_owned() };
    let mut seen = stub.observe(observe("a/leader")).await.unwrap().into_inner();
    assert!(is_held_with(&next_message(&mut seen).await, "value"));
    let update =
        |name: &str| UpdateLockRequest { name: name.to_owned(), lock_id: leader.lock_id.clone(), value: Vec::new() };
    stub.update_lock(update("a/leader")).await.unwrap();
    for status in
        [stub.observe(observe("b/leader")).await.unwrap_err(), stub.update_lock(update("b/leader")).await.unwrap_err()]
    {
        assert_eq!((status.code(), &*reason(&status)), (Code::PermissionDenied, "POLICY_DENIED"));
    }
    // A policy that has changed is asked again.
    std::fs::write(&guarded.policy, for_us(r#"["acquire"]"#, r#"["a/"]"#)).unwrap();
    let status = loop {
        match timeout(2 * SOON, seen.message()).await.expect("it ends") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied);
}
