"""A driver for tooz: the locks of a coordinator whose URL begins with `lockbroker:`.

    lockbroker://HOST:PORT[,HOST:PORT...]     in plain text
    lockbroker:///PATH                        a Unix socket
    lockbroker+https://HOST:PORT[,...]        with TLS

Options: `ttl` and `answer_timeout` in seconds; `tls_ca`, `tls_cert` and `tls_key`. The member id is the owner that others
see. Groups and `break_` are not implemented: use another driver for groups.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tooz
from tooz import coordination, locking

from .. import errors
from .._client import Client, LockState, connect
from .._lock import Lock as HeldLock

_SECONDS = ("ttl", "answer_timeout")
_FILES = ("tls_ca", "tls_cert", "tls_key")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except errors.NotAcquired:
        raise
    except (errors.Unavailable, errors.HandshakeError, errors.ProtocolError) as error:
        raise coordination.ToozConnectionError(str(error)) from error
    except errors.LockbrokerError as error:
        raise tooz.ToozError(str(error)) from error


class LockbrokerLock(locking.Lock):
    """A lock. One object is held once at a time, or shared several times; who acquires it again waits, as everybody else does."""

    def __init__(self, driver: LockbrokerDriver, name: bytes | str) -> None:
        super().__init__(name if isinstance(name, bytes) else name.encode())
        self._driver = driver
        self._mutex = threading.Lock()
        # Several, if it is shared. They are all alike, so the last is released first.
        self._held: list[HeldLock] = []

    @property
    def acquired(self) -> bool:
        """Returns true while this object holds the lock."""
        return bool(self._held)

    @property
    def held(self) -> HeldLock | None:
        """The lock as `lockbroker` has it, with its fencing token. Of one that is shared several times, the last."""
        return next(reversed(self._held), None)

    def acquire(self, blocking: bool | float = True, shared: bool = False, timeout: float | None = None) -> bool:
        """Waits for the lock: for ever, or for up to `blocking` or `timeout` seconds; not at all if `blocking` is False."""
        wait = timeout if blocking is True else float(blocking)
        name, wait = self.name.decode(), _FOR_EVER if wait is None else wait
        with _translated():
            held = self._driver.client.try_lock(name, wait=wait, shared=shared)
        if held is None:
            return False
        with self._mutex:
            self._held.append(held)
        return True

    def release(self) -> bool:
        """Releases the lock. Returns false if this object did not hold it, or had lost it."""
        with self._mutex:
            if not self._held:
                return False
            held = self._held.pop()
        try:
            with _translated():
                held.release()
        except tooz.ToozError as error:
            if isinstance(error.__cause__, errors.Lost):
                return False
            raise
        return True

    def is_still_owner(self) -> bool:
        """Returns true if the holder may act at this moment."""
        held = self.held
        return held is not None and held.remaining() > 0

    def get_owner(self) -> bytes | None:
        """Returns the member that has the lock, as far as it is known."""
        with _translated():
            info = self._driver.client.get(self.name.decode())
        return info.owner.encode() if info.state is LockState.HELD else None


_FOR_EVER = float("inf")


class LockbrokerDriver(coordination.CoordinationDriver):
    """A coordinator that has locks. They need no heartbeat of tooz's."""

    CHARACTERISTICS = (
        coordination.Characteristics.DISTRIBUTED_ACROSS_THREADS,
        coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        coordination.Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        coordination.Characteristics.LINEARIZABLE,
    )

    def __init__(self, member_id: bytes, parsed_url: Any, options: dict[str, Any]) -> None:
        super().__init__(member_id, parsed_url, options)
        # tooz has a list for each.
        given = {name: value[-1] if isinstance(value, list) else value for name, value in options.items()}
        self._settings: dict[str, Any] = {name: float(given[name]) for name in _SECONDS if name in given}
        self._settings.update({name: given[name] for name in _FILES if name in given})
        self._settings["owner"] = member_id.decode(errors="replace") if isinstance(member_id, bytes) else member_id
        if parsed_url.netloc:
            scheme = "https" if parsed_url.scheme.endswith("+https") else "http"
            self._endpoints = [f"{scheme}://{part}" for part in parsed_url.netloc.split(",")]
        else:
            self._endpoints = [f"unix:{parsed_url.path}"]
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client, while the coordinator is started."""
        if self._client is None:
            raise tooz.ToozError("Can not use a coordinator that is not started")
        return self._client

    def _start(self) -> None:
        with _translated():
            self._client = connect(*self._endpoints, **self._settings)
            # It connects only now. Nobody needs to hold that name.
            self._client.get("tooz")

    def _stop(self) -> None:
        self.client.close()
        self._client = None

    def get_lock(self, name: bytes) -> LockbrokerLock:
        """Returns the lock `name`, which is UTF-8 of 1 to 128 bytes without control characters."""
        return LockbrokerLock(self, name)

    def watch_join_group(self, group_id: bytes, callback: Any) -> None:
        """Fails: there are no groups."""
        raise tooz.NotImplemented("not implemented")

    def watch_leave_group(self, group_id: bytes, callback: Any) -> None:
        """Fails: there are no groups."""
        raise tooz.NotImplemented("not implemented")
