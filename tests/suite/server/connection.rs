//! What the broker makes of the end of a stream: the client's word or its silence.
//!
//! A real tonic server on loopback, and a client that says exactly which bytes go over the wire.

use std::convert::Infallible;
use std::io::{self, ErrorKind::*};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lockbroker::service::connection::{Connection, StreamEnd, TrackedIo, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;

use super::raw::{CANCEL, Client, GOAWAY, RST_STREAM, WINDOW_UPDATE, frame};
use crate::support::{Authority, Certificate};

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
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
    client.send(&frame(RST_STREAM, 0, 3, &CANCEL)).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
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
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
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
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
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
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);

    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.send(&goodbye).await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_the_clients_word() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_connection_is_silence() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.reset();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
}

/// All of it may be read in one turn. On one thread the order in which tasks run is certain.
#[tokio::test]
async fn what_the_client_says_right_before_a_reset_is_its_word() {
    let mut server = Server::on_one_thread().await;
    let reset_stream = frame(RST_STREAM, 0, 1, &CANCEL);
    let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
    for words in [reset_stream.clone(), [reset_stream, goodbye].concat()] {
        for time in 0..100 {
            let mut client = Client::connect(server.address).await;
            client.open(1).await;
            server.opened().await;
            client.read_all(1).await;
            client.send(&words).await;
            client.reset();
            assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed, "{time}: {words:?}");
        }
    }
    // The stream that is left goes by silence all the same.
    let mut client = Client::connect(server.address).await;
    for stream in [1, 3] {
        client.open(stream).await;
        server.opened().await;
    }
    client.read_all(2).await;
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL)).await;
    client.reset();
    let mut ends = [server.end_of_a_stream().await, server.end_of_a_stream().await];
    ends.sort_by_key(|end| *end == StreamEnd::Unresponsive);
    assert_eq!(ends, [StreamEnd::Closed, StreamEnd::Unresponsive]);
}

/// A client may stop taking calls and go on with those that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_makes_no_word_of_a_reset() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.read_all(1).await;
    client.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    client.read_all(0).await;
    client.reset();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_client_that_has_read_everything_has_spoken() {
    let mut server = Server::start(NEVER, NEVER).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    client.read_all(1).await;
    // The child has the only handle on the socket left; what closes it is the kernel.
    let socket = OwnedFd::from(client.0.into_std().unwrap());
    let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(socket)).spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Closed);
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
            assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_ping_is_silence() {
    let mut server = Server::start(Duration::from_millis(200), Duration::from_millis(200)).await;
    let mut client = Client::connect(server.address).await;
    client.open(1).await;
    server.opened().await;
    assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
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
        assert_eq!(server.end_of_a_stream().await, StreamEnd::Unresponsive);
    }
    chatter.abort();
}

#[tokio::test]
async fn what_we_end_is_silence_unless_the_peer_was_first() {
    let (near, _far) = tokio::io::duplex(64);
    let io = TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new());
    let connection = io.connect_info();
    drop(io);
    assert_eq!(connection.settle().await, StreamEnd::Unresponsive);

    let (near, _far) = tokio::io::duplex(64);
    let mut io = TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new());
    io.shutdown().await.unwrap();
    assert_eq!(io.connect_info().settle().await, StreamEnd::Unresponsive);

    let (near, far) = tokio::io::duplex(64);
    let mut io = TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new());
    drop(far);
    io.read_u8().await.unwrap_err();
    io.shutdown().await.unwrap();
    assert_eq!(io.connect_info().settle().await, StreamEnd::Closed);
}

/// A pair of TCP sockets, the broker's tracked.
async fn tcp() -> (TrackedIo<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let near = listener.accept().await.unwrap().0;
    (TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new()), far)
}

async fn end<T>(io: TrackedIo<T>) -> StreamEnd {
    let settled = io.connect_info().settle();
    drop(io);
    settled.await
}

