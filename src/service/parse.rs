//! Converts requests from the wire to the domain. Refuses what is malformed or beyond a limit, with the field and the
//! limit, before it reaches the store.

use std::time::Duration;

use tonic::Status;
use tonic_types::ErrorDetails;
use uuid::Uuid;

use super::reply;
use crate::broker::{Access, LockRequest, MOST_TOGETHER, Mode, OnDisconnect, Settings};
use crate::client::ErrorReason;
use crate::lock::{
    Etag, LeaseId, LockId, LockName, LockValue, MAX_LINGER, MAX_MIN_HOLD, MAX_PERMITS, MIN_TTL, Owner, Permit,
};
use crate::proto::{AcquireLeaseRequest, AcquireRequest, AlsoLock, BeginLock, LockSpec, WaitAcquireRequest, WaitSpec};
use crate::store::MOST_LISTED;

/// The wait from which on a request waits until its client leaves.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The seconds beyond which protobuf allows no duration: 10,000 years.
const MOST_SECONDS: i64 = 315_576_000_000;
const SHORTEST_POLL: Duration = Duration::from_millis(1);
const LONGEST_POLL: Duration = Duration::from_secs(3600);
/// The most bytes that several locks may take in a message, which may have 4 KiB.
const MAX_TOGETHER_BYTES: usize = 4_000;
/// The bytes that one of several takes there beside its name and its owner: its lock id, its linger, and what frames them.
const BESIDE_TEXTS: usize = 80;
/// The longest wait for a lease: a call that takes longer is cut off by many a proxy.
pub(crate) const LONGEST_LEASE_WAIT: Duration = Duration::from_secs(30);

/// Makes INVALID_ARGUMENT for this field, named by its path from the request.
pub(crate) fn invalid(field: impl Into<String>, why: impl std::fmt::Display) -> Status {
    let field = field.into();
    let message = format!("{field}: {why}");
    let details = ErrorDetails::with_bad_request_violation(field, why.to_string());
    reply::with_details(ErrorReason::InvalidField, message, None, details)
}

pub(super) fn name(text: &str, field: &str) -> Result<LockName, Status> {
    LockName::new(text).map_err(|why| invalid(field, why))
}

/// Checks the beginning of names: it is empty, or as a name may be.
pub(super) fn prefix(text: &str, field: &str) -> Result<(), Status> {
    if text.is_empty() { Ok(()) } else { name(text, field).map(drop) }
}

/// Reads the most entries that a list may have; unset, as many as a list can.
pub(super) fn limit(sent: i32, field: &str) -> Result<usize, Status> {
    match usize::try_from(sent) {
        Ok(0) => Ok(MOST_LISTED),
        Ok(limit @ 1..=MOST_LISTED) => Ok(limit),
        _ => Err(invalid(field, format!("is {sent}; it may be 1 to {MOST_LISTED}"))),
    }
}

/// Reads an etag, if it is set.
pub(super) fn etag(text: &str, field: &str) -> Result<Option<Etag>, Status> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|why| invalid(field, why)) }
}

/// Reads the number of a permit, if it is set.
pub(super) fn permit(sent: Option<i32>, field: &str) -> Result<Option<Permit>, Status> {
    let Some(sent) = sent else { return Ok(None) };
    let permit = u16::try_from(sent).ok().and_then(Permit::new);
    permit.map(Some).ok_or_else(|| invalid(field, format!("is {sent}; it may be 0 to {}", MAX_PERMITS - 1)))
}

/// Reads a holder's value.
pub(super) fn value(bytes: &[u8], field: &str) -> Result<LockValue, Status> {
    LockValue::new(bytes).map_err(|why| invalid(field, why))
}

/// Reads the id of a lock, or of a lease, which has that of its lock.
pub(super) fn lock_id(text: &str, field: &str) -> Result<LockId, Status> {
    match text.parse::<LeaseId>() {
        Ok(lease) => Ok(lease.lock),
        Err(_) => text.parse().map_err(|why| invalid(field, why)),
    }
}

