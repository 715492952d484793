"""Converts between the core's words and the wire's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Union

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from . import _proto as pb
from ._core import types as t
from .errors import DOMAIN

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

FAR = (2**32 - 1) * t.SECOND
"""A span longer than anybody needs."""

Seconds = Union[float, timedelta]
"""A span as users write it: seconds, or a timedelta."""


def nanos(span: Seconds) -> int:
    """Reads a user's span. One that is too long becomes the longest; what else is wrong, the broker says."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if seconds != seconds:
        raise ValueError("a span of NaN seconds")
    return round(max(min(seconds, FAR / t.SECOND), -FAR / t.SECOND) * t.SECOND)


def to_wire(span: int | None) -> dict[str, int] | None:
    """Writes a span in whole milliseconds, rounded up, as everywhere on the wire."""
    if span is None:
        return None
    # A negative one has both parts negative.
    millis = abs(-(-span // t.MILLISECOND))
    sign = -1 if span < 0 else 1
    return {"seconds": sign * (millis // 1_000), "nanos": sign * (millis % 1_000 * t.MILLISECOND)}


def from_wire(span: Duration) -> int | None:
    """Reads a span. Returns none if it is negative, and at most `FAR`."""
    nanos = span.seconds * t.SECOND + span.nanos
    return None if nanos < 0 else min(nanos, FAR)


def request(output: t.Open | t.Heartbeat | t.Begin | t.EndLock, ttl: int | None) -> pb.SessionRequest:
    """Writes a message to a broker. `ttl` is that of `open`; none for the broker's default."""
    match output:
        case t.Open():
            return pb.SessionRequest(open={"ttl": to_wire(ttl)})
        case t.Heartbeat(_, seq):
            return pb.SessionRequest(heartbeat={"seq": seq})
        case t.EndLock(_, lock_ref):
            return pb.SessionRequest(end={"lock_ref": lock_ref})
        case t.Begin(_, lock_ref, spec, wait, reattach, reattach_also):
            lock = _spec(spec)
            if reattach is None:
                asked = [(name, "") for name in spec.also]
                lock["weight"] = spec.weight if spec.weight > 1 else 0
            else:
                # Each permit is named by its id.
                asked = list(zip(spec.others, reattach_also, strict=True))
            also = [
                {"lock": {**lock, "name": name, "weight": 0}, "reattach_lock_id": lock_id} for name, lock_id in asked
            ]
            begin = {"lock_ref": lock_ref, "lock": lock, "reattach_lock_id": reattach or "", "also": also}
            if wait is not None:
                begin["wait"] = _wait(wait)
            return pb.SessionRequest(begin=begin)


_KEEP = 2
_SHARED = 2


def _spec(spec: t.LockSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "linger": to_wire(spec.linger),
        "owner": spec.owner,
        "min_hold": to_wire(spec.min_hold),
        "on_disconnect": _KEEP if spec.is_kept else 0,
        "mode": _SHARED if spec.is_shared else 0,
        "limit": spec.limit or 0,
        "value": spec.value,
    }


def _wait(wait: t.WaitLeft) -> dict[str, Any]:
    return {"max_wait": to_wire(wait.max_wait), "poll_interval": to_wire(wait.poll_interval)}


def lease_request(spec: t.LockSpec, ttl: int | None, wait: t.WaitLeft | None, id: str) -> pb.AcquireLeaseRequest:
    """Writes the request for a lease. `id` names the call, so that it can be made again."""
    waits = None if wait is None else _wait(wait)
    return pb.AcquireLeaseRequest(lock=_spec(spec), ttl=to_wire(ttl), wait=waits, request_id=id)


def message(message: pb.SessionResponse) -> t.Message | None:
    """Reads a message from a broker. Returns none if it makes no sense."""
    kind = message.WhichOneof("kind")
    if kind == "opened":
        opened = message.opened
        spans = (opened.ttl, opened.expires_after_open, opened.heartbeat_interval)
        ttl, expires_after, interval = (from_wire(span) for span in spans)
        if ttl is None or expires_after is None or not interval or not opened.HasField("ttl"):
            return None
        return t.Opened(ttl, expires_after, interval)
    if kind == "heartbeat_ack":
        ack = message.heartbeat_ack
        expires_after = from_wire(ack.expires_after_heartbeat)
        if expires_after is not None and ack.HasField("expires_after_heartbeat"):
            return t.HeartbeatAck(ack.seq, expires_after, tuple(ack.not_renewed))
    if kind == "event":
        lock_ref, event = message.event.lock_ref, message.event.event
        if lock_ref == 0 and event.WhichOneof("kind") == "draining":
            return t.Draining()
        if known := _event(event):
            return t.LockEvent(lock_ref, known)
    return t.Other()


_REFUSALS = {
    1: t.RefusalReason.HELD,
    2: t.RefusalReason.LINGERING,
    3: t.RefusalReason.MAX_WAIT,
    4: t.RefusalReason.CANCELLED,
    5: t.RefusalReason.NOT_REATTACHABLE,
}
_LOSSES = {2: t.LostReason.GONE, 3: t.LostReason.TAKEN_OVER, 4: t.LostReason.REVOKED}


def refusal(refused: pb.NotAcquired) -> t.Refusal:
    """Reads why a lock was not acquired."""
    return t.Refusal(_REFUSALS.get(refused.reason, t.RefusalReason.UNKNOWN), refused.owner, refused.name)


def loss(lost: pb.Lost) -> t.LostReason:
    """Reads why a lock was lost."""
    return _LOSSES.get(lost.reason, t.LostReason.EXPIRED)


def permit(acquired: pb.Acquired | pb.AlsoAcquired) -> int | None:
    """Reads the permit of a lock that is shared."""
    return acquired.permit if acquired.HasField("permit") else None


def _event(event: pb.LockEvent) -> t.Event | None:
    match event.WhichOneof("kind"):
        case "acquired":
            acquired = event.acquired
            also = tuple(t.Also(other.lock_id, other.fencing_token, permit(other)) for other in acquired.also)
            return t.Acquired(acquired.lock_id, acquired.fencing_token, permit(acquired), also)
        case "not_acquired":
            return t.NotAcquired(refusal(event.not_acquired))
        case "lost":
            return t.LostEvent(loss(event.lost))
        case "released":
            return t.ReleasedEvent()
        case "failed":
            failed = event.failed
            retry_after = from_wire(failed.retry_after) if failed.HasField("retry_after") else None
            return t.FailedEvent(t.Failure(_code(failed.code), failed.message, failed.reason, retry_after))
    return None


def _code(number: int) -> t.Code:
    # Nobody has answered in time; which side's time it was makes no difference.
    if number == t.Code.DEADLINE_EXCEEDED.value:
        return t.Code.UNAVAILABLE
    return t.Code(number) if 1 <= number <= 16 else t.Code.UNKNOWN


def failure(status: grpc.Call) -> t.Failure:
    """Reads a status by which a call has failed."""
    # A mocked or broken call may have none.
    code = status.code() or grpc.StatusCode.UNKNOWN
    reason, retry_after = "", None
    for key, value in status.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            reason, retry_after = _details(value if isinstance(value, bytes) else value.encode())
    return t.Failure(_code(code.value[0]), status.details() or code.name, reason, retry_after)


def _details(details: bytes) -> tuple[str, int | None]:
    """Reads the broker's reason and when to try again, as far as they are told."""
    reason, retry_after = "", None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason
            elif detail.Unpack(retry):
                retry_after = from_wire(retry.retry_delay)
    except DecodeError:
        # They are none of a broker's.
        pass
    return reason, retry_after
