//! A span around every call, at debug: what was called, how it ended, how long it took.
//!
//! A call lasts until its answer has ended, the last message of a stream included. One whose client
//! left before that was cancelled, and is recorded as such.

use std::pin::Pin;
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

/// The service inside, with a span around every call. The span's field `lock` is for the service to
/// fill in: `Span::current().record("lock", …)`.
#[derive(Debug, Clone)]
pub(super) struct Spans<S>(pub(super) S);

impl<S> Service<Request<Body>> for Spans<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<CallBody>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(request.uri().path());
        let future = match &call {
            Some(call) => call.span.in_scope(|| self.0.call(request)),
            None => self.0.call(request),
        };
        CallFuture { future, call }
    }
}

/// A call that has not ended. Dropping it without a status says that it was cancelled.
#[derive(Debug)]
struct Call {
    span: Span,
    began: Instant,
    status: Option<Code>,
}

impl Call {
    /// `None`, and next to no work, where nobody listens.
    fn begin(path: &str) -> Option<Box<Call>> {
        let span = tracing::debug_span!("rpc", method = path, lock = Empty, status = Empty);
        (!span.is_disabled()).then(|| Box::new(Call { span, began: Instant::now(), status: None }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        match self.status {
            Some(code) => self.span.record("status", debug(code)),
            None => self.span.record("status", "cancelled"),
        };
        tracing::debug!(parent: &self.span, elapsed = ?self.began.elapsed(), "ended");
    }
}

/// Ends `call` if `headers` carry a status.
fn end_by(call: &mut Option<Box<Call>>, headers: &HeaderMap) {
    if let Some(status) = headers.get("grpc-status") {
        end(call, Code::from_bytes(status.as_bytes()));
    }
}

fn end(call: &mut Option<Box<Call>>, code: Code) {
    if let Some(mut call) = call.take() {
        call.status = Some(code);
    }
}

pin_project! {
    /// The first part of a call: until the headers of its answer.
    pub(super) struct CallFuture<F> {
        #[pin]
        future: F,
        call: Option<Box<Call>>,
    }
}

impl<F, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<CallBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
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
        call: Option<Box<Call>>,
    }
}

impl http_body::Body for CallBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
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
