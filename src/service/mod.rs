//! The gRPC side of the broker: converts between the wire and the domain, and finds out how clients' connections end.
//! The only place that makes a `tonic::Status`.

mod admin;
mod authorizer;
mod chunks;
pub mod connection;
mod connection_end;
mod frames;
mod leases;
mod observe;
mod parse;
mod pings;
mod reply;
mod session;
mod streams;
pub(crate) mod timeouts;

use std::num::NonZeroUsize;
use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

pub(crate) use self::parse::{LONGEST_LEASE_WAIT, invalid};
pub(crate) use self::reply::{error, explained};

use self::authorizer::{Authorizer, identities};
use self::connection::Connection;
use self::observe::ObserveStream;
use self::parse::Limits;
use self::streams::{LockStream, SessionStream};
use crate::audit;
use crate::broker::{Broker, Failure, LockRequest, Purpose};
use crate::clock::Moment;
use crate::lock::{LockItem, LockName};
use crate::metrics::Metrics;
use crate::policy::{Action, Policy};
use crate::proto::lock_service_server::LockService;
use crate::proto::{
    AcquireLeaseRequest, AcquireLeaseResponse, AcquireRequest, AcquireResponse, GetLockRequest, GetLockResponse,
    ObserveRequest, ReleaseRequest, ReleaseResponse, RenewLeaseRequest, RenewLeaseResponse, SessionRequest,
    UpdateLockRequest, UpdateLockResponse, WaitAcquireRequest, WaitAcquireResponse,
};
use crate::quota::Quota;
use crate::reloaded::Reloaded;
use crate::store::{ItemState, LockStatus};

/// `lockbroker.v1.LockService` and `LockAdmin` for the locks of one broker.
#[derive(Debug)]
pub struct Service {
    broker: Broker,
    authorizer: Authorizer,
    lists: Quota,
    observers: Quota,
}

impl Service {
    /// Makes the service for this broker's locks. `policy` decides who may use it; without one, everybody may. At most
    /// `max_observers` observe locks at a time. `metrics` counts these, and the lists that are under way.
    pub fn new(
        broker: Broker,
        policy: Option<Reloaded<Policy>>,
        max_observers: NonZeroUsize,
        metrics: &Metrics,
    ) -> Service {
        let observers = Quota::new(metrics, "max_observers", max_observers);
        let lists = Quota::new(metrics, "max_lists", admin::MAX_LISTS);
        if let Some(policy) = &policy {
            broker.accounts().follow(policy.clone());
        }
        let authorizer = Authorizer::new(policy, broker.accounts().clone());
        Service { broker, authorizer, lists, observers }
    }

    fn limits(&self) -> Limits {
        Limits::of(self.broker.settings())
    }

    fn begin<R>(
        &self,
        mut request: LockRequest,
        purpose: Purpose,
        arrival: Arrival,
    ) -> Result<Response<LockStream<R>>, Status> {
        Span::current().record("lock", request.name.as_str());
        let name = request.name.clone();
        self.authorizer.admit(arrival.connection.as_ref(), &mut request).map_err(about(&name))?;
        let stream =
            self.broker.begin_as(request, purpose, caller(arrival.connection.as_ref())).map_err(about(&name))?;
        Ok(Response::new(LockStream::new(stream, arrival, name)))
    }
}

/// Makes the status of a failure of this lock's.
fn about(name: &LockName) -> impl Fn(Failure) -> Status + '_ {
    move |failure| reply::status(failure, Some(name))
}

/// Returns true if several may have a lock that a look at itself has shown so. Of one who has it alone a token is noted, if it has a label;
/// of one who waits for that, none is.
fn may_be_shared(status: &LockStatus) -> bool {
    match status {
        LockStatus::Free => true,
        LockStatus::Taken { state, label, .. } => matches!(state, ItemState::Held(_)) && label.token.is_none(),
    }
}

