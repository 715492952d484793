//! What clients may do at once, and that nothing of it costs them their connection.

use std::time::{Duration, Instant};

use lockbroker::proto::*;
use tonic::Code;
use tonic_types::StatusExt;

use super::pretender::{Server, until};
use super::raw::{CANCEL, Client, DATA, GOAWAY, PING, RST_STREAM, WINDOW_UPDATE, call, frame, headers};

const ACQUIRE: &str = "/lockbroker.v1.LockService/Acquire";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_locks_on_one_connection_are_cancelled_at_once() {
    let server = Server::start("").await;
    let mut client = Client::connect(server.address).await;
    let neighbour = 1;
    client.send(&call(neighbour, ACQUIRE)).await;
    let locks = || (1..=1_000).map(|n| 2 * n + neighbour);
    client.send(&locks().flat_map(|stream| call(stream, ACQUIRE)).collect::<Vec<_>>()).await;
    server.holds(1_001).await;
    client.send(&locks().flat_map(|stream| frame(RST_STREAM, 0, stream, &CANCEL)).collect::<Vec<_>>()).await;
    server.holds(1).await;
    lives(client, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_cancels_in_a_row_leave_a_neighbour_alone() {
    // Each call is cancelled in the same breath: most before the server has looked at it. (They are made first: this client
    // answers no ping, so it must not be silent for long.)
    let frames: Vec<_> = (1..=100_000)
        .map(|n| 2 * n + 1)
        .flat_map(|stream| [call(stream, ACQUIRE), frame(RST_STREAM, 0, stream, &CANCEL)].concat())
        .collect();
    let server = Server::start("").await;
    let mut client = Client::connect(server.address).await;
    client.send(&call(1, ACQUIRE)).await;
    server.holds(1).await;
    let (mut reader, mut writer) = client.0.into_split();
    let discard = tokio::spawn(async move {
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.unwrap();
        reader
    });
    tokio::io::AsyncWriteExt::write_all(&mut writer, &frames).await.unwrap();
    // Opened last, seen last.
    tokio::io::AsyncWriteExt::write_all(&mut writer, &call(200_003, ACQUIRE)).await.unwrap();
    server.holds(2).await;
    assert!(!discard.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_in_one_burst_are_taken() {
    let server = Server::start("").await;
    let mut client = Client::connect(server.address).await;
    client.send(&(0..10_000).flat_map(|n| call(2 * n + 1, ACQUIRE)).collect::<Vec<_>>()).await;
    server.holds(10_000).await;
    lives(client, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_cross_the_end_of_their_stream_cost_nothing() {
    let server = Server::start("").await;
    let mut client = Client::connect(server.address).await;
    for n in 0..2_000 {
        // A stream that the client has not ended and the server ends at once.
        client.send(&headers(2 * n + 1, "/lockbroker.v1.LockService/Unknown")).await;
        while client.next_frame().await.expect("the connection has ended") != RST_STREAM {}
    }
    client.send(&(0..2_000).flat_map(|n| frame(DATA, 0, 2 * n + 1, b"late")).collect::<Vec<_>>()).await;
    lives(client, &server).await;
}

/// Its answer to a ping may come behind much else. This one never answers: only that it sends something counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_something_is_not_silent() {
    let server = Server::start("--keepalive-interval 500ms --keepalive-timeout 2s").await;
    let mut client = Client::connect(server.address).await;
    client.send(&call(1, ACQUIRE)).await;
    server.holds(1).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        // hyper takes no notice of this frame.
        client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(*server.broker.held.borrow(), 1, "after {:?}", began.elapsed());
    }
    let silent = Instant::now();
    server.holds(0).await;
    assert!(silent.elapsed() >= Duration::from_secs(1), "{:?}", silent.elapsed());
}

#[tokio::test]
async fn a_message_is_no_longer_than_4_kib() {
    let server = Server::start("").await;
    let mut client = server.client().await;
    let mut release =
        async |bytes| client.release(ReleaseRequest { name: "x".repeat(bytes), lock_id: String::new() }).await;
    release(4_000).await.unwrap();
    assert_eq!(release(4_200).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn what_can_wait_is_refused_and_what_ends_a_lock_is_not() {
    let server = Server::start("--max-concurrent-rpcs 1").await;
    let mut client = server.client().await;
    let look = GetLockRequest { name: "a".into(), ..Default::default() };
    let mut looker = client.clone();
    let first = tokio::spawn({
        let look = look.clone();
        async move { looker.get_lock(look).await }
    });
    until(&server.broker.looks, |looks| *looks == 1).await;

    let refused = client.get_lock(look.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "MAX_CONCURRENT_RPCS");
    let wait = client.wait_acquire(WaitAcquireRequest::default()).await;
    assert_eq!(wait.unwrap_err().code(), Code::ResourceExhausted);

    client.acquire(AcquireRequest::default()).await.unwrap();
    client.release(ReleaseRequest::default()).await.unwrap();
    client.session(tokio_stream::pending::<SessionRequest>()).await.unwrap();
    let health = tonic_health::pb::HealthCheckRequest::default();
    tonic_health::pb::health_client::HealthClient::new(server.channel().await).check(health).await.unwrap();

    server.broker.looks_answered.send_replace(true);
    first.await.unwrap().unwrap();
    client.get_lock(look).await.unwrap();
    // An open stream is no longer counted.
    let _waiter = client.wait_acquire(WaitAcquireRequest::default()).await.unwrap();
    let _another = client.wait_acquire(WaitAcquireRequest::default()).await.unwrap();
}

/// Asserts that the connection is still of use: takes one more lock, and finds no GOAWAY on the way.
async fn lives(mut client: Client, server: &Server) {
    let held = *server.broker.held.borrow();
    client.send(&call(1_000_001, ACQUIRE)).await;
    server.holds(held + 1).await;
    client.send(&frame(PING, 0, 0, b"the end!")).await;
    loop {
        match client.next_frame().await {
            None | Some(GOAWAY) => panic!("the connection has ended"),
            // The answer.
            Some(PING) => break,
            Some(_) => {}
        }
    }
}
