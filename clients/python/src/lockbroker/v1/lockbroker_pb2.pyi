from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LockSpec(_message.Message):
    __slots__ = ("name", "linger", "owner", "mode", "limit", "weight", "on_disconnect", "min_hold", "value")
    class OnDisconnect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ON_DISCONNECT_UNSPECIFIED: _ClassVar[LockSpec.OnDisconnect]
        ON_DISCONNECT_RELEASE: _ClassVar[LockSpec.OnDisconnect]
        ON_DISCONNECT_KEEP: _ClassVar[LockSpec.OnDisconnect]
    ON_DISCONNECT_UNSPECIFIED: LockSpec.OnDisconnect
    ON_DISCONNECT_RELEASE: LockSpec.OnDisconnect
    ON_DISCONNECT_KEEP: LockSpec.OnDisconnect
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[LockSpec.Mode]
        MODE_EXCLUSIVE: _ClassVar[LockSpec.Mode]
        MODE_SHARED: _ClassVar[LockSpec.Mode]
    MODE_UNSPECIFIED: LockSpec.Mode
    MODE_EXCLUSIVE: LockSpec.Mode
    MODE_SHARED: LockSpec.Mode
    NAME_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ON_DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    MIN_HOLD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    linger: _duration_pb2.Duration
    owner: str
    mode: LockSpec.Mode
    limit: int
    weight: int
    on_disconnect: LockSpec.OnDisconnect
    min_hold: _duration_pb2.Duration
    value: bytes
    def __init__(self, name: _Optional[str] = ..., linger: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., owner: _Optional[str] = ..., mode: _Optional[_Union[LockSpec.Mode, str]] = ..., limit: _Optional[int] = ..., weight: _Optional[int] = ..., on_disconnect: _Optional[_Union[LockSpec.OnDisconnect, str]] = ..., min_hold: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., value: _Optional[bytes] = ...) -> None: ...