/// Reads a request id, if it is set. One that is made of something, as of a job's name, would give two callers one lease.
fn request_id(text: &str, field: &str) -> Result<Option<Uuid>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_fresh = |uuid: &Uuid| matches!(uuid.get_version_num(), 4 | 7);
    let uuid = Uuid::try_parse(text).ok().filter(is_fresh);
    let why =
        "is no random UUID (version 4 or 7); make a new one for each lease, and send it again only to repeat the call";
    uuid.map(Some).ok_or_else(|| invalid(field, why))
}

/// Reads a duration as it was sent, rounded up to whole milliseconds.
fn duration(sent: prost_types::Duration, field: &str) -> Result<Duration, Status> {
    if sent.seconds > MOST_SECONDS {
        return Err(invalid(field, format!("has {} s, and a duration at most {MOST_SECONDS} s", sent.seconds)));
    }
    let prost_types::Duration { seconds, nanos } = sent;
    if nanos.unsigned_abs() > 999_999_999 {
        return Err(invalid(
            field,
            format!("has {nanos} nanos, and a duration at most 999999999; the rest are seconds"),
        ));
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return Err(invalid(field, "must not be negative, neither in seconds nor in nanos"));
    };
    Ok(Duration::from_secs(seconds) + Duration::from_millis(u64::from(nanos.div_ceil(1_000_000))))
}

/// Reads the longest wait; none is for ever. Any length is taken, also beyond what protobuf allows.
fn max_wait(sent: prost_types::Duration, field: &str) -> Result<Option<Duration>, Status> {
    let seconds = sent.seconds.min(MOST_SECONDS);
    let wait = duration(prost_types::Duration { seconds, ..sent }, field)?;
    Ok((wait < FOR_EVER).then_some(wait))
}

fn within(span: Duration, least: Duration, most: Duration, field: &str) -> Result<Duration, Status> {
    if span < least || span > most {
        // No time at all would be written in nanoseconds.
        let least = if least.is_zero() { "0s".to_owned() } else { format!("{least:?}") };
        return Err(invalid(field, format!("is {span:?}; it may be {least} to {most:?}")));
    }
    Ok(span)
}

/// The limits that the broker's settings place on requests.
pub(super) struct Limits {
    default_ttl: Duration,
    max_ttl: Duration,
}

impl Limits {
    pub(super) fn of(settings: &Settings) -> Limits {
        let &Settings { default_ttl, max_ttl, .. } = settings;
        Limits { default_ttl, max_ttl }
    }

    pub(super) fn acquire(&self, request: AcquireRequest) -> Result<LockRequest, Status> {
        let AcquireRequest { lock, ttl, reattach_lock_id } = request;
        let ttl = self.ttl(ttl, "ttl")?;
        let mode = match reattach_lock_id.as_str() {
            "" => Mode::Once,
            text => Mode::Reattach(lock_id(text, "reattach_lock_id")?),
        };
        of_weight_1(ask(lock, ttl, mode, "lock")?)
    }

    pub(super) fn wait_acquire(&self, request: WaitAcquireRequest) -> Result<LockRequest, Status> {
        let WaitAcquireRequest { lock, ttl, wait } = request;
        let ttl = self.ttl(ttl, "ttl")?;
        of_weight_1(ask(lock, ttl, self.wait(wait.unwrap_or_default(), "wait")?, "lock")?)
    }

    /// Converts a request for a lease, and its request id.
    pub(super) fn lease(&self, request: AcquireLeaseRequest) -> Result<(LockRequest, Option<Uuid>), Status> {
        let AcquireLeaseRequest { lock, ttl, wait, request_id } = request;
        let request_id = self::request_id(&request_id, "request_id")?;
        let ttl = self.ttl(ttl, "ttl")?;
        let mode = match wait.map(|wait| self.wait(wait, "wait")).transpose()? {
            None => Mode::Once,
            Some(Mode::Wait { max_wait, poll_interval }) => {
                let max_wait = max_wait.unwrap_or(LONGEST_LEASE_WAIT);
                let max_wait = Some(within(max_wait, Duration::ZERO, LONGEST_LEASE_WAIT, "wait.max_wait")?);
                Mode::Wait { max_wait, poll_interval }
            }
            Some(mode) => mode,
        };
        let request = of_weight_1(ask(lock, ttl, mode, "lock")?)?;
        if request.on_disconnect == OnDisconnect::Keep {
            let why = "is ON_DISCONNECT_KEEP; a lease has no stream that could end";
            return Err(invalid("lock.on_disconnect", why));
        }
        if request.value.is_some() {
            let why = "is set; a lease has none, since no broker keeps it in the store";
            return Err(invalid("lock.value", why));
        }
        Ok((request, request_id))
    }

