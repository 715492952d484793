//! Counts every call, and puts a span around it, at debug: what was called, how it ended, how long it took.
//!
//! A call lasts until its answer has ended, the last message of a stream included. One whose client
//! left before that was cancelled, and is recorded as such.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tonic::body::Body;
use tower::Service;
use tracing::Span;
use tracing::field::{Empty, debug};
use tracing::span::Entered;

use super::metrics::{CallMetrics, MethodMetrics};
#[cfg(feature = "otlp")]
use crate::traces;

/// The service inside, with its calls counted and a span around each. The span's field `lock` is for the service to
/// fill in: `Span::current().record("lock", …)`.
#[derive(Debug, Clone)]
pub(super) struct Calls<S> {
    inner: S,
    metrics: CallMetrics,
}

impl<S> Calls<S> {
    /// Counts the calls of `inner` in `metrics`.
    pub(super) fn new(inner: S, metrics: CallMetrics) -> Calls<S> {
        Calls { inner, metrics }
    }
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
        let call = Call::begin(path, Arc::clone(self.metrics.of(path)));
        #[cfg(feature = "otlp")]
        if let Some(record) = &call.record {
            traces::continue_from(request.headers(), &record.span);
        }
        let future = {
            let _entered = call.enter();
            self.inner.call(request)
        };
        CallFuture { future, call: Some(call) }
    }
}

/// A call that has not ended. Dropping it without a status says that it was cancelled.
#[derive(Debug)]
struct Call {
    metrics: Arc<MethodMetrics>,
    /// None, and next to no work, where nobody listens.
    record: Option<Box<Record>>,
    status: Option<Code>,
}

/// What is recorded of a call.
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
        Call { metrics, record, status: None }
    }

    /// The call's span is the present one until what this returns is dropped.
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

/// Ends `call` if `headers` carry a status.
fn end_by(call: &mut Option<Call>, headers: &HeaderMap) {
    if let Some(status) = headers.get("grpc-status") {
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
        #[pin]
        future: F,
        call: Option<Call>,
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
        let response = ready!(this.future.poll(cx));
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
