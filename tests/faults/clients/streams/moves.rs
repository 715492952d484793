//! Locks that move to another stream: as they are, or to be shared.

use std::pin::pin;
use std::time::Instant;

use futures_util::StreamExt;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, Acquired};
use tokio::time::{sleep, timeout_at};

use super::{Granted, Stub, events, first, is_told_late};
use crate::clients::wanted::{Holding, Wanted};
use crate::clients::{Life, PAUSE};
use crate::history::Access;

/// Shares a lock that the client has alone: it does not write any more, and others may share the lock before it is told. On failure
/// returns true if it was told of a loss.
pub(super) async fn downgrade(
    life: &Life,
    wanted: &mut Wanted,
    holding: &mut Holding,
    mut on: Granted,
) -> Result<(Stub, Granted), bool> {
    holding.becomes(Access::Between, life);
    let shared = Wanted { is_shared: true, ..*wanted };
    match reattach(life, shared, holding, &mut on).await {
        Ok((stub, other)) if !holding.has_run_out() => {
            holding.resume(other.valid_until(other.acquired.expires_after_request));
            match other.acquired.permit {
                Some(permit) => {
                    holding.becomes(Access::Shared { permit: permit as u32, limit: shared.limit() }, life);
                    *wanted = shared;
                }
                // None was to be had.
                None => holding.becomes(Access::Alone, life),
            }
            Ok((stub, other))
        }
        Err(true) => Err(true),
        _ => Err(is_told_late(&mut on.events).await),
    }
}

/// Takes the lock over on another connection, while the old stream stays as it is. If that ends meanwhile, the client believes in the
/// lock no more until the move is done. Returns true for a failure if it was refused, and false if it took until the validity was over.
pub(super) async fn reattach(
    life: &Life,
    wanted: Wanted,
    holding: &mut Holding,
    on: &mut Granted,
) -> Result<(Stub, Granted), bool> {
    let before = on.acquired.clone();
    let mut moved = pin!(on_another(life, wanted, &before, holding.valid_until));
    let mut is_whole = true;
    loop {
        tokio::select! {
            biased;
            result = &mut moved => return result,
            event = on.events.next(), if is_whole => match event {
                Some(Ok(Kind::Renewed(_) | Kind::Draining(_))) => {}
                Some(Err(_)) | None if wanted.keeps => is_whole = false,
                _ => {
                    is_whole = false;
                    holding.doubt();
                }
            },
        }
    }
}

async fn on_another(
    life: &Life,
    wanted: Wanted,
    before: &Acquired,
    valid_until: Instant,
) -> Result<(Stub, Granted), bool> {
    let try_it = async {
        loop {
            if let Some(mut stub) = life.dial().await {
                let request = AcquireRequest {
                    lock: Some(wanted.spec(life)),
                    reattach_lock_id: before.lock_id.clone(),
                    ..Default::default()
                };
                let sent = Instant::now();
                let answer = async {
                    let mut events = events(stub.acquire(request).await?.into_inner());
                    first(&mut events).await.map(|acquired| (events, acquired))
                };
                match answer.await {
                    Ok((events, Some(acquired))) => {
                        let may_be_told = before.permit.is_none() && wanted.is_shared;
                        let is_same = may_be_told || acquired.permit == before.permit;
                        let is_same = is_same && acquired.fencing_token == before.fencing_token;
                        assert!(is_same, "a reattached lock stays the same grant: {before:?}, {acquired:?}");
                        return Ok((stub, Granted { events, acquired, sent }));
                    }
                    Ok((_, None)) => return Err(true),
                    Err(_) => {}
                }
            }
            sleep(PAUSE).await;
        }
    };
    timeout_at(valid_until.into(), try_it).await.unwrap_or(Err(false))
}
