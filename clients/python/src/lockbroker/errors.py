"""The errors, sorted by what the caller may do about them."""

from __future__ import annotations

import enum

from ._core import types as t
from ._core.types import LostReason as LostReason

DOMAIN = "lockbroker"
"""The domain of every `google.rpc.ErrorInfo` of a broker."""


class ErrorReason(str, enum.Enum):
    """The reason of an error, for programs. A reason never changes its meaning; later versions may add some."""

    INVALID_FIELD = "INVALID_FIELD"
    """A field of the request is wrong, and would be again."""
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    """The message is none of this service's."""
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """The message is longer than 4 KiB."""
    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    """The message is compressed by something else than gzip."""
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    """There is no such method."""
    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    """A health check names a service that does not exist."""
    UNKNOWN_CALLER = "UNKNOWN_CALLER"
    """The policy knows nobody by this connection."""
    POLICY_DENIED = "POLICY_DENIED"
    """The policy does not let this caller do that with this name."""
    ORIGIN_REFUSED = "ORIGIN_REFUSED"
    """Over HTTP: a web page of another site asks, or for a host that is not known."""
    BROKER_DRAINING = "BROKER_DRAINING"
    """The broker is going away. Ask another one."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The store did not answer, or not in time."""
    STORE_QUARANTINED = "STORE_QUARANTINED"
    """The store has lost its memory and grants nothing until every lock that went with it is over."""
    STORE_REFUSED = "STORE_REFUSED"
    """The broker does not use the store until the operator mends it."""
    STORE_FULL = "STORE_FULL"
    """The store has no memory for another lock."""
    MAX_LOCKS = "MAX_LOCKS"
    """The broker holds as many locks as it may."""
    MAX_WAITERS = "MAX_WAITERS"
    """As many wait at the broker as may."""
    MAX_OBSERVERS = "MAX_OBSERVERS"
    """As many streams observe locks at the broker as may."""
    MAX_CONCURRENT_RPCS = "MAX_CONCURRENT_RPCS"
    """As many calls are under way as may be."""
    MAX_STREAMS = "MAX_STREAMS"
    """As many streams are open as may be."""
    QUOTA_LOCKS = "QUOTA_LOCKS"
    """The caller has as many locks here as its quota allows."""
    QUOTA_WAITERS = "QUOTA_WAITERS"
    """As many of the caller's requests wait here as its quota allows."""
    QUOTA_OBSERVERS = "QUOTA_OBSERVERS"
    """As many of the caller's streams observe locks here as its quota allows."""
    QUOTA_RATE = "QUOTA_RATE"
    """The caller asks more often than its quota allows."""
    REQUEST_INCOMPLETE = "REQUEST_INCOMPLETE"
    """The request did not come whole in time."""
    DEADLINE_OVER = "DEADLINE_OVER"
    """The call's deadline is over."""
    LOST_EXPIRED = "LOST_EXPIRED"
    """The lock is lost: no renewal got through in time."""
    LOST_GONE = "LOST_GONE"
    """The lock is lost: the store no longer has the grant."""
    LOST_TAKEN_OVER = "LOST_TAKEN_OVER"
    """The lock is lost: the store has another grant in its place."""
    LOST_REVOKED = "LOST_REVOKED"
    """The lock is lost: an operator revoked it."""
    SESSION_SILENT = "SESSION_SILENT"
    """The Session's heartbeats were missing for so long that its locks are lost."""
    LIST_REFUSED = "LIST_REFUSED"
    """The store does not list its keys: memcached runs with `-X`."""
    BROKER_FAULT = "BROKER_FAULT"
    """The broker failed."""

    def __str__(self) -> str:
        return self.value


class NotAcquiredReason(enum.Enum):
    """The reason for which a lock was not acquired."""

    HELD = "held"
    """Somebody holds it."""
    LINGERING = "closed after its release or revocation"
    """It was released a short while ago and lingers, or it was revoked and is still closed."""
    MAX_WAIT = "not free in time"
    """The wait is over."""
    NOT_REATTACHABLE = "no such grant, or no longer"
    """The grant to adopt has ended, or has moved on to another lock id."""


class LockbrokerError(Exception):
    """Any error of this package."""


class EndpointError(LockbrokerError, ValueError):
    """The endpoint is none. Nothing was sent."""

    def __init__(self, endpoint: str, why: str) -> None:
        super().__init__(endpoint, why)
        self.endpoint = endpoint
        """The endpoint as given."""
        self.why = why
        """The mistake in it."""

    def __str__(self) -> str:
        forms = "http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH"
        return f'"{self.endpoint}" is no endpoint: {self.why}; write {forms}'


