//! The Session call: reads what the client sends, and finds out how the stream ends.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::authorizer::Authorizer;
use super::connection::Connection;
use super::parse::{self, Limits, Wanted};
use super::reply;
use super::streams::SessionStream;
use crate::broker::{
    Broker, Failure, LockRef, LockRequest, ProtocolError, Session, SessionTurn, StreamEnd, StreamEnder, StreamKey,
};
use crate::client::ErrorReason;
use crate::proto::session_request::Kind;
use crate::proto::{EndLock, Heartbeat, OpenSession, SessionRequest};

/// The longest time until a client opens its Session.
const OPENS_WITHIN: Duration = Duration::from_secs(10);

/// The interval at which to check if a client has read what it was sent, while its messages wait for that.
const READ_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The number of messages that are handled before others have their turn: enough for a batch, which keeps the store
/// busy while the next one is read.
const AT_ONCE: usize = 32;

/// The way in which a Session ends.
enum Close {
    /// The client closed it.
    Closed,
    /// The client was not heard any more.
    Unresponsive,
    /// The broker refuses to go on, for this reason. The client may still believe in its locks.
    Refused(Status),
}

impl From<StreamEnd> for Close {
    fn from(end: StreamEnd) -> Close {
        match end {
            StreamEnd::Closed => Close::Closed,
            StreamEnd::Unresponsive => Close::Unresponsive,
        }
    }
}

/// Starts a Session in the background and returns what its client reads.
pub(super) fn start(
    broker: Broker,
    authorizer: Authorizer,
    requests: Streaming<SessionRequest>,
    connection: Option<Arc<Connection>>,
) -> SessionStream {
    let stream = broker.stream(super::caller(connection.as_ref()));
    let status = Arc::new(OnceLock::new());
    let gone = CancellationToken::new();
    let client = Client { requests, connection, gone: gone.clone() };
    tokio::spawn(drive(broker, authorizer, client, (stream.key(), stream.ender()), Arc::clone(&status)));
    SessionStream { stream, status, _gone: gone.drop_guard() }
}

/// The client's side of the stream.
struct Client {
    requests: Streaming<SessionRequest>,
    connection: Option<Arc<Connection>>,
    /// Cancelled when the response stream was dropped.
    gone: CancellationToken,
}

/// Runs a Session from its first message to its last.
async fn drive(
    broker: Broker,
    authorizer: Authorizer,
    mut client: Client,
    (stream, ender): (StreamKey, StreamEnder),
    status: Arc<OnceLock<Status>>,
) {
    let mut session = match open(&broker, &mut client, stream).await {
        Ok(session) => session,
        Err(close) => {
            if let Close::Refused(why) = close {
                // Nobody else sets it.
                let _ = status.set(why);
            }
            return ender.end(StreamEnd::Closed);
        }
    };
    let limits = Limits::of(broker.settings());
    let ttl = session.ttl();
    let connection = client.connection.clone();
    let gone = client.gone.clone();
    let admit = |requests: &mut [LockRequest]| authorizer.admit_together(connection.as_ref(), requests);
    // Outside the turn, which keeps all others waiting.
    let read = |request| message(request, &limits, ttl, admit);
    let close = loop {
        // A client that does not read is not read either, heartbeats included. So in the end it counts as silent.
        let backed_up = broker.is_backed_up(stream);
        tokio::select! {
            () = gone.cancelled(), if backed_up => break client.settle().await,
            () = tokio::time::sleep(READ_CHECK_INTERVAL), if backed_up => {}
            next = client.next(read), if !backed_up => {
                // Other messages that have come with it are taken at once, up to the end, and handled in one turn.
                let mut messages = vec![next];
                while messages.len() < AT_ONCE
                    && messages.last().is_some_and(Result::is_ok)
                    && let Some(next) = client.next(read).now_or_never()
                {
                    messages.push(next);
                }
                let handled = session.turn(|session| {
                    messages.into_iter().try_fold(0, |handled, message| {
                        handle(session, message?).map_err(Close::Refused)?;
                        Ok(handled + 1)
                    })
                });
                match handled {
                    // There may be more.
                    Ok(AT_ONCE) => tokio::task::yield_now().await,
                    Ok(_) => {}
                    Err(close) => break close,
                }
            },
            () = session.silent() => {
                let why = "no heartbeat came for so long that the Session's locks are lost";
                break Close::Refused(reply::error(ErrorReason::SessionSilent, why));
            }
        }
    };
    let by = if matches!(close, Close::Closed) { StreamEnd::Closed } else { StreamEnd::Unresponsive };
    if let Close::Refused(why) = close {
        let _ = status.set(why);
    }
    session.close(by);
}

/// Waits for the message that opens the Session.
async fn open(broker: &Broker, client: &mut Client, stream: StreamKey) -> Result<Session, Close> {
    let first =
        tokio::time::timeout(OPENS_WITHIN, client.next(|request| Ok(request.kind))).await.unwrap_or_else(|_| {
            let why = format!("open: did not come within {OPENS_WITHIN:?}; it is the first message of a Session");
            Err(Close::Refused(reply::error(ErrorReason::RequestIncomplete, why)))
        });
    let Some(Kind::Open(OpenSession { ttl })) = first? else {
        return Err(Close::Refused(parse::invalid("open", "must be the first message of a Session")));
    };
    let ttl = Limits::of(broker.settings()).ttl(ttl, "open.ttl").map_err(Close::Refused)?;
    broker.open(stream, ttl).map_err(|failure| Close::Refused(reply::status(failure, None)))
}

