"""The messages, in a pool of their own: whatever stubs of the same proto a program has besides, none are in the way."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from .v1.lockbroker_pb2 import Acquired as Acquired
    from .v1.lockbroker_pb2 import AcquireLeaseRequest as AcquireLeaseRequest
    from .v1.lockbroker_pb2 import AcquireLeaseResponse as AcquireLeaseResponse
    from .v1.lockbroker_pb2 import AlsoAcquired as AlsoAcquired
    from .v1.lockbroker_pb2 import BeginLock as BeginLock
    from .v1.lockbroker_pb2 import GetLockRequest as GetLockRequest
    from .v1.lockbroker_pb2 import GetLockResponse as GetLockResponse
    from .v1.lockbroker_pb2 import LockEvent as LockEvent
    from .v1.lockbroker_pb2 import Lost as Lost
    from .v1.lockbroker_pb2 import NotAcquired as NotAcquired
    from .v1.lockbroker_pb2 import ObserveRequest as ObserveRequest
    from .v1.lockbroker_pb2 import ObserveResponse as ObserveResponse
    from .v1.lockbroker_pb2 import ReleaseRequest as ReleaseRequest
    from .v1.lockbroker_pb2 import ReleaseResponse as ReleaseResponse
    from .v1.lockbroker_pb2 import RenewLeaseRequest as RenewLeaseRequest
    from .v1.lockbroker_pb2 import RenewLeaseResponse as RenewLeaseResponse
    from .v1.lockbroker_pb2 import SessionRequest as SessionRequest
    from .v1.lockbroker_pb2 import SessionResponse as SessionResponse
    from .v1.lockbroker_pb2 import UpdateLockRequest as UpdateLockRequest
    from .v1.lockbroker_pb2 import UpdateLockResponse as UpdateLockResponse
else:
    _POOL = descriptor_pool.DescriptorPool()
    _FILES = descriptor_pb2.FileDescriptorSet.FromString(pkgutil.get_data(__package__, "_proto.bin"))
    for _file in _FILES.file:
        _POOL.AddSerializedFile(_file.SerializeToString())

    def __getattr__(name: str) -> Any:
        """Makes a message's class when it is first asked for."""
        try:
            descriptor = _POOL.FindMessageTypeByName(f"lockbroker.v1.{name}")
        except KeyError:
            raise AttributeError(name) from None
        made = globals()[name] = message_factory.GetMessageClass(descriptor)
        return made


SERVICE = "/lockbroker.v1.LockService/"
"""What the path of each method begins with."""
