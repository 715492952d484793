//! What the broker makes of the end of a stream: the client's word or its silence.
//!
//! A real tonic server on loopback, and a client that says exactly which bytes go over the wire.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lockbroker::service::connection::{Connection, StreamEnd, TrackedIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;

use super::raw::{CANCEL, Client, GOAWAY, RST_STREAM, WINDOW_UPDATE, frame};

/// Longer than any test runs, for tests in which no keepalive is due.
const NEVER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_stream_is_the_clients_word() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    for stream in [1, 3] {
        client.open(stream).await;
        server.opened().await;
    }
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL)).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
    client.send(&frame(RST_STREAM, 0, 3, &CANCEL)).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_reset_at_once_are_all_the_clients_word() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    let mut resets = Vec::new();
    for n in 0..1_000 {
        client.open(2 * n + 1).await;
        server.opened().await;
        resets.extend(frame(RST_STREAM, 0, 2 * n + 1, &CANCEL));
    }
    client.send(&resets).await;
    for _ in 0..1_000 {
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_with_a_goodbye_is_the_clients_word() {
    // What a client sends that drops its stream and its connection at once. h2 shuts the connection down when it has
    // read that, perhaps before the stream's task gets to ask.
    let mut server = Server::start(NEVER, NEVER).await;
    for _ in 0..100 {
        let mut client = Client::connect(server.address).await;
        client.open(1).await;
        server.opened().await;
        client.send(&[frame(RST_STREAM, 0, 1, &CANCEL), frame(GOAWAY, 0, 0, &[0; 8])].concat()).await;
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_makes_no_word_of_a_broken_frame_or_an_unanswered_ping() {
    let mut server = Server::start(Duration::from_millis(200), Duration::from_millis(200)).await;
    let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.send(&[goodbye.clone(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])].concat()).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Silence);

    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.send(&goodbye).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Silence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_the_clients_word() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_connection_is_the_clients_word() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_client_has_spoken() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    // The child has the only handle on the socket left; what closes it is the kernel.
    let socket = OwnedFd::from(client.0.into_std().unwrap());
    let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(socket)).spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Word);
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_frame_is_silence() {
    // h2 fails the streams on one thread before it shuts the socket down; with many of them, another
    // thread is at work on the first by then.
    let mut server = Server::start(NEVER, NEVER).await;
    for _ in 0..20 {
        let mut client = Client::connect(server.address).await;
        for n in 0..100 {
            client.open(2 * n + 1).await;
            server.opened().await;
        }
        // A WINDOW_UPDATE has four bytes.
        client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])).await;
        for _ in 0..100 {
            assert_eq!(server.end_of_a_stream().await, StreamEnd::Silence);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_ping_is_silence() {
    let mut server = Server::start(Duration::from_millis(200), Duration::from_millis(200)).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Silence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_ping_is_silence_even_while_bytes_come() {
    let mut server = Server::start(Duration::from_millis(200), Duration::from_millis(200)).await;
    let mut client = Client::connect(server.address).await;
    for n in 0..1_000 {
        client.open(2 * n + 1).await;
        server.opened().await;
    }
    // hyper does not take a WINDOW_UPDATE for a sign of life; for us a byte is a byte.
    let chatter = tokio::spawn(async move {
        while client.0.write_all(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for _ in 0..1_000 {
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Silence);
    }
    chatter.abort();
}

#[tokio::test]
async fn what_we_end_is_silence_unless_the_peer_was_first() {
    let (near, _far) = tokio::io::duplex(64);
    let io = TrackedIo::new(near, NEVER, Vec::new());
    let connection = io.connect_info();
    drop(io);
    assert_eq!(connection.settle().await, StreamEnd::Silence);

    let (near, _far) = tokio::io::duplex(64);
    let mut io = TrackedIo::new(near, NEVER, Vec::new());
    io.shutdown().await.unwrap();
    assert_eq!(io.connect_info().settle().await, StreamEnd::Silence);

    let (near, far) = tokio::io::duplex(64);
    let mut io = TrackedIo::new(near, NEVER, Vec::new());
    drop(far);
    io.read_u8().await.unwrap_err();
    io.shutdown().await.unwrap();
    assert_eq!(io.connect_info().settle().await, StreamEnd::Word);
}

#[tokio::test]
async fn a_read_takes_a_bite() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(&[0; 64 * 1024]).await.unwrap();
    let mut all = vec![0; 64 * 1024];
    assert_eq!(TrackedIo::new(near, NEVER, Vec::new()).read(&mut all).await.unwrap(), 8 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_move_is_silence() {
    // Nobody reads: HTTP/2 waits for room to write, perhaps.
    let (near, _far) = tokio::io::duplex(64);
    let io = TrackedIo::new(near, NEVER, Vec::new());
    assert_eq!(io.connect_info().settle().await, StreamEnd::Silence);
}

/// A server on a runtime of its own whose every response stays open until its stream is dropped.
struct Server {
    address: std::net::SocketAddr,
    opened: mpsc::UnboundedReceiver<Arc<Connection>>,
    ended: mpsc::UnboundedReceiver<StreamEnd>,
    _runtime: RuntimeGuard,
}

impl Server {
    async fn start(keepalive_interval: Duration, keepalive_timeout: Duration) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let (opened_tx, opened) = mpsc::unbounded_channel();
        let (ended_tx, ended) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let connection = request.extensions().get::<Arc<Connection>>().unwrap().clone();
            opened_tx.send(connection.clone()).unwrap();
            let held = Held { connection, ended: ended_tx.clone() };
            async move { Ok::<_, Infallible>(http::Response::new(held)) }
        });
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap())
                .map(move |io| io.map(|io| TrackedIo::new(io, keepalive_interval, Vec::new())));
            tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(keepalive_interval))
                .http2_keepalive_timeout(Some(keepalive_timeout))
                .max_concurrent_streams(1_000)
                .http2_max_pending_accept_reset_streams(Some(1_000))
                .serve_with_incoming(service, incoming)
                .await
        });
        Server { address, opened, ended, _runtime: RuntimeGuard(Some(runtime)) }
    }

    async fn opened(&mut self) -> Arc<Connection> {
        tokio::time::timeout(NEVER, self.opened.recv()).await.unwrap().unwrap()
    }

    async fn end_of_a_stream(&mut self) -> StreamEnd {
        tokio::time::timeout(NEVER, self.ended.recv()).await.unwrap().unwrap()
    }
}

/// Ends a runtime without waiting for it, which an async test may not do.
struct RuntimeGuard(Option<tokio::runtime::Runtime>);

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A body that never says anything and, when it is dropped, asks at once what that means.
struct Held {
    connection: Arc<Connection>,
    ended: mpsc::UnboundedSender<StreamEnd>,
}

impl http_body::Body for Held {
    type Data = tonic::codegen::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Infallible>>> {
        Poll::Pending
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (connection, ended) = (self.connection.clone(), self.ended.clone());
        tokio::spawn(async move {
            let end = connection.settle().await;
            // The test may have ended before the server did.
            let _ = ended.send(end);
        });
    }
}
