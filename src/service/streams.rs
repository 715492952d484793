//! The response streams: HTTP/2 reads what waits in an outbox when there is room. If a stream is dropped before its
//! last event was read, its client has gone away.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::Stream;
use tokio_util::sync::DropGuard;
use tonic::Status;

use super::connection::Connection;
use super::{Arrival, reply};
use crate::broker::{Ack, ClientStream, Event, Item, LostReason, StreamEnd, StreamEnder};
use crate::clock::less_drift;
use crate::lock::{CallKey, LockName, lease};
use crate::proto::session_response::Kind;
use crate::proto::{HeartbeatAck, LockEvent, SessionEvent, SessionOpened, SessionResponse};

/// The stream of one lock.
#[derive(Debug)]
pub struct LockStream<R> {
    stream: ClientStream,
    arrival: Arrival,
    name: LockName,
    /// True once the last event has been read.
    over: bool,
    /// The reason for which the lock was lost, while the status is still to follow.
    lost: Option<LostReason>,
    response: PhantomData<fn() -> R>,
}

impl<R> LockStream<R> {
    pub(super) fn new(stream: ClientStream, arrival: Arrival, name: LockName) -> LockStream<R> {
        LockStream { stream, arrival, name, over: false, lost: None, response: PhantomData }
    }

    /// Makes the lock that was announced on it a lease, which the end of the stream does not end. Returns false if the lock is
    /// not held any more.
    pub(super) fn make_lease(&mut self, call: Option<CallKey>) -> bool {
        self.over = self.stream.make_lease(call);
        self.over
    }
}

impl<R: From<LockEvent>> Stream for LockStream<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(reason) = self.lost.take() {
            return Poll::Ready(Some(Err(reply::lost_status(reason, &self.name))));
        }
        let event = match self.stream.poll_next(cx) {
            Poll::Ready(Some(Item::Event(_, event))) => event,
            Poll::Ready(Some(Item::Opened { .. } | Item::Ack(_)) | None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        self.over = event.is_last();
        Poll::Ready(Some(match event {
            Event::Failed(failure) => Err(reply::status(failure, Some(&self.name))),
            event => {
                if let Event::Lost(reason) = event {
                    self.lost = Some(reason);
                }
                Ok(reply::event(event, Some(self.arrival.at)).into())
            }
        }))
    }
}

impl<R> Drop for LockStream<R> {
    fn drop(&mut self) {
        if !self.over {
            end_lock(self.stream.ender(), self.arrival.connection.take());
        }
    }
}

/// Ends a client's stream as it has ended (R7). In doubt its client is unresponsive.
fn end_lock(stream: StreamEnder, connection: Option<Arc<Connection>>) {
    let Some(connection) = connection else {
        return stream.end(StreamEnd::Unresponsive);
    };
    let mut settled = Box::pin(connection.settle());
    if let Some(end) = settled.as_mut().now_or_never() {
        return stream.end(end);
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async move { stream.end(settled.await) });
        }
        Err(_) => stream.end(StreamEnd::Unresponsive),
    }
}

/// The stream of a Session.
#[derive(Debug)]
pub struct SessionStream {
    pub(super) stream: ClientStream,
    /// The status to end with, if it is not OK: set before the stream ends.
    pub(super) status: Arc<OnceLock<Status>>,
    /// Tells that the client has gone.
    pub(super) _gone: DropGuard,
}

impl Stream for SessionStream {
    type Item = Result<SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next(cx).map(|item| match item {
            Some(item) => Some(Ok(session_response(item))),
            None => self.status.get().cloned().map(Err),
        })
    }
}

fn session_response(item: Item) -> SessionResponse {
    let kind = match item {
        Item::Opened { ttl } => Kind::Opened(SessionOpened {
            ttl: Some(reply::span(ttl)),
            expires_after_open: Some(reply::span(less_drift(lease(ttl)))),
            heartbeat_interval: Some(reply::span(ttl / 3)),
        }),
        Item::Ack(Ack { seq, ttl, not_renewed }) => {
            let expires_after_heartbeat = Some(reply::span(less_drift(lease(ttl))));
            Kind::HeartbeatAck(HeartbeatAck { seq, expires_after_heartbeat, not_renewed })
        }
        Item::Event(lock_ref, event) => Kind::Event(SessionEvent { lock_ref, event: Some(reply::event(event, None)) }),
    };
    SessionResponse { kind: Some(kind) }
}
