//! MERGE: stands in for the domain until it is merged; refuses everything.

use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::Lifecycle;
use crate::proto::lock_service_server::LockService;
use crate::proto::*;

/// A service that refuses everything, and its broker, which is always ready and always drained.
pub fn placeholder() -> (impl LockService, impl Lifecycle) {
    (Nothing, Nothing)
}

struct Nothing;

impl Lifecycle for Nothing {
    fn ready(&self) -> watch::Receiver<bool> {
        watch::channel(true).1
    }

    fn drain(&self, _grace: Duration) {}

    async fn drained(&self) {}
}

#[tonic::async_trait]
impl LockService for Nothing {
    type AcquireStream = tokio_stream::Empty<Result<AcquireResponse, Status>>;
    type WaitAcquireStream = tokio_stream::Empty<Result<WaitAcquireResponse, Status>>;
    type SessionStream = tokio_stream::Empty<Result<SessionResponse, Status>>;

    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        Err(Status::unimplemented("not merged yet"))
    }

    async fn wait_acquire(&self, _: Request<WaitAcquireRequest>) -> Result<Response<Self::WaitAcquireStream>, Status> {
        Err(Status::unimplemented("not merged yet"))
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        Err(Status::unimplemented("not merged yet"))
    }

    async fn get_lock(&self, _: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        Err(Status::unimplemented("not merged yet"))
    }

    async fn session(
        &self,
        _: Request<tonic::Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not merged yet"))
    }
}
