//! Adds a reason to every error status that tonic makes before a call reaches the service. tonic gives them a code and
//! a text only, and programs need a reason.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::client::ErrorReason;
use crate::service;

/// The time by which a call whose deadline is over ends before tonic would end it, since tonic gives no reason.
const BEFORE_TONIC: Duration = Duration::from_millis(2);

/// The inner service. Its error statuses get a reason where they have none.
#[derive(Debug, Clone)]
pub(super) struct Explain<S>(pub(super) S);

impl<S> Service<Request<Body>> for Explain<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ExplainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = request.headers().get("grpc-timeout").and_then(timeout);
        let over = limit.map(|limit| Box::pin(sleep(limit.saturating_sub(BEFORE_TONIC))));
        ExplainFuture { future: self.0.call(request), over }
    }
}

pin_project! {
    /// A call until the headers of its answer. Statuses that come later, in trailers, are the service's own.
    pub(super) struct ExplainFuture<F> {
        #[pin]
        future: F,
        over: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ExplainFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(Ok(mut response)) = this.future.poll(cx) {
            explain(response.headers_mut());
            return Poll::Ready(Ok(response));
        }
        match this.over.as_mut().map(|over| over.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => {
                let why = "the deadline that the client set was over before there was an answer";
                Poll::Ready(Ok(service::error(ErrorReason::DeadlineOver, why).into_http()))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

fn explain(headers: &mut HeaderMap) {
    let is_error = headers.get(Status::GRPC_STATUS).is_some_and(|status| status != "0");
    if is_error && let Some(status) = Status::from_header_map(headers) {
        // Cannot fail: it writes what is ASCII.
        let _ = service::explained(status).add_header(headers);
    }
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
fn timeout(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_deadline_is_over_ends_with_a_reason_before_tonic_ends_it() {
        crate::clock::follow_tokio();
        let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let request = Request::builder().header("grpc-timeout", "50m").body(Body::empty()).unwrap();
        let began = tokio::time::Instant::now();
        let response = Explain(silent).call(request).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(50));
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), ErrorReason::DeadlineOver.code());
        assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE_OVER");
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text| timeout(&HeaderValue::from_static(text));
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(359_999_996_400)));
        assert_eq!(read("500u"), Some(Duration::from_micros(500)));
        for wrong in ["", "S", "10", "123456789S", "1s", "-1S", "+1S", "0x1S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
