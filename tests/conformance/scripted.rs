//! A broker that says what the scenario tells it to, down to the bytes: what a broker of another version says, or one that
//! is wrong.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::*;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::support::{SOON, span};

/// What it grants: a lock is valid for so long after a request.
pub(crate) const VALID: Duration = Duration::from_secs(13);

/// A field that no version has: number 99, with a text.
pub(crate) const UNKNOWN: &[u8] = b"\x9a\x06\x05later";

#[derive(Debug)]
pub(crate) struct Scripted {
    address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<Session>,
    leases: mpsc::UnboundedReceiver<LeaseCall>,
    look: Arc<Mutex<Option<GetLockResponse>>>,
    serving: JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, sessions) = mpsc::unbounded_channel();
        let (asked, leases) = mpsc::unbounded_channel();
        let look = Arc::new(Mutex::new(None));
        let service = Sessions { arrived, asked, look: Arc::clone(&look) };
        let serving = tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, sessions, leases, look, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers every GetLock with this from now on.
    pub(crate) fn shows(&self, look: GetLockResponse) {
        *self.look.lock().unwrap() = Some(look);
    }

    /// Returns the client's next Session. Its `open` has been read, and not answered.
    pub(crate) async fn accept(&mut self) -> Session {
        let session = timeout(SOON, self.sessions.recv()).await.expect("a Session soon");
        let mut session = session.expect("the server runs");
        assert!(matches!(session.next().await, Some(session_request::Kind::Open(_))), "the first message is open");
        session
    }

    /// Returns the client's next Session, open.
    pub(crate) async fn open(&mut self) -> Session {
        let session = self.accept().await;
        session.opened();
        session
    }
}

impl Scripted {
    /// Returns the client's next AcquireLease.
    pub(crate) async fn lease(&mut self) -> LeaseCall {
        timeout(SOON, self.leases.recv()).await.expect("an AcquireLease soon").expect("the server runs")
    }
}

/// An AcquireLease that waits for its answer.
#[derive(Debug)]
pub(crate) struct LeaseCall {
    pub(crate) request: AcquireLeaseRequest,
    answer: oneshot::Sender<Status>,
}

