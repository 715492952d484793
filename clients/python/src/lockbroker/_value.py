"""Values: what the holder of a lock tells those who observe it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from . import _clock
from ._calls import Answer
from ._core import types as t
from ._futures import resolve
from .errors import Invalid, LockbrokerError, Lost, Unavailable, Unexpected, from_failure

if TYPE_CHECKING:
    from ._hold import Hold
    from ._session import Session

log = logging.getLogger("lockbroker")

Value = Union[bytes, bytearray, memoryview, str]
"""A value as users write it. A text is sent as UTF-8."""

MAX_VALUE_BYTES = 1024
"""The longest value that brokers take."""
_AGAIN = 50 * t.MILLISECOND
"""The pause before an update is tried again that somebody else's was in the way of, or a reattach."""
_UPDATED, _NOT_HELD, _HELD_BY_ANOTHER, _NO_VALUE = 1, 2, 3, 4


def read(lock: str, value: Value) -> bytes:
    """Reads a value. Raises `Invalid` for one that no broker takes."""
    if isinstance(value, str):
        try:
            value = value.encode()
        except UnicodeEncodeError as error:
            raise Invalid(lock, f"the value is not Unicode: {error.reason}") from None
    elif not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"the value has to be bytes or a str, not {type(value).__name__}")
    value = bytes(value)
    if len(value) > MAX_VALUE_BYTES:
        raise Invalid(lock, f"the value has {len(value)} bytes, and brokers take at most {MAX_VALUE_BYTES}")
    return value


def no_value(lock: str) -> Invalid:
    """Makes the error of an update of a lock that has no value."""
    return Invalid(lock, "it was asked for without a value, so it can be given none")


@dataclass
class _Waits:
    """An update that waits for its answer."""

    version: int
    """The number of its value."""
    until: int
    """The moment from which it is not tried again."""
    reply: Future[None] | None
    """None: nobody waits, as the client itself brings the value to where the lock has moved."""


class Updates:
    """Brings brokers the value that the holder of a lock has given it last.

    One call at a time does so, with the latest value. So an older one never comes after it.
    """

    def __init__(self, session: Session, key: int, hold: Hold) -> None:
        self._session = session
        self._key = key
        self._hold = hold
        # A handler of a signal may update it while the same thread does.
        self._mutex = threading.RLock()
        # The value that it was given last. None: it has that with which it was asked for.
        self._value: bytes | None = None
        self._version = 0
        self._waiting: list[_Waits] = []
        self._is_asking = False

    def update(self, value: bytes) -> Future[None]:
        """Gives the lock another value. Returns what is told when a broker has taken it."""
        reply: Future[None] = Future()
        with self._mutex:
            self._value = value
            self._version += 1
            # Before it is sent, so that a reattach brings it.
            self._session.give_value(self._key, value)
            self._wait(reply)
        self._ask()
        return reply

    def moved(self) -> None:
        """Brings the latest value to where the lock has moved: its reattach may have been under way with an earlier one."""
        with self._mutex:
            if self._value is None:
                return
            self._wait(None)
        self._ask()

    def _wait(self, reply: Future[None] | None) -> None:
        until = _clock.now() + self._session.settings.answer_timeout
        self._waiting.append(_Waits(self._version, until, reply))

    def _ask(self) -> None:
        """Sends the latest value, if somebody waits for that and no earlier one is under way."""
        lost = self._hold.lost()
        if lost is not None:
            return self._end(lambda _: True, Lost(self._hold.name, lost))
        with self._mutex:
            if self._is_asking or not self._waiting or self._value is None:
                return
            self._is_asking = True
            version, value, lock_id = self._version, self._value, self._hold.held.lock_id
        self._session.calls.update(
            self._hold.name, lock_id, value, lambda answer: self._answered(version, lock_id, answer)
        )

    def _answered(self, version: int, lock_id: str, answer: Answer) -> None:
        error = self._error(answer)
        if error is None and self._hold.held.lock_id != lock_id:
            # It has moved meanwhile, perhaps with the value from before.
            return self._again()
        if isinstance(error, Unavailable):
            now = _clock.now()
            self._end(lambda waits: waits.until <= now, error)
            timer = threading.Timer(_AGAIN / t.SECOND, self._again)
            timer.daemon = True
            return timer.start()
        self._end(lambda waits: waits.version <= version, error)
        self._again()

    def _again(self) -> None:
        with self._mutex:
            self._is_asking = False
        self._ask()

    def _error(self, answer: Answer) -> LockbrokerError | None:
        """Reads an answer. `Unavailable` is to be tried again."""
        name = self._hold.name
        if isinstance(answer, t.Failure):
            return from_failure(name, answer)
        if answer.outcome == _UPDATED:
            return None
        if answer.outcome in (_NOT_HELD, _HELD_BY_ANOTHER):
            # It is about to move: its new id is on the way.
            return Unavailable(name, "the brokers know this lock by another id, or no more")
        if answer.outcome == _NO_VALUE:
            return no_value(name)
        return Unexpected(name, "an update without an outcome")

    def _end(self, is_over: Callable[[_Waits], bool], error: LockbrokerError | None) -> None:
        with self._mutex:
            ended = [waits for waits in self._waiting if is_over(waits)]
            self._waiting = [waits for waits in self._waiting if not is_over(waits)]
        for waits in ended:
            if waits.reply is not None:
                resolve(waits.reply, error)
            elif error is not None:
                log.debug("the value has not moved along: %s", error)