    /// Reads the id of a lease, with which it can be renewed.
    pub(super) fn lease_id(&self, text: &str, field: &str) -> Result<LeaseId, Status> {
        let lease: LeaseId = text.parse().map_err(|_| match text.parse::<LockId>() {
            Ok(_) => {
                invalid(field, "is that of a lock on a stream, which renews it; RenewLease takes ids of AcquireLease")
            }
            Err(_) => invalid(field, "is no lease id: those come from AcquireLease, and end with `t` and 8 digits"),
        })?;
        within(lease.ttl, MIN_TTL, self.max_ttl, field)?;
        Ok(lease)
    }

    /// Converts a `BeginLock` for one lock or several of a Session whose ttl is `ttl`.
    pub(super) fn begin(&self, mut request: BeginLock, ttl: Duration) -> Result<Wanted, Status> {
        let also = std::mem::take(&mut request.also);
        let first = self.begin_one(request, ttl)?;
        match first.access {
            Access::Shared { weight: 2.., .. } if !also.is_empty() => {
                Err(invalid("begin.lock.weight", "is above 1; only one lock, without begin.also, has a weight"))
            }
            Access::Shared { limit, weight: weight @ 2.. } => {
                several_permits(first, limit, weight).map(Wanted::Together)
            }
            _ if also.is_empty() => Ok(Wanted::One(first)),
            _ => self.begin_together(first, also, ttl).map(Wanted::Together),
        }
    }

    /// Converts the other locks that are wanted together with the first.
    fn begin_together(
        &self,
        first: LockRequest,
        also: Vec<AlsoLock>,
        ttl: Duration,
    ) -> Result<Vec<LockRequest>, Status> {
        if also.len() >= MOST_TOGETHER {
            let why = format!("has {} locks; it may have {}, beside begin.lock", also.len(), MOST_TOGETHER - 1);
            return Err(invalid("begin.also", why));
        }
        let mut requests = vec![first];
        for (AlsoLock { lock, reattach_lock_id }, index) in also.into_iter().zip(0..) {
            let field = format!("begin.also[{index}].reattach_lock_id");
            let mode = match (requests[0].mode, reattach_lock_id.as_str()) {
                (Mode::Reattach(_), "") => return Err(invalid(field, "must be set where begin.reattach_lock_id is")),
                (Mode::Reattach(_), text) => Mode::Reattach(lock_id(text, &field)?),
                (mode, "") => mode,
                (_, _) => return Err(invalid(field, "must be unset where begin.reattach_lock_id is")),
            };
            let request = ask(lock, ttl, mode, &format!("begin.also[{index}].lock"))?;
            if has_weight(&request) {
                let why = "is above 1; only one lock, without begin.also, has a weight";
                return Err(invalid(format!("begin.also[{index}].lock.weight"), why));
            }
            if requests.iter().any(|other| other.name == request.name && permit_of(other) == permit_of(&request)) {
                let why = format!("is {:?}, which another lock of this request has too", request.name.as_str());
                return Err(invalid(format!("begin.also[{index}].lock.name"), why));
            }
            requests.push(request);
        }
        fit_in_a_message(&requests, "begin.also")?;
        let alone = "must be empty where a lock has a min_hold or a value: those are for one lock alone";
        match requests.iter().any(is_for_one_alone) {
            true => Err(invalid("begin.also", alone)),
            false => Ok(requests),
        }
    }

