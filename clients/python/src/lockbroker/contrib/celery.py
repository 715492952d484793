"""A decorator for Celery: of the calls of a task, one runs at a time.

::

    @app.task
    @one_at_a_time(lambda customer: f"sync/{customer}", retry=30)
    def sync(customer):
        ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from celery import current_task
from celery.exceptions import Ignore

from .._client import connect
from .._wire import Seconds
from ..errors import NotAcquired
from ._locked import PerProcess, current_lock, name_of, under

__all__ = ["current_lock", "one_at_a_time"]

F = TypeVar("F", bound=Callable[..., Any])


def one_at_a_time(
    name: str | Callable[..., str],
    *endpoints: str,
    wait: Seconds = 0,
    linger: Seconds | None = None,
    retry: float | None = None,
    **settings: Any,
) -> Callable[[F], F]:
    """Makes a task run only while it holds the lock `name`. Write it below `@app.task`.

    The task waits for the lock for up to `wait` seconds, which keeps a worker busy. If somebody else has it then, the task
    is tried again after `retry` seconds (`max_retries` of the task applies), or without `retry` is ignored, as by
    `celery.exceptions.Ignore`. `linger` keeps the lock closed for so long after the run. `name` may be a function of the
    task's arguments. `endpoints` and `settings` are those of `lockbroker.connect`; without any, the environment names the
    brokers. Each worker process has a client of its own, made at its first task.

    A loss of the lock raises `lockbroker.Lost` out of the task. In the task, `current_lock()` is the lock.
    """
    clients = PerProcess(lambda: connect(*endpoints, **settings))

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            lock_name = name_of(name, args, kwargs)
            try:
                lock = clients.client().lock(lock_name, wait=wait, linger=linger)
            except NotAcquired as why:
                if retry is None or not current_task:
                    raise Ignore(str(why)) from why
                raise current_task.retry(countdown=retry, exc=why) from why
            with lock, under(lock):
                return function(*args, **kwargs)

        return cast(F, call)

    return decorate