#[tokio::test]
async fn a_reset_stays_silence_whatever_the_socket_shows_after_it() {
    let (mut near, far) = tcp().await;
    far.set_zero_linger().unwrap();
    drop(far);
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ConnectionReset);
    near.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap_err().kind(), BrokenPipe);
    assert_eq!(end(near).await, StreamEnd::Unresponsive);

    // A write that meets it first takes the error away; what the socket shows then is no FIN.
    let (mut near, far) = tcp().await;
    far.set_zero_linger().unwrap();
    drop(far);
    near.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(end(near).await, StreamEnd::Unresponsive);
}

#[tokio::test]
async fn a_client_that_is_gone_with_bytes_unread_resets_a_tcp_connection() {
    let (mut near, far) = tcp().await;
    near.write_all(b"unread").await.unwrap();
    far.readable().await.unwrap();
    drop(far);
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(end(near).await, StreamEnd::Unresponsive);
}

#[tokio::test]
async fn a_write_behind_a_fin_is_the_clients_word() {
    let (mut near, far) = tcp().await;
    drop(far);
    // The first is answered with a RST, which says of a connection with a FIN behind it that it is a broken pipe.
    for _ in 0..1_000 {
        near.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(near.read_u8().await.unwrap_err().kind(), BrokenPipe);
    assert_eq!(end(near).await, StreamEnd::Closed);

    // And where nothing is read any more.
    let (mut near, far) = tcp().await;
    drop(far);
    for _ in 0..1_000 {
        near.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(end(near).await, StreamEnd::Closed);
}

#[tokio::test]
async fn every_end_of_a_unix_socket_is_the_clients_word() {
    let pair = || {
        let (near, far) = UnixStream::pair().unwrap();
        (TrackedIo::new(near, Transport::Unix, NEVER, Vec::new()), far)
    };
    let (mut near, far) = pair();
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(end(near).await, StreamEnd::Closed);

    let (mut near, far) = pair();
    drop(far);
    near.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap_err().kind(), BrokenPipe);
    assert_eq!(end(near).await, StreamEnd::Closed);

    let (mut near, far) = pair();
    near.write_all(b"unread").await.unwrap();
    drop(far);
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(end(near).await, StreamEnd::Closed);
}

#[tokio::test]
async fn a_network_that_fails_is_silence_whatever_follows() {
    for error in [TimedOut, HostUnreachable, NetworkUnreachable, ConnectionAborted, InvalidData] {
        let mut near = TrackedIo::new(Failing(Some(error)), Transport::Tcp, NEVER, Vec::new());
        assert_eq!(near.read_u8().await.unwrap_err().kind(), error);
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(end(near).await, StreamEnd::Unresponsive, "{error:?}");
    }
}

/// Tells an error once and an end of file then, as a socket does.
struct Failing(Option<io::ErrorKind>);

impl AsyncRead for Failing {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.take().map_or(Ok(()), |error| Err(error.into())))
    }
}

/// A TLS connection over real sockets, the broker's end tracked.
async fn tls() -> (TrackedIo<server::TlsStream<TcpStream>>, client::TlsStream<TcpStream>) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let Certificate { cert, key } = authority.server("broker");
    let provider = || Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let near = listener.accept().await.unwrap().0;
    let name = ServerName::try_from("localhost").unwrap();
    let (near, far) = tokio::join!(
        TlsAcceptor::from(Arc::new(config)).accept(near),
        TlsConnector::from(Arc::new(client)).connect(name, far)
    );
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    // Reads the session's tickets too, so that nothing is left unread.
    near.write_all(b"x").await.unwrap();
    far.read_u8().await.unwrap();
    (TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new()), far)
}

