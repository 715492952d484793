//! Leases: locks of clients that can hold no stream.

use std::time::Duration;

use futures_util::StreamExt;
use ring::digest::{Context, SHA256};
use tonic::{Request, Response, Status};
use tracing::Span;
use uuid::Uuid;

use super::authorizer::identities;
use super::{Arrival, Service, about, parse, reply};
use crate::broker::{Access, LeaseRenewal, LockRequest, Purpose};
use crate::client::ErrorReason;
use crate::etag::first_of;
use crate::lock::{CallKey, LeaseId, LockId, LockName, Permit};
use crate::policy::{Action, Identity};
use crate::proto::acquire_lease_response::Result as Acquiring;
use crate::proto::lock_event::Kind;
use crate::proto::{
    AcquireLeaseRequest, AcquireLeaseResponse, AcquireResponse, Acquired, RenewLeaseRequest, RenewLeaseResponse,
};
use crate::store::{ItemState, LockStatus};

/// The time within which the label of a grant is noted, mostly.
const LABELLED_WITHIN: Duration = Duration::from_millis(50);

/// A call that may be made again, and what it asks for.
#[derive(Debug)]
struct Repeats {
    name: LockName,
    linger: Duration,
    min_hold: Duration,
    access: Access,
    ttl: Duration,
    call: CallKey,
}

impl Repeats {
    /// Makes the key of a call: of its request id, of what the lease depends on, and of its caller as a policy would name it. So
    /// nobody else gets the lease who has seen the request id, and nobody gets another ttl than that of the lease.
    fn of(request_id: Uuid, request: &LockRequest, identities: &[Identity]) -> Repeats {
        let &LockRequest { ref name, ttl, linger, min_hold, access, .. } = request;
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        };
        add(b"lockbroker lease");
        add(name.as_str().as_bytes());
        add(&ttl.as_millis().to_be_bytes());
        add(&linger.as_millis().to_be_bytes());
        add(&min_hold.as_millis().to_be_bytes());
        // That of one who has it alone stays what it was, so that a call can be repeated at a broker of another version.
        if let Access::Shared { limit, .. } = access {
            add(b"shared");
            add(&limit.to_be_bytes());
        }
        add(request_id.as_bytes());
        // An address proves nothing, and another try may come from another one.
        let proven = identities.iter().filter(|identity| !matches!(identity, Identity::Address(_)));
        proven.for_each(|identity| add(identity.to_string().as_bytes()));
        let call = CallKey::of_digest(first_of(context));
        Repeats { name: name.clone(), linger, min_hold, access, ttl, call }
    }
}

/// What a call has got that is made again.
enum Before {
    /// This lease.
    Acquired(Acquired),
    /// Nobody knows: the lock is held, and has no label, which may still come.
    Unlabelled,
    /// Nothing.
    No,
}

fn answer(result: Acquiring) -> Response<AcquireLeaseResponse> {
    Response::new(AcquireLeaseResponse { result: Some(result) })
}