impl LeaseCall {
    /// Answers with a status.
    pub(crate) fn fail(self, status: Status) {
        let _ = self.answer.send(status);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One Session, seen from the broker.
#[derive(Debug)]
pub(crate) struct Session {
    requests: Streaming<SessionRequest>,
    responses: mpsc::UnboundedSender<Result<Bytes, Status>>,
}

impl Session {
    /// Returns the client's next message; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<session_request::Kind> {
        self.requests.message().await.ok().flatten().and_then(|request| request.kind)
    }

    /// Returns the next `begin`. Answers heartbeats before it, and passes over the ends of locks that are over.
    pub(crate) async fn begin(&mut self) -> BeginLock {
        timeout(SOON, async {
            loop {
                match self.next().await {
                    Some(session_request::Kind::Begin(begin)) => return begin,
                    Some(session_request::Kind::Heartbeat(beat)) => self.acknowledge(beat.seq, &[]),
                    Some(session_request::Kind::End(_)) => {}
                    other => panic!("{other:?} where begin was expected"),
                }
            }
        })
        .await
        .expect("begin soon")
    }

    /// Answers heartbeats until the next `end_lock`, and returns its `lock_ref`.
    pub(crate) async fn end(&mut self) -> i64 {
        timeout(SOON, async {
            loop {
                match self.next().await {
                    Some(session_request::Kind::End(end)) => return end.lock_ref,
                    Some(session_request::Kind::Heartbeat(beat)) => self.acknowledge(beat.seq, &[]),
                    other => panic!("{other:?} where end was expected"),
                }
            }
        })
        .await
        .expect("end soon")
    }

    /// Answers each heartbeat by `answer` until the end of the stream.
    pub(crate) async fn answer_heartbeats(&mut self, answer: impl Fn(&Self, i64)) {
        while let Some(kind) = self.next().await {
            if let session_request::Kind::Heartbeat(beat) = kind {
                answer(self, beat.seq);
            }
        }
    }

    pub(crate) fn opened(&self) {
        self.say(session_response::Kind::Opened(SessionOpened {
            ttl: span(Duration::from_secs(15)),
            expires_after_open: span(VALID),
            heartbeat_interval: span(Duration::from_secs(5)),
        }));
    }

    pub(crate) fn acknowledge(&self, seq: i64, not_renewed: &[i64]) {
        let ack = HeartbeatAck { seq, expires_after_heartbeat: span(VALID), not_renewed: not_renewed.into() };
        self.say(session_response::Kind::HeartbeatAck(ack));
    }

    pub(crate) fn grant(&self, lock_ref: i64, lock_id: &str) {
        let acquired = Acquired { lock_id: lock_id.into(), fencing_token: 7, ..Acquired::default() };
        self.event(lock_ref, Kind::Acquired(acquired));
    }

    pub(crate) fn event(&self, lock_ref: i64, kind: Kind) {
        self.say(session_response::Kind::Event(SessionEvent { lock_ref, event: Some(LockEvent { kind: Some(kind) }) }));
    }

    pub(crate) fn say(&self, kind: session_response::Kind) {
        self.say_bytes(&SessionResponse { kind: Some(kind) }.encode_to_vec());
    }

    /// Sends a message of these bytes.
    pub(crate) fn say_bytes(&self, bytes: &[u8]) {
        // The client may have left.
        let _ = self.responses.send(Ok(Bytes::copy_from_slice(bytes)));
    }

    /// Ends the stream with a status.
    pub(crate) fn fail(self, status: Status) {
        let _ = self.responses.send(Err(status));
    }
}

/// Hands every Session and AcquireLease to the scenario, and answers looks as that has said. It has no other call.
#[derive(Clone)]
struct Sessions {
    arrived: mpsc::UnboundedSender<Session>,
    asked: mpsc::UnboundedSender<LeaseCall>,
    look: Arc<Mutex<Option<GetLockResponse>>>,
}

impl NamedService for Sessions {
    const NAME: &'static str = "lockbroker.v1.LockService";
}

impl tower::Service<http::Request<Body>> for Sessions {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if path.ends_with("/Session") {
                Ok(Grpc::new(Raw).streaming(service, request).await)
            } else if path.ends_with("/GetLock") {
                Ok(Grpc::new(ProstCodec::<GetLockResponse, GetLockRequest>::default()).unary(service, request).await)
            } else if path.ends_with("/AcquireLease") {
                let codec = ProstCodec::<AcquireLeaseResponse, AcquireLeaseRequest>::default();
                Ok(Grpc::new(codec).unary(service, request).await)
            } else {
                Ok(Status::unimplemented("not in the script").into_http())
            }
        })
    }
}

impl StreamingService<SessionRequest> for Sessions {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<SessionRequest>>) -> Self::Future {
        let (responses, queue) = mpsc::unbounded_channel();
        let _ = self.arrived.send(Session { requests: request.into_inner(), responses });
        let stream: Self::ResponseStream = Box::pin(UnboundedReceiverStream::new(queue));
        std::future::ready(Ok(Response::new(stream)))
    }
}

impl UnaryService<GetLockRequest> for Sessions {
    type Response = GetLockResponse;
    type Future = std::future::Ready<Result<Response<GetLockResponse>, Status>>;

    fn call(&mut self, _: Request<GetLockRequest>) -> Self::Future {
        let look = self.look.lock().unwrap().clone();
        std::future::ready(look.map(Response::new).ok_or_else(|| Status::unimplemented("not in the script")))
    }
}

impl UnaryService<AcquireLeaseRequest> for Sessions {
    type Response = AcquireLeaseResponse;
    type Future = BoxFuture<'static, Result<Response<AcquireLeaseResponse>, Status>>;

    fn call(&mut self, request: Request<AcquireLeaseRequest>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let _ = self.asked.send(LeaseCall { request: request.into_inner(), answer });
        Box::pin(async move { Err(answered.await.unwrap_or_else(|_| Status::unimplemented("not in the script"))) })
    }
}

/// Messages as bytes on the way to the client.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = SessionRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = SessionRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<SessionRequest>, Status> {
        SessionRequest::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
