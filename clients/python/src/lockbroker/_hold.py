"""What a guard shares with the session's thread: until when its lock may be believed in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _clock, _fork
from ._core import Held
from ._core import types as t
from .errors import Lost, Unavailable

if TYPE_CHECKING:
    from ._value import Updates


class Hold:
    """The state of a held lock."""

    def __init__(self, name: str, held: Held) -> None:
        self.name = name
        self.updates: Updates | None = None
        """What gives the lock another value; none if it was asked for without one."""
        self._held = held
        self._lost: t.LostReason | None = None
        # A handler of a signal may ask while the same thread is in here.
        self._mutex = threading.RLock()
        self._ended = threading.Event()
        # Each comes with a flag: it is also told that the lock was released here.
        self._listeners: dict[Callable[[], None], bool] = {}
        self._epoch = _fork.epoch()

    @property
    def held(self) -> Held:
        """Returns what the core last said of the lock."""
        return self._held

    @property
    def is_inherited(self) -> bool:
        """Returns true in a process that was forked from the one that holds the lock."""
        return self._epoch != _fork.epoch()

    def lost(self) -> t.LostReason | None:
        """Returns why the lock is lost. First marks one that has run out, so that nothing later can revive it."""
        if self.is_inherited:
            # Not by the mutex: another thread of the parent's may have had it.
            return t.LostReason.FORKED
        with self._mutex:
            if self._lost is None and _clock.now() >= self._held.until:
                self._end(t.LostReason.EXPIRED)
            return self._lost

    def remaining(self) -> float:
        """Returns the seconds for which the holder may act."""
        return 0.0 if self.lost() is not None or self._held.is_broken else self.expires_in()

    def expires_in(self) -> float:
        """Returns the longest time until the lock is lost if no broker is heard any more."""
        return max(self._held.until - _clock.now(), 0) / t.SECOND

    def check(self) -> None:
        """Fails unless the holder may act at this moment."""
        reason = self.lost()
        if reason is not None:
            raise Lost(self.name, reason)
        if self._held.is_broken:
            raise Unavailable(self.name, "the stream to the broker is broken and the lock not reattached yet")

    def lose(self, reason: t.LostReason) -> None:
        """Ends the hold, unless it has ended."""
        with self._mutex:
            if self._lost is None:
                self._end(reason)

    def end(self) -> t.LostReason | None:
        """Notes that the holder gives the lock up. Returns why it was lost before, if it was."""
        with self._mutex:
            reason = self.lost()
            if reason is None:
                # Drops those that listen for a loss alone.
                self._listeners = {listener: True for listener, any_end in self._listeners.items() if any_end}
                self._end(t.LostReason.ENDED)
            return reason

    def publish(self, held: Held) -> bool:
        """Takes what the core knows of the lock by now.

        False if that comes too late: the holder has been told that the lock is lost.
        """
        with self._mutex:
            if self.lost() is not None:
                return False
            self._held = held
            return True

    def listen(self, listener: Callable[[], None], any_end: bool = False) -> None:
        """Calls `listener` once when the lock is lost, or also when it is released here.

        That is in the thread that finds it, and must not block.
        """
        with self._mutex:
            if self.lost() is None:
                self._listeners[listener] = any_end
                return
        listener()

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Forgets a listener."""
        with self._mutex:
            self._listeners.pop(listener, None)

    def wait(self, timeout: float | None) -> t.LostReason | None:
        """Waits until the lock is lost, for up to `timeout` seconds."""
        if self.lost() is None:
            self._ended.wait(timeout)
        return self.lost()

    def _end(self, reason: t.LostReason) -> None:
        self._lost = reason
        self._ended.set()
        listeners, self._listeners = self._listeners, {}
        for listener in listeners:
            listener()
