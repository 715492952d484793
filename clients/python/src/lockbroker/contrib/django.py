"""A base for Django's management commands: of the runs of a command, on however many machines, one goes on at a time.

::

    class Command(LockedCommand):
        lock_name = "shop/nightly"

        def handle(self, **options):
            ...
"""

from __future__ import annotations

import os
import socket
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from .._client import connect
from .._lock import Lock
from .._wire import Seconds
from ..errors import LockbrokerError, Lost, NotAcquired, Unavailable
from ._locked import current_lock, under

__all__ = ["LockedCommand", "current_lock"]

_CODES: dict[type[LockbrokerError], int] = {Unavailable: 69, Lost: 70, NotAcquired: 75}
"""The exit codes of `lockbroker run`."""


class LockedCommand(BaseCommand):
    """A management command that runs only while it holds its lock.

    Use it in the place of `BaseCommand`, or before another command: `class Command(LockedCommand, migrate.Command)`.

    If somebody else has the lock, the command fails with exit code 75, without a broker with 69. `handle` calls
    `self.lock.check()` before each step that must not be done twice; a loss of the lock ends the command with 70. Where
    `handle` itself catches `lockbroker.Lost`, so it does at its end.

    The setting `LOCKBROKER` has the arguments of `lockbroker.connect`, and as `endpoints` a list of the brokers:
    `LOCKBROKER = {"endpoints": ["http://10.0.0.7:28551"]}`. Without it, the environment names them.
    """

    lock_name: str = ""
    """The lock's name. All projects that share brokers share names, so begin it with the project's."""
    lock_wait: Seconds | None = 0
    """The longest wait for the lock in seconds; None waits for as long as it takes."""
    lock_linger: Seconds | None = None
    """The seconds after the run for which nobody else can begin one."""
    lock: Lock
    """The lock, while the command runs."""

    def get_lock_name(self, **options: Any) -> str:
        """Returns the lock's name, by default `lock_name`. Override it where it depends on the command's options."""
        if not self.lock_name:
            raise ImproperlyConfigured(f"{type(self).__module__}.{type(self).__qualname__} has no lock_name")
        return self.lock_name

    def execute(self, *args: Any, **options: Any) -> Any:
        """Runs the command under its lock."""
        name = self.get_lock_name(**options)
        given = dict(getattr(settings, "LOCKBROKER", {}))
        given.setdefault("owner", f"{socket.gethostname()} pid {os.getpid()}")
        try:
            with (
                connect(*given.pop("endpoints", ()), **given) as client,
                client.lock(name, wait=self.lock_wait, linger=self.lock_linger) as self.lock,
                under(self.lock),
            ):
                return super().execute(*args, **options)
        except LockbrokerError as error:
            raise CommandError(str(error), returncode=_CODES.get(type(error), 1)) from error
