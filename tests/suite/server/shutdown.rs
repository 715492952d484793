//! The order in which a broker goes.

use std::time::Duration;

use lockbroker::proto::AcquireRequest;

use super::pretender::{Server, until};

#[tokio::test]
async fn the_last_lock_ends_the_server() {
    let mut server = Server::start("").await;
    let mut client = server.client().await;
    let first = client.acquire(AcquireRequest::default()).await.unwrap();
    server.stop();
    until(&server.broker.draining, Option::is_some).await;
    assert_eq!(*server.broker.draining.borrow(), Some(Duration::from_secs(25)));
    // What is refused now is for the broker to say; the server takes it in.
    let second = server.client().await.acquire(AcquireRequest::default()).await.unwrap();
    drop(first);
    server.holds(1).await;
    assert!(!server.ended.is_finished());
    drop(second);
    server.ended.await.unwrap();
}

#[tokio::test]
async fn nobody_keeps_the_server_longer_than_the_grace() {
    let mut server = Server::start("--drain 100ms").await;
    let mut client = server.client().await;
    let lock = client.acquire(AcquireRequest::default()).await.unwrap();
    server.stop();
    (&mut server.ended).await.unwrap();
    server.holds(1).await;
    drop(lock);
}

#[tokio::test]
async fn a_stopped_server_accepts_nobody() {
    let mut server = Server::start("").await;
    server.stop();
    server.ended.await.unwrap();
    tokio::net::TcpStream::connect(server.address).await.unwrap_err();
}
