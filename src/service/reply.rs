//! From the domain to the wire.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::bell::Ended;
use crate::clock::{Moment, less_drift};
use crate::proto::lock_event::Kind;
use crate::proto::{
    Acquired, Draining, Failed, GetLockResponse, LockEvent, Lost, NotAcquired, Queued, ReleaseResponse, Released,
    Renewed, get_lock_response, lost, not_acquired, release_response,
};
use crate::session::Seen;
use crate::store::{Look, Mark};
use crate::stream::{Event, Failure, LostReason, Reason};

/// When a new try makes sense where nobody knows better.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn span(span: Duration) -> prost_types::Duration {
    // No duration here comes near the limit, which is 10,000 years.
    prost_types::Duration::try_from(span).unwrap_or_default()
}

/// The status of a call that failed.
pub(super) fn status(failure: Failure) -> Status {
    let code = code(&failure);
    match failure {
        Failure::Unavailable { why, retry_after } => {
            let details = ErrorDetails::with_retry_info(Some(retry_after.unwrap_or(RETRY)));
            Status::with_error_details(code, why.to_string(), details)
        }
        Failure::Exhausted { why } | Failure::Invalid { why } => Status::new(code, why.to_string()),
    }
}

fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Unavailable { .. } => Code::Unavailable,
        Failure::Exhausted { .. } => Code::ResourceExhausted,
        Failure::Invalid { .. } => Code::InvalidArgument,
    }
}

/// The status that follows `lost`.
pub(super) fn lost_status(reason: LostReason) -> Status {
    Status::aborted(match reason {
        LostReason::Expired => "the lock is lost: no renewal reached the store in time",
        LostReason::Gone => "the lock is lost: the store no longer has it; was it released through another broker?",
        LostReason::TakenOver => "the lock is lost: it was reattached or granted elsewhere",
    })
}

/// How an event is told on a stream: `received` is when the request arrived from which `valid_for` counts, and
/// none in a Session, where the acks cover its locks.
pub(super) fn event(event: Event, received: Option<Moment>) -> LockEvent {
    let valid_for = |until: Moment| received.map(|received| span(less_drift(until.since(received))));
    let kind = match event {
        Event::Acquired { lock_id, until } => Kind::Acquired(Acquired {
            lock_id: lock_id.expose(),
            // Below 2^53 by its type.
            fencing_token: lock_id.token.get() as i64,
            valid_for: valid_for(until),
        }),
        Event::NotAcquired { reason, owner } => Kind::NotAcquired(NotAcquired {
            reason: match reason {
                Reason::Held => not_acquired::Reason::Held,
                Reason::Lingering => not_acquired::Reason::Lingering,
                Reason::MaxWait => not_acquired::Reason::MaxWait,
                Reason::Cancelled => not_acquired::Reason::Cancelled,
                Reason::NotReattachable => not_acquired::Reason::NotReattachable,
            }
            .into(),
            owner: owner.as_str().to_owned(),
        }),
        Event::Queued { position } => Kind::Queued(Queued { position: i32::try_from(position).unwrap_or(i32::MAX) }),
        Event::Renewed { until } => Kind::Renewed(Renewed { valid_for: valid_for(until) }),
        Event::Lost(reason) => Kind::Lost(Lost {
            reason: match reason {
                LostReason::Expired => lost::Reason::Expired,
                LostReason::Gone => lost::Reason::Gone,
                LostReason::TakenOver => lost::Reason::TakenOver,
            }
            .into(),
        }),
        Event::Released => Kind::Released(Released {}),
        Event::Draining { grace } => Kind::Draining(Draining { grace: Some(span(grace)) }),
        Event::Failed(failure) => Kind::Failed(failed(failure)),
    };
    LockEvent { kind: Some(kind) }
}

fn failed(failure: Failure) -> Failed {
    let code = code(&failure).into();
    match failure {
        Failure::Unavailable { why, retry_after } => {
            Failed { code, message: why.to_string(), retry_after: Some(span(retry_after.unwrap_or(RETRY))) }
        }
        Failure::Exhausted { why } | Failure::Invalid { why } => {
            Failed { code, message: why.to_string(), retry_after: None }
        }
    }
}

pub(super) fn released(ended: Ended) -> ReleaseResponse {
    let outcome = match ended {
        Ended::Released => release_response::Outcome::Released,
        Ended::NotHeld => release_response::Outcome::NotHeld,
        Ended::HeldByAnother => release_response::Outcome::HeldByAnother,
    };
    ReleaseResponse { outcome: outcome.into() }
}

/// A lock as a look showed it, for a request that arrived at `arrived`.
pub(super) fn seen(seen: Seen, arrived: Moment) -> GetLockResponse {
    let Seen { look, lease_end } = seen;
    let valid_for = lease_end.map(|until| span(less_drift(until.since(arrived))));
    match look {
        Look::Free => GetLockResponse { state: get_lock_response::State::Free.into(), valid_for, ..Default::default() },
        Look::Marked { mark, owner, expires_in } => GetLockResponse {
            state: match mark {
                Mark::Held(_) => get_lock_response::State::Held,
                Mark::Lingering(_) => get_lock_response::State::Lingering,
            }
            .into(),
            owner: owner.as_str().to_owned(),
            expires_in: Some(span(expires_in)),
            valid_for,
        },
    }
}
