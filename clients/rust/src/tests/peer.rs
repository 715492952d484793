//! A broker that says what the test tells it to, at the other end of connections in memory. Nothing here or in the
//! client waits for anything but these and tokio's clock. So the tests pause that clock, and nothing depends on the
//! machine's speed.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::brokers::{Broker, Connecting};
use crate::proto::lock_event::Kind;
use crate::proto::lock_service_server::{LockService, LockServiceServer};
use crate::proto::*;
use crate::{Client, ClientBuilder};

/// The ttl that the scripted broker grants.
pub(super) const TTL: Duration = Duration::from_secs(15);
/// The validity that the broker tells…
const TOLD: Duration = Duration::from_secs(13);
/// …and what the client counts, which stops a thirtieth of the ttl before that.
pub(super) const VALID: Duration = Duration::from_millis(12_500);
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// The broker's end: the client's Sessions and Releases arrive here.
pub(super) struct Peer {
    sessions: mpsc::UnboundedReceiver<Stream>,
    pub(super) releases: mpsc::UnboundedReceiver<ReleaseRequest>,
    pub(super) leases: mpsc::UnboundedReceiver<Call<AcquireLeaseRequest, AcquireLeaseResponse>>,
    pub(super) renewals: mpsc::UnboundedReceiver<Call<RenewLeaseRequest, RenewLeaseResponse>>,
    pub(super) updates: mpsc::UnboundedReceiver<Call<UpdateLockRequest, UpdateLockResponse>>,
    observers: mpsc::UnboundedReceiver<Call<ObserveRequest, Told>>,
}

/// What is told an observer.
type Told = mpsc::UnboundedReceiver<Result<ObserveResponse, Status>>;

/// A call that the test answers.
pub(super) struct Call<Q, A> {
    pub(super) request: Q,
    answer: oneshot::Sender<Result<A, Status>>,
}

impl<Q, A> Call<Q, A> {
    async fn made(to: &mpsc::UnboundedSender<Self>, request: Request<Q>) -> Result<Response<A>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = to.send(Call { request: request.into_inner(), answer });
        // The test drops what it leaves without an answer.
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("lost on the way"))).map(Response::new)
    }

    pub(super) fn answer(self, answer: A) {
        let _ = self.answer.send(Ok(answer));
    }

    pub(super) fn fail(self, status: Status) {
        let _ = self.answer.send(Err(status));
    }
}

/// One Session, seen from the broker.
pub(super) struct Stream {
    requests: Streaming<SessionRequest>,
    responses: mpsc::UnboundedSender<Result<SessionResponse, Status>>,
}

/// Makes a client and its broker.
pub(super) fn client() -> (Client, Peer) {
    client_with(Client::builder("memory").answer_timeout(Duration::from_secs(5)))
}

pub(super) fn client_with(builder: ClientBuilder) -> (Client, Peer) {
    let (broker, peer) = scripted();
    (builder.over(vec![broker]), peer)
}

/// Makes a client of two brokers.
pub(super) fn client_of_two() -> (Client, [Peer; 2]) {
    let [(first, one), (second, other)] = [scripted(), scripted()];
    (Client::builder("memory").over(vec![first, second]), [one, other])
}

fn scripted() -> (Broker, Peer) {
    let (session, sessions) = mpsc::unbounded_channel();
    let (release, releases) = mpsc::unbounded_channel();
    let (lease, leases) = mpsc::unbounded_channel();
    let (renewal, renewals) = mpsc::unbounded_channel();
    let (update, updates) = mpsc::unbounded_channel();
    let (observer, observers) = mpsc::unbounded_channel();
    let (connection, connections) = mpsc::unbounded_channel::<io::Result<DuplexStream>>();
    let service = LockServiceServer::new(Scripted { session, release, lease, renewal, update, observer });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(UnboundedReceiverStream::new(connections)));
    let connector = tower::service_fn(move |_| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let accepted = connection.send(Ok(far)).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
        std::future::ready(accepted.map(|()| TokioIo::new(near)))
    });
    let endpoint = Endpoint::from_static("http://memory");
    let channel = endpoint.connect_with_connector_lazy(connector.clone());
    let connect = move || -> Connecting {
        let (endpoint, connector) = (endpoint.clone(), connector.clone());
        Box::pin(async move { endpoint.connect_with_connector(connector).await })
    };
    let broker = Broker { name: "memory".into(), connect: Box::new(connect), channel, trouble: Default::default() };
    (broker, Peer { sessions, releases, leases, renewals, updates, observers })
}

/// Awaits what should happen. If it does not, paused time reaches the deadline at once.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("in time")
}

impl Peer {
    /// Returns the client's next Session, before `open` has been answered.
    pub(super) async fn accept(&mut self) -> Stream {
        let mut stream = soon(self.sessions.recv()).await.expect("a Session");
        assert!(matches!(stream.next().await, session_request::Kind::Open(_)));
        stream
    }

    /// Returns the client's next Session, open.
    pub(super) async fn open(&mut self) -> Stream {
        let stream = self.accept().await;
        stream.opened();
        stream
    }

    /// Returns the next call of one that observes.
    pub(super) async fn asked(&mut self) -> Call<ObserveRequest, Told> {
        soon(self.observers.recv()).await.expect("a call")
    }

    /// Takes the next one that observes. Returns what tells it: its stream ends when that is dropped.
    pub(super) async fn observed(&mut self) -> mpsc::UnboundedSender<Result<ObserveResponse, Status>> {
        let (tell, told) = mpsc::unbounded_channel();
        self.asked().await.answer(told);
        tell
    }

