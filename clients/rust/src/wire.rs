//! Converts between the core's words and the wire's.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::core::{self, Access, Event, Failure, LostReason, Message, Refusal, RefusalReason, Request};
use crate::error_reason::ERROR_DOMAIN;
use crate::proto::lock_spec::{Mode, OnDisconnect};
use crate::proto::session_request::Kind;
use crate::proto::{self, lock_event, session_response};

/// A span longer than anybody needs, and short enough to be added to any moment.
pub(super) const FAR: Duration = Duration::from_secs(u32::MAX as u64);

/// Rounds up to whole milliseconds, as everywhere on the wire. A span that does not fit becomes the longest that does.
pub(super) fn to_wire(span: Duration) -> prost_types::Duration {
    let millis = span.as_nanos().div_ceil(1_000_000).min(i64::MAX as u128) as u64;
    prost_types::Duration { seconds: (millis / 1_000) as i64, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

/// Reads a duration. Returns none if it is negative, and at most [`FAR`].
pub(super) fn from_wire(span: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*span).ok().map(|span| span.min(FAR))
}

/// Writes a message to a broker. `ttl` is that of `open`; none for the broker's default.
pub(super) fn request(request: Request, ttl: Option<Duration>) -> proto::SessionRequest {
    let kind = match request {
        Request::Open => Kind::Open(proto::OpenSession { ttl: ttl.map(to_wire) }),
        Request::Heartbeat { seq } => Kind::Heartbeat(proto::Heartbeat { seq }),
        Request::End { lock_ref } => Kind::End(proto::EndLock { lock_ref }),
        Request::Begin { lock_ref, spec, wait, reattach, reattach_also } => {
            let wait = wait.map(|wait| proto::WaitSpec {
                max_wait: wait.max_wait.map(to_wire),
                poll_interval: wait.poll_interval.map(to_wire),
            });
            let also = match &reattach {
                None => spec.also.iter().map(|name| also_lock(&spec, name, String::new())).collect(),
                // Each permit is named by its id.
                Some(_) => spec.others().zip(reattach_also).map(|(name, id)| also_lock(&spec, name, id)).collect(),
            };
            let mut lock = lock_spec(*spec);
            if reattach.is_some() {
                lock.weight = 0;
            }
            let reattach_lock_id = reattach.unwrap_or_default();
            Kind::Begin(proto::BeginLock { lock_ref, lock: Some(lock), wait, reattach_lock_id, also })
        }
    };
    proto::SessionRequest { kind: Some(kind) }
}

/// Writes a lock that is had together with another.
fn also_lock(spec: &core::LockSpec, name: &str, reattach_lock_id: String) -> proto::AlsoLock {
    let lock = lock_spec(core::LockSpec { name: name.to_owned(), ..spec.clone() });
    proto::AlsoLock { lock: Some(proto::LockSpec { weight: 0, ..lock }), reattach_lock_id }
}

/// Writes a lock and its properties.
pub(super) fn lock_spec(spec: core::LockSpec) -> proto::LockSpec {
    let (mode, limit, weight) = match spec.access {
        Access::Exclusive => (Mode::Unspecified, None, 0),
        // Unset is one.
        Access::Shared { limit, weight: 1 } => (Mode::Shared, limit, 0),
        Access::Shared { limit, weight } => (Mode::Shared, limit, weight),
    };
    proto::LockSpec {
        name: spec.name,
        linger: spec.linger.map(to_wire),
        owner: spec.owner,
        on_disconnect: if spec.is_kept { OnDisconnect::Keep } else { OnDisconnect::Unspecified }.into(),
        min_hold: spec.min_hold.map(to_wire),
        mode: mode.into(),
        // A broker refuses whatever does not fit.
        limit: limit.map_or(0, |limit| i32::try_from(limit).unwrap_or(i32::MAX)),
        weight: i32::try_from(weight).unwrap_or(i32::MAX),
        value: spec.value,
    }
}

/// Reads a message from a broker. Fails if it makes no sense.
pub(super) fn message(message: proto::SessionResponse) -> Result<Message, &'static str> {
    let span = |span: &Option<prost_types::Duration>| span.as_ref().and_then(from_wire);
    Ok(match message.kind {
        Some(session_response::Kind::Opened(opened)) => {
            let heartbeat_interval = span(&opened.heartbeat_interval).filter(|interval| !interval.is_zero());
            let (Some(ttl), Some(expires_after), Some(heartbeat_interval)) =
                (span(&opened.ttl), span(&opened.expires_after_open), heartbeat_interval)
            else {
                return Err("`opened` lacks a duration, or has one that makes no sense");
            };
            Message::Opened { ttl, expires_after, heartbeat_interval }
        }
        Some(session_response::Kind::HeartbeatAck(ack)) => match span(&ack.expires_after_heartbeat) {
            Some(expires_after) => Message::HeartbeatAck { seq: ack.seq, expires_after, not_renewed: ack.not_renewed },
            None => Message::Other,
        },
        Some(session_response::Kind::Event(proto::SessionEvent { lock_ref, event })) => {
            match event.and_then(|event| event.kind) {
                Some(lock_event::Kind::Draining(_)) if lock_ref == 0 => Message::Draining,
                Some(kind) => match lock_event(kind) {
                    Some(event) => Message::Event { lock_ref, event },
                    None => Message::Other,
                },
                None => Message::Other,
            }
        }
        None => Message::Other,
    })
}

