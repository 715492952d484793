"""Observing a lock: who holds it, and with which value.

Whoever waits for the next state drives it: opens the stream, notices that a broker is silent, and turns to the next. A thread
reads the stream, and keeps the latest state alone.
"""

from __future__ import annotations

import atexit
import enum
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import grpc

from . import _clock, _fork
from . import _proto as pb
from . import _wire as wire
from ._calls import AWAY
from ._core import types as t
from ._core.pause import pause
from ._session import Session
from ._wire import Seconds
from .errors import ClientClosed, Exhausted, LockbrokerError, from_failure

_SILENCE = 15 * t.SECOND
"""The longest silence of a broker that is believed: it repeats the last state every 5 s."""
_LONGEST_PAUSE = 1 * t.SECOND
"""The longest pause before brokers are asked again. A stream that lasts for so long is one that has served."""
_MAX_SLEEP = 1 * t.SECOND
"""The longest sleep. Timers stand still while the machine is suspended."""


class ObservedState(enum.Enum):
    """The state of a lock that is observed."""

    UNKNOWN = "unknown"
    """Nobody can tell: no broker answers, or the brokers' store is away, or has lost its memory. The lock may be held as before."""
    FREE = "free"
    """Nobody has it."""
    HELD = "held"
    """Somebody holds it, or several share it."""
    LINGERING = "lingering"
    """It was released and nobody can acquire it yet."""
    REVOKED = "revoked"
    """It was revoked, and nobody can acquire it until its holder no longer believes in it."""


@dataclass(frozen=True)
class Observed:
    """A lock as those see it who observe it."""

    state: ObservedState
    owner: str = ""
    """The holder's label; empty if it has none or it is not known."""
    value: bytes | None = None
    """The holder's value. None if it has none, or it is not known yet."""
    fencing_token: int | None = None
    """The holder's fencing token. None if it is not known. It tells one holder from the next."""
    expires_in: float | None = None
    """The lock is free so many seconds after the broker looked, at the latest, if nobody renews it. None when free or unknown."""


_UNKNOWN = Observed(ObservedState.UNKNOWN)
_STATES = {2: ObservedState.FREE, 3: ObservedState.HELD, 4: ObservedState.LINGERING, 5: ObservedState.REVOKED}


def _observed(answer: pb.ObserveResponse) -> Observed:
    """Reads what a broker tells. A state that is not known here is unknown."""
    expires_in = wire.from_wire(answer.expires_in) if answer.HasField("expires_in") else None
    return Observed(
        _STATES.get(answer.state, ObservedState.UNKNOWN),
        answer.owner,
        answer.value if answer.HasField("value") else None,
        answer.fencing_token if answer.fencing_token > 0 else None,
        None if expires_in is None else expires_in / t.SECOND,
    )


class _Stream:
    """A stream of a broker, and when it has to be heard again."""

    def __init__(self, number: int, call: Any, now: int, answer_by: int) -> None:
        self.number = number
        """The number of the broker."""
        self.call = call
        self.began = now
        self.due = answer_by
        self.has_told = False

    def heard(self) -> None:
        """Notes that the broker was heard."""
        self.due = _clock.now() + _SILENCE


