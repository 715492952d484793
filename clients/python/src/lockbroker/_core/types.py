"""What goes into the core and comes out of it.

Moments and spans are whole nanoseconds. A moment counts from a beginning that only the clock knows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Union

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


class RefusalReason(enum.Enum):
    """The reason for which a lock was not acquired."""

    HELD = "held"
    """Somebody holds it."""
    LINGERING = "closed after its release or revocation"
    """It was released a short while ago and lingers, or it was revoked and is still closed."""
    MAX_WAIT = "not free in time"
    """The wait is over."""
    NOT_REATTACHABLE = "no such grant, or no longer"
    """The grant to adopt has ended, or has moved on to another lock id."""
    CANCELLED = "the wait was cancelled"
    """The wait was cancelled."""
    UNKNOWN = "for a reason that this version does not know"
    """One that this client does not know."""


class LostReason(enum.Enum):
    """The way in which a lock was lost."""

    EXPIRED = "no renewal got through in time"
    """No renewal got through in time, by the broker's clock or by the client's."""
    GONE = "the store no longer has it"
    """The store no longer has the grant: released elsewhere, or gone with the store's memory."""
    TAKEN_OVER = "another grant took its place"
    """The store has another grant in its place: it was adopted, or released and granted anew."""
    REVOKED = "an operator revoked it"
    """An operator revoked it."""
    RELEASED = "it was released by its lock id"
    """Somebody released it by its lock id."""
    ENDED = "it was released here"
    """Its holder released it, or closed the client."""
    FORKED = "it belongs to the process that this one was forked from"
    """This process was forked from the one that holds the lock. There it is still held."""


class Code(enum.Enum):
    """The kind of a failure: gRPC's names, and HANDSHAKE, which is ours."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16
    HANDSHAKE = -1
    """The two sides cannot agree on TLS, or do not speak the same protocol."""

    @property
    def is_final(self) -> bool:
        """Returns true if a broker that refuses something with this code would refuse it again."""
        return self in _FINAL


_FINAL = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.PERMISSION_DENIED,
        Code.UNAUTHENTICATED,
        Code.UNIMPLEMENTED,
        Code.HANDSHAKE,
    }
)


@dataclass(frozen=True)
class Failure:
    """A failure, as a broker or the way to it tells it."""

    code: Code
    """The kind, by which a program decides."""
    message: str
    """The words, for people."""
    reason: str = ""
    """The broker's reason, for programs; empty if it gave none."""
    retry_after: int | None = None
    """The time after which another try makes sense, if the broker said one."""
    disagreement: Exception | None = field(default=None, compare=False)
    """The error that tells why the two sides cannot talk, with the code HANDSHAKE."""


def unavailable(message: str) -> Failure:
    """Makes a failure that passes: nobody answers, or cannot at the moment."""
    return Failure(Code.UNAVAILABLE, message)


@dataclass(frozen=True)
class LockSpec:
    """A lock that is asked for."""

    name: str
    linger: int | None = None
    """The linger; none for the broker's default."""
    owner: str = ""
    """The label that others see; empty for none."""
    min_hold: int | None = None
    """The time after the grant for which nobody else can acquire it; none for none."""
    is_kept: bool = False
    """It is kept until its validity is over when its stream ends, however that ends. Each reattach says so anew."""
    is_shared: bool = False
    """All who share it may have it at the same time, each with a permit."""
    limit: int | None = None
    """The most that may share it; none for as many as there are permits."""
    also: tuple[str, ...] = ()
    """The names of the locks that are wanted together with it: all or none, in the same way."""
    value: bytes | None = None
    """The value for those who observe the lock; none for none. Each reattach says it anew."""
    weight: int = 1
    """The number of permits to take of a lock that is shared: all or none."""

    @property
    def others(self) -> tuple[str, ...]:
        """Returns the names of what is had together with it: other locks, or other permits of the same."""
        return self.also + (self.name,) * (self.weight - 1)


@dataclass(frozen=True)
class Wait:
    """The way to wait for a lock."""

    until: int | None = None
    """The end of the wait; none to wait for as long as it takes."""
    poll_interval: int | None = None
    """The least time between two of the broker's polls; none for the broker's choice."""


@dataclass(frozen=True)
class WaitLeft:
    """A wait, as a broker is told of it."""

    max_wait: int | None = None
    """The time that is left; none to wait for as long as it takes."""
    poll_interval: int | None = None


@dataclass(frozen=True)
class Refusal:
    """The reason for which a lock was not acquired, and who has it."""

    reason: RefusalReason
    owner: str = ""
    """The label of the present holder; empty if it has none or it is not known."""
    name: str = ""
    """Of several locks the name of the one for which none was acquired; empty otherwise."""


# Events of a lock.


@dataclass(frozen=True)
class Also:
    """The grant of a lock that is held together with another."""

    lock_id: str
    fencing_token: int
    permit: int | None = None
    """The permit, if the lock is shared."""


@dataclass(frozen=True)
class Acquired:
    """The lock is granted, or reattached."""

    lock_id: str
    fencing_token: int
    permit: int | None = None
    """The permit, if the lock is shared."""
    also: tuple[Also, ...] = ()
    """The locks that come together with it, in the order of `LockSpec.others`."""


@dataclass(frozen=True)
class NotAcquired:
    """The lock is not granted, or not reattached."""

    refusal: Refusal


@dataclass(frozen=True)
class LostEvent:
    """The lock is no longer held."""

    reason: LostReason


@dataclass(frozen=True)
class ReleasedEvent:
    """The lock has been released."""


