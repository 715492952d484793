//! `lockbroker.v1.LockAdmin`: lists locks and waiters and revokes locks, for operators.

use std::num::NonZeroUsize;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::chunks::Chunks;
use super::{Arrival, Service, parse, reply};
use crate::audit;
use crate::broker::{Access, Failure, Kept, KnownChunk, Revoked, ShownState, Waiter, Which, in_order};
use crate::client::ErrorReason;
use crate::etag::etag;
use crate::lock::{LockItem, LockName};
use crate::policy::Action;
use crate::proto::lock_admin_server::LockAdmin;
use crate::proto::lock_spec::Mode;
use crate::proto::{
    ListLocksRequest, ListLocksResponse, ListWaitersRequest, ListWaitersResponse, LockInfo, RevokeLockRequest,
    RevokeLockResponse, WaiterInfo,
};
use crate::quota::Share;
use crate::store::{CHUNK, ListError, Listed, Listing};

/// The most lists that are under way at once: one is made, and the others wait, or are read by their clients. Each may take a
/// hundred bytes for a lock.
pub(super) const MAX_LISTS: NonZeroUsize = NonZeroUsize::new(9).expect("it is not 0");

impl Service {
    /// Takes room for a list.
    fn room_for_list(&self) -> Result<Share, Status> {
        let full = || {
            let why = format!("{MAX_LISTS} lists are under way at this broker; try again, or ask another broker");
            reply::error(ErrorReason::MaxConcurrentRpcs, why)
        };
        self.lists.take().ok_or_else(full)
    }
}

#[tonic::async_trait]
impl LockAdmin for Service {
    type ListLocksStream = Chunks<ListLocksResponse>;
    type ListWaitersStream = Chunks<ListWaitersResponse>;

    async fn list_locks(&self, request: Request<ListLocksRequest>) -> Result<Response<Self::ListLocksStream>, Status> {
        let connection = Arrival::of(&request).connection;
        let ListLocksRequest { prefix, limit } = request.into_inner();
        parse::prefix(&prefix, "prefix")?;
        let limit = parse::limit(limit, "limit")?;
        self.authorizer.check_prefix(connection.as_ref(), Action::List, &prefix).map_err(denied)?;
        let room = self.room_for_list()?;
        let listing = Listing { prefix: prefix.into(), limit };
        let (broker, serving) = (self.broker.clone(), Handle::current());
        let make = move |to| broker.list(serving, listing, to);
        Chunks::start(room, make, |part| part.map(locks).map_err(unlisted)).await.map(Response::new)
    }

    async fn list_waiters(
        &self,
        request: Request<ListWaitersRequest>,
    ) -> Result<Response<Self::ListWaitersStream>, Status> {
        let connection = Arrival::of(&request).connection;
        let ListWaitersRequest { name, prefix, limit } = request.into_inner();
        if !name.is_empty() && !prefix.is_empty() {
            return Err(parse::invalid("prefix", "must be unset where name is set"));
        }
        let limit = parse::limit(limit, "limit")?;
        let which = if name.is_empty() {
            parse::prefix(&prefix, "prefix")?;
            self.authorizer.check_prefix(connection.as_ref(), Action::List, &prefix).map_err(denied)?;
            Which::Prefix(prefix.into())
        } else {
            let name: LockName = parse::name(&name, "name")?;
            self.authorizer.check(connection.as_ref(), Action::List, &name).map_err(super::about(&name))?;
            Which::Name(name)
        };
        let room = self.room_for_list()?;
        let found = self.broker.find_waiters(&which).await;
        let make = move |to: mpsc::Sender<(Vec<Waiter>, usize)>| async move {
            let (found, total) = in_order(found, limit);
            let mut rest = found.into_iter().peekable();
            loop {
                let chunk: Vec<_> = rest.by_ref().take(CHUNK).collect();
                let is_last = rest.peek().is_none();
                if to.send((chunk, if is_last { total } else { 0 })).await.is_err() || is_last {
                    break;
                }
            }
        };
        Chunks::start(room, make, |(found, total)| Ok(waiters(found, total))).await.map(Response::new)
    }

    async fn revoke_lock(&self, request: Request<RevokeLockRequest>) -> Result<Response<RevokeLockResponse>, Status> {
        let connection = Arrival::of(&request).connection;
        let RevokeLockRequest { name, etag: only, immediate, permit } = request.into_inner();
        let name = parse::name(&name, "name")?;
        let only = parse::etag(&only, "etag")?;
        let permit = parse::permit(permit, "permit")?;
        Span::current().record("lock", name.as_str());
        self.authorizer.check(connection.as_ref(), Action::Revoke, &name).map_err(super::about(&name))?;
        let caller = super::caller(connection.as_ref());
        let item = LockItem { name: name.clone(), permit };
        // Where some have permits, who has the item of the lock itself only waits for them.
        let permits = if permit.is_none() { self.broker.look_at_permits(&name).await } else { Ok(None) };
        let revoked = match permits {
            Ok(None) => self.broker.revoke(item, only, immediate).await,
            Ok(Some(_)) => Ok(Revoked::NotHeld),
            Err(failure) => Err(failure),
        };
        let outcome = reply::outcome_of_revocation(&revoked);
        audit::revoke_called(&name, caller.as_deref(), immediate, outcome);
        Ok(Response::new(reply::revoked(revoked.map_err(super::about(&name))?)))
    }
}

fn denied(failure: Failure) -> Status {
    reply::status(failure, None)
}

fn unlisted(error: ListError) -> Status {
    match error {
        ListError::Refused { why } => reply::error(ErrorReason::ListRefused, &*why),
        ListError::Store(error) => reply::status(error.into(), None),
    }
}

fn locks(KnownChunk { locks, total }: KnownChunk) -> ListLocksResponse {
    ListLocksResponse { locks: locks.into_iter().map(lock).collect(), total: shown(total) }
}

/// Returns a number as it is shown.
fn shown(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Shows a lock as the store has it, and as it is known here where it is kept here.
fn lock((listed, kept): (Listed, Option<Kept>)) -> LockInfo {
    let shown = ShownState::of(&listed, kept);
    let Listed { item: LockItem { name, permit }, state, mut label, expires_in, .. } = listed;
    label.token = kept.map(|kept| kept.token).or(label.token);
    // Nobody can revoke a claim. And where it becomes a grant under the same id, the entry is another one.
    let etag = if shown == ShownState::Claimed { String::new() } else { etag(state).shown() };
    LockInfo {
        name: name.as_str().to_owned(),
        state: reply::state_of(shown).into(),
        free_within: Some(reply::span(expires_in)),
        fencing_token: reply::token_of(&label),
        held_for: reply::held_for(kept.and_then(|kept| kept.since), &label),
        owner: label.owner.as_str().to_owned(),
        etag,
        permit: permit.map(|permit| permit.get().into()),
    }
}

fn waiters(found: Vec<Waiter>, total: usize) -> ListWaitersResponse {
    ListWaitersResponse { waiters: found.into_iter().map(waiter).collect(), total: shown(total) }
}

fn waiter(Waiter { name, position, owner, waited, access, keeps_others_out }: Waiter) -> WaiterInfo {
    let (mode, limit, weight) = match access {
        Access::Alone => (Mode::Exclusive, 0, 0),
        Access::Shared { limit, weight } => (Mode::Shared, limit.into(), weight.into()),
    };
    WaiterInfo {
        name: name.as_str().to_owned(),
        position: shown(position),
        owner: owner.as_str().to_owned(),
        waited_for: Some(reply::span(waited)),
        mode: mode.into(),
        limit,
        weight,
        keeps_others_out,
    }
}