    /// Converts a `BeginLock` for one lock of a Session whose ttl is `ttl`.
    fn begin_one(&self, request: BeginLock, ttl: Duration) -> Result<LockRequest, Status> {
        let BeginLock { lock, wait, reattach_lock_id, .. } = request;
        let mode = match (reattach_lock_id.as_str(), wait) {
            ("", None) => Mode::Once,
            ("", Some(wait)) => self.wait(wait, "begin.wait")?,
            (text, None) => Mode::Reattach(lock_id(text, "begin.reattach_lock_id")?),
            (_, Some(_)) => return Err(invalid("begin.wait", "must be unset where reattach_lock_id is set")),
        };
        ask(lock, ttl, mode, "begin.lock")
    }

    pub(super) fn ttl(&self, sent: Option<prost_types::Duration>, field: &str) -> Result<Duration, Status> {
        match sent {
            None => Ok(self.default_ttl),
            Some(sent) => within(duration(sent, field)?, MIN_TTL, self.max_ttl, field),
        }
    }

    fn wait(&self, spec: WaitSpec, path: &str) -> Result<Mode, Status> {
        let max_wait = spec.max_wait.map(|sent| max_wait(sent, &format!("{path}.max_wait")));
        let poll_interval = spec.poll_interval.map(|sent| {
            let field = format!("{path}.poll_interval");
            within(duration(sent, &field)?, SHORTEST_POLL, LONGEST_POLL, &field)
        });
        Ok(Mode::Wait { max_wait: max_wait.transpose()?.flatten(), poll_interval: poll_interval.transpose()? })
    }
}

/// A request for locks on a Session.
#[derive(Debug)]
pub(super) enum Wanted {
    /// For one. Most are, and no list is made for it.
    One(LockRequest),
    /// For several together, in their order.
    Together(Vec<LockRequest>),
}

impl Wanted {
    /// Returns the requests that it is made of.
    pub(super) fn requests_mut(&mut self) -> &mut [LockRequest] {
        match self {
            Wanted::One(request) => std::slice::from_mut(request),
            Wanted::Together(requests) => requests,
        }
    }
}

fn has_weight(request: &LockRequest) -> bool {
    matches!(request.access, Access::Shared { weight: 2.., .. })
}

/// Returns the permit that a reattach names.
fn permit_of(request: &LockRequest) -> Option<Permit> {
    if let Mode::Reattach(lock_id) = request.mode { lock_id.permit } else { None }
}

fn is_for_one_alone(request: &LockRequest) -> bool {
    !request.min_hold.is_zero() || request.value.is_some()
}

/// Refuses a weight where a lock has a stream of its own, or none: there is one lock id.
fn of_weight_1(request: LockRequest) -> Result<LockRequest, Status> {
    match has_weight(&request) {
        true => Err(invalid("lock.weight", "is above 1; only a Session takes several permits at once")),
        false => Ok(request),
    }
}

/// Checks that the client can name all of them again, with their ids: a message that is too long would end its Session.
fn fit_in_a_message(requests: &[LockRequest], field: &str) -> Result<(), Status> {
    let bytes = requests.iter().map(|it| it.name.as_str().len() + it.owner.as_str().len() + BESIDE_TEXTS);
    if bytes.sum::<usize>() > MAX_TOGETHER_BYTES {
        let why =
            "has names and owners that are too long together: with their lock ids they would not fit in one message";
        return Err(invalid(field, why));
    }
    Ok(())
}

/// Makes the requests for the permits of one lock: the first is for all of them.
fn several_permits(first: LockRequest, limit: u16, weight: u8) -> Result<Vec<LockRequest>, Status> {
    if is_for_one_alone(&first) {
        return Err(invalid("begin.lock.weight", "is above 1, and there is a min_hold: that is for one permit alone"));
    }
    let other = LockRequest { access: Access::Shared { limit, weight: 1 }, ..first.clone() };
    let mut requests = vec![other; weight.into()];
    requests[0] = first;
    fit_in_a_message(&requests, "begin.lock.weight")?;
    Ok(requests)
}

