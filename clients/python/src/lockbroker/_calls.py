"""The single calls that are made besides the Session, each at one broker after the other until one answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Union

import grpc

from . import _proto as pb
from . import _wire as wire
from ._core import types as t
from ._endpoint import Endpoint
from .errors import LockbrokerError

Answer = Union[Any, t.Failure]
"""A response, or the failure by which the call ended."""


class Calls:
    """Makes the calls. Its channels connect by themselves, and again when they have to."""

    def __init__(self, endpoints: tuple[Endpoint, ...], answer_timeout: int) -> None:
        self._endpoints = endpoints
        # The longest time that one broker may take to answer, so that there is time to ask each of them.
        self._share = answer_timeout / len(endpoints) / t.SECOND
        self._mutex = threading.Lock()
        self._channels: dict[int, grpc.Channel] = {}
        # The broker to ask next.
        self._current = 0
        self._closed = False

    def release(self, name: str, lock_id: str, done: Callable[[Answer], None]) -> None:
        """Calls Release. `done` is called once, from some thread."""
        request = pb.ReleaseRequest(name=name, lock_id=lock_id)
        self._start("Release", request, pb.ReleaseResponse.FromString, done)

    def get(self, name: str, lock_id: str, done: Callable[[Answer], None]) -> None:
        """Calls GetLock. `done` is called once, from some thread."""
        request = pb.GetLockRequest(name=name, lock_id=lock_id)
        self._start("GetLock", request, pb.GetLockResponse.FromString, done)

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

    def _start(
        self,
        method: str,
        request: pb.ReleaseRequest | pb.GetLockRequest,
        deserialize: Callable[[bytes], Any],
        done: Callable[[Answer], None],
        tries: int = 1,
    ) -> None:
        number = self._current
        endpoint = self._endpoints[number]

        def ended(call: Any) -> None:
            failure = None if call.code() is grpc.StatusCode.OK else wire.failure(call)
            if failure is None:
                return done(call.result())
            failure = endpoint.explained(failure)
            if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not failure.reason:
                why = f"no answer from the broker at {endpoint.name} within {self._share:g} s"
                failure = t.unavailable(why)
            again(failure)

        def again(failure: t.Failure) -> None:
            is_away = failure.code in (t.Code.UNAVAILABLE, t.Code.HANDSHAKE)
            if is_away:
                self.turn_from(number)
            if not is_away or tries >= len(self._endpoints):
                return done(failure)
            self._start(method, request, deserialize, done, tries + 1)

        try:
            channel = self._channel(number)
        except LockbrokerError as error:
            # The certificates have changed since the client was made.
            return again(t.Failure(t.Code.HANDSHAKE, str(error), disagreement=error))
        if channel is None:
            return done(t.unavailable("the client is closed"))
        call: Any = channel.unary_unary(pb.SERVICE + method, lambda it: it.SerializeToString(), deserialize)
        try:
            call.future(request, timeout=self._share).add_done_callback(ended)
        except ValueError:
            # It was closed meanwhile.
            done(t.unavailable("the client is closed"))

    def _channel(self, number: int) -> grpc.Channel | None:
        with self._mutex:
            if self._closed:
                return None
            if number not in self._channels:
                self._channels[number] = self._endpoints[number].channel()
            return self._channels[number]