class WaitSpec(_message.Message):
    __slots__ = ("max_wait", "poll_interval")
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    POLL_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    max_wait: _duration_pb2.Duration
    poll_interval: _duration_pb2.Duration
    def __init__(self, max_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., poll_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AcquireRequest(_message.Message):
    __slots__ = ("lock", "ttl", "reattach_lock_id")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REATTACH_LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    lock: LockSpec
    ttl: _duration_pb2.Duration
    reattach_lock_id: str
    def __init__(self, lock: _Optional[_Union[LockSpec, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reattach_lock_id: _Optional[str] = ...) -> None: ...

class WaitAcquireRequest(_message.Message):
    __slots__ = ("lock", "ttl", "wait")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    lock: LockSpec
    ttl: _duration_pb2.Duration
    wait: WaitSpec
    def __init__(self, lock: _Optional[_Union[LockSpec, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[WaitSpec, _Mapping]] = ...) -> None: ...

class AcquireResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: LockEvent
    def __init__(self, event: _Optional[_Union[LockEvent, _Mapping]] = ...) -> None: ...

class WaitAcquireResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: LockEvent
    def __init__(self, event: _Optional[_Union[LockEvent, _Mapping]] = ...) -> None: ...

class LockEvent(_message.Message):
    __slots__ = ("acquired", "not_acquired", "queued", "renewed", "lost", "released", "draining", "failed")
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    NOT_ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    acquired: Acquired
    not_acquired: NotAcquired
    queued: Queued
    renewed: Renewed
    lost: Lost
    released: Released
    draining: Draining
    failed: Failed
    def __init__(self, acquired: _Optional[_Union[Acquired, _Mapping]] = ..., not_acquired: _Optional[_Union[NotAcquired, _Mapping]] = ..., queued: _Optional[_Union[Queued, _Mapping]] = ..., renewed: _Optional[_Union[Renewed, _Mapping]] = ..., lost: _Optional[_Union[Lost, _Mapping]] = ..., released: _Optional[_Union[Released, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...

class Acquired(_message.Message):
    __slots__ = ("lock_id", "fencing_token", "expires_after_request", "permit", "also")
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    ALSO_FIELD_NUMBER: _ClassVar[int]
    lock_id: str
    fencing_token: int
    expires_after_request: _duration_pb2.Duration
    permit: int
    also: _containers.RepeatedCompositeFieldContainer[AlsoAcquired]
    def __init__(self, lock_id: _Optional[str] = ..., fencing_token: _Optional[int] = ..., expires_after_request: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., permit: _Optional[int] = ..., also: _Optional[_Iterable[_Union[AlsoAcquired, _Mapping]]] = ...) -> None: ...

class AlsoAcquired(_message.Message):
    __slots__ = ("lock_id", "fencing_token", "permit")
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    lock_id: str
    fencing_token: int
    permit: int
    def __init__(self, lock_id: _Optional[str] = ..., fencing_token: _Optional[int] = ..., permit: _Optional[int] = ...) -> None: ...

class NotAcquired(_message.Message):
    __slots__ = ("reason", "owner", "name")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[NotAcquired.Reason]
        REASON_HELD: _ClassVar[NotAcquired.Reason]
        REASON_LINGERING: _ClassVar[NotAcquired.Reason]
        REASON_MAX_WAIT: _ClassVar[NotAcquired.Reason]
        REASON_CANCELLED: _ClassVar[NotAcquired.Reason]
        REASON_NOT_REATTACHABLE: _ClassVar[NotAcquired.Reason]
    REASON_UNSPECIFIED: NotAcquired.Reason
    REASON_HELD: NotAcquired.Reason
    REASON_LINGERING: NotAcquired.Reason
    REASON_MAX_WAIT: NotAcquired.Reason
    REASON_CANCELLED: NotAcquired.Reason
    REASON_NOT_REATTACHABLE: NotAcquired.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    reason: NotAcquired.Reason
    owner: str
    name: str
    def __init__(self, reason: _Optional[_Union[NotAcquired.Reason, str]] = ..., owner: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class Renewed(_message.Message):
    __slots__ = ("expires_after_request",)
    EXPIRES_AFTER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    expires_after_request: _duration_pb2.Duration
    def __init__(self, expires_after_request: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Lost(_message.Message):
    __slots__ = ("reason", "name")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Lost.Reason]
        REASON_EXPIRED: _ClassVar[Lost.Reason]
        REASON_GONE: _ClassVar[Lost.Reason]
        REASON_TAKEN_OVER: _ClassVar[Lost.Reason]
        REASON_REVOKED: _ClassVar[Lost.Reason]
    REASON_UNSPECIFIED: Lost.Reason
    REASON_EXPIRED: Lost.Reason
    REASON_GONE: Lost.Reason
    REASON_TAKEN_OVER: Lost.Reason
    REASON_REVOKED: Lost.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    reason: Lost.Reason
    name: str
    def __init__(self, reason: _Optional[_Union[Lost.Reason, str]] = ..., name: _Optional[str] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Draining(_message.Message):
    __slots__ = ("grace",)
    GRACE_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    def __init__(self, grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("code", "message", "retry_after", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after: _duration_pb2.Duration
    reason: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("lock", "ttl", "wait", "request_id")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    lock: LockSpec
    ttl: _duration_pb2.Duration
    wait: WaitSpec
    request_id: str
    def __init__(self, lock: _Optional[_Union[LockSpec, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[WaitSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class AcquireLeaseResponse(_message.Message):
    __slots__ = ("acquired", "not_acquired")
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    NOT_ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    acquired: Acquired
    not_acquired: NotAcquired
    def __init__(self, acquired: _Optional[_Union[Acquired, _Mapping]] = ..., not_acquired: _Optional[_Union[NotAcquired, _Mapping]] = ...) -> None: ...

class RenewLeaseRequest(_message.Message):
    __slots__ = ("name", "lock_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    lock_id: str
    def __init__(self, name: _Optional[str] = ..., lock_id: _Optional[str] = ...) -> None: ...

class RenewLeaseResponse(_message.Message):
    __slots__ = ("renewed", "lost")
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    renewed: Renewed
    lost: Lost
    def __init__(self, renewed: _Optional[_Union[Renewed, _Mapping]] = ..., lost: _Optional[_Union[Lost, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("name", "lock_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    lock_id: str
    def __init__(self, name: _Optional[str] = ..., lock_id: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("outcome",)
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[ReleaseResponse.Outcome]
        OUTCOME_RELEASED: _ClassVar[ReleaseResponse.Outcome]
        OUTCOME_NOT_HELD: _ClassVar[ReleaseResponse.Outcome]
        OUTCOME_HELD_BY_ANOTHER: _ClassVar[ReleaseResponse.Outcome]
    OUTCOME_UNSPECIFIED: ReleaseResponse.Outcome
    OUTCOME_RELEASED: ReleaseResponse.Outcome
    OUTCOME_NOT_HELD: ReleaseResponse.Outcome
    OUTCOME_HELD_BY_ANOTHER: ReleaseResponse.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: ReleaseResponse.Outcome
    def __init__(self, outcome: _Optional[_Union[ReleaseResponse.Outcome, str]] = ...) -> None: ...

class GetLockRequest(_message.Message):
    __slots__ = ("name", "lock_id", "permit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    lock_id: str
    permit: int
    def __init__(self, name: _Optional[str] = ..., lock_id: _Optional[str] = ..., permit: _Optional[int] = ...) -> None: ...

class GetLockResponse(_message.Message):
    __slots__ = ("state", "owner", "free_within", "expires_after_request", "shared_count", "fencing_token", "held_for", "etag", "claimed")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[GetLockResponse.State]
        STATE_FREE: _ClassVar[GetLockResponse.State]
        STATE_HELD: _ClassVar[GetLockResponse.State]
        STATE_LINGERING: _ClassVar[GetLockResponse.State]
        STATE_REVOKED: _ClassVar[GetLockResponse.State]
        STATE_CLAIMED: _ClassVar[GetLockResponse.State]
    STATE_UNSPECIFIED: GetLockResponse.State
    STATE_FREE: GetLockResponse.State
    STATE_HELD: GetLockResponse.State
    STATE_LINGERING: GetLockResponse.State
    STATE_REVOKED: GetLockResponse.State
    STATE_CLAIMED: GetLockResponse.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FREE_WITHIN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SHARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HELD_FOR_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    state: GetLockResponse.State
    owner: str
    free_within: _duration_pb2.Duration
    expires_after_request: _duration_pb2.Duration
    shared_count: int
    fencing_token: int
    held_for: _duration_pb2.Duration
    etag: str
    claimed: bool
    def __init__(self, state: _Optional[_Union[GetLockResponse.State, str]] = ..., owner: _Optional[str] = ..., free_within: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., expires_after_request: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., shared_count: _Optional[int] = ..., fencing_token: _Optional[int] = ..., held_for: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., etag: _Optional[str] = ..., claimed: bool = ...) -> None: ...

class UpdateLockRequest(_message.Message):
    __slots__ = ("name", "lock_id", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    lock_id: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., lock_id: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class UpdateLockResponse(_message.Message):
    __slots__ = ("outcome",)
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[UpdateLockResponse.Outcome]
        OUTCOME_UPDATED: _ClassVar[UpdateLockResponse.Outcome]
        OUTCOME_NOT_HELD: _ClassVar[UpdateLockResponse.Outcome]
        OUTCOME_HELD_BY_ANOTHER: _ClassVar[UpdateLockResponse.Outcome]
        OUTCOME_NO_VALUE: _ClassVar[UpdateLockResponse.Outcome]
    OUTCOME_UNSPECIFIED: UpdateLockResponse.Outcome
    OUTCOME_UPDATED: UpdateLockResponse.Outcome
    OUTCOME_NOT_HELD: UpdateLockResponse.Outcome
    OUTCOME_HELD_BY_ANOTHER: UpdateLockResponse.Outcome
    OUTCOME_NO_VALUE: UpdateLockResponse.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: UpdateLockResponse.Outcome
    def __init__(self, outcome: _Optional[_Union[UpdateLockResponse.Outcome, str]] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ObserveResponse(_message.Message):
    __slots__ = ("state", "owner", "value", "fencing_token", "expires_in")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[ObserveResponse.State]
        STATE_UNKNOWN: _ClassVar[ObserveResponse.State]
        STATE_FREE: _ClassVar[ObserveResponse.State]
        STATE_HELD: _ClassVar[ObserveResponse.State]
        STATE_LINGERING: _ClassVar[ObserveResponse.State]
        STATE_REVOKED: _ClassVar[ObserveResponse.State]
    STATE_UNSPECIFIED: ObserveResponse.State
    STATE_UNKNOWN: ObserveResponse.State
    STATE_FREE: ObserveResponse.State
    STATE_HELD: ObserveResponse.State
    STATE_LINGERING: ObserveResponse.State
    STATE_REVOKED: ObserveResponse.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    state: ObserveResponse.State
    owner: str
    value: bytes
    fencing_token: int
    expires_in: _duration_pb2.Duration
    def __init__(self, state: _Optional[_Union[ObserveResponse.State, str]] = ..., owner: _Optional[str] = ..., value: _Optional[bytes] = ..., fencing_token: _Optional[int] = ..., expires_in: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("open", "heartbeat", "begin", "end")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    heartbeat: Heartbeat
    begin: BeginLock
    end: EndLock
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., begin: _Optional[_Union[BeginLock, _Mapping]] = ..., end: _Optional[_Union[EndLock, _Mapping]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("ttl",)
    TTL_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    def __init__(self, ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class BeginLock(_message.Message):
    __slots__ = ("lock_ref", "lock", "wait", "reattach_lock_id", "also")
    LOCK_REF_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    REATTACH_LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    ALSO_FIELD_NUMBER: _ClassVar[int]
    lock_ref: int
    lock: LockSpec
    wait: WaitSpec
    reattach_lock_id: str
    also: _containers.RepeatedCompositeFieldContainer[AlsoLock]
    def __init__(self, lock_ref: _Optional[int] = ..., lock: _Optional[_Union[LockSpec, _Mapping]] = ..., wait: _Optional[_Union[WaitSpec, _Mapping]] = ..., reattach_lock_id: _Optional[str] = ..., also: _Optional[_Iterable[_Union[AlsoLock, _Mapping]]] = ...) -> None: ...

class AlsoLock(_message.Message):
    __slots__ = ("lock", "reattach_lock_id")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    REATTACH_LOCK_ID_FIELD_NUMBER: _ClassVar[int]
    lock: LockSpec
    reattach_lock_id: str
    def __init__(self, lock: _Optional[_Union[LockSpec, _Mapping]] = ..., reattach_lock_id: _Optional[str] = ...) -> None: ...

class EndLock(_message.Message):
    __slots__ = ("lock_ref",)
    LOCK_REF_FIELD_NUMBER: _ClassVar[int]
    lock_ref: int
    def __init__(self, lock_ref: _Optional[int] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("opened", "heartbeat_ack", "event")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ACK_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    opened: SessionOpened
    heartbeat_ack: HeartbeatAck
    event: SessionEvent
    def __init__(self, opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., heartbeat_ack: _Optional[_Union[HeartbeatAck, _Mapping]] = ..., event: _Optional[_Union[SessionEvent, _Mapping]] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("ttl", "expires_after_open", "heartbeat_interval")
    TTL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_OPEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    expires_after_open: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., expires_after_open: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class HeartbeatAck(_message.Message):
    __slots__ = ("seq", "expires_after_heartbeat", "not_renewed")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NOT_RENEWED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    expires_after_heartbeat: _duration_pb2.Duration
    not_renewed: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, seq: _Optional[int] = ..., expires_after_heartbeat: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., not_renewed: _Optional[_Iterable[int]] = ...) -> None: ...

class SessionEvent(_message.Message):
    __slots__ = ("lock_ref", "event")
    LOCK_REF_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    lock_ref: int
    event: LockEvent
    def __init__(self, lock_ref: _Optional[int] = ..., event: _Optional[_Union[LockEvent, _Mapping]] = ...) -> None: ...

class ListLocksRequest(_message.Message):
    __slots__ = ("prefix", "limit")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    limit: int
    def __init__(self, prefix: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListLocksResponse(_message.Message):
    __slots__ = ("locks", "total")
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    locks: _containers.RepeatedCompositeFieldContainer[LockInfo]
    total: int
    def __init__(self, locks: _Optional[_Iterable[_Union[LockInfo, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class LockInfo(_message.Message):
    __slots__ = ("name", "state", "owner", "free_within", "fencing_token", "held_for", "etag", "permit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FREE_WITHIN_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HELD_FOR_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: GetLockResponse.State
    owner: str
    free_within: _duration_pb2.Duration
    fencing_token: int
    held_for: _duration_pb2.Duration
    etag: str
    permit: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[GetLockResponse.State, str]] = ..., owner: _Optional[str] = ..., free_within: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., fencing_token: _Optional[int] = ..., held_for: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., etag: _Optional[str] = ..., permit: _Optional[int] = ...) -> None: ...

class ListWaitersRequest(_message.Message):
    __slots__ = ("name", "prefix", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    prefix: str
    limit: int
    def __init__(self, name: _Optional[str] = ..., prefix: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListWaitersResponse(_message.Message):
    __slots__ = ("waiters", "total")
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    waiters: _containers.RepeatedCompositeFieldContainer[WaiterInfo]
    total: int
    def __init__(self, waiters: _Optional[_Iterable[_Union[WaiterInfo, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class WaiterInfo(_message.Message):
    __slots__ = ("name", "position", "owner", "waited_for", "mode", "limit", "weight", "keeps_others_out")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    WAITED_FOR_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    KEEPS_OTHERS_OUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    position: int
    owner: str
    waited_for: _duration_pb2.Duration
    mode: LockSpec.Mode
    limit: int
    weight: int
    keeps_others_out: bool
    def __init__(self, name: _Optional[str] = ..., position: _Optional[int] = ..., owner: _Optional[str] = ..., waited_for: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., mode: _Optional[_Union[LockSpec.Mode, str]] = ..., limit: _Optional[int] = ..., weight: _Optional[int] = ..., keeps_others_out: bool = ...) -> None: ...

class RevokeLockRequest(_message.Message):
    __slots__ = ("name", "etag", "immediate", "permit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    IMMEDIATE_FIELD_NUMBER: _ClassVar[int]
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    immediate: bool
    permit: int
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., immediate: bool = ..., permit: _Optional[int] = ...) -> None: ...

class RevokeLockResponse(_message.Message):
    __slots__ = ("outcome", "owner", "free_within")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[RevokeLockResponse.Outcome]
        OUTCOME_REVOKED: _ClassVar[RevokeLockResponse.Outcome]
        OUTCOME_NOT_HELD: _ClassVar[RevokeLockResponse.Outcome]
        OUTCOME_CHANGED: _ClassVar[RevokeLockResponse.Outcome]
        OUTCOME_FREED: _ClassVar[RevokeLockResponse.Outcome]
    OUTCOME_UNSPECIFIED: RevokeLockResponse.Outcome
    OUTCOME_REVOKED: RevokeLockResponse.Outcome
    OUTCOME_NOT_HELD: RevokeLockResponse.Outcome
    OUTCOME_CHANGED: RevokeLockResponse.Outcome
    OUTCOME_FREED: RevokeLockResponse.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FREE_WITHIN_FIELD_NUMBER: _ClassVar[int]
    outcome: RevokeLockResponse.Outcome
    owner: str
    free_within: _duration_pb2.Duration
    def __init__(self, outcome: _Optional[_Union[RevokeLockResponse.Outcome, str]] = ..., owner: _Optional[str] = ..., free_within: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...
