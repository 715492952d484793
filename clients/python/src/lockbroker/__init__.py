"""Named locks over gRPC, from lockbroker.

::

    import lockbroker

    with lockbroker.connect("http://127.0.0.1:28551") as client:
        with client.lock("reports/monthly", wait=10) as lock:
            write_report(lock.fencing_token)

`lockbroker.aio` has the same for asyncio. `lockbroker.testing` has a broker for tests of your own.
"""

from ._client import Client, LockInfo, LockState, ReleaseOutcome, connect
from ._lease import Lease
from ._lock import HeldLock, Lock
from ._observe import Observation, Observed, ObservedState
from ._version import __version__
from .errors import (
    CallError,
    ClientClosed,
    Denied,
    EndpointError,
    ErrorReason,
    Exhausted,
    HandshakeError,
    Invalid,
    LockbrokerError,
    LockError,
    Lost,
    LostReason,
    NotAcquired,
    NotAcquiredReason,
    ProtocolError,
    TlsError,
    Unavailable,
    Unexpected,
)

__all__ = [
    "CallError",
    "Client",
    "ClientClosed",
    "Denied",
    "EndpointError",
    "ErrorReason",
    "Exhausted",
    "HandshakeError",
    "HeldLock",
    "Invalid",
    "Lease",
    "Lock",
    "LockError",
    "LockInfo",
    "LockState",
    "LockbrokerError",
    "Lost",
    "LostReason",
    "NotAcquired",
    "NotAcquiredReason",
    "Observation",
    "Observed",
    "ObservedState",
    "ProtocolError",
    "ReleaseOutcome",
    "TlsError",
    "Unavailable",
    "Unexpected",
    "__version__",
    "connect",
]