/// A message of the client's, read and checked.
enum Message {
    Heartbeat(i64),
    /// If the request is wrong or not allowed, only that fails.
    Begin(LockRef, Result<Wanted, Failure>),
    End(LockRef),
}

/// Reads a message. The error ends the Session: the client broke its rules.
fn message(
    request: SessionRequest,
    limits: &Limits,
    ttl: Duration,
    admit: impl Fn(&mut [LockRequest]) -> Result<(), Failure>,
) -> Result<Message, Close> {
    Ok(match request.kind {
        Some(Kind::Heartbeat(Heartbeat { seq })) => Message::Heartbeat(seq),
        Some(Kind::End(EndLock { lock_ref })) => Message::End(lock_ref),
        Some(Kind::Begin(begin)) => {
            let lock_ref = begin.lock_ref;
            let invalid = |status: Status| Failure::Invalid { why: status.message().into() };
            let wanted = limits.begin(begin, ttl).map_err(invalid);
            let admitted = wanted.and_then(|mut wanted| admit(wanted.requests_mut()).map(|()| wanted));
            Message::Begin(lock_ref, admitted)
        }
        Some(Kind::Open(_)) => return Err(Close::Refused(parse::invalid("open", "must come only once"))),
        None => {
            let why = "must be set to one of open, heartbeat, begin and end";
            return Err(Close::Refused(parse::invalid("kind", why)));
        }
    })
}

/// Does what the client asks. The error ends the Session: the client broke its rules.
fn handle(session: &mut SessionTurn<'_>, message: Message) -> Result<(), Status> {
    match message {
        Message::Heartbeat(seq) => session.heartbeat(seq).map_err(breach),
        Message::End(lock_ref) => session.end(lock_ref).map_err(breach),
        Message::Begin(lock_ref, request) => {
            session.take_ref(lock_ref).map_err(breach)?;
            match request {
                Ok(Wanted::Together(requests)) => {
                    let first = requests.first().map(|request| request.name.as_str());
                    tracing::debug!(lock = first, locks = requests.len(), lock_ref, "asked for together on a Session");
                    session.begin_together(lock_ref, requests);
                }
                Ok(Wanted::One(request)) => {
                    tracing::debug!(lock = %request.name, lock_ref, "asked for on a Session");
                    session.begin(lock_ref, request);
                }
                Err(failure) => session.turn_back(lock_ref, failure),
            }
            Ok(())
        }
    }
}

/// Finds HTTP/2's error, if there is one: then the stream or the connection has ended. Every other failure of a
/// message is an error of the client's, whatever source tonic names for it. It never means that the client closed the
/// stream.
fn http2_error(status: &Status) -> Option<&h2::Error> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

fn breach(breach: ProtocolError) -> Status {
    let field = match breach {
        ProtocolError::Seq { .. } => "heartbeat.seq",
        ProtocolError::BeginRef { .. } => "begin.lock_ref",
        ProtocolError::EndRef(_) => "end.lock_ref",
    };
    parse::invalid(field, breach)
}

impl Client {
    /// Returns what `read` makes of the next message, or how the stream ended.
    ///
    /// # Cancel safety
    /// No message is lost.
    async fn next<T>(&mut self, read: impl FnOnce(SessionRequest) -> Result<T, Close>) -> Result<T, Close> {
        tokio::select! {
            biased;
            message = self.requests.message() => match message {
                Ok(Some(request)) => read(request),
                // The client has half-closed the stream. But hyper ends the requests in the same way when a ping stays
                // unanswered.
                Ok(None) => Err(self.settle().await),
                Err(status) => match http2_error(&status).map(h2::Error::is_library) {
                    Some(false) => Err(self.settle().await),
                    // h2 has reset the stream, since the client broke HTTP/2's rules on it.
                    Some(true) => Err(Close::Unresponsive),
                    // The message itself is broken, so nothing after it can be trusted.
                    None => Err(Close::Refused(reply::explained(status))),
                },
            },
            () = self.gone.cancelled() => Err(self.settle().await),
        }
    }

    async fn settle(&self) -> Close {
        match &self.connection {
            Some(connection) => connection.settle().await.into(),
            None => Close::Unresponsive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_does_not_decode_is_no_end_of_a_stream() {
        let undecodable = <SessionRequest as prost::Message>::decode(&b"\x0f"[..]).unwrap_err();
        let mut status = Status::internal(undecodable.to_string());
        assert!(http2_error(&status).is_none());
        // tonic may come to name it.
        status.set_source(Arc::new(undecodable));
        assert!(http2_error(&status).is_none());

        let reset = Status::from_error(Box::new(h2::Error::from(h2::Reason::INTERNAL_ERROR)));
        assert!(http2_error(&reset).is_some());
    }
}
