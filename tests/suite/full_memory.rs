//! A memcached that is full refuses new locks and harms none that it has.

use std::time::Duration;

use crate::support::{Broker, Memcached, SOON, acquire, eventually, next_event, once, try_acquire};
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

    memcached.fill().await;
    let filled = tokio::time::Instant::now();
    let status = try_acquire(&mut stub, once("full 1")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
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
