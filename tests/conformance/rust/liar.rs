//! A relay between the client and its brokers that lies, so that the two together behave like a client that breaks a rule.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::BoxStream;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::lock_service_server::{LockService, LockServiceServer};
use lockbroker::proto::*;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// Names the rule that the client is made to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Its heartbeats are answered here and go nowhere.
    Heartbeat,
    /// It learns of no end and no drain of its stream, and finds no other.
    Reattach,
    /// It is told that its locks are valid for an hour, and of no loss.
    Clock,
    /// Its releases are answered here and go nowhere.
    Release,
}

impl Rule {
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "heartbeat" => Self::Heartbeat,
            "reattach" => Self::Reattach,
            "clock" => Self::Clock,
            "release" => Self::Release,
            other => panic!("no rule {other:?}"),
        }
    }
}

/// Starts a relay to the first of these brokers that answers, and returns its endpoint.
pub(crate) async fn relay(rule: Rule, brokers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = LockServiceServer::new(Liar { rule, brokers, first: AtomicBool::new(true) });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

#[derive(Debug)]
struct Liar {
    rule: Rule,
    brokers: Vec<String>,
    /// True until there has been a Session.
    first: AtomicBool,
}

type Responses<T> = BoxStream<'static, Result<T, Status>>;
type ToClient = UnboundedSender<Result<SessionResponse, Status>>;

impl Liar {
    async fn broker(&self) -> Result<LockServiceClient<Channel>, Status> {
        for broker in &self.brokers {
            if let Ok(stub) = LockServiceClient::connect(broker.clone()).await {
                return Ok(stub);
            }
        }
        Err(Status::unavailable("no broker answers"))
    }
}

/// Carries what the client says. Ends with its stream, and so does the broker's.
async fn carry_up(
    rule: Rule,
    mut from: Streaming<SessionRequest>,
    to: UnboundedSender<SessionRequest>,
    back: ToClient,
) {
    while let Ok(Some(request)) = from.message().await {
        let answer = match &request.kind {
            Some(session_request::Kind::Heartbeat(beat)) if rule == Rule::Heartbeat => {
                let expires_after_heartbeat = seconds(13);
                let ack = HeartbeatAck { seq: beat.seq, expires_after_heartbeat, not_renewed: Vec::new() };
                session_response::Kind::HeartbeatAck(ack)
            }
            Some(session_request::Kind::End(end)) if rule == Rule::Release => {
                let event = Some(LockEvent { kind: Some(Kind::Released(Released {})) });
                session_response::Kind::Event(SessionEvent { lock_ref: end.lock_ref, event })
            }
            _ => {
                let _ = to.send(request);
                continue;
            }
        };
        let _ = back.send(Ok(SessionResponse { kind: Some(answer) }));
    }
}

/// Carries what the broker says.
async fn carry_down(rule: Rule, mut from: Streaming<SessionResponse>, to: ToClient) {
    loop {
        let mut response = match from.message().await {
            Ok(Some(response)) => response,
            // Until the client has had enough.
            _ if rule == Rule::Reattach => return to.closed().await,
            Ok(None) => return,
            Err(status) => return drop(to.send(Err(status))),
        };
        match response.kind.as_mut() {
            Some(session_response::Kind::Opened(opened)) if rule == Rule::Clock => {
                (opened.ttl, opened.expires_after_open) = (seconds(3_600), seconds(3_600));
            }
            Some(session_response::Kind::HeartbeatAck(ack)) if rule == Rule::Clock => {
                ack.expires_after_heartbeat = seconds(3_600);
            }
            Some(session_response::Kind::Event(SessionEvent {
                event: Some(LockEvent { kind: Some(Kind::Lost(_)) }),
                ..
            })) if rule == Rule::Clock => continue,
            Some(session_response::Kind::Event(SessionEvent { lock_ref: 0, .. })) if rule == Rule::Reattach => continue,
            _ => {}
        }
        if to.send(Ok(response)).is_err() {
            return;
        }
    }
}

fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    Duration::from_secs(seconds).try_into().ok()
}

#[tonic::async_trait]
impl LockService for Liar {
    type AcquireStream = Responses<AcquireResponse>;
    type WaitAcquireStream = Responses<WaitAcquireResponse>;
    type SessionStream = Responses<SessionResponse>;
    type ObserveStream = Responses<ObserveResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if !self.first.swap(false, Ordering::Relaxed) && self.rule == Rule::Reattach {
            return Err(Status::unavailable("there was a Session"));
        }
        let mut broker = self.broker().await?;
        let (to_broker, requests) = mpsc::unbounded_channel();
        let (to_client, responses) = mpsc::unbounded_channel();
        tokio::spawn(carry_up(self.rule, request.into_inner(), to_broker, to_client.clone()));
        let from_broker = broker.session(UnboundedReceiverStream::new(requests)).await?.into_inner();
        tokio::spawn(carry_down(self.rule, from_broker, to_client));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        if self.rule == Rule::Release {
            return Ok(Response::new(ReleaseResponse { outcome: release_response::Outcome::Released.into() }));
        }
        self.broker().await?.release(request.into_inner()).await
    }

    async fn acquire_lease(&self, _: Request<AcquireLeaseRequest>) -> Result<Response<AcquireLeaseResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn renew_lease(&self, _: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        self.broker().await?.get_lock(request.into_inner()).await
    }

    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        Err(Status::unimplemented("the client does not call this"))
    }

    async fn wait_acquire(&self, _: Request<WaitAcquireRequest>) -> Result<Response<Self::WaitAcquireStream>, Status> {
        Err(Status::unimplemented("the client does not call this"))
    }

    async fn update_lock(&self, request: Request<UpdateLockRequest>) -> Result<Response<UpdateLockResponse>, Status> {
        self.broker().await?.update_lock(request.into_inner()).await
    }

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let told = self.broker().await?.observe(request.into_inner()).await?.into_inner();
        Ok(Response::new(Box::pin(told)))
    }
}
