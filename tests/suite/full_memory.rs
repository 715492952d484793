//! A memcached that is full refuses new locks and harms none that it has.

use std::time::Duration;

use crate::support::{
    Broker, Memcached, RawSession, SOON, acquire, begin, eventually, next_event, once, reason, run, try_acquire,
};
use lockbroker::client::{Client, ErrorReason, Outcome};
use lockbroker::proto::lock_event::Kind;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

const TTL: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_full_memcached_grants_nothing_and_keeps_what_is_held() {
    let memcached = Memcached::start(&["-m", "2"]).await;
    let broker = Broker::on_store(&memcached.store(), &["--default-ttl", "5s", "--max-ttl", "5s"]).await;
    let mut stub = broker.stub().await;
    let mut held = Vec::new();
    for index in 0..20 {
        held.push(acquire(&mut stub, once(&format!("held {index}"))).await.1);
    }

    memcached.fill(160).await;
    let filled = tokio::time::Instant::now();
    let status = try_acquire(&mut stub, once("full 1")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "STORE_FULL"), "{status:?}");
    let address = memcached.address().to_string();
    assert!(status.message().contains("no memory left") && status.message().contains(&address), "{status:?}");

    // Grants that are refused, all the while; and renewals for longer than any lease lasts.
    let mut attempts = stub.clone();
    let refused = async {
        while filled.elapsed() < TTL + Duration::from_secs(1) {
            let refusal = try_acquire(&mut attempts, once("full 1")).await.map(drop).unwrap_err();
            assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let renewed = futures_util::future::join_all(held.iter_mut().map(async |stream| {
        while filled.elapsed() < TTL + Duration::from_secs(1) {
            let event = next_event(stream).await;
            assert!(matches!(event, Kind::Renewed(_)), "{event:?}");
        }
    }));
    tokio::join!(refused, renewed);
    for index in 0..held.len() {
        assert!(try_acquire(&mut stub, once(&format!("held {index}"))).await.unwrap().is_none(), "held {index}");
    }
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::Serving));

    // What is released makes room for another one.
    drop(held);
    eventually(SOON, "there is room", async || matches!(try_acquire(&mut stub, once("full 1")).await, Ok(Some(_))))
        .await;
}

/// What people read: what is refused, that what they have stays, and what to do. Nobody else is blamed.
#[tokio::test]
async fn who_is_refused_for_want_of_memory_reads_what_is_so_and_what_to_do() {
    let memcached = Memcached::start(&["-m", "2"]).await;
    let [here, there] =
        [Broker::on_store(&memcached.store(), &[]).await, Broker::on_store(&memcached.store(), &[]).await];
    let client = Client::connect(here.url()).unwrap();
    let Outcome::Acquired(leader) = client.acquire("leader").value("one").await.unwrap() else {
        panic!("nobody else has it")
    };
    memcached.fill(1_100).await;

    let full = format!("no room: memcached {} has no memory left", memcached.address());
    let error = leader.update("two").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::StoreFull), "{error}");
    let said = error.to_string();
    assert!(said.starts_with(&format!("lock \"leader\": {full} for the value: the lock is held as before")), "{said}");
    assert!(said.contains("set it anew later") && said.contains("-m"), "{said}");
    leader.check().unwrap();
    // Not the one that was refused.
    for broker in [&here, &there] {
        let seen = run(&["observe", "--once", "--server", &broker.url(), "leader"]);
        assert!(seen.status.success() && !String::from_utf8_lossy(&seen.stdout).contains("two"), "{seen:?}");
    }

    for asks in [
        &["run", "new"][..],
        &["run", "--wait", "5s", "new"],
        &["run", "--shared", "new"],
        &["run", "--limit", "4", "--wait", "5s", "new"],
        &["run", "--limit", "4", "--weight", "2", "new"],
        &["run", "new", "other"],
        &["elect", "--value", "x", "new"],
    ] {
        let output = run(&[asks, &["--server", &here.url(), "--", "true"]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{asks:?}: {said}");
        let why = format!("lockbroker: lock \"new\": {full} for another lock, and keeps those that are held: ");
        assert!(said.starts_with(&why) && said.contains("-m") && said.lines().count() == 1, "{asks:?}: {said}");
    }
}

#[tokio::test]
async fn a_grant_that_is_refused_costs_those_in_its_batch_nothing() {
    const EACH: i64 = 50;
    let memcached = Memcached::start(&["-m", "2"]).await;
    let broker = Broker::on_store(&memcached.store(), &[]).await;
    let mut session = RawSession::open(&mut broker.stub().await, None).await;
    // memcached keeps items by size: there is no room for a lock with a short name, and for a long one there is.
    memcached.fill(40).await;
    let connections = memcached.stat("total_connections").await;
    for lock_ref in 1..=2 * EACH {
        let name = format!("{lock_ref:03}");
        session.begin(begin(lock_ref, &if lock_ref % 2 == 0 { name.repeat(40) } else { name }));
    }
    for _ in 1..=2 * EACH {
        match session.next_event().await {
            (lock_ref, Kind::Acquired(_)) if lock_ref % 2 == 0 => {}
            (lock_ref, Kind::Failed(failed)) if lock_ref % 2 == 1 => {
                assert_eq!(failed.code, Code::ResourceExhausted as i32, "{failed:?}");
            }
            (lock_ref, other) => panic!("{other:?} for {lock_ref}"),
        }
    }
    // Its own for the look at the number, and those that a busy broker opens: a refusal ends none.
    let connections = memcached.stat("total_connections").await - connections;
    assert!(connections <= 3, "{connections} new connections");
}