class Watch:
    """Follows what a lock is, as far as the brokers tell it. It connects when it is first asked for a state."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._calls = session.calls
        self._name = name
        # A destructor may close it while the same thread is in here.
        self._mutex = threading.RLock()
        self._listeners: set[Callable[[], None]] = set()
        self._stream: _Stream | None = None
        # The latest state, which nobody has been told yet.
        self._latest: Observed | None = None
        self._told: Observed | None = None
        self._highest = 0
        self._error: LockbrokerError | None = None
        # The moment from which on a broker may be asked, after so many brokers and then rounds in a row that have failed.
        self._ask_at = 0
        self._tried = 0
        self._failures = 0
        self._is_over = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Has `listener` called whenever there is a reason to poll. It must not block. Raises `ClientClosed` as `poll` does."""
        # In a child, the mutex may be another thread's of the parent.
        self._session.ensure_usable()
        with self._mutex:
            self._listeners.add(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Forgets a listener."""
        if not self._session.is_inherited:
            with self._mutex:
                self._listeners.discard(listener)

    def poll(self) -> Observed | int | None:
        """Returns a state that is new, or the moment at which to poll again at the latest; None if it is closed.

        Raises what a broker refuses it by, and `ClientClosed`.
        """
        self._session.ensure_open()
        with self._mutex:
            while not self._is_over:
                now = _clock.now()
                if (stream := self._stream) is not None and now >= stream.due:
                    stream.call.cancel()
                    self._left(stream, t.unavailable("the broker is silent"))
                if (seen := self._take()) is not None:
                    return seen
                if self._error is not None:
                    error, self._error = self._error, None
                    # Any other one would be the same again.
                    self._is_over = not isinstance(error, Exhausted)
                    raise error
                if self._stream is not None:
                    return min(self._stream.due, now + _MAX_SLEEP)
                if now < self._ask_at:
                    return self._ask_at
                self._open(now)
            return None

    def close(self) -> None:
        """Ends it. Never blocks, and may be called from a destructor."""
        if self._session.is_inherited:
            return
        with self._mutex:
            self._is_over = True
            stream, self._stream = self._stream, None
        _open.discard(self)
        if stream is not None:
            stream.call.cancel()
        self._wake()

    def _open(self, now: int) -> None:
        number = self._calls.current
        try:
            call = self._calls.observe(number, self._name)
        except ClientClosed:
            raise
        except LockbrokerError as error:
            # The certificates have changed since the client was made.
            return self._failed(number, t.Failure(t.Code.HANDSHAKE, str(error), disagreement=error))
        stream = self._stream = _Stream(number, call, now, now + self._calls.share)
        _open.add(self)
        threading.Thread(target=self._read, args=(stream,), name="lockbroker-observe", daemon=True).start()

    def _take(self) -> Observed | None:
        """Returns the latest state, if that is another one than was told last."""
        seen, self._latest = self._latest, None
        if seen is None or (self._told is not None and seen == replace(self._told, expires_in=seen.expires_in)):
            return None
        self._told = seen
        return seen

    # In the thread that reads.

    def _read(self, stream: _Stream) -> None:
        """Reads what a broker tells until the stream ends."""
        failure = t.unavailable("the broker ended the stream")
        try:
            # Before the first state, the broker may have to ask its store.
            stream.call.initial_metadata()
            stream.heard()
            for answer in stream.call:
                self._heard(stream, _observed(answer))
        except grpc.RpcError as error:
            failure = self._calls.failure(stream.number, error if isinstance(error, grpc.Call) else stream.call)
        finally:
            with self._mutex:
                self._left(stream, failure)
            self._wake()

    def _heard(self, stream: _Stream, seen: Observed) -> None:
        with self._mutex:
            if stream is not self._stream:
                return
            stream.heard()
            stream.has_told = True
            token = seen.fencing_token or self._highest
            if token < self._highest:
                # This broker has seen less so far, or the store has lost its memory: it is no longer known who holds the lock.
                seen = _UNKNOWN
            self._highest = max(self._highest, token)
            self._latest = seen
        self._wake()

    # With the mutex.

    def _left(self, stream: _Stream, failure: t.Failure) -> None:
        """Notes that a stream has ended."""
        if stream is not self._stream:
            return
        self._stream = None
        _open.discard(self)
        now = _clock.now()
        if stream.has_told and now >= stream.began + _LONGEST_PAUSE:
            self._calls.turn_from(stream.number)
            self._tried = self._failures = 0
            self._ask_at = now
        else:
            # A stream that has told something was not refused.
            self._failed(stream.number, t.unavailable(failure.message) if stream.has_told else failure)

    def _failed(self, number: int, failure: t.Failure) -> None:
        """Notes that a broker does not let the lock be observed, does not answer, or has ended its stream at once."""
        self._ask_at = _clock.now()
        is_refused = failure.code not in AWAY and (failure.reason != "" or failure.code.is_final)
        if is_refused and failure.code is not t.Code.RESOURCE_EXHAUSTED:
            self._error = from_failure(self._name, failure)
            return
        self._calls.turn_from(number)
        self._tried += 1
        if is_refused:
            self._error = from_failure(self._name, failure)
        elif self._tried < self._calls.brokers:
            return
        else:
            self._latest = _UNKNOWN
        self._tried = 0
        self._ask_at += pause(self._failures, _LONGEST_PAUSE, random.random())
        self._failures += 1

    def _wake(self) -> None:
        with self._mutex:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


class BaseObservation:
    """What observations of threads and of tasks have in common."""

    def __init__(self, session: Session, name: str, client: object) -> None:
        self._watch = Watch(session, name)
        self._name = name
        # The end of the client ends it.
        self._client = client

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._name

    def __del__(self) -> None:
        # One whose making failed has none.
        watch = getattr(self, "_watch", None)
        if watch is not None:
            watch.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} of {self._name!r}>"


class Observation(BaseObservation):
    """Tells what a lock is, from now on: an iterator over its states. Made by `Client.observe`.

    The first state comes as soon as a broker tells it, and then one whenever it has changed. Between two of them the lock may have
    been free, or held by others, and a value may have been another one: whoever reads slowly gets the latest alone. A lower fencing
    token is never told after a higher one.

    It ends by `close`, at the end of its `with` block, or when nobody has it any more, as after a loop that is left.
    """

    def next(self, timeout: Seconds | None = None) -> Observed | None:
        """Waits for the next state, for up to `timeout` seconds. Returns None if there is none by then, or it is closed.

        Raises `Invalid` and `Denied` as the broker says, and is at its end then. Raises `Exhausted` if as many observe there as
        may; the next call asks the next broker. Raises `ClientClosed` once the client is closed.
        """
        until = None if timeout is None else _clock.now() + wire.nanos(timeout)
        wake = threading.Event()
        self._watch.listen(wake.set)
        try:
            while True:
                wake.clear()
                seen = self._watch.poll()
                if not isinstance(seen, int):
                    return seen
                now = _clock.now()
                if until is not None and now >= until:
                    return None
                wake.wait(((seen if until is None else min(seen, until)) - now) / t.SECOND)
        finally:
            self._watch.unlisten(wake.set)

    def close(self) -> None:
        """Ends it. A call of `next` that waits returns None, and a loop ends."""
        self._watch.close()

    def __iter__(self) -> Observation:
        return self

    def __next__(self) -> Observed:
        seen = self.next()
        if seen is None:
            raise StopIteration
        return seen

    def __enter__(self) -> Observation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


_open: set[Watch] = set()


def _close_all() -> None:
    """Ends the streams when the process ends, before gRPC does."""
    for watch in list(_open):
        watch.close()


def _in_child() -> None:
    _fork.keep(list(_open))
    _open.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
