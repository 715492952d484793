//! Converts answers and events from the domain to the wire.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::broker::{
    Cause, Ended, Event, Failure, LeaseRenewal, LostReason, Reason, Revoked, Seen, SeenPermits, ShownState, Time,
    Together, moment,
};
use crate::client::{ERROR_DOMAIN, ErrorReason};
use crate::clock::{Moment, less_drift};
use crate::etag::etag;
use crate::lock::{LeaseId, LockId, LockName, Owner};
use crate::proto::lock_event::Kind;
use crate::proto::{
    Acquired, AlsoAcquired, Draining, Failed, GetLockResponse, LockEvent, Lost, NotAcquired, Queued, ReleaseResponse,
    Released, RenewLeaseResponse, Renewed, RevokeLockResponse, get_lock_response, lost, not_acquired, release_response,
    renew_lease_response, revoke_lock_response,
};
use crate::store::{Label, LockStatus};
use crate::times::since_date;

/// The time after which another try makes sense, where nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn span(span: Duration) -> prost_types::Duration {
    // No duration here comes near the limit, which is 10,000 years.
    prost_types::Duration::try_from(span).unwrap_or_default()
}

/// Makes the status for `reason`, with what a program needs to know.
pub(crate) fn error(reason: ErrorReason, message: impl Into<String>) -> Status {
    with_details(reason, message, None, ErrorDetails::new())
}

/// Adds the reason, and the lock's name where there is one, to `details`.
pub(super) fn with_details(
    reason: ErrorReason,
    message: impl Into<String>,
    lock: Option<&LockName>,
    mut details: ErrorDetails,
) -> Status {
    let metadata: HashMap<_, _> = lock.map(|name| ("lock".to_owned(), name.as_str().to_owned())).into_iter().collect();
    details.set_error_info(reason.as_str(), ERROR_DOMAIN, metadata);
    Status::with_error_details(reason.code(), message, details)
}

/// Makes the status of a call that failed, about `lock` where it is about one.
pub(super) fn status(failure: Failure, lock: Option<&LockName>) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(after) = retry_after(&failure) {
        details.set_retry_info(Some(after));
    }
    with_details(reason_of(&failure), about(lock, failure.why()), lock, details)
}

/// Returns the name on the wire of why something failed.
fn reason_of(failure: &Failure) -> ErrorReason {
    match failure.cause() {
        Cause::StoreUnavailable => ErrorReason::StoreUnavailable,
        Cause::StoreQuarantined => ErrorReason::StoreQuarantined,
        Cause::StoreRefused => ErrorReason::StoreRefused,
        Cause::StoreFull => ErrorReason::StoreFull,
        Cause::BrokerDraining => ErrorReason::BrokerDraining,
        Cause::MaxLocks => ErrorReason::MaxLocks,
        Cause::MaxWaiters => ErrorReason::MaxWaiters,
        Cause::QuotaLocks => ErrorReason::QuotaLocks,
        Cause::QuotaWaiters => ErrorReason::QuotaWaiters,
        Cause::QuotaObservers => ErrorReason::QuotaObservers,
        Cause::QuotaRate => ErrorReason::QuotaRate,
        Cause::InvalidField => ErrorReason::InvalidField,
        Cause::UnknownCaller => ErrorReason::UnknownCaller,
        Cause::PolicyDenied => ErrorReason::PolicyDenied,
    }
}

fn about(lock: Option<&LockName>, why: &str) -> String {
    lock.map_or_else(|| why.to_owned(), |name| format!("lock {:?}: {why}", name.as_str()))
}

/// Adds the missing reason to a status that tonic made. Any other stays as it is.
pub(crate) fn explained(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let reason = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => ErrorReason::MessageTooLarge,
        Code::Internal | Code::InvalidArgument => ErrorReason::MalformedMessage,
        Code::Unimplemented if status.message().starts_with("Content is compressed") => {
            ErrorReason::UnsupportedEncoding
        }
        Code::Unimplemented => ErrorReason::UnknownMethod,
        Code::NotFound => ErrorReason::UnknownService,
        Code::Cancelled | Code::DeadlineExceeded => ErrorReason::DeadlineOver,
        _ => ErrorReason::BrokerFault,
    };
    match status.message() {
        "" if reason == ErrorReason::UnknownMethod => error(reason, "this broker has no such method"),
        message => error(reason, message),
    }
}

