"""A broker for tests of your own: it runs in the test's process, and grants, refuses, loses and fails on command.

::

    with Broker() as broker, lockbroker.connect(broker.url) as client:
        broker.occupy("nightly")
        assert client.try_lock("nightly") is None

It has real locks and leases, with queues, lingers, permits and fencing tokens, and the client speaks to it over a real
connection. What it does not have is a store, other brokers, TLS and limits. It does not know of `also` and `weight`: several locks
or permits together are refused, as by a broker of an earlier version. Nor does it know of values: that of a lock is ignored, and observing a lock and
updating its value fail as `Unexpected`.
"""

from __future__ import annotations

import itertools
import queue
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from . import _clock
from . import _proto as pb
from . import _wire as wire
from ._core import types as t
from ._wire import Seconds
from .errors import DOMAIN, ErrorReason, LostReason

__all__ = ["Broker", "Holder"]

_LOSSES = {LostReason.EXPIRED: 1, LostReason.GONE: 2, LostReason.TAKEN_OVER: 3, LostReason.REVOKED: 4}

CODES: dict[ErrorReason, grpc.StatusCode] = {
    ErrorReason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.MALFORMED_MESSAGE: grpc.StatusCode.INTERNAL,
    ErrorReason.MESSAGE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.UNSUPPORTED_ENCODING: grpc.StatusCode.UNIMPLEMENTED,
    ErrorReason.UNKNOWN_METHOD: grpc.StatusCode.UNIMPLEMENTED,
    ErrorReason.UNKNOWN_SERVICE: grpc.StatusCode.NOT_FOUND,
    ErrorReason.UNKNOWN_CALLER: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.POLICY_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.ORIGIN_REFUSED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.BROKER_DRAINING: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_QUARANTINED: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_REFUSED: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.MAX_LOCKS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.MAX_WAITERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.MAX_OBSERVERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.MAX_CONCURRENT_RPCS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.MAX_STREAMS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.QUOTA_LOCKS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.QUOTA_WAITERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.QUOTA_OBSERVERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.QUOTA_RATE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.REQUEST_INCOMPLETE: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorReason.DEADLINE_OVER: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorReason.LOST_EXPIRED: grpc.StatusCode.ABORTED,
    ErrorReason.LOST_GONE: grpc.StatusCode.ABORTED,
    ErrorReason.LOST_TAKEN_OVER: grpc.StatusCode.ABORTED,
    ErrorReason.LOST_REVOKED: grpc.StatusCode.ABORTED,
    ErrorReason.SESSION_SILENT: grpc.StatusCode.ABORTED,
    ErrorReason.LIST_REFUSED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorReason.BROKER_FAULT: grpc.StatusCode.INTERNAL,
}
"""The status that each reason comes with."""


_ALONE = -1
"""The place of one who has a lock alone. Those who share it have the places from 0 on: their permits."""
_MAX_PERMITS = 4096
_NO_DOWNGRADE = {
    "code": grpc.StatusCode.INVALID_ARGUMENT.value[0],
    "message": "a lock with a min_hold cannot be shared",
    "reason": ErrorReason.INVALID_FIELD.value,
}
"""The answer of a broker that does not share a lock as is asked."""


@dataclass(frozen=True)
class Holder:
    """Who has a lock."""

    owner: str
    """The label; empty if there is none."""
    fencing_token: int
    permit: int | None = None
    """The permit, if the lock is shared."""


@dataclass(eq=False)
class _Session:
    """A client's stream."""

    outbound: queue.SimpleQueue[pb.SessionResponse | None] = field(default_factory=queue.SimpleQueue)

    def tell(self, lock_ref: int, **event: Any) -> None:
        self.outbound.put(pb.SessionResponse(event={"lock_ref": lock_ref, "event": event}))