    /// Returns true if a Session is there that has not been accepted.
    pub(super) fn is_dialed(&self) -> bool {
        !self.sessions.is_empty()
    }
}

impl Stream {
    /// Returns the client's next message.
    pub(super) async fn next(&mut self) -> session_request::Kind {
        soon(self.requests.message()).await.expect("no failure").expect("a message").kind.unwrap()
    }

    /// Returns the client's next message that is no heartbeat. Acknowledges each heartbeat before it.
    async fn next_acknowledging(&mut self) -> session_request::Kind {
        soon(async {
            loop {
                match self.next().await {
                    session_request::Kind::Heartbeat(beat) => self.acknowledge(beat.seq, &[]),
                    other => return other,
                }
            }
        })
        .await
    }

    pub(super) async fn begin(&mut self) -> BeginLock {
        match self.next_acknowledging().await {
            session_request::Kind::Begin(begin) => begin,
            other => panic!("not a begin: {other:?}"),
        }
    }

    /// Returns the lock_ref of the EndLock that comes next.
    pub(super) async fn end(&mut self) -> i64 {
        match self.next_acknowledging().await {
            session_request::Kind::End(end) => end.lock_ref,
            other => panic!("not an end: {other:?}"),
        }
    }

    /// Returns the seq of the heartbeat that comes next.
    pub(super) async fn heartbeat(&mut self) -> i64 {
        match self.next().await {
            session_request::Kind::Heartbeat(beat) => beat.seq,
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    /// Waits until the client has ended the stream, whichever way, having asked for nothing more.
    pub(super) async fn ended(&mut self) {
        soon(async {
            while let Ok(Some(request)) = self.requests.message().await {
                let kind = request.kind.unwrap();
                assert!(!matches!(kind, session_request::Kind::Begin(_)), "{kind:?}");
            }
        })
        .await;
    }

    pub(super) fn opened(&self) {
        let opened = SessionOpened { ttl: wire(TTL), expires_after_open: wire(TOLD), heartbeat_interval: wire(BEAT) };
        self.say(session_response::Kind::Opened(opened));
    }

    pub(super) fn acknowledge(&self, seq: i64, not_renewed: &[i64]) {
        let ack = HeartbeatAck { seq, expires_after_heartbeat: wire(TOLD), not_renewed: not_renewed.into() };
        self.say(session_response::Kind::HeartbeatAck(ack));
    }

    pub(super) fn grant(&self, lock_ref: i64, lock_id: &str) {
        let acquired = Acquired { lock_id: lock_id.into(), fencing_token: 7, ..Default::default() };
        self.event(lock_ref, Kind::Acquired(acquired));
    }

    pub(super) fn fail(&self, lock_ref: i64, code: tonic::Code) {
        self.event(
            lock_ref,
            Kind::Failed(Failed { code: code.into(), message: "a reason".into(), ..Failed::default() }),
        );
    }

    pub(super) fn lose(&self, lock_ref: i64, reason: lost::Reason) {
        self.event(lock_ref, Kind::Lost(Lost { reason: reason.into(), ..Default::default() }));
    }

    pub(super) fn event(&self, lock_ref: i64, kind: Kind) {
        self.say(session_response::Kind::Event(SessionEvent { lock_ref, event: Some(LockEvent { kind: Some(kind) }) }));
    }

    pub(super) fn break_off(self) {
        let _ = self.responses.send(Err(Status::unavailable("gone")));
    }

    pub(super) fn refuse(self, status: Status) {
        let _ = self.responses.send(Err(status));
    }

    fn say(&self, kind: session_response::Kind) {
        let _ = self.responses.send(Ok(SessionResponse { kind: Some(kind) }));
    }
}

fn wire(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().unwrap())
}

/// Hands everything to the test.
struct Scripted {
    session: mpsc::UnboundedSender<Stream>,
    release: mpsc::UnboundedSender<ReleaseRequest>,
    lease: mpsc::UnboundedSender<Call<AcquireLeaseRequest, AcquireLeaseResponse>>,
    renewal: mpsc::UnboundedSender<Call<RenewLeaseRequest, RenewLeaseResponse>>,
    update: mpsc::UnboundedSender<Call<UpdateLockRequest, UpdateLockResponse>>,
    observer: mpsc::UnboundedSender<Call<ObserveRequest, Told>>,
}

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl LockService for Scripted {
    type AcquireStream = Responses<AcquireResponse>;
    type WaitAcquireStream = Responses<WaitAcquireResponse>;
    type SessionStream = Responses<SessionResponse>;
    type ObserveStream = Responses<ObserveResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (responses, queue) = mpsc::unbounded_channel();
        let _ = self.session.send(Stream { requests: request.into_inner(), responses });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(queue))))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let _ = self.release.send(request.into_inner());
        Ok(Response::new(ReleaseResponse { outcome: release_response::Outcome::Released.into() }))
    }

    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn wait_acquire(&self, _: Request<WaitAcquireRequest>) -> Result<Response<Self::WaitAcquireStream>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        Call::made(&self.lease, request).await
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        Call::made(&self.renewal, request).await
    }

    async fn get_lock(&self, _: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn update_lock(&self, request: Request<UpdateLockRequest>) -> Result<Response<UpdateLockResponse>, Status> {
        Call::made(&self.update, request).await
    }

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let told = Call::made(&self.observer, request).await?.into_inner();
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(told))))
    }
}