impl Service {
    /// Acquires a lock as if for a stream, and then lets the stream go. Dropped before that, it leaves no lock behind.
    pub(super) async fn acquire_a_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let arrival = Arrival::of(&request);
        let (request, request_id) = self.limits().lease(request.into_inner())?;
        let ttl = request.ttl;
        let identities = identities(arrival.connection.as_ref());
        let repeats = request_id.map(|id| Repeats::of(id, &request, identities));
        if let Some(repeats) = &repeats {
            let name = &request.name;
            self.authorizer.check(arrival.connection.as_ref(), Action::Acquire, name).map_err(about(name))?;
            if let Before::Acquired(acquired) = self.acquired_before(repeats, &arrival).await? {
                return Ok(answer(Acquiring::Acquired(acquired)));
            }
        }
        let call = repeats.as_ref().map(|repeats| repeats.call);
        let mut stream = self.begin::<AcquireResponse>(request, Purpose::Lease, arrival.clone())?.into_inner();
        while let Some(event) = stream.next().await {
            let result = match event?.event.and_then(|event| event.kind) {
                Some(Kind::Acquired(acquired)) => match acquired.lock_id.parse() {
                    Ok(lock) if stream.make_lease(call) => {
                        Acquiring::Acquired(Acquired { lock_id: LeaseId { lock, ttl }.expose(), ..acquired })
                    }
                    // What became of it is told next.
                    _ => continue,
                },
                Some(Kind::NotAcquired(why)) => match &repeats {
                    Some(repeats) => {
                        self.acquired_meanwhile(repeats, &arrival).await?.unwrap_or(Acquiring::NotAcquired(why))
                    }
                    None => Acquiring::NotAcquired(why),
                },
                // It is told again every 5 s. The other one of two calls may have got the lock.
                Some(Kind::Queued(_)) => match &repeats {
                    Some(repeats) => match self.acquired_before(repeats, &arrival).await? {
                        Before::Acquired(acquired) => Acquiring::Acquired(acquired),
                        Before::Unlabelled | Before::No => continue,
                    },
                    None => continue,
                },
                _ => continue,
            };
            return Ok(answer(result));
        }
        Err(reply::error(ErrorReason::StoreUnavailable, "the lock was granted, and lost before that could be said"))
    }

    /// Returns the lease that this very call has got while it was tried again. A label is noted after the grant, so a lock without
    /// one is looked at once more.
    async fn acquired_meanwhile(&self, repeats: &Repeats, arrival: &Arrival) -> Result<Option<Acquiring>, Status> {
        let mut before = self.acquired_before(repeats, arrival).await?;
        if matches!(before, Before::Unlabelled) {
            tokio::time::sleep(LABELLED_WITHIN).await;
            before = self.acquired_before(repeats, arrival).await?;
        }
        Ok(if let Before::Acquired(acquired) = before { Some(Acquiring::Acquired(acquired)) } else { None })
    }

    /// Looks for the lease that this very call has got before, and renews it from now on.
    async fn acquired_before(&self, repeats: &Repeats, arrival: &Arrival) -> Result<Before, Status> {
        let Repeats { name, access, .. } = repeats;
        let Access::Shared { limit, .. } = *access else {
            let seen = self.broker.look(name, None).await.map_err(about(name))?;
            return self.renewed_if_its(repeats, (None, seen.status), arrival).await;
        };
        let mut before = Before::No;
        for (permit, status) in self.broker.look_at_first_permits(name, limit).await.map_err(about(name))? {
            match self.renewed_if_its(repeats, (Some(permit), status), arrival).await? {
                acquired @ Before::Acquired(_) => return Ok(acquired),
                Before::Unlabelled => before = Before::Unlabelled,
                Before::No => {}
            }
        }
        Ok(before)
    }

    /// Renews a lease that a look at a lock or a permit has shown, if it is the one that this very call has got.
    async fn renewed_if_its(
        &self,
        repeats: &Repeats,
        (permit, status): (Option<Permit>, LockStatus),
        arrival: &Arrival,
    ) -> Result<Before, Status> {
        let Repeats { name, linger, min_hold, ttl, call, .. } = repeats;
        let LockStatus::Taken { state: ItemState::Held(grant), label, expires_in } = status else {
            return Ok(Before::No);
        };
        let token = match (label.token, label.call) {
            (None, None) => return Ok(Before::Unlabelled),
            (Some(token), Some(labelled)) if labelled == *call => token,
            _ => return Ok(Before::No),
        };
        // No more of its min_hold is left than its item lives.
        let lock = LockId { grant, token, linger: *linger, min_hold: expires_in.min(*min_hold), permit };
        let lease = LeaseId { lock, ttl: *ttl };
        let account = self.authorizer.account_of(arrival.connection.as_ref(), lock);
        match self.broker.renew_lease(name, lease, account).await.map_err(about(name))? {
            LeaseRenewal::Renewed { until } => Ok(Before::Acquired(reply::lease_acquired(&lease, until, arrival.at))),
            LeaseRenewal::Lost(_) => Ok(Before::No),
        }
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
        let account = self.authorizer.account_of(connection.as_ref(), lease.lock);
        let renewed = self.broker.renew_lease(&name, lease, account).await.map_err(about(&name))?;
        Ok(Response::new(reply::lease_renewed(renewed, arrived)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Mode, OnDisconnect};
    use crate::lock::Owner;

    #[test]
    fn a_calls_key_is_that_of_its_caller_and_of_what_it_asks_for() {
        let second = Duration::from_secs(1);
        let request = LockRequest {
            name: LockName::new("job").unwrap(),
            ttl: 9 * second,
            linger: second,
            min_hold: second,
            owner: Owner::default(),
            value: None,
            access: Default::default(),
            mode: Mode::Once,
            account: None,
            on_disconnect: OnDisconnect::Release,
        };
        let key =
            |id: u128, request: &LockRequest, who: &[Identity]| Repeats::of(Uuid::from_u128(id), request, who).call;
        let me = [Identity::Uid(1), Identity::Address("10.0.0.1".parse().unwrap())];
        let known = key(1, &request, &me);
        // Another try may come from another address, wait otherwise, and have another label.
        let owner = Owner::new("again").unwrap();
        assert_eq!(known, key(1, &LockRequest { owner, ..request.clone() }, &me[..1]));
        for other in [
            key(2, &request, &me),
            key(1, &request, &[Identity::Uid(2)]),
            key(1, &request, &[]),
            key(1, &LockRequest { name: LockName::new("jo").unwrap(), ..request.clone() }, &me),
            key(1, &LockRequest { ttl: 8 * second, ..request.clone() }, &me),
            key(1, &LockRequest { linger: 2 * second, ..request.clone() }, &me),
            key(1, &LockRequest { min_hold: 2 * second, ..request.clone() }, &me),
            key(1, &LockRequest { access: Access::Shared { limit: 1, weight: 1 }, ..request.clone() }, &me),
            key(1, &LockRequest { access: Access::Shared { limit: 2, weight: 1 }, ..request.clone() }, &me),
        ] {
            assert_ne!(other, known);
        }
    }
}