/// Returns the time after which another try makes sense, if one does.
fn retry_after(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Unavailable { retry_after, .. } => Some(retry_after.unwrap_or(RETRY)),
        Failure::Exhausted { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// Makes the status that follows `lost`.
pub(super) fn lost_status(reason: LostReason, lock: &LockName) -> Status {
    let (reason, why) = match reason {
        LostReason::Expired => (ErrorReason::LostExpired, "lost: no renewal reached the store in time"),
        LostReason::Gone => {
            (ErrorReason::LostGone, "lost: the store no longer has it; was it released through another broker?")
        }
        LostReason::TakenOver => (ErrorReason::LostTakenOver, "lost: it was reattached or granted elsewhere"),
        LostReason::Revoked => (ErrorReason::LostRevoked, "lost: an operator revoked it"),
    };
    with_details(reason, about(Some(lock), why), Some(lock), ErrorDetails::new())
}

/// Converts an event. `received` is the arrival of the request from which `expires_after_request` counts. It is none
/// in a Session, where the acks cover its locks.
pub(super) fn event(event: Event, received: Option<Moment>) -> LockEvent {
    let expires_after_request = |until: Time| received.map(|received| span(less_drift(moment(until).since(received))));
    let kind = match event {
        Event::Acquired { lock_id, until } => {
            Kind::Acquired(acquired(&lock_id, lock_id.expose(), expires_after_request(until)))
        }
        Event::NotAcquired { reason, owner } => Kind::NotAcquired(not_acquired(reason, &owner, String::new())),
        Event::Queued { position } => Kind::Queued(Queued { position: i32::try_from(position).unwrap_or(i32::MAX) }),
        Event::Renewed { until } => Kind::Renewed(Renewed { expires_after_request: expires_after_request(until) }),
        Event::Lost(reason) => Kind::Lost(lost(reason)),
        Event::Released => Kind::Released(Released {}),
        Event::Draining { grace } => Kind::Draining(Draining { grace: Some(span(grace)) }),
        Event::Failed(failure) => Kind::Failed(failed(failure)),
        Event::Together(together) => match *together {
            Together::Acquired { locks } => Kind::Acquired(acquired_together(&locks)),
            Together::NotAcquired { name, reason, owner } => {
                Kind::NotAcquired(not_acquired(reason, &owner, name.as_str().to_owned()))
            }
            Together::Lost { name, reason } => Kind::Lost(Lost { name: name.as_str().to_owned(), ..lost(reason) }),
        },
    };
    LockEvent { kind: Some(kind) }
}

fn not_acquired(reason: Reason, owner: &Owner, name: String) -> NotAcquired {
    let reason = match reason {
        Reason::Held => not_acquired::Reason::Held,
        Reason::Lingering => not_acquired::Reason::Lingering,
        Reason::MaxWait => not_acquired::Reason::MaxWait,
        Reason::Cancelled => not_acquired::Reason::Cancelled,
        Reason::NotReattachable => not_acquired::Reason::NotReattachable,
    };
    NotAcquired { reason: reason.into(), owner: owner.as_str().to_owned(), name }
}

fn acquired_together(locks: &[LockId]) -> Acquired {
    let Some((first, others)) = locks.split_first() else { return Acquired::default() };
    let also = others.iter().map(|lock| {
        let Acquired { lock_id, fencing_token, permit, .. } = acquired(lock, lock.expose(), None);
        AlsoAcquired { lock_id, fencing_token, permit }
    });
    Acquired { also: also.collect(), ..acquired(first, first.expose(), None) }
}

fn lost(reason: LostReason) -> Lost {
    let reason = match reason {
        LostReason::Expired => lost::Reason::Expired,
        LostReason::Gone => lost::Reason::Gone,
        LostReason::TakenOver => lost::Reason::TakenOver,
        LostReason::Revoked => lost::Reason::Revoked,
    };
    Lost { reason: reason.into(), name: String::new() }
}

fn acquired(lock: &LockId, lock_id: String, expires_after_request: Option<prost_types::Duration>) -> Acquired {
    // Below 2^53 by its type.
    let permit = lock.permit.map(|permit| permit.get().into());
    let fencing_token = lock.token.get() as i64;
    Acquired { lock_id, fencing_token, expires_after_request, permit, also: Vec::new() }
}

/// Tells of a lease that is good until then, by a request that `arrived`.
pub(super) fn lease_acquired(lease: &LeaseId, until: Time, arrived: Moment) -> Acquired {
    acquired(&lease.lock, lease.expose(), Some(span(less_drift(moment(until).since(arrived)))))
}

/// Converts what the renewal of a lease came to, for a request that arrived at `arrived`.
pub(super) fn lease_renewed(renewed: LeaseRenewal, arrived: Moment) -> RenewLeaseResponse {
    let result = match renewed {
        LeaseRenewal::Renewed { until } => {
            let valid = span(less_drift(moment(until).since(arrived)));
            renew_lease_response::Result::Renewed(Renewed { expires_after_request: Some(valid) })
        }
        LeaseRenewal::Lost(reason) => renew_lease_response::Result::Lost(lost(reason)),
    };
    RenewLeaseResponse { result: Some(result) }
}

fn failed(failure: Failure) -> Failed {
    Failed {
        code: reason_of(&failure).code().into(),
        message: failure.why().to_owned(),
        retry_after: retry_after(&failure).map(span),
        reason: reason_of(&failure).as_str().to_owned(),
    }
}

/// Returns the audit's word for the outcome of a Release call.
pub(super) fn outcome_of(ended: &Result<Ended, Failure>) -> &'static str {
    match ended {
        Ok(Ended::Released) => "released",
        Ok(Ended::NotHeld) => "not_held",
        Ok(Ended::HeldByAnother) => "held_by_another",
        Err(_) => "failed",
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

/// Converts what a look at a lock showed, for a request that arrived at `arrived`.
pub(super) fn seen(seen: Seen, arrived: Moment) -> GetLockResponse {
    let Seen { status: look, lease_end, held_since } = seen;
    let expires_after_request = lease_end.map(|until| span(less_drift(moment(until).since(arrived))));
    match look {
        LockStatus::Free => GetLockResponse {
            state: get_lock_response::State::Free.into(),
            expires_after_request,
            ..Default::default()
        },
        LockStatus::Taken { state, label, expires_in } => GetLockResponse {
            state: state_of(state).into(),
            fencing_token: token_of(&label),
            held_for: held_for(held_since, &label),
            owner: label.owner.as_str().to_owned(),
            free_within: Some(span(expires_in)),
            expires_after_request,
            etag: etag(state).shown(),
            ..Default::default()
        },
    }
}

/// Converts what the permits of a lock showed, of which nobody is known to have it alone.
pub(super) fn seen_shared(look: GetLockResponse, permits: SeenPermits) -> GetLockResponse {
    let SeenPermits { held, state, expires_in } = permits;
    GetLockResponse {
        state: state_of(state).into(),
        free_within: Some(span(expires_in)),
        expires_after_request: look.expires_after_request,
        shared_count: i32::try_from(held).unwrap_or(i32::MAX),
        // Whoever has the item of the lock itself waits for these, and lets no others in.
        claimed: look.state() != get_lock_response::State::Free,
        ..Default::default()
    }
}

/// Returns what a state is called on the wire.
pub(super) fn state_of(state: impl Into<ShownState>) -> get_lock_response::State {
    match state.into() {
        ShownState::Held => get_lock_response::State::Held,
        ShownState::Claimed => get_lock_response::State::Claimed,
        ShownState::Lingering => get_lock_response::State::Lingering,
        ShownState::Revoked => get_lock_response::State::Revoked,
    }
}

/// Returns the token that is noted of a grant; 0 if none is.
pub(super) fn token_of(label: &Label) -> i64 {
    // Below 2^53 by its type.
    label.token.map_or(0, |token| token.get() as i64)
}

/// Returns how long ago a lock was granted or last reattached: since `kept_since` if it is kept here, or as the broker has
/// noted it that keeps it.
pub(super) fn held_for(kept_since: Option<Time>, label: &Label) -> Option<prost_types::Duration> {
    // Where that broker's clock is ahead of ours, it was just now.
    let noted = || label.since.map(since_date);
    kept_since.map(|since| moment(since).elapsed()).or_else(noted).map(span)
}

/// Returns the audit's word for the outcome of a revocation.
pub(super) fn outcome_of_revocation(revoked: &Result<Revoked, Failure>) -> &'static str {
    match revoked {
        Ok(Revoked::Revoked { .. }) => "revoked",
        Ok(Revoked::Freed) => "freed",
        Ok(Revoked::NotHeld) => "not_held",
        Ok(Revoked::Changed) => "changed",
        Err(_) => "failed",
    }
}

/// Converts the outcome of a revocation.
pub(super) fn revoked(revoked: Revoked) -> RevokeLockResponse {
    let (outcome, owner, closed) = match revoked {
        Revoked::Revoked { closed, owner } => (revoke_lock_response::Outcome::Revoked, owner, Some(closed)),
        Revoked::Freed => (revoke_lock_response::Outcome::Freed, Owner::default(), Some(Duration::ZERO)),
        Revoked::NotHeld => (revoke_lock_response::Outcome::NotHeld, Owner::default(), None),
        Revoked::Changed => (revoke_lock_response::Outcome::Changed, Owner::default(), None),
    };
    RevokeLockResponse { outcome: outcome.into(), owner: owner.as_str().to_owned(), free_within: closed.map(span) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::grant_id;
    use crate::lock::{FencingToken, LockId, MAX_LINGER, MAX_TTL, MIN_TTL, item_ttl, lease};
    use crate::times::time;

    /// Makes spans up to `longest`, and often zero, which leaves the least room.
    fn within(longest: Duration) -> impl Strategy<Value = Duration> {
        prop_oneof![Just(0), 0..=longest.as_millis() as u64].prop_map(Duration::from_millis)
    }

    /// The proto's table of times shows what is sent.
    #[test]
    fn the_proto_counts_as_the_broker_does() {
        const PROTO: &str = include_str!("../../proto/lockbroker/v1/lockbroker.proto");
        let ttl = Duration::from_secs(15);
        let lines =
            [("Acquire  ", 0, 0), ("a Renewed 5 s later", 0, 5), ("granted after 40 s", 0, 40), ("heartbeat  ", 5, 0)];
        for (what, sent_at, granted_after) in lines {
            let received = Moment::now();
            let until = time(received + Duration::from_secs(granted_after) + lease(ttl));
            let Some(Kind::Renewed(Renewed { expires_after_request: Some(told) })) =
                event(Event::Renewed { until }, Some(received)).kind
            else {
                panic!("it is set");
            };
            let told = Duration::try_from(told).unwrap().as_millis() as f64 / 1000.0;
            let line = PROTO.lines().find(|line| line.starts_with("//   ") && line.contains(what)).unwrap();
            let end = f64::from(sent_at) + told;
            assert!(line.contains(&format!(" {told:.3} s ")), "{line:?}: {told}");
            assert!(line.ends_with(&format!(" 12:00:{end:06.3}")), "{line:?}: {end}");
        }
    }

    proptest! {
        /// The client's belief ends before its item can, however long everything takes on the way, and though the
        /// client's clock runs slow.
        #[test]
        fn validity_never_exceeds_the_items_life(
            ttl in within(MAX_TTL - MIN_TTL).prop_map(|ttl| ttl + MIN_TTL),
            linger in within(MAX_LINGER),
            to_the_broker in within(Duration::from_secs(3)),
            in_the_broker in within(Duration::from_secs(7_200)),
            to_the_store in within(Duration::from_secs(3)),
        ) {
            let asked = Moment::now();
            let received = asked + to_the_broker;
            let sent = received + in_the_broker;
            let carried_out = sent + to_the_store;
            // memcached's clock has ticks of a second and may skip one.
            let dies = carried_out + Duration::from_secs(u64::from(item_ttl(ttl, linger)) - 3);

            let lock_id = LockId { grant: grant_id(), token: FencingToken::new(1).unwrap(), linger, min_hold: Duration::ZERO, permit: None };
            let until = time(sent + lease(ttl));
            for told in [Event::Acquired { lock_id, until }, Event::Renewed { until }] {
                let expires_after_request = match event(told, Some(received)).kind {
                    Some(Kind::Acquired(acquired)) => acquired.expires_after_request,
                    Some(Kind::Renewed(renewed)) => renewed.expires_after_request,
                    other => panic!("{other:?}"),
                };
                let expires_after_request = Duration::try_from(expires_after_request.unwrap()).unwrap();
                let by_a_slow_clock = expires_after_request.mul_f64(1.0 / (1.0 - 200e-6));
                prop_assert!(asked + by_a_slow_clock <= dies + Duration::from_micros(1));
            }
        }
    }
}