/// Says who made a call over `connection`, for the audit.
fn caller(connection: Option<&Arc<Connection>>) -> Option<Arc<str>> {
    audit::caller(identities(connection))
}

/// The moment at which a call arrived, and its connection.
#[derive(Debug, Clone)]
struct Arrival {
    at: Moment,
    connection: Option<Arc<Connection>>,
}

impl Arrival {
    fn of<T>(request: &Request<T>) -> Arrival {
        Arrival { at: Moment::now(), connection: request.extensions().get().cloned() }
    }
}

#[tonic::async_trait]
impl LockService for Service {
    type AcquireStream = LockStream<AcquireResponse>;
    type WaitAcquireStream = LockStream<WaitAcquireResponse>;
    type SessionStream = SessionStream;
    type ObserveStream = ObserveStream;

    async fn acquire(&self, request: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        let arrival = Arrival::of(&request);
        self.begin(self.limits().acquire(request.into_inner())?, Purpose::Stream, arrival)
    }

    async fn wait_acquire(
        &self,
        request: Request<WaitAcquireRequest>,
    ) -> Result<Response<Self::WaitAcquireStream>, Status> {
        let arrival = Arrival::of(&request);
        self.begin(self.limits().wait_acquire(request.into_inner())?, Purpose::Stream, arrival)
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        self.acquire_a_lease(request).await
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        self.renew_a_lease(request).await
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let connection = Arrival::of(&request).connection;
        let ReleaseRequest { name, lock_id } = request.into_inner();
        let name = parse::name(&name, "name")?;
        Span::current().record("lock", name.as_str());
        let lock_id = parse::lock_id(&lock_id, "lock_id")?;
        self.authorizer.check(connection.as_ref(), Action::Release, &name).map_err(about(&name))?;
        let ended = self.broker.release(&name, lock_id).await;
        let caller = caller(connection.as_ref());
        audit::release_called(&name, caller.as_deref(), lock_id.token, reply::outcome_of(&ended));
        Ok(Response::new(reply::released(ended.map_err(about(&name))?)))
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        let Arrival { at: arrived, connection } = Arrival::of(&request);
        let GetLockRequest { name, lock_id, permit } = request.into_inner();
        let name = parse::name(&name, "name")?;
        Span::current().record("lock", name.as_str());
        let lock_id = match lock_id.as_str() {
            "" => None,
            lock_id => Some(parse::lock_id(lock_id, "lock_id")?),
        };
        self.authorizer.check(connection.as_ref(), Action::Look, &name).map_err(about(&name))?;
        let asked = parse::permit(permit, "permit")?;
        let permit = match (asked, lock_id.and_then(|lock_id| lock_id.permit)) {
            (Some(asked), of_lock_id) if lock_id.is_some() && of_lock_id != Some(asked) => {
                return Err(invalid("permit", "is another one than that of `lock_id`"));
            }
            (asked, of_lock_id) => asked.or(of_lock_id),
        };
        let item = LockItem { name: name.clone(), permit };
        let seen = self.broker.look(item, lock_id).await.map_err(about(&name))?;
        let may_be_shared = permit.is_none() && lock_id.is_none() && may_be_shared(&seen.status);
        let look = reply::seen(seen, arrived);
        if may_be_shared && let Some(permits) = self.broker.look_at_permits(&name).await.map_err(about(&name))? {
            return Ok(Response::new(reply::seen_shared(look, permits)));
        }
        Ok(Response::new(look))
    }

    async fn update_lock(&self, request: Request<UpdateLockRequest>) -> Result<Response<UpdateLockResponse>, Status> {
        self.update_a_lock(request).await
    }

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        self.observe_a_lock(request)
    }

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let connection = Arrival::of(&request).connection;
        self.authorizer.check_known(connection.as_ref()).map_err(|failure| reply::status(failure, None))?;
        Ok(Response::new(session::start(
            self.broker.clone(),
            self.authorizer.clone(),
            request.into_inner(),
            connection,
        )))
    }
}