fn ask(spec: Option<LockSpec>, ttl: Duration, mode: Mode, path: &str) -> Result<LockRequest, Status> {
    let spec = spec.unwrap_or_default();
    let on_disconnect = on_disconnect(&spec, path)?;
    let access = access(&spec, &mode, path)?;
    let LockSpec { name: text, linger, owner, min_hold, value, .. } = spec;
    let value = value.map(|value| self::value(&value, &format!("{path}.value"))).transpose()?;
    if value.is_some() && access != Access::Alone {
        return Err(invalid(
            format!("{path}.value"),
            "is set, and the mode is MODE_SHARED: only an exclusive lock has one",
        ));
    }
    let up_to = |sent: Option<prost_types::Duration>, most, field| {
        let field = format!("{path}.{field}");
        sent.map_or(Ok(Duration::ZERO), |sent| within(duration(sent, &field)?, Duration::ZERO, most, &field))
    };
    Ok(LockRequest {
        name: LockName::new(&text).map_err(|why| invalid(format!("{path}.name"), why))?,
        ttl,
        linger: up_to(linger, MAX_LINGER, "linger")?,
        min_hold: up_to(min_hold, MAX_MIN_HOLD, "min_hold")?,
        owner: Owner::new(&owner).map_err(|why| invalid(format!("{path}.owner"), why))?,
        value,
        access,
        mode,
        account: None,
        on_disconnect,
    })
}

fn on_disconnect(spec: &LockSpec, path: &str) -> Result<OnDisconnect, Status> {
    use crate::proto::lock_spec::OnDisconnect as Wire;
    match Wire::try_from(spec.on_disconnect) {
        Ok(Wire::Unspecified | Wire::Release) => Ok(OnDisconnect::Release),
        Ok(Wire::Keep) => Ok(OnDisconnect::Keep),
        Err(_) => {
            let why =
                format!("is {}; it may be ON_DISCONNECT_RELEASE (1) or ON_DISCONNECT_KEEP (2)", spec.on_disconnect);
            Err(invalid(format!("{path}.on_disconnect"), why))
        }
    }
}

/// Reads with whom a lock is shared. Refuses what a reattach cannot bring about.
fn access(spec: &LockSpec, how: &Mode, path: &str) -> Result<Access, Status> {
    use crate::proto::lock_spec::Mode as Wire;
    let &LockSpec { mode, limit, weight, .. } = spec;
    let reattached = if let Mode::Reattach(lock_id) = how { Some(lock_id) } else { None };
    let only_shared = |field: &str, sent| {
        let why = format!("is {sent}, and the mode is not MODE_SHARED: only that has a {field}");
        Err(invalid(format!("{path}.{field}"), why))
    };
    match Wire::try_from(mode) {
        Ok(Wire::Exclusive) if reattached.is_some_and(|lock_id| lock_id.permit.is_some()) => {
            let why = "is MODE_EXCLUSIVE, and the lock id that is reattached is that of a shared lock: release that, and ask for the lock anew";
            Err(invalid(format!("{path}.mode"), why))
        }
        Ok(Wire::Unspecified | Wire::Exclusive) if limit != 0 => only_shared("limit", limit),
        Ok(Wire::Unspecified | Wire::Exclusive) if weight != 0 => only_shared("weight", weight),
        Ok(Wire::Unspecified | Wire::Exclusive) => Ok(Access::Alone),
        Ok(Wire::Shared) if reattached.is_some_and(|id| id.permit.is_none() && !id.min_hold.is_zero()) => {
            let why = "is MODE_SHARED, and the lock that is reattached has a min_hold: nobody else has it before that is over";
            Err(invalid(format!("{path}.mode"), why))
        }
        Ok(Wire::Shared) => shared(limit, weight, reattached.is_some(), path),
        Err(_) => {
            let why = format!("is {mode}; it may be MODE_EXCLUSIVE (1) or MODE_SHARED (2)");
            Err(invalid(format!("{path}.mode"), why))
        }
    }
}

