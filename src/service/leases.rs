//! Leases: locks of clients that can hold no stream.

use futures_util::StreamExt;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::{Arrival, Service, about, parse, reply};
use crate::client::ErrorReason;
use crate::lock::LeaseId;
use crate::policy::Action;
use crate::proto::acquire_lease_response::Result as Acquiring;
use crate::proto::lock_event::Kind;
use crate::proto::{
    AcquireLeaseRequest, AcquireLeaseResponse, AcquireResponse, Acquired, RenewLeaseRequest, RenewLeaseResponse,
};

impl Service {
    /// Acquires a lock as if for a stream, and then lets the stream go. Dropped before that, it leaves no lock behind.
    pub(super) async fn acquire_a_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let arrival = Arrival::of(&request);
        let request = self.limits().lease(request.into_inner())?;
        let ttl = request.ttl;
        let mut stream = self.begin::<AcquireResponse>(request, arrival)?.into_inner();
        while let Some(event) = stream.next().await {
            let result = match event?.event.and_then(|event| event.kind) {
                Some(Kind::Acquired(acquired)) => match acquired.lock_id.parse() {
                    Ok(lock) if stream.make_lease() => {
                        Acquiring::Acquired(Acquired { lock_id: LeaseId { lock, ttl }.expose(), ..acquired })
                    }
                    // What became of it is told next.
                    _ => continue,
                },
                Some(Kind::NotAcquired(why)) => Acquiring::NotAcquired(why),
                _ => continue,
            };
            return Ok(Response::new(AcquireLeaseResponse { result: Some(result) }));
        }
        Err(reply::error(ErrorReason::StoreUnavailable, "the lock was granted, and lost before that could be said"))
    }

    pub(super) async fn renew_a_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let Arrival { at: arrived, connection } = Arrival::of(&request);
        let RenewLeaseRequest { name, lock_id } = request.into_inner();
        let name = parse::name(&name, "name")?;
        Span::current().record("lock", name.as_str());
        let lease = self.limits().lease_id(&lock_id, "lock_id")?;
        self.authorizer.check(connection.as_ref(), Action::Acquire, &name).map_err(about(&name))?;
        let renewed = self.broker.renew_lease(&name, lease).await.map_err(about(&name))?;
        Ok(Response::new(reply::lease_renewed(renewed, arrived)))
    }
}