class TlsError(LockbrokerError):
    """A certificate or key for TLS cannot be used. Nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(why)

    def __str__(self) -> str:
        return f"cannot use TLS: {self.args[0]}"


class ClientClosed(LockbrokerError):
    """The client was closed, or belongs to the process that this one was forked from."""


class HandshakeError(LockbrokerError):
    """The broker's certificate is not accepted here, or this client's is not accepted there.

    It would be the same again.
    """

    def __init__(self, endpoint: str, why: str) -> None:
        super().__init__(endpoint, why)
        self.endpoint = endpoint
        """The broker."""
        self.why = why
        """The mistake, and what to do."""

    def __str__(self) -> str:
        return f"cannot agree on TLS with the broker at {self.endpoint}: {self.why}"


class ProtocolError(LockbrokerError):
    """What listens there speaks another protocol: TLS where the endpoint says plain text, or the other way round, or it
    is no broker at all. It would be the same again."""

    def __init__(self, endpoint: str, why: str) -> None:
        super().__init__(endpoint, why)
        self.endpoint = endpoint
        """The endpoint as given."""
        self.why = why
        """What it speaks, and what to do."""

    def __str__(self) -> str:
        return f"cannot talk to {self.endpoint}: {self.why}"


class LockError(LockbrokerError):
    """An error that is about one lock."""

    lock: str
    """The lock's name."""


class NotAcquired(LockError):
    """The lock was not acquired: no failure, but the answer of a call that was to return a lock."""

    def __init__(self, lock: str, reason: NotAcquiredReason, owner: str = "") -> None:
        super().__init__(lock, reason, owner)
        self.lock = lock
        """The lock's name. Of several that were asked for together, that of the one for which none was acquired."""
        self.reason = reason
        self.owner = owner
        """The label of the present holder; empty if it has none or it is not known."""

    def __str__(self) -> str:
        holder = f" (holder: {self.owner})" if self.owner else ""
        return f'lock "{self.lock}" was not acquired: {self.reason.value}{holder}'


class Lost(LockError):
    """The lock is lost; somebody else may have it by now. Stop what it protects."""

    def __init__(self, lock: str, reason: LostReason) -> None:
        super().__init__(lock, reason)
        self.lock = lock
        self.reason = reason

    def __str__(self) -> str:
        return f'lock "{self.lock}" was lost: {self.reason.value}'


class CallError(LockError):
    """A broker, or the way to it, failed."""

    _what = ""

    def __init__(
        self, lock: str, message: str, reason: ErrorReason | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(lock, message, reason, retry_after)
        self.lock = lock
        self.message = message
        """The words of the broker, or what is known of the way to it."""
        self.reason = reason
        """The reason, for programs; none if the broker gave no reason, or one that this version does not know."""
        self.retry_after = retry_after
        """The seconds after which another try makes sense, if the broker said so."""

    def __str__(self) -> str:
        return f'lock "{self.lock}": {self._what}: {self.message}'


class Unavailable(CallError):
    """No broker could be reached or none answered in time, or the broker cannot reach its store. Try again later."""

    _what = "unavailable"


class Exhausted(CallError):
    """The store is full, or the broker has as many locks or waiters as it may have."""

    _what = "no room"


class Invalid(CallError, ValueError):
    """The request is wrong, and would be again: a name, an owner or a duration out of bounds."""

    _what = "the broker refuses the request"


class Denied(CallError):
    """The broker does not allow it."""

    _what = "not allowed"


class Unexpected(CallError):
    """An answer that a broker does not give. Is it one that listens there, and of this version?"""

    _what = "unexpected answer"


_KINDS: dict[t.Code, type[CallError]] = {
    t.Code.INVALID_ARGUMENT: Invalid,
    t.Code.UNAVAILABLE: Unavailable,
    t.Code.HANDSHAKE: Unavailable,
    t.Code.RESOURCE_EXHAUSTED: Exhausted,
    t.Code.PERMISSION_DENIED: Denied,
    t.Code.UNAUTHENTICATED: Denied,
}


def from_failure(lock: str, failure: t.Failure) -> LockbrokerError:
    """Makes the error of a call, or of one lock of a Session, that failed."""
    if isinstance(failure.disagreement, LockbrokerError):
        return failure.disagreement
    # The broker names the lock in its text, and so does the error.
    message = failure.message.removeprefix(f'lock "{lock}": ')
    kind = _KINDS.get(failure.code, Unexpected)
    if kind is Unexpected:
        message = f"{message} ({failure.code.name})"
    reason = ErrorReason(failure.reason) if failure.reason in ErrorReason.__members__ else None
    retry_after = None if failure.retry_after is None else failure.retry_after / t.SECOND
    return kind(lock, message, reason, retry_after)