fn lock_event(kind: lock_event::Kind) -> Option<Event> {
    Some(match kind {
        lock_event::Kind::Acquired(acquired) => {
            let permit = permit(&acquired);
            let also = acquired.also.into_iter().map(|also| core::Granted {
                permit: also.permit.and_then(|permit| u32::try_from(permit).ok()),
                lock_id: also.lock_id,
                fencing_token: also.fencing_token,
            });
            let also = also.collect();
            Event::Acquired { lock_id: acquired.lock_id, fencing_token: acquired.fencing_token, permit, also }
        }
        lock_event::Kind::NotAcquired(refused) => {
            let reason = refused.reason().into();
            Event::NotAcquired(Refusal { reason, owner: refused.owner, name: refused.name })
        }
        lock_event::Kind::Lost(lost) => Event::Lost(lost.reason().into()),
        lock_event::Kind::Released(_) => Event::Released,
        lock_event::Kind::Failed(failed) => Event::Failed(failed.into()),
        lock_event::Kind::Queued(_) | lock_event::Kind::Renewed(_) | lock_event::Kind::Draining(_) => return None,
    })
}

/// Reads the permit of a lock that is shared.
pub(super) fn permit(acquired: &proto::Acquired) -> Option<u32> {
    acquired.permit.and_then(|permit| u32::try_from(permit).ok())
}

impl From<proto::not_acquired::Reason> for RefusalReason {
    fn from(reason: proto::not_acquired::Reason) -> RefusalReason {
        use proto::not_acquired::Reason;
        match reason {
            Reason::Held => RefusalReason::Held,
            Reason::Lingering => RefusalReason::Lingering,
            Reason::MaxWait => RefusalReason::MaxWait,
            Reason::NotReattachable => RefusalReason::NotReattachable,
            Reason::Cancelled => RefusalReason::Cancelled,
            Reason::Unspecified => RefusalReason::Unknown,
        }
    }
}

impl From<proto::lost::Reason> for LostReason {
    fn from(reason: proto::lost::Reason) -> LostReason {
        match reason {
            proto::lost::Reason::Gone => LostReason::Gone,
            proto::lost::Reason::TakenOver => LostReason::TakenOver,
            proto::lost::Reason::Revoked => LostReason::Revoked,
            proto::lost::Reason::Expired | proto::lost::Reason::Unspecified => LostReason::Expired,
        }
    }
}

impl From<proto::Failed> for Failure {
    fn from(failed: proto::Failed) -> Failure {
        Failure {
            code: Code::from(failed.code).into(),
            retry_after: failed.retry_after.as_ref().and_then(from_wire),
            message: failed.message,
            reason: failed.reason,
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Failure {
        let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Failure {
            code: status.code().into(),
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason).unwrap_or_default(),
            retry_after: retry,
        }
    }
}

impl From<Code> for core::Code {
    fn from(code: Code) -> core::Code {
        match code {
            Code::InvalidArgument => core::Code::InvalidArgument,
            Code::PermissionDenied => core::Code::PermissionDenied,
            Code::Unauthenticated => core::Code::Unauthenticated,
            Code::Unimplemented => core::Code::Unimplemented,
            // Nobody has answered in time; which side's time it was makes no difference.
            Code::Unavailable | Code::DeadlineExceeded => core::Code::Unavailable,
            Code::ResourceExhausted => core::Code::ResourceExhausted,
            other => core::Code::Other(other.into()),
        }
    }
}
