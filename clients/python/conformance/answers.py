"""The testee's lines: what it answers, and how it says so."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, Protocol

import lockbroker
from lockbroker._lock import BaseLock

Answer = dict[str, Any]

_KINDS: dict[type[Exception], str] = {
    lockbroker.Invalid: "INVALID",
    lockbroker.Denied: "DENIED",
    lockbroker.Unavailable: "UNAVAILABLE",
    lockbroker.Exhausted: "EXHAUSTED",
    lockbroker.HandshakeError: "HANDSHAKE",
    lockbroker.ProtocolError: "PROTOCOL",
    lockbroker.ClientClosed: "CLOSED",
    lockbroker.EndpointError: "ENDPOINT",
    lockbroker.TlsError: "TLS",
}
OVER = (lockbroker.LostReason.ENDED, lockbroker.LostReason.FORKED)
"""The reasons of locks that were not lost: there is nothing left to release here."""
_mutex = threading.Lock()


class Cancelled(BaseException):
    """The driver cancels the call."""


class Failed(Exception):
    """The driver has a scope fail."""


class Guard(Protocol):
    """A lock of threads or of tasks."""

    @property
    def fencing_token(self) -> int | None: ...
    @property
    def lock_id(self) -> str: ...
    @property
    def permit(self) -> int | None: ...
    def remaining(self) -> float: ...
    def check(self) -> None: ...


def say(**line: Any) -> None:
    """Writes a line."""
    with _mutex:
        print(json.dumps(line), flush=True)


def granted(lock: Guard) -> Answer:
    """Answers with a lock that was acquired, or with a lease."""
    also = lock.locks[1:] if isinstance(lock, BaseLock) else ()
    told = [{"name": other.name, **_grant(other)} for other in also]
    return {"granted": {**_grant(lock), **({"also": told} if told else {})}}


def _grant(lock: Guard | lockbroker.HeldLock) -> Answer:
    permit = {} if lock.permit is None else {"permit": lock.permit}
    return {"token": lock.fencing_token, "lock_id": lock.lock_id, **permit}


def downgraded(lock: Guard) -> Answer:
    """Answers with a lock that is shared from now on."""
    return {"downgraded": _grant(lock)}


def checked(lock: Guard) -> Answer:
    """Asks a lock if it is held."""
    try:
        lock.check()
    except lockbroker.LockbrokerError as error:
        return failed(error)
    return {"held": {"remaining_ms": int(lock.remaining() * 1000)}}


def renewed(lease: Guard) -> Answer:
    """Answers with a lease that was renewed."""
    return {"renewed": {"remaining_ms": int(lease.remaining() * 1000)}}


def observed(name: str, seen: lockbroker.Observed) -> Answer:
    """Tells a state of a lock that is observed by that name."""
    value = None if seen.value is None else seen.value.decode()
    told = {"state": seen.state.name, "owner": seen.owner, "value": value, "token": seen.fencing_token}
    return {"notice": "seen", "as": name, **told}


def info(found: lockbroker.LockInfo) -> Answer:
    """Answers with a lock as others see it."""
    return {
        "held": found.state is lockbroker.LockState.HELD,
        "state": found.state.name,
        "owner": found.owner,
        "token": found.fencing_token,
        "held_ms": None if found.held_for is None else round(found.held_for * 1000),
        "etag": found.etag,
        "shared_count": found.shared_count,
    }


def failed(error: BaseException, several: bool = False) -> Answer:
    """Answers with what was raised instead of an answer. `several`: more than one lock was asked for."""
    if isinstance(error, lockbroker.NotAcquired):
        lock = {"lock": error.lock} if several else {}
        return {"not_acquired": {"reason": error.reason.name, "owner": error.owner, **lock}}
    if isinstance(error, lockbroker.Lost):
        return {"lost": {"reason": error.reason.name}}
    if isinstance(error, Cancelled):
        return {"cancelled": True}
    if not isinstance(error, lockbroker.LockbrokerError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    kind = next((kind for type, kind in _KINDS.items() if isinstance(error, type)), "UNEXPECTED")
    return {"error": {"kind": kind, "message": str(error)}}


def options(
    linger_ms: int | None = None,
    owner: str | None = None,
    poll_ms: int | None = None,
    wait_ms: int | None = None,
    keep: bool = False,
    min_hold_ms: int | None = None,
    shared: bool = False,
    limit: int | None = None,
    also: list[str] | None = None,
    value: str | None = None,
    weight: int | None = None,
) -> dict[str, Any]:
    """Returns the arguments of `lock`."""
    return {
        "wait": seconds(wait_ms),
        "linger": seconds(linger_ms),
        "owner": owner,
        "poll_interval": seconds(poll_ms),
        "keep_on_disconnect": bool(keep),
        "min_hold": seconds(min_hold_ms),
        "shared": bool(shared),
        "limit": limit,
        "also": also or (),
        "value": value,
        "weight": weight,
    }


def lease_options(
    ttl_ms: int | None = None,
    wait_ms: int | None = None,
    linger_ms: int | None = None,
    min_hold_ms: int | None = None,
    owner: str | None = None,
    shared: bool = False,
    limit: int | None = None,
) -> dict[str, Any]:
    """Returns the arguments of `lease`."""
    return {
        "ttl": seconds(ttl_ms),
        "wait": (wait_ms or 0) / 1000,
        "linger": seconds(linger_ms),
        "min_hold": seconds(min_hold_ms),
        "owner": owner,
        "shared": bool(shared),
        "limit": limit,
    }


def seconds(milliseconds: int | None) -> float | None:
    """Returns a time as the client takes it."""
    return None if milliseconds is None else milliseconds / 1000