@dataclass(eq=False)
class _Ask:
    """A lock that somebody asks for or holds."""

    session: _Session | None
    """The stream. None: the test itself has it, or it is a lease."""
    lock_ref: int
    name: str
    owner: str
    linger: int
    lock_id: str = ""
    token: int = 0
    timer: threading.Timer | None = None
    min_hold: int = 0
    closed_until: int = 0
    """The moment from which others can have it, whatever becomes of it."""
    is_kept: bool = False
    """It is held until `until` when its stream has ended."""
    ttl: int | None = None
    """That of a lease. None: it is none."""
    request_id: str = ""
    """That of a lease."""
    until: int = 0
    """The moment at which a lock without a stream ends."""
    limit: int = 0
    """Its permit is to be below this. 0: the lock is wanted alone."""
    place: int = _ALONE
    """The permit that it has got, or `_ALONE`."""

    @property
    def permit(self) -> int | None:
        """Returns the permit, if the lock is shared."""
        return None if self.place == _ALONE else self.place


def _asks(session: _Session, lock_ref: int, lock: Any) -> _Ask:
    """Reads what somebody asks for."""
    linger, min_hold = (wire.from_wire(span) or 0 for span in (lock.linger, lock.min_hold))
    limit = (lock.limit or _MAX_PERMITS) if lock.mode == 2 else 0
    is_kept = lock.on_disconnect == 2
    return _Ask(session, lock_ref, lock.name, lock.owner, linger, min_hold=min_hold, is_kept=is_kept, limit=limit)


