"""The single calls that are made besides the Session, each at one broker after the other until one answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Union

import grpc

from . import _clock
from . import _proto as pb
from . import _wire as wire
from ._core import types as t
from ._endpoint import Endpoint
from .errors import ClientClosed, LockbrokerError

Answer = Union[Any, t.Failure]
"""A response, or the failure by which the call ended."""
Done = Callable[[Answer, int], None]
"""Is told the answer, and the moment before the request was sent that it answers."""

_PAUSE = 100 * t.MILLISECOND
"""The pause after each broker has been asked in vain."""
_LONGEST_PAUSE = 250 * t.MILLISECOND
AWAY = (t.Code.UNAVAILABLE, t.Code.HANDSHAKE)
"""The failures of a broker that is of no use, where the next one may be."""


class Calls:
    """Makes the calls. Its channels connect by themselves, and again when they have to."""

    def __init__(self, endpoints: tuple[Endpoint, ...], answer_timeout: int) -> None:
        self._endpoints = endpoints
        # The longest time that one broker may take to answer, so that there is time to ask each of them.
        self._share = answer_timeout // len(endpoints)
        self._mutex = threading.Lock()
        self._channels: dict[int, grpc.Channel] = {}
        # The broker to ask next.
        self._current = 0
        self._closed = False

    @property
    def share(self) -> int:
        """Returns the longest time that one broker may take to answer."""
        return self._share

    @property
    def brokers(self) -> int:
        """Returns the number of brokers."""
        return len(self._endpoints)

    @property
    def is_closed(self) -> bool:
        """Returns true if nothing is called any more."""
        return self._closed

    def release(self, name: str, lock_id: str, done: Callable[[Answer], None]) -> None:
        """Calls Release. `done` is called once, from some thread."""
        request = pb.ReleaseRequest(name=name, lock_id=lock_id)
        self._start("Release", request, lambda answer, _: done(answer))

    def get(self, name: str, lock_id: str, permit: int | None, done: Callable[[Answer], None]) -> None:
        """Calls GetLock. `done` is called once, from some thread."""
        request = pb.GetLockRequest(name=name, lock_id=lock_id, permit=permit)
        self._start("GetLock", request, lambda answer, _: done(answer))

    def renew(self, name: str, lock_id: str, done: Done) -> None:
        """Calls RenewLease. `done` is called once, from some thread."""
        self._start("RenewLease", pb.RenewLeaseRequest(name=name, lock_id=lock_id), done)

    def update(self, name: str, lock_id: str, value: bytes, done: Callable[[Answer], None]) -> None:
        """Calls UpdateLock. `done` is called once, from some thread."""
        request = pb.UpdateLockRequest(name=name, lock_id=lock_id, value=value)
        self._start("UpdateLock", request, lambda answer, _: done(answer))

    def observe(self, number: int, name: str) -> Any:
        """Begins to observe a lock at the broker with that number. Returns the stream, which has no deadline.

        Raises `ClientClosed` once these are closed, and a `LockbrokerError` if the certificates have changed.
        """
        channel = self._channel(number)
        if channel is None:
            raise closed()
        stream: Any = channel.unary_stream(
            pb.SERVICE + "Observe", lambda it: it.SerializeToString(), pb.ObserveResponse.FromString
        )
        try:
            return stream(pb.ObserveRequest(name=name))
        except ValueError:
            # It was closed meanwhile.
            raise closed() from None

    def failure(self, number: int, call: grpc.Call) -> t.Failure:
        """Reads how a call at the broker with that number has failed. May ask the broker, for up to a second."""
        return self._endpoints[number].explained(wire.failure(call))

    @property
    def current(self) -> int:
        """Returns the number of the broker that is next."""
        return self._current

    def turn_from(self, number: int) -> None:
        """Turns from a broker that was of no use to the next, unless it has been turned from already."""
        if self._current == number:
            self._current = (number + 1) % len(self._endpoints)

    def close(self) -> None:
        """Ends the calls under way, and closes the channels."""
        with self._mutex:
            self._closed = True
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.close()

    def _start(self, method: str, request: Any, done: Done, tries: int = 1) -> None:
        def ended(answer: Answer, sent: int) -> None:
            is_away = isinstance(answer, t.Failure) and answer.code in AWAY and not self._closed
            if not is_away or tries >= len(self._endpoints):
                return done(answer, sent)
            self._start(method, request, done, tries + 1)

        self.once(method, request, self._share, ended)

    def once(self, method: str, request: Any, timeout: int, done: Done) -> Callable[[], object]:
        """Asks the broker that is next, once, for no longer than `timeout`. Returns what cancels that.

        If it is of no use, the one after it is next.
        """
        number = self._current
        endpoint = self._endpoints[number]
        sent = _clock.now()

        def ended(call: Any) -> None:
            if call.code() is grpc.StatusCode.OK:
                return done(call.result(), sent)
            if self._closed:
                return done(_closed(), sent)
            failure = endpoint.explained(wire.failure(call))
            if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not failure.reason:
                why = f"no answer from the broker at {endpoint.name} within {timeout / t.SECOND:g} s"
                failure = t.unavailable(why)
            fail(failure)

        def fail(failure: t.Failure) -> None:
            if failure.code in AWAY:
                self.turn_from(number)
            done(failure, sent)

        try:
            channel = self._channel(number)
        except LockbrokerError as error:
            # The certificates have changed since the client was made.
            fail(t.Failure(t.Code.HANDSHAKE, str(error), disagreement=error))
            return _nothing
        if channel is None:
            done(_closed(), sent)
            return _nothing
        path, deserialize = pb.SERVICE + method, _RESPONSES[method]()
        unary: Any = channel.unary_unary(path, lambda it: it.SerializeToString(), deserialize)
        try:
            call = unary.future(request, timeout=timeout / t.SECOND)
        except ValueError:
            # It was closed meanwhile.
            done(_closed(), sent)
            return _nothing
        call.add_done_callback(ended)
        cancel: Callable[[], object] = call.cancel
        return cancel

    def _channel(self, number: int) -> grpc.Channel | None:
        with self._mutex:
            if self._closed:
                return None
            if number not in self._channels:
                self._channels[number] = self._endpoints[number].channel()
            return self._channels[number]


# Its classes are made when they are first asked for.
_RESPONSES: dict[str, Callable[[], Callable[[bytes], Any]]] = {
    "Release": lambda: pb.ReleaseResponse.FromString,
    "GetLock": lambda: pb.GetLockResponse.FromString,
    "AcquireLease": lambda: pb.AcquireLeaseResponse.FromString,
    "RenewLease": lambda: pb.RenewLeaseResponse.FromString,
    "UpdateLock": lambda: pb.UpdateLockResponse.FromString,
}


def closed() -> ClientClosed:
    """Makes the error of a client that is closed."""
    return ClientClosed("the client is closed; make a new one with lockbroker.connect")


def _closed() -> t.Failure:
    error = closed()
    return t.Failure(t.Code.UNAVAILABLE, str(error), disagreement=error)


def _nothing() -> None:
    """Cancels what has ended."""


class Repeated:
    """A call that is made again, at one broker after the other, until one answers or the time is over.

    It is for calls that a broker takes for the same one when they come again.
    """

    def __init__(
        self,
        calls: Calls,
        method: str,
        request: Callable[[int], Any],
        done: Done,
        *,
        until: int,
        waits_until: int = 0,
        is_patient: bool = False,
    ) -> None:
        """Prepares it: `request` makes the message for a moment, and `done` is called once, from some thread.

        Until `waits_until` a broker may let it wait. After `until` nothing is sent any more. One that `is_patient` goes on
        until then if each broker says that it cannot, and any other one while it waits.
        """
        self._calls = calls
        self._method = method
        self._request = request
        self._done = done
        self._until = until
        self._waits_until = waits_until
        self._patient_until = until if is_patient else waits_until
        self.has_lost_an_answer = False
        """A request was sent perhaps, and nobody knows what became of it."""
        self._tries = 0
        # The number of brokers in a row that have said that they cannot.
        self._refused = 0
        self._mutex = threading.Lock()
        self._cancelled = False
        self._cancel: Callable[[], object] = _nothing

    def start(self) -> None:
        """Makes the call."""
        with self._mutex:
            if self._cancelled:
                return
            self._tries += 1
            number = self._tries
        now = _clock.now()
        patience = self._calls.share + max(self._waits_until - now, 0)
        timeout = max(min(patience, self._until - now), t.MILLISECOND)
        cancel = self._calls.once(self._method, self._request(now), timeout, self._ended)
        with self._mutex:
            # The next one may have begun.
            if number == self._tries:
                self._cancel = cancel
            cancelled = self._cancelled
        if cancelled:
            cancel()

    def cancel(self) -> None:
        """Ends the call. A broker that has not answered it does nothing then."""
        with self._mutex:
            self._cancelled = True
            cancel = self._cancel
        cancel()

    def _ended(self, answer: Answer, sent: int) -> None:
        if not isinstance(answer, t.Failure) or self._is_over(answer):
            return self._done(answer, sent)
        if self._tries % self._calls.brokers:
            return self.start()
        pause = _PAUSE if answer.retry_after is None else min(answer.retry_after, _LONGEST_PAUSE)
        timer = threading.Timer(pause / t.SECOND, self.start)
        timer.daemon = True
        timer.start()

    def _is_over(self, failure: t.Failure) -> bool:
        """Returns true if there is no sense in another try."""
        now = _clock.now()
        if self._cancelled or self._calls.is_closed or now >= self._until:
            return True
        if not failure.reason and not failure.code.is_final:
            # It is no broker's word.
            self.has_lost_an_answer = True
            self._refused = 0
            return False
        if failure.code not in AWAY:
            return True
        self._refused += 1
        can_wait = now < self._patient_until and failure.code is t.Code.UNAVAILABLE
        return self._refused >= self._calls.brokers and not can_wait and not self.has_lost_an_answer