#[tokio::test]
async fn the_ends_of_a_tls_connection() {
    // TLS' goodbye, whatever comes behind it.
    let (mut near, mut far) = tls().await;
    far.shutdown().await.unwrap();
    far.get_ref().0.set_zero_linger().unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(end(near).await, StreamEnd::Closed);

    // A FIN without it: the process was killed.
    let (mut near, far) = tls().await;
    drop(far.into_inner().0);
    assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), UnexpectedEof);
    assert_eq!(end(near).await, StreamEnd::Closed);

    let (mut near, far) = tls().await;
    far.get_ref().0.set_zero_linger().unwrap();
    drop(far.into_inner().0);
    assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(end(near).await, StreamEnd::Unresponsive);

    // A write that meets the reset first: what the next read takes for a FIN is none.
    let (mut near, far) = tls().await;
    far.get_ref().0.set_zero_linger().unwrap();
    drop(far.into_inner().0);
    near.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), UnexpectedEof);
    assert_eq!(end(near).await, StreamEnd::Unresponsive);

    // A record that nobody can decrypt, and then a FIN.
    let (mut near, far) = tls().await;
    let mut far = far.into_inner().0;
    far.write_all(b"\x17\x03\x03\x00\x18not what the keys say...").await.unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), InvalidData);
    let _ = near.read(&mut [0]).await;
    assert_eq!(end(near).await, StreamEnd::Unresponsive);
}

#[tokio::test]
async fn a_read_takes_a_bite() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(&[0; 64 * 1024]).await.unwrap();
    let mut all = vec![0; 64 * 1024];
    assert_eq!(TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new()).read(&mut all).await.unwrap(), 8 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_move_is_silence() {
    // Nobody reads: HTTP/2 waits for room to write, perhaps.
    let (near, _far) = tokio::io::duplex(64);
    let io = TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new());
    assert_eq!(io.connect_info().settle().await, StreamEnd::Unresponsive);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_is_asked_without_delay() {
    let (near, _far) = tokio::io::duplex(64);
    let mut io = TrackedIo::new(near, Transport::Tcp, NEVER, Vec::new());
    let connection = io.connect_info();
    let reading = tokio::spawn(async move { io.read_u8().await });
    tokio::task::yield_now().await;
    assert_eq!(connection.settle().await, StreamEnd::Closed);
    reading.abort();
}

/// A server on a runtime of its own whose every response stays open until its stream is dropped.
struct Server {
    address: std::net::SocketAddr,
    opened: mpsc::UnboundedReceiver<Arc<Connection>>,
    ended: mpsc::UnboundedReceiver<StreamEnd>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    async fn start(keepalive_interval: Duration, keepalive_timeout: Duration) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Server::on(runtime, keepalive_interval, keepalive_timeout).await
    }

    async fn on_one_thread() -> Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Server::on(runtime, NEVER, NEVER).await
    }

    async fn on(runtime: Runtime, keepalive_interval: Duration, keepalive_timeout: Duration) -> Server {
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
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap()).map(move |io| {
                let io = io?;
                io.set_nodelay(true)?;
                let io = TrackedIo::new(io, Transport::Tcp, keepalive_interval, Vec::new());
                Ok::<_, io::Error>(io.with_silence(keepalive_timeout))
            });
            tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(keepalive_interval))
                .http2_keepalive_timeout(Some(NEVER))
                .max_concurrent_streams(1_000)
                .http2_max_pending_accept_reset_streams(Some(1_000))
                .serve_with_incoming(service, incoming)
                .await
        });
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            // Ready when the test is over.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        Server { address, opened, ended, _stop: stop }
    }

    async fn opened(&mut self) -> Arc<Connection> {
        tokio::time::timeout(NEVER, self.opened.recv()).await.unwrap().unwrap()
    }

    async fn end_of_a_stream(&mut self) -> StreamEnd {
        tokio::time::timeout(NEVER, self.ended.recv()).await.unwrap().unwrap()
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
        let (settled, ended) = (self.connection.settle(), self.ended.clone());
        tokio::spawn(async move {
            let end = settled.await;
            // The test may have ended before the server did.
            let _ = ended.send(end);
        });
    }
}