class Broker:
    """A broker in this process. Use it as a context manager, or call `close`."""

    def __init__(self, ttl: Seconds = 15.0) -> None:
        """Starts it on a port of its own. A short `ttl`, down to 0.3 s or so, has locks run out soon."""
        self._ttl = wire.nanos(ttl)
        self._mutex = threading.RLock()
        self._tokens = itertools.count(1)
        # By the name, and by the place: a permit, or `_ALONE`.
        self._held: dict[str, dict[int, _Ask]] = {}
        self._queues: dict[str, list[_Ask]] = {}
        # The moments at which what nobody has is free, by the same.
        self._lingers: dict[str, dict[int, int]] = {}
        self._failing: dict[str, ErrorReason] = {}
        self._sessions: set[_Session] = set()
        self._silent = False
        self._pool = ThreadPoolExecutor(64, thread_name_prefix="lockbroker-testing")
        self._server = grpc.server(self._pool, handlers=[_Handlers(self)])
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{port}"
        """What to connect to."""
        self._server.start()

    # For tests.

    def holder(self, name: str) -> Holder | None:
        """Returns who has the lock, or None. Of those who share it, returns the one with the lowest permit."""
        return next(iter(self.holders(name)), None)

    def holders(self, name: str) -> list[Holder]:
        """Returns who has the lock, or all who share it, in the order of their permits."""
        with self._mutex:
            return [Holder(held.owner, held.token, held.permit) for held in self._holders(name)]

    def waiting(self, name: str) -> int:
        """Returns how many wait for the lock."""
        with self._mutex:
            return len(self._queues.get(name, []))

    def occupy(self, name: str, owner: str = "somebody else") -> None:
        """Has somebody else hold the lock alone, until `free`. Whoever has it, or shares it, loses it."""
        with self._mutex:
            self._lose_all(name, LostReason.TAKEN_OVER)
            self._held[name] = {_ALONE: _Ask(None, 0, name, owner, 0, str(uuid.uuid4()), next(self._tokens))}

    def free(self, name: str) -> None:
        """Ends what `occupy` began."""
        with self._mutex:
            for held in self._holders(name):
                if held.session is None and held.ttl is None:
                    self._end(held)

    def lose(self, name: str, reason: LostReason = LostReason.GONE) -> None:
        """Has whoever holds the lock, or shares it, lose it: they are told so. Who has a lease finds out when they renew it."""
        with self._mutex:
            self._lose_all(name, reason)
            self._grant_next(name)

    def _lose_all(self, name: str, reason: LostReason) -> None:
        for held in self._held.pop(name, {}).values():
            if held.session is not None:
                held.session.tell(held.lock_ref, lost={"reason": _LOSSES[reason]})

    def fail(self, name: str, reason: ErrorReason = ErrorReason.STORE_UNAVAILABLE) -> None:
        """Has every call about the lock fail from now on, until `mend`."""
        with self._mutex:
            self._failing[name] = reason

    def mend(self, name: str) -> None:
        """Ends what `fail` began."""
        with self._mutex:
            self._failing.pop(name, None)

    def fall_silent(self) -> None:
        """Answers no heartbeat from now on: locks run out after the ttl."""
        self._silent = True

    def close(self) -> None:
        """Stops it. Clients find their connections broken."""
        with self._mutex:
            for session in self._sessions:
                session.outbound.put(None)
            for ask in [ask for asks in self._queues.values() for ask in asks]:
                if ask.timer is not None:
                    ask.timer.cancel()
        self._server.stop(0).wait()
        self._pool.shutdown()

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # The service.

    def _session(self, requests: Iterator[pb.SessionRequest], context: Any) -> Iterator[pb.SessionResponse]:
        session = _Session()
        with self._mutex:
            self._sessions.add(session)
        thread = threading.Thread(target=self._read, args=(session, requests), daemon=True)
        thread.start()
        try:
            yield from iter(session.outbound.get, None)
        finally:
            with self._mutex:
                self._sessions.discard(session)

    def _read(self, session: _Session, requests: Iterator[pb.SessionRequest]) -> None:
        try:
            for request in requests:
                with self._mutex:
                    self._request(session, request)
        except Exception:
            # The stream has been cancelled.
            pass
        finally:
            with self._mutex:
                for ask in self._all():
                    if ask.session is not session:
                        continue
                    if ask.is_kept and self._has(ask):
                        # It may still be reattached.
                        self._hold_until(ask, self._ttl)
                    else:
                        self._end(ask)
            session.outbound.put(None)

    def _request(self, session: _Session, request: pb.SessionRequest) -> None:
        kind = request.WhichOneof("kind")
        valid = wire.to_wire(self._ttl * 13 // 15)
        if kind == "open":
            spans = {"ttl": self._ttl, "heartbeat_interval": self._ttl // 3}
            opened = {name: wire.to_wire(span) for name, span in spans.items()}
            session.outbound.put(pb.SessionResponse(opened={**opened, "expires_after_open": valid}))
        elif kind == "heartbeat" and not self._silent:
            ack = {"seq": request.heartbeat.seq, "expires_after_heartbeat": valid}
            session.outbound.put(pb.SessionResponse(heartbeat_ack=ack))
        elif kind == "begin":
            self._begin(session, request.begin)
        elif kind == "end":
            self._end_lock(session, request.end.lock_ref)

    def _begin(self, session: _Session, begin: Any) -> None:
        self._place(_asks(session, begin.lock_ref, begin.lock), begin)

    def _all(self) -> list[_Ask]:
        """Returns all who hold a lock or wait for one."""
        held = itertools.chain.from_iterable(places.values() for places in self._held.values())
        return [*held, *itertools.chain.from_iterable(self._queues.values())]

    def _holders(self, name: str) -> list[_Ask]:
        """Returns who has the lock, or all who share it, in the order of their permits."""
        return [ask for _, ask in sorted(self._held.get(name, {}).items())]

    def _has(self, ask: _Ask) -> bool:
        return self._held.get(ask.name, {}).get(ask.place) is ask

    def _by_id(self, name: str, lock_id: str) -> _Ask | None:
        return next((held for held in self._holders(name) if held.lock_id == lock_id), None)

    def _owner(self, name: str) -> str:
        """Returns the label of who has the lock alone."""
        held = self._held.get(name, {}).get(_ALONE)
        return "" if held is None else held.owner

    def _closed(self, name: str, now: int) -> dict[int, int]:
        """Returns what lingers, and until when."""
        return {place: until for place, until in self._lingers.get(name, {}).items() if until > now}

    def _free(self, ask: _Ask, now: int) -> int | None:
        """Returns what can be granted: the lowest free permit, or `_ALONE`. None if nothing can."""
        taken = {*self._held.get(ask.name, {}), *self._closed(ask.name, now)}
        if not ask.limit:
            return None if taken else _ALONE
        if _ALONE in taken:
            return None
        return next((permit for permit in range(ask.limit) if permit not in taken), None)

    def _is_kept_out(self, ask: _Ask) -> bool:
        """Returns true if somebody waits for the lock alone, and lets in no others."""
        return bool(ask.limit) and any(not other.limit for other in self._queues.get(ask.name, []))

    def _place(self, ask: _Ask, begin: Any) -> None:
        session, lock_ref, name = ask.session, ask.lock_ref, ask.name
        assert session is not None
        if failed := self._failure(name):
            session.tell(lock_ref, failed=failed)
        elif begin.reattach_lock_id:
            held = self._by_id(name, begin.reattach_lock_id)
            is_downgrade = ask.limit > 0 and held is not None and held.place == _ALONE
            if held is None:
                session.tell(lock_ref, not_acquired={"reason": 5})
            elif is_downgrade and ask.min_hold:
                session.tell(lock_ref, failed=_NO_DOWNGRADE)
            else:
                ask.owner, ask.linger, ask.token = held.owner, held.linger, held.token
                ask.min_hold, ask.closed_until, ask.place = 0, held.closed_until, held.place
                if held.session is not None:
                    held.session.tell(held.lock_ref, lost={"reason": 3})
                if is_downgrade:
                    # Nobody else has a permit.
                    del self._held[name][_ALONE]
                    ask.place = 0
                self._grant(ask)
                self._grant_next(name)
        elif not self._is_kept_out(ask) and (place := self._free(ask, _clock.now())) is not None:
            ask.place, ask.token = place, next(self._tokens)
            self._grant(ask)
        elif not begin.HasField("wait") or (
            begin.wait.HasField("max_wait") and not wire.from_wire(begin.wait.max_wait)
        ):
            reason = 1 if self._holders(name) else 2
            session.tell(lock_ref, not_acquired={"reason": reason, "owner": self._owner(name)})
        else:
            self._queue(ask, begin.wait)

    def _queue(self, ask: _Ask, wait: Any) -> None:
        assert ask.session is not None
        waiting = self._queues.setdefault(ask.name, [])
        waiting.append(ask)
        ask.session.tell(ask.lock_ref, queued={"position": len(waiting)})
        if wait.HasField("max_wait"):
            ask.timer = threading.Timer((wire.from_wire(wait.max_wait) or 0) / t.SECOND, self._wait_over, [ask])
            ask.timer.daemon = True
            ask.timer.start()
        self._grant_next(ask.name)

    def _wait_over(self, ask: _Ask) -> None:
        with self._mutex:
            if ask in self._queues.get(ask.name, []) and ask.session is not None:
                self._queues[ask.name].remove(ask)
                ask.session.tell(ask.lock_ref, not_acquired={"reason": 3, "owner": self._owner(ask.name)})
                # It may have kept others out.
                self._grant_next(ask.name)

    def _end_lock(self, session: _Session, lock_ref: int) -> None:
        for ask in self._all():
            if ask.session is session and ask.lock_ref == lock_ref:
                if self._end(ask):
                    session.tell(lock_ref, released={})
                else:
                    session.tell(lock_ref, not_acquired={"reason": 4})

    def _grant(self, ask: _Ask) -> None:
        ask.lock_id = str(uuid.uuid4())
        if ask.timer is not None:
            ask.timer.cancel()
        if ask.min_hold:
            ask.closed_until = _clock.now() + ask.min_hold
        self._held.setdefault(ask.name, {})[ask.place] = ask
        if ask.session is not None:
            acquired = {"lock_id": ask.lock_id, "fencing_token": ask.token, "permit": ask.permit}
            ask.session.tell(ask.lock_ref, acquired=acquired)

    def _end(self, ask: _Ask) -> bool:
        """Ends a grant, or a wait. Returns true if it was a grant."""
        was_granted = self._has(ask)
        if was_granted:
            del self._held[ask.name][ask.place]
            now = _clock.now()
            closed_until = max(ask.closed_until, now + ask.linger if ask.linger else 0)
            if closed_until:
                self._lingers[ask.name] = {**self._closed(ask.name, now), ask.place: closed_until}
        else:
            self._queues[ask.name].remove(ask)
            if ask.timer is not None:
                ask.timer.cancel()
        self._grant_next(ask.name)
        return was_granted

    def _hold_until(self, ask: _Ask, span: int) -> None:
        """Ends a lock without a stream after a time, unless that is put off."""
        ask.until = _clock.now() + span

        def look() -> None:
            with self._mutex:
                if self._has(ask) and _clock.now() >= ask.until:
                    self._end(ask)

        timer = threading.Timer(span / t.SECOND + 0.001, look)
        timer.daemon = True
        timer.start()

    def _grant_next(self, name: str) -> None:
        """Grants the lock to those who wait, in their order, for as long as there is anything to grant."""
        # One moment for all: what ends between two looks at the clock would be missed.
        queue, now = self._queues.get(name, []), _clock.now()
        while queue and (place := self._free(queue[0], now)) is not None:
            ask = queue.pop(0)
            ask.place, ask.token = place, next(self._tokens)
            self._grant(ask)
        if queue and (closed := self._closed(name, now)):
            self._look_again(name, min(closed.values()))

    def _look_again(self, name: str, at: int) -> None:
        def look() -> None:
            with self._mutex:
                self._grant_next(name)

        left = max(at - _clock.now(), 0) / t.SECOND
        timer = threading.Timer(left + 0.001, look)
        timer.daemon = True
        timer.start()

    def _failure(self, name: str) -> dict[str, Any] | None:
        reason = self._failing.get(name)
        if reason is None:
            return None
        return {"code": CODES[reason].value[0], "message": f'lock "{name}": as the test says', "reason": reason.value}

    def _release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        self._abort_if_failing(request.name, context)
        with self._mutex:
            held = self._by_id(request.name, request.lock_id)
            if held is None:
                return pb.ReleaseResponse(outcome=3 if self._holders(request.name) else 2)  # type: ignore[arg-type]
            if held.session is not None:
                held.session.tell(held.lock_ref, released={})
            self._end(held)
            return pb.ReleaseResponse(outcome=1)  # type: ignore[arg-type]

    def _get(self, request: pb.GetLockRequest, context: Any) -> pb.GetLockResponse:
        self._abort_if_failing(request.name, context)
        with self._mutex:
            named = self._by_id(request.name, request.lock_id)
            place = request.permit if request.HasField("permit") else _ALONE if named is None else named.place
            places = self._held.get(request.name, {})
            held = places.get(place)
            # Who asks for the lock itself hears how many share it.
            shared_count = len(places) if place == _ALONE and held is None else 0
            if held is None and not shared_count:
                now = _clock.now()
                closed = self._closed(request.name, now)
                until = closed.get(place, 0) if place != _ALONE else max(closed.values(), default=0)
                left = until - now
                if left <= 0:
                    return pb.GetLockResponse(state=1)  # type: ignore[arg-type]
                return pb.GetLockResponse(state=3, free_within=wire.to_wire(left))  # type: ignore[arg-type]
            valid = self._ttl * 13 // 15 if held is not None and held is named else None
            return pb.GetLockResponse(
                state=2,  # type: ignore[arg-type]
                owner=held.owner if held else "",
                free_within=wire.to_wire(self._ttl),
                expires_after_request=wire.to_wire(valid),
                fencing_token=held.token if held else 0,
                shared_count=shared_count,
            )

    def _acquire_lease(self, request: pb.AcquireLeaseRequest, context: Any) -> pb.AcquireLeaseResponse:
        lock, call = request.lock, _Session()
        self._abort_if_failing(lock.name, context)
        ask = _asks(call, 1, lock)
        ask.request_id = request.request_id
        ask.ttl = wire.from_wire(request.ttl) if request.HasField("ttl") else self._ttl
        with self._mutex:
            for before in self._holders(lock.name):
                if request.request_id and before.request_id == request.request_id:
                    return self._leased(before)
            self._place(ask, pb.BeginLock(lock=lock, wait=request.wait if request.HasField("wait") else None))
        # Whoever asked may leave before that.
        context.add_callback(lambda: call.outbound.put(None))
        while (said := call.outbound.get()) is not None:
            event = said.event.event
            if event.WhichOneof("kind") == "acquired":
                with self._mutex:
                    ask.session = None
                    return self._leased(ask)
            if event.WhichOneof("kind") == "not_acquired":
                return pb.AcquireLeaseResponse(not_acquired=event.not_acquired)
        with self._mutex:
            if self._has(ask) or ask in self._queues.get(ask.name, []):
                self._end(ask)
        return pb.AcquireLeaseResponse()

    def _leased(self, ask: _Ask) -> pb.AcquireLeaseResponse:
        self._hold_until(ask, ask.ttl or 0)
        valid = wire.to_wire((ask.ttl or 0) * 13 // 15)
        acquired = {"lock_id": ask.lock_id, "fencing_token": ask.token, "permit": ask.permit}
        acquired["expires_after_request"] = valid
        return pb.AcquireLeaseResponse(acquired=acquired)

    def _renew_lease(self, request: pb.RenewLeaseRequest, context: Any) -> pb.RenewLeaseResponse:
        self._abort_if_failing(request.name, context)
        with self._mutex:
            held = self._by_id(request.name, request.lock_id)
            if held is None or held.ttl is None:
                return pb.RenewLeaseResponse(lost={"reason": 3 if self._holders(request.name) else 2})
            self._hold_until(held, held.ttl)
            return pb.RenewLeaseResponse(renewed={"expires_after_request": wire.to_wire(held.ttl * 13 // 15)})

    def _abort_if_failing(self, name: str, context: Any) -> None:
        with self._mutex:
            failure = self._failure(name)
        if failure is not None:
            _abort(context, name, ErrorReason(failure["reason"]), failure["message"])


def _abort(context: Any, name: str, reason: ErrorReason, message: str) -> None:
    """Ends a call as a broker does that has a reason."""
    code = CODES[reason]
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN, metadata={"lock": name})
    status.details.add().Pack(info)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


class _Handlers(grpc.GenericRpcHandler):
    """Leads calls to the broker's methods."""

    def __init__(self, broker: Broker) -> None:
        def write(message: Any) -> bytes:
            data: bytes = message.SerializeToString()
            return data

        self._methods: dict[str, Any] = {
            "Session": grpc.stream_stream_rpc_method_handler(broker._session, pb.SessionRequest.FromString, write),
            "Release": grpc.unary_unary_rpc_method_handler(broker._release, pb.ReleaseRequest.FromString, write),
            "GetLock": grpc.unary_unary_rpc_method_handler(broker._get, pb.GetLockRequest.FromString, write),
            "AcquireLease": grpc.unary_unary_rpc_method_handler(
                broker._acquire_lease, pb.AcquireLeaseRequest.FromString, write
            ),
            "RenewLease": grpc.unary_unary_rpc_method_handler(
                broker._renew_lease, pb.RenewLeaseRequest.FromString, write
            ),
        }

    def service(self, details: Any) -> Any:
        """Finds the method of a call."""
        return self._methods.get(details.method.removeprefix(pb.SERVICE))
