//! Refuses calls that can wait when there are too many of them.
//!
//! It never refuses calls that end a grant or keep one alive, nor health checks: refusing these under load makes the
//! load worse. `--max-locks` bounds `Acquire`, and `--max-waiters` the streams of `WaitAcquire`. So this counts calls
//! whose answer has not begun: a `GetLock` until it is answered, a `WaitAcquire` until its stream is open, a list until its
//! first part is there.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::Service;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::util::{Oneshot, ServiceExt};

use super::dispatch::method_of;
use super::{LOCK_ADMIN, LOCK_SERVICE};
use crate::client::ErrorReason;
use crate::metrics::Counter;
use crate::service;

/// The inner service, with a limit for some of its calls.
#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    limited: LoadShed<ConcurrencyLimit<S>>,
    /// Counts refused calls.
    shed: Counter,
}

impl<S: Clone> Shed<S> {
    /// Lets `max` calls that can wait into `inner` at once.
    pub(super) fn new(inner: S, max: NonZeroUsize, shed: Counter) -> Shed<S> {
        let max = max.get().min(Semaphore::MAX_PERMITS);
        Shed { limited: LoadShed::new(ConcurrencyLimit::new(inner.clone(), max)), inner, shed }
    }
}

/// Returns true if a call can be refused because of load.
fn can_wait(path: &str) -> bool {
    match method_of(path, LOCK_SERVICE) {
        Some(method) => matches!(method, "WaitAcquire" | "GetLock"),
        None if matches!(method_of(path, LOCK_ADMIN), Some("ListLocks" | "ListWaiters")) => true,
        None => path.starts_with("/grpc.reflection."),
    }
}

impl<S> Service<Request<Body>> for Shed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ShedFuture<S::Future, Oneshot<LoadShed<ConcurrencyLimit<S>>, Request<Body>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // `call` takes the permit, since only there it is known if one is needed.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if can_wait(request.uri().path()) {
            ShedFuture::Limited { future: Box::pin(self.limited.clone().oneshot(request)), shed: self.shed.clone() }
        } else {
            ShedFuture::Free { future: self.inner.call(request) }
        }
    }
}

pin_project! {
    /// A call that was let in, or refused. Those that need a permit are boxed, so that the others do not
    /// pay for their size.
    #[project = ShedProjection]
    pub(super) enum ShedFuture<F, L> {
        Free { #[pin] future: F },
        Limited { future: Pin<Box<L>>, shed: Counter },
    }
}

impl<F, L> Future for ShedFuture<F, L>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
    L: Future<Output = Result<Response<Body>, tower::BoxError>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ShedProjection::Free { future } => future.poll(cx),
            ShedProjection::Limited { future, shed } => Poll::Ready(Ok(match ready!(future.as_mut().poll(cx)) {
                Ok(response) => response,
                // The inner service cannot fail, so the limit was reached.
                Err(_) => {
                    shed.inc();
                    let why = "too many calls at once (--max-concurrent-rpcs); try again, or ask another broker";
                    service::error(ErrorReason::MaxConcurrentRpcs, why).into_http()
                }
            })),
        }
    }
}
