//! Counts and limits calls, and puts a span around each, at debug: what was called, how it ended, how long it took.
//!
//! A call lasts until its answer has ended, the last message of a stream included. One whose client
//! left before that was cancelled, and is recorded as such.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::Code;
use tonic::body::Body;
use tower::Service;
use tracing::Span;
use tracing::field::{Empty, debug};
use tracing::span::Entered;

use super::metrics::{CallMetrics, MethodMetrics};
use crate::client::ErrorReason;
use crate::quota::{Quota, Share};
use crate::service;
use crate::service::connection::{Connection, OpenCall};
#[cfg(feature = "otlp")]
use crate::traces;

/// The inner service, with its calls counted and a span around each. The service fills in the span's field `lock`:
/// `Span::current().record("lock", …)`.
#[derive(Debug, Clone)]
pub(super) struct Calls<S> {
    inner: S,
    metrics: CallMetrics,
    streams: Quota,
}

impl<S> Calls<S> {
    /// Counts the calls of `inner` in `metrics`, and lets in as many at once as `streams` says.
    pub(super) fn new(inner: S, metrics: CallMetrics, streams: Quota) -> Calls<S> {
        Calls { inner, metrics, streams }
    }

    /// Takes room for a call. Calls that end a lock, keep one or check the broker's health still get some when there is none for
    /// others.
    fn admit(&self, path: &str) -> Option<Share> {
        match path.strip_prefix('/') {
            Some(RELEASE | RENEW_LEASE | HEALTH_CHECK) => self.streams.take_reserved(),
            _ => self.streams.take(),
        }
    }
}

const RELEASE: &str = "lockbroker.v1.LockService/Release";
const RENEW_LEASE: &str = "lockbroker.v1.LockService/RenewLease";
const ACQUIRE_LEASE: &str = "lockbroker.v1.LockService/AcquireLease";
const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";

/// The longest time that a call may take until the headers of its answer. The broker itself takes less. The limit is
/// for requests whose message does not come.
const UNANSWERED: Duration = Duration::from_secs(30);

/// The same for a call that may wait for a lock.
const UNANSWERED_LEASE: Duration = UNANSWERED.saturating_add(service::LONGEST_LEASE_WAIT);

/// Returns the longest time that a call may take until the headers of its answer.
fn patience(path: &str) -> Duration {
    if path.strip_prefix('/') == Some(ACQUIRE_LEASE) { UNANSWERED_LEASE } else { UNANSWERED }
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<CallBody>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let (room, patience) = (self.admit(path), patience(path));
        let mut call = Call::begin(path, Arc::clone(self.metrics.of(path)));
        if room.is_none() {
            return CallFuture { future: None, call: Some(call), unanswered: None, patience };
        }
        call.room = room;
        call.on = request.extensions().get::<Arc<Connection>>().map(Connection::begin_call);
        #[cfg(feature = "otlp")]
        if let Some(record) = &call.record {
            traces::continue_from(request.headers(), &record.span);
        }
        let future = {
            let _entered = call.enter();
            self.inner.call(request)
        };
        CallFuture { future: Some(future), call: Some(call), unanswered: None, patience }
    }
}

/// A call that has not ended. If it is dropped without a status, it counts as cancelled.
#[derive(Debug)]
struct Call {
    metrics: Arc<MethodMetrics>,
    /// The call's span, while somebody listens to spans. None costs next to nothing.
    record: Option<Box<Record>>,
    status: Option<Code>,
    /// Its share of the calls that may be open.
    room: Option<Share>,
    /// Keeps its connection from being idle.
    on: Option<OpenCall>,
}

/// The span of a call, and when it began.
#[derive(Debug)]
struct Record {
    span: Span,
    began: Instant,
}