/// Reads among how many a lock is shared, and how many permits are wanted.
fn shared(limit: i32, weight: i32, is_reattach: bool, path: &str) -> Result<Access, Status> {
    let refuse = |field, why: String| Err(invalid(format!("{path}.{field}"), why));
    let limit = match u16::try_from(limit) {
        Ok(0) => MAX_PERMITS,
        Ok(limit @ 1..=MAX_PERMITS) => limit,
        _ => return refuse("limit", format!("is {limit}; it may be 1 to {MAX_PERMITS}")),
    };
    let most = limit.min(MOST_TOGETHER as u16) as u8;
    match u8::try_from(weight) {
        Ok(2..) if is_reattach => {
            refuse("weight", format!("is {weight}; a reattach names each permit by its lock id, and has none"))
        }
        Ok(0) => Ok(Access::Shared { limit, weight: 1 }),
        Ok(weight) if weight <= most => Ok(Access::Shared { limit, weight }),
        _ => refuse("weight", format!("is {weight}; it may be 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    const LIMITS: Limits = Limits { default_ttl: Duration::from_secs(15), max_ttl: Duration::from_secs(60) };

    fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    fn spec(name: &str) -> Option<LockSpec> {
        Some(LockSpec { name: name.into(), ..LockSpec::default() })
    }

    /// Returns the field for which a request was refused.
    fn field<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
        let status = result.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert!(status.message().starts_with(&violations[0].field), "{}", status.message());
        violations[0].field.clone()
    }

    #[test]
    fn every_field_is_turned_back_by_its_path() {
        let acquire = |request| field(LIMITS.acquire(request));
        let wait = |request| field(LIMITS.wait_acquire(request));
        let begin = |request| field(LIMITS.begin(request, Duration::from_secs(15)));
        assert_eq!(acquire(AcquireRequest::default()), "lock.name");
        assert_eq!(acquire(AcquireRequest { lock: spec("a"), ttl: span(4, 999_000_000), ..Default::default() }), "ttl");
        assert_eq!(acquire(AcquireRequest { lock: spec("a"), ttl: span(60, 1), ..Default::default() }), "ttl");
        assert_eq!(acquire(AcquireRequest { lock: spec("a"), ttl: span(0, 0), ..Default::default() }), "ttl");
        assert_eq!(
            acquire(AcquireRequest { lock: spec("a"), reattach_lock_id: "x".into(), ..Default::default() }),
            "reattach_lock_id"
        );
        let owner = LockSpec { name: "a".into(), owner: "o".repeat(129), ..LockSpec::default() };
        assert_eq!(acquire(AcquireRequest { lock: Some(owner), ..Default::default() }), "lock.owner");
        for linger in [span(-1, 0), span(0, -1), span(3600, 1), span(i64::MAX, 0)] {
            let lock = LockSpec { name: "a".into(), linger, ..LockSpec::default() };
            assert_eq!(acquire(AcquireRequest { lock: Some(lock), ..Default::default() }), "lock.linger");
            let lock = LockSpec { name: "a".into(), min_hold: linger, ..LockSpec::default() };
            assert_eq!(acquire(AcquireRequest { lock: Some(lock), ..Default::default() }), "lock.min_hold");
        }
        for (mode, limit, field) in
            [(0, 1, "limit"), (1, 2, "limit"), (2, -1, "limit"), (2, 4097, "limit"), (3, 0, "mode")]
        {
            let lock = LockSpec { name: "a".into(), mode, limit, ..LockSpec::default() };
            assert_eq!(acquire(AcquireRequest { lock: Some(lock), ..Default::default() }), format!("lock.{field}"));
        }
        let spec_of = |max_wait, poll_interval| Some(WaitSpec { max_wait, poll_interval });
        let waits = |wait| WaitAcquireRequest { lock: spec("a"), wait, ttl: None };
        assert_eq!(wait(waits(spec_of(span(-1, 0), None))), "wait.max_wait");
        // Protobuf forbids these.
        for forbidden in [(1, -1), (-1, 1), (6, 1_000_000_000), (0, i32::MAX), (0, i32::MIN), (i64::MIN, i32::MIN)] {
            let ttl = span(forbidden.0, forbidden.1);
            assert_eq!(acquire(AcquireRequest { lock: spec("a"), ttl, ..Default::default() }), "ttl");
            let lock = LockSpec { name: "a".into(), linger: ttl, ..LockSpec::default() };
            assert_eq!(acquire(AcquireRequest { lock: Some(lock), ..Default::default() }), "lock.linger");
            assert_eq!(wait(waits(spec_of(ttl, None))), "wait.max_wait");
            assert_eq!(wait(waits(spec_of(None, ttl))), "wait.poll_interval");
        }
        let beyond = span(MOST_SECONDS + 1, 0);
        let status = LIMITS.ttl(beyond, "ttl").unwrap_err();
        assert!(status.message().contains("315576000000"), "{}", status.message());
        assert_eq!(wait(waits(spec_of(None, span(0, 0)))), "wait.poll_interval");
        assert_eq!(begin(BeginLock { lock: spec("\n"), ..Default::default() }), "begin.lock.name");
        let both = BeginLock {
            lock: spec("a"),
            wait: spec_of(None, None),
            reattach_lock_id: "x".into(),
            ..Default::default()
        };
        assert_eq!(begin(both), "begin.wait");
    }

    #[test]
    fn locks_are_shared_by_as_many_as_is_said() {
        for (mode, limit, access) in [
            (0, 0, Access::Alone),
            (1, 0, Access::Alone),
            (2, 0, Access::Shared { limit: 4096, weight: 1 }),
            (2, 1, Access::Shared { limit: 1, weight: 1 }),
            (2, 4096, Access::Shared { limit: 4096, weight: 1 }),
        ] {
            let lock = Some(LockSpec { name: "a".into(), mode, limit, ..LockSpec::default() });
            let request = LIMITS.acquire(AcquireRequest { lock, ..Default::default() }).unwrap();
            assert_eq!(request.access, access);
        }
        for (sent, read) in [(None, None), (Some(0), Permit::new(0)), (Some(4095), Permit::new(4095))] {
            assert_eq!(permit(sent, "permit").unwrap(), read);
        }
        for sent in [-1, 4096, i32::MAX] {
            assert!(permit(Some(sent), "permit").unwrap_err().message().contains("0 to 4095"));
        }
    }

    #[test]
    fn a_wait_may_be_of_any_length() {
        let day = 24 * 3600;
        for (seconds, nanos, for_ever) in [
            (364 * day, 999_999_999, false),
            (365 * day, 0, true),
            (MOST_SECONDS, 999_999_999, true),
            (i64::MAX / 1_000, 807_000_000, true),
            (i64::MAX, 999_999_999, true),
        ] {
            let wait = Some(WaitSpec { max_wait: span(seconds, nanos), poll_interval: None });
            let ask = LIMITS.wait_acquire(WaitAcquireRequest { lock: spec("a"), ttl: None, wait }).unwrap();
            let Mode::Wait { max_wait, .. } = ask.mode else { panic!("it waits") };
            assert_eq!(max_wait.is_none(), for_ever, "{seconds} s");
        }
    }

    #[test]
    fn what_is_not_set_takes_its_default_and_what_is_set_its_word() {
        let ask = LIMITS.wait_acquire(WaitAcquireRequest { lock: spec("a"), ttl: None, wait: None }).unwrap();
        assert_eq!(ask.ttl, Duration::from_secs(15));
        assert!(matches!(ask.mode, Mode::Wait { max_wait: None, poll_interval: None }));
        let wait = Some(WaitSpec { max_wait: span(0, 0), poll_interval: span(0, 1) });
        let ask = LIMITS.wait_acquire(WaitAcquireRequest { lock: spec("a"), ttl: span(5, 0), wait }).unwrap();
        assert_eq!(ask.ttl, Duration::from_secs(5));
        let expected = Duration::from_millis(1);
        assert!(matches!(
            ask.mode,
            Mode::Wait { max_wait: Some(Duration::ZERO), poll_interval } if poll_interval == Some(expected)
        ));
    }
}
