//! Routes each call to the service that answers it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::LOCK_SERVICE;

/// Hands calls of the lock service to `locks` and all others to `rest`. tonic's own router would look
/// every path up in a tree and box every answer once more.
#[derive(Debug, Clone)]
pub(super) struct Dispatch<L> {
    pub(super) locks: L,
    pub(super) rest: Routes,
}

impl<L> Service<Request<Body>> for Dispatch<L>
where
    L: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<L::Future, <Routes as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated services and routes are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if method_of(request.uri().path(), LOCK_SERVICE).is_some() {
            Either::Left(self.locks.call(request))
        } else {
            Either::Right(self.rest.call(request))
        }
    }
}

/// Returns the method that `path` names, if it belongs to `service`. A path is `/service/method`.
pub(super) fn method_of<'a>(path: &'a str, service: &str) -> Option<&'a str> {
    path.strip_prefix('/')?.strip_prefix(service)?.strip_prefix('/')
}