impl Call {
    fn begin(path: &str, metrics: Arc<MethodMetrics>) -> Call {
        metrics.begin();
        let span = tracing::debug_span!("rpc", method = path, lock = Empty, status = Empty);
        let record = (!span.is_disabled()).then(|| Box::new(Record { span, began: Instant::now() }));
        Call { metrics, record, status: None, room: None, on: None }
    }

    /// Makes the call's span the current one until the result is dropped.
    fn enter(&self) -> Option<Entered<'_>> {
        self.record.as_ref().map(|record| record.span.enter())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.end(self.status.unwrap_or(Code::Cancelled));
        if let Some(Record { span, began }) = self.record.as_deref() {
            match self.status {
                Some(code) => span.record("status", debug(code)),
                None => span.record("status", "cancelled"),
            };
            tracing::debug!(parent: span, elapsed = ?began.elapsed(), "ended");
        }
    }
}

/// The message to a call for which there is no room.
const FULL: &str = "this broker has as many calls open as it may: raise --max-streams, or ask another broker";

/// Ends `call` if `headers` carry a status.
fn end_by(call: &mut Option<Call>, headers: &HeaderMap) {
    if let Some(status) = headers.get(tonic::Status::GRPC_STATUS) {
        end(call, Code::from_bytes(status.as_bytes()));
    }
}

fn end(call: &mut Option<Call>, code: Code) {
    if let Some(mut call) = call.take() {
        call.status = Some(code);
    }
}

pin_project! {
    /// The first part of a call: until the headers of its answer.
    pub(super) struct CallFuture<F> {
        // None: there was no room for it.
        #[pin]
        future: Option<F>,
        call: Option<Call>,
        // Runs once the first poll has brought no answer.
        unanswered: Option<Pin<Box<Sleep>>>,
        patience: Duration,
    }
}

impl<F, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<CallBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.call.as_ref().and_then(Call::enter);
        let response = match this.future.as_pin_mut().map(|future| future.poll(cx)) {
            None => Ok(service::error(ErrorReason::MaxStreams, FULL).into_http()),
            Some(Poll::Ready(response)) => response,
            Some(Poll::Pending) => {
                ready!(this.unanswered.get_or_insert_with(|| Box::pin(sleep(*this.patience))).as_mut().poll(cx));
                let why = format!("no whole request came within {:?}", this.patience);
                Ok(service::error(ErrorReason::RequestIncomplete, why).into_http())
            }
        };
        drop(entered);
        let mut call = this.call.take();
        Poll::Ready(match response {
            Ok(response) => {
                end_by(&mut call, response.headers());
                Ok(response.map(|body| CallBody { body, call }))
            }
            Err(error) => {
                end(&mut call, Code::Unknown);
                Err(error)
            }
        })
    }
}

pin_project! {
    /// The second part of a call: its messages, up to the trailers that carry its status.
    pub(super) struct CallBody {
        #[pin]
        body: Body,
        call: Option<Call>,
    }
}

impl http_body::Body for CallBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let entered = this.call.as_ref().and_then(Call::enter);
        let frame = ready!(this.body.poll_frame(cx));
        drop(entered);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    end_by(this.call, trailers);
                }
            }
            Some(Err(status)) => end(this.call, status.code()),
            None => end(this.call, Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic_types::StatusExt;

    use super::*;
    use crate::metrics::Metrics;
    use crate::server::metrics::ServerMetrics;

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_message_does_not_come_ends_and_gives_its_room_back() {
        let metrics = Metrics::default();
        let streams = Quota::new(&metrics, "max_streams", std::num::NonZeroUsize::MIN);
        let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let mut calls = Calls::new(silent, ServerMetrics::new(&metrics).calls, streams.clone());
        let began = tokio::time::Instant::now();
        let response = calls.call(Request::new(Body::empty())).await.unwrap();
        assert!(began.elapsed().abs_diff(UNANSWERED) < Duration::from_millis(10), "{:?}", began.elapsed());
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_INCOMPLETE");
        drop(response);
        assert!(streams.take().is_some());
    }
}
