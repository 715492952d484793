//! Reads what a broker sends, with a deadline instead of a hang.

use std::fmt::Debug;
use std::time::Duration;

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{
    AcquireResponse, BeginLock, EndLock, Heartbeat, LockEvent, OpenSession, SessionEvent, SessionOpened,
    SessionRequest, SessionResponse, WaitAcquireResponse, session_request, session_response,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

use super::SOON;

/// A response that carries nothing but an event: `AcquireResponse`, `WaitAcquireResponse`.
pub trait Event: Debug {
    fn event(self) -> Option<LockEvent>;
}

impl Event for AcquireResponse {
    fn event(self) -> Option<LockEvent> {
        self.event
    }
}

impl Event for WaitAcquireResponse {
    fn event(self) -> Option<LockEvent> {
        self.event
    }
}

/// Returns the reason of an error, for programs: one of those in the proto.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.unwrap_or_else(|| panic!("an error without a reason: {status:?}")).reason
}

/// Returns the next message of a stream that must have one soon.
pub async fn next_message<M: Debug>(stream: &mut Streaming<M>) -> M {
    match timeout(SOON, stream.message()).await {
        Ok(Ok(Some(message))) => message,
        Ok(Ok(None)) => panic!("the stream ended where a message was expected"),
        Ok(Err(status)) => panic!("the stream failed where a message was expected: {status:?}"),
        Err(_) => panic!("no message within {SOON:?}"),
    }
}

/// Returns the next event of a lock's stream, which must come soon; repeated `renewed` and `queued` count.
pub async fn next_event<E: Event>(stream: &mut Streaming<E>) -> Kind {
    kind(next_message(stream).await.event())
}

/// Returns the status that a stream ends with, which must be soon and without another message.
pub async fn end_of<M: Debug>(stream: &mut Streaming<M>) -> Status {
    match timeout(SOON, stream.message()).await {
        Ok(Ok(None)) => Status::ok(""),
        Ok(Err(status)) => status,
        Ok(Ok(Some(message))) => panic!("a message where the stream's end was expected: {message:?}"),
        Err(_) => panic!("the stream goes on after {SOON:?}"),
    }
}

fn kind(event: Option<LockEvent>) -> Kind {
    event.and_then(|event| event.kind).expect("an event of a known kind")
}

/// A Session driven message by message: it does nothing that the test does not say, heartbeats
/// included. Dropping `requests` half-closes it; dropping all of it cancels it.
#[derive(Debug)]
pub struct RawSession {
    pub requests: mpsc::UnboundedSender<SessionRequest>,
    pub responses: Streaming<SessionResponse>,
    /// The broker's answer to `open`.
    pub opened: SessionOpened,
    beats: i64,
}

impl RawSession {
    /// Opens a session and waits for `opened`.
    pub async fn open(stub: &mut LockServiceClient<Channel>, ttl: Option<Duration>) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let open = OpenSession { ttl: ttl.map(|ttl| ttl.try_into().unwrap()) };
        requests.send(request(session_request::Kind::Open(open))).unwrap();
        let mut responses = stub.session(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
        match next_message(&mut responses).await.kind {
            Some(session_response::Kind::Opened(opened)) => Self { requests, responses, opened, beats: 0 },
            other => panic!("{other:?} where `opened` was expected"),
        }
    }

    pub fn send(&self, kind: session_request::Kind) {
        self.requests.send(request(kind)).unwrap();
    }

    pub fn begin(&self, begin: BeginLock) {
        self.send(session_request::Kind::Begin(begin));
    }

    pub fn end(&self, lock_ref: i64) {
        self.send(session_request::Kind::End(EndLock { lock_ref }));
    }

    /// Sends the next heartbeat and returns its `seq`.
    pub fn beat(&mut self) -> i64 {
        self.beats += 1;
        self.send(session_request::Kind::Heartbeat(Heartbeat { seq: self.beats }));
        self.beats
    }

    /// Returns the next message, of whatever kind.
    pub async fn next(&mut self) -> session_response::Kind {
        next_message(&mut self.responses).await.kind.expect("a message of a known kind")
    }

    /// Returns the next event and its `lock_ref`. Skips acknowledgements in between.
    pub async fn next_event(&mut self) -> (i64, Kind) {
        loop {
            match self.next().await {
                session_response::Kind::Event(SessionEvent { lock_ref, event }) => return (lock_ref, kind(event)),
                session_response::Kind::HeartbeatAck(_) => {}
                other @ session_response::Kind::Opened(_) => panic!("{other:?} where an event was expected"),
            }
        }
    }
}

fn request(kind: session_request::Kind) -> SessionRequest {
    SessionRequest { kind: Some(kind) }
}
