"""A decorator for APScheduler: of the schedulers that all have a job, one runs it.

::

    @only_one("nightly", linger=60)
    def nightly():
        ...

    scheduler.add_job(nightly, "cron", hour=3)
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .. import aio
from .._client import connect
from .._wire import Seconds
from ._locked import PerProcess, current_lock, name_of, under

__all__ = ["current_lock", "only_one"]

log = logging.getLogger("lockbroker")
F = TypeVar("F", bound=Callable[..., Any])


def only_one(
    name: str | Callable[..., str], *endpoints: str, linger: Seconds | None = None, **settings: Any
) -> Callable[[F], F]:
    """Makes a function, or a coroutine function, run only while it holds the lock `name`.

    If somebody else has the lock, the call does nothing and returns None. `linger` keeps the lock closed for so long
    after the run: set it to more than the schedulers' clocks differ, or a short job runs once in each of them. `name` may
    be a function of the call's arguments. `endpoints` and `settings` are those of `lockbroker.connect`; without any, the
    environment names the brokers.

    A loss of the lock raises `lockbroker.Lost` out of the call. In the function, `current_lock()` is the lock.
    """

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            return cast(F, _of_coroutine(function))
        clients = PerProcess(lambda: connect(*endpoints, **settings))

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            lock_name = name_of(name, args, kwargs)
            lock = clients.client().try_lock(lock_name, linger=linger)
            if lock is None:
                return log.info('lock "%s" is held: not run here', lock_name)
            with lock, under(lock):
                return function(*args, **kwargs)

        return cast(F, call)

    def _of_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
        clients = PerProcess(lambda: aio.connect(*endpoints, **settings))

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            lock_name = name_of(name, args, kwargs)
            lock = await clients.client().try_lock(lock_name, linger=linger)
            if lock is None:
                return log.info('lock "%s" is held: not run here', lock_name)
            async with lock:
                with under(lock):
                    return await function(*args, **kwargs)

        return call

    return decorate
