"""What the decorators have in common: a client for each process, and the lock of the call under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from .. import _fork, aio
from .._client import Client
from .._lock import BaseLock

_current: ContextVar[BaseLock | None] = ContextVar("lockbroker-lock", default=None)

C = TypeVar("C", Client, aio.Client)


def current_lock() -> BaseLock:
    """Returns the lock under which the present call runs: for its `fencing_token`, and to `check` it."""
    lock = _current.get()
    if lock is None:
        raise RuntimeError("this call runs under no lock: it was not called by way of a decorator of lockbroker's")
    return lock


@contextmanager
def under(lock: BaseLock) -> Iterator[None]:
    """Has `current_lock` return this lock in the block."""
    token = _current.set(lock)
    try:
        yield
    finally:
        _current.reset(token)


class PerProcess(Generic[C]):
    """A client that is made when it is first asked for, and anew in a forked child. Workers fork after they load."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make: Callable[[], C] = make
        self._mutex = threading.Lock()
        self._made: tuple[int, C] | None = None
        self._epoch = _fork.epoch()

    def client(self) -> C:
        """Returns the client of this process."""
        if self._epoch != _fork.epoch():
            # Another thread of the parent's may have had it.
            self._mutex, self._epoch = threading.Lock(), _fork.epoch()
        with self._mutex:
            if self._made is None or self._made[0] != _fork.epoch():
                if self._made is not None:
                    _fork.keep(self._made)
                self._made = (_fork.epoch(), self._make())
            return self._made[1]


def name_of(name: str | Callable[..., str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Returns the lock's name for a call."""
    return name(*args, **kwargs) if callable(name) else name