@dataclass(frozen=True)
class FailedEvent:
    """The broker could not do it."""

    failure: Failure


Event = Union[Acquired, NotAcquired, LostEvent, ReleasedEvent, FailedEvent]


# Messages from a broker.


@dataclass(frozen=True)
class Opened:
    """The Session is open."""

    ttl: int
    """The ttl as granted."""
    expires_after: int
    """Locks granted from now on are valid for this long after `open` was sent."""
    heartbeat_interval: int
    """The time from one heartbeat to the next; not 0."""


@dataclass(frozen=True)
class HeartbeatAck:
    """A heartbeat is acknowledged."""

    seq: int
    expires_after: int
    """All locks but those in `not_renewed` are valid for this long after it was sent."""
    not_renewed: tuple[int, ...]
    """The locks that keep what they had."""


@dataclass(frozen=True)
class Draining:
    """The broker goes away."""


@dataclass(frozen=True)
class LockEvent:
    """Something happened to a lock."""

    lock_ref: int
    event: Event


@dataclass(frozen=True)
class Other:
    """A message that says nothing here. It shows that the broker is alive."""


Message = Union[Opened, HeartbeatAck, Draining, LockEvent, Other]


# Inputs.


@dataclass(frozen=True)
class Acquire:
    """A call wants a lock."""

    key: int
    """A new number for the call and its lock."""
    spec: LockSpec
    wait: Wait | None = None
    """The way to wait; none to try once."""
    adopt: str | None = None
    """The lock id of a grant to take over instead of asking for a new one."""


@dataclass(frozen=True)
class End:
    """A lock, or the wait for it, is no longer wanted. Ignored if it has ended."""

    key: int


@dataclass(frozen=True)
class Value:
    """A lock is to have another value. Each reattach from now on brings it. Ignored if it was asked for without one, or has ended."""

    key: int
    value: bytes


@dataclass(frozen=True)
class Share:
    """A lock that is held alone is to be shared from now on. Ignored if it has a permit, or has ended."""

    key: int
    limit: int | None = None
    """The most that may have it; none for as many as there are permits."""


@dataclass(frozen=True)
class Dialled:
    """A connection stands, or cannot be made."""

    link: int
    failure: Failure | None = None


@dataclass(frozen=True)
class Received:
    """A message has come."""

    link: int
    message: Message


@dataclass(frozen=True)
class Ended:
    """A stream has ended, though nobody here has hung up."""

    link: int
    failure: Failure
    """The status by which it ended."""


@dataclass(frozen=True)
class ReleasedElsewhere:
    """A call of Release has been answered, or has failed. Any answer means that the lock is not held any more."""

    key: int
    failure: Failure | None = None


@dataclass(frozen=True)
class Timeout:
    """Nothing but the time that has passed."""


Input = Union[Acquire, End, Value, Share, Dialled, Received, Ended, ReleasedElsewhere, Timeout]


# Outputs.


@dataclass(frozen=True)
class Dial:
    """Make a new connection; `Dialled` answers."""

    link: int
    endpoint: int
    """The number of the endpoint."""


@dataclass(frozen=True)
class Open:
    """Open the Session; with the ttl of the settings."""

    link: int


@dataclass(frozen=True)
class Heartbeat:
    """Tell the broker that the client lives."""

    link: int
    seq: int
    """Rises by one."""


@dataclass(frozen=True)
class Begin:
    """Ask for a lock."""

    link: int
    lock_ref: int
    """Its handle on this stream; rises by one."""
    spec: LockSpec
    wait: WaitLeft | None
    """The wait that is left; none to try once."""
    reattach: str | None
    """The lock id to reattach."""
    reattach_also: tuple[str, ...] = ()
    """Those of the locks that are held together with it, in the order of `LockSpec.others`."""


@dataclass(frozen=True)
class EndLock:
    """Give up a lock, or the wait for it."""

    link: int
    lock_ref: int


@dataclass(frozen=True)
class Hangup:
    """Close a connection, or give up making it. Nothing of it counts any more."""

    link: int


@dataclass(frozen=True)
class Granted:
    """A call has its lock."""

    key: int
    lock_id: str
    fencing_token: int
    permit: int | None = None
    """The permit, if the lock is shared."""
    also: tuple[Also, ...] = ()
    """The locks that it has together with it, in the order of `LockSpec.others`."""


@dataclass(frozen=True)
class Moved:
    """A lock has been reattached. It is the same grant, with another id."""

    key: int
    lock_id: str
    also: tuple[str, ...] = ()
    """The ids of those that are held together with it."""
    permit: int | None = None
    """The permit, if the lock is shared."""


@dataclass(frozen=True)
class NotShared:
    """A lock that was to be shared is held alone, as before."""

    key: int
    failure: Failure


@dataclass(frozen=True)
class Refused:
    """A call does not get its lock."""

    key: int
    refusal: Refusal


@dataclass(frozen=True)
class Failed:
    """A call has failed, or a release has."""

    key: int
    failure: Failure


@dataclass(frozen=True)
class Lost:
    """A lock is no longer held."""

    key: int
    reason: LostReason


@dataclass(frozen=True)
class Released:
    """A lock has been released."""

    key: int


@dataclass(frozen=True)
class ReleaseElsewhere:
    """Call Release at any broker; `ReleasedElsewhere` answers."""

    key: int
    name: str
    lock_id: str


Output = Union[
    Dial,
    Open,
    Heartbeat,
    Begin,
    EndLock,
    Hangup,
    Granted,
    Moved,
    NotShared,
    Refused,
    Failed,
    Lost,
    Released,
    ReleaseElsewhere,
]
