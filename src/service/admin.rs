//! `lockbroker.v1.LockAdmin`: lists locks and waiters, for operators.

use std::num::NonZeroUsize;

use tonic::{Request, Response, Status};

use super::chunks::Chunks;
use super::etag::etag;
use super::{Arrival, Service, parse, reply};
use crate::broker::{Failure, Waiter, Which};
use crate::client::ErrorReason;
use crate::lock::LockName;
use crate::policy::Action;
use crate::proto::get_lock_response::State;
use crate::proto::lock_admin_server::LockAdmin;
use crate::proto::{
    ListLocksRequest, ListLocksResponse, ListWaitersRequest, ListWaitersResponse, LockInfo, RevokeLockRequest,
    RevokeLockResponse, WaiterInfo,
};
use crate::quota::Share;
use crate::store::{CHUNK, Chunk, ItemState, ListError, Listed, Listing};

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
        let chunks =
            Chunks::start(room, |to| self.broker.list(listing, to), |chunk| chunk.map(locks).map_err(unlisted));
        chunks.await.map(Response::new)
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
        let broker = self.broker.clone();
        let make = |to: tokio::sync::mpsc::Sender<(Vec<Waiter>, bool)>| async move {
            let (found, more) = broker.waiters(which, limit).await;
            let mut rest = found.into_iter().peekable();
            loop {
                let chunk: Vec<_> = rest.by_ref().take(CHUNK).collect();
                let is_last = rest.peek().is_none();
                if to.send((chunk, more && is_last)).await.is_err() || is_last {
                    break;
                }
            }
        };
        Chunks::start(room, make, |(found, more)| Ok(waiters(found, more))).await.map(Response::new)
    }

    async fn revoke_lock(&self, _: Request<RevokeLockRequest>) -> Result<Response<RevokeLockResponse>, Status> {
        Err(reply::error(ErrorReason::UnknownMethod, "this broker does not revoke locks yet"))
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

fn locks(Chunk { locks, more }: Chunk) -> ListLocksResponse {
    ListLocksResponse { locks: locks.into_iter().map(lock).collect(), more }
}

fn lock(Listed { name, state, owner, expires_in }: Listed) -> LockInfo {
    LockInfo {
        name: name.as_str().to_owned(),
        state: match state {
            ItemState::Held(_) => State::Held,
            ItemState::Lingering(_) => State::Lingering,
        }
        .into(),
        owner: owner.as_str().to_owned(),
        free_within: Some(reply::span(expires_in)),
        etag: etag(state),
        ..LockInfo::default()
    }
}

fn waiters(found: Vec<Waiter>, more: bool) -> ListWaitersResponse {
    let waiter = |Waiter { name, position, owner, waited }: Waiter| WaiterInfo {
        name: name.as_str().to_owned(),
        position: i32::try_from(position).unwrap_or(i32::MAX),
        owner: owner.as_str().to_owned(),
        waited_for: Some(reply::span(waited)),
    };
    ListWaitersResponse { waiters: found.into_iter().map(waiter).collect(), more }
}
