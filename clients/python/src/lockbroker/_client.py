"""The client: asks brokers for locks."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import _clock
from . import _wire as wire
from ._calls import Answer
from ._core import types as t
from ._endpoint import TlsFiles, parse
from ._lock import Lock
from ._session import Grant, Outcome, Session, Settings
from ._wire import Seconds
from .errors import EndpointError, Invalid, NotAcquired, NotAcquiredReason, TlsError, Unexpected, from_failure

DEFAULT_SERVER = "http://127.0.0.1:28551"
"""The broker that is asked where none is named."""


class LockState(enum.Enum):
    """The state of a lock."""

    FREE = "free"
    """Nobody has it."""
    HELD = "held"
    """Somebody holds it."""
    LINGERING = "lingering"
    """It was released and nobody can acquire it yet."""
    REVOKED = "revoked"
    """It was revoked, and nobody can acquire it until its holder no longer believes in it."""


class ReleaseOutcome(enum.Enum):
    """The effect of `Client.release`."""

    RELEASED = "released"
    """The call ended the grant."""
    NOT_HELD = "not held"
    """Nothing was done: nobody holds the lock."""
    HELD_BY_ANOTHER = "held by another"
    """Nothing was done: somebody else holds the lock."""


@dataclass(frozen=True)
class LockInfo:
    """A lock as others see it."""

    state: LockState
    owner: str
    """The holder's label; empty if it has none or it is not known."""
    free_within: float | None
    """The lock is free so many seconds after the broker looked, at the latest, if nobody renews it. None when free."""
    remaining: float | None
    """The seconds for which the given lock id stays valid. None if none was given, or the broker does not keep it."""
    fencing_token: int | None
    """The holder's fencing token. None if it is not known."""
    held_for: float | None
    """The seconds since the lock was granted or last reattached. None if they are not known. Where another broker granted
    it, they are as exact as the wall clocks of the two."""
    etag: str
    """Names what the lock is now, for those who revoke it. It is no secret. Empty when free."""


_MAX_TEXT_BYTES = 1024
"""The most bytes of a name, an owner or a lock id that are sent. A broker refuses much shorter ones, each with an answer of its
own; but it ends a Session, with all its locks, for a message of more than 4 KiB."""


def _ensure_sendable(lock: str, what: str, text: str) -> None:
    """Raises `Invalid` for a text that would end the Session, and with it all other locks."""
    if not isinstance(text, str):
        raise TypeError(f"the {what} has to be a str, not {type(text).__name__}")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(lock, f"the {what} is not Unicode: {error.reason}") from None
    if length > _MAX_TEXT_BYTES:
        raise Invalid(lock, f"the {what} has {length} bytes, and brokers take at most 128")


class BaseClient:
    """What clients of threads and of tasks have in common."""

    def __init__(
        self,
        *endpoints: str,
        ttl: Seconds | None = None,
        owner: str = "",
        answer_timeout: Seconds = 5.0,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
    ) -> None:
        given = {"CA": tls_ca, "CERT": tls_cert, "KEY": tls_key}
        paths = {name: None if path is None else os.fspath(path) for name, path in given.items()}
        if not endpoints:
            endpoints, paths = _from_environment(os.environ, paths)
        if (paths["CERT"] is None) != (paths["KEY"] is None):
            raise TlsError("a certificate and its key belong together: give both tls_cert and tls_key, or neither")
        files = TlsFiles(paths["CA"], paths["CERT"], paths["KEY"])
        timeout = wire.nanos(answer_timeout)
        if timeout <= 0:
            raise ValueError("answer_timeout is to be more than 0")
        settings = Settings(
            tuple(parse(endpoint, files) for endpoint in endpoints),
            None if ttl is None else wire.nanos(ttl),
            owner,
            timeout,
        )
        self._session = Session(settings)

    def _begin(
        self,
        name: str,
        wait: t.Wait | None,
        linger: Seconds | None = None,
        owner: str | None = None,
        adopt: str | None = None,
    ) -> tuple[int, Future[Outcome]]:
        spec = t.LockSpec(
            name,
            None if linger is None else wire.nanos(linger),
            self._session.settings.owner if owner is None else owner,
        )
        _ensure_sendable(name, "name", name)
        _ensure_sendable(name, "owner", spec.owner)
        _ensure_sendable(name, "lock id", adopt or "")
        return self._session.begin(spec, wait, adopt)

    def _get(self, name: str, lock_id: str | None) -> Future[Any]:
        self._session.ensure_usable()
        answer: Future[Any] = Future()
        self._session.calls.get(name, lock_id or "", lambda it: _resolve(answer, it))
        return answer

    def _release(self, name: str, lock_id: str) -> Future[Any]:
        self._session.ensure_usable()
        answer: Future[Any] = Future()
        self._session.calls.release(name, lock_id, lambda it: _resolve(answer, it))
        return answer

    def __del__(self) -> None:
        # One whose making failed has none.
        session = getattr(self, "_session", None)
        if session is not None:
            session.start_closing()

    def __repr__(self) -> str:
        names = ", ".join(endpoint.name for endpoint in self._session.settings.endpoints)
        return f"<{type(self).__module__}.{type(self).__qualname__} of {names}>"


class Client(BaseClient):
    """Asks brokers for locks. Made by `connect`.

    All threads of a program can share one: all its locks are on one stream. It connects when it is first asked for
    something. Its end, or that of its process, releases its locks.
    """

    def lock(
        self,
        name: str,
        *,
        wait: Seconds | None = None,
        linger: Seconds | None = None,
        owner: str | None = None,
        poll_interval: Seconds | None = None,
    ) -> Lock:
        """Waits for the lock `name`, and returns it. The name has 1 to 128 bytes without control characters.

        `wait` is the longest wait in seconds, exact to 50 ms, or to 150 ms while the store is slow; 0 tries once, None waits for as long as it takes. `linger`
        is the time after the release for which nobody can acquire the lock, up to 1 h. `owner` is a label that others
        see who ask for the lock. `poll_interval` is the least time between two of the broker's polls for a lock that
        another broker holds.

        Raises `NotAcquired` when the wait is over, `Unavailable` if no broker answers by then (or, if that is later,
        within the client's answer_timeout), and `Exhausted`, `Invalid` or `Denied` as the broker says. If it is
        interrupted, the place in the queue is given up at once.
        """
        outcome = self._ask(name, waits(wait, poll_interval), linger, owner)
        if isinstance(outcome, t.Refusal):
            raise not_acquired(name, outcome)
        return outcome

    def try_lock(
        self, name: str, *, wait: Seconds = 0, linger: Seconds | None = None, owner: str | None = None
    ) -> Lock | None:
        """Asks for the lock `name`, and returns it, or None if it is not free within `wait` seconds.

        Everything else is as with `lock`.
        """
        outcome = self._ask(name, waits(wait, None), linger, owner)
        if isinstance(outcome, t.Refusal):
            # A reason that was not asked for is an error.
            not_acquired(name, outcome)
            return None
        return outcome

    def adopt(self, name: str, lock_id: str) -> Lock:
        """Takes over the grant that `lock_id` names, from another process that has handed it on, say.

        Its fencing token stays. The former holder is told that it has lost the lock. Raises `NotAcquired` if the grant
        has ended.
        """
        outcome = self._ask(name, None, None, None, lock_id)
        if isinstance(outcome, t.Refusal):
            raise not_acquired(name, outcome)
        return outcome

    def get(self, name: str, lock_id: str | None = None) -> LockInfo:
        """Looks at a lock without touching it.

        If `lock_id` names the present grant and the broker keeps it, the answer says for how long it is valid.
        """
        sent = _clock.now()
        return lock_info(name, self._get(name, lock_id).result(), sent)

    def release(self, name: str, lock_id: str) -> ReleaseOutcome:
        """Releases the grant that `lock_id` names, whoever holds it and at whichever broker.

        Its holder is told. If the grant has ended, changes nothing and says so.
        """
        return release_outcome(name, self._release(name, lock_id).result())

    def close(self, timeout: float = 5.0) -> None:
        """Releases all locks of the client, and waits for up to `timeout` seconds until that is confirmed."""
        self._session.close(timeout)

    def _ask(
        self,
        name: str,
        wait: t.Wait | None,
        linger: Seconds | None,
        owner: str | None,
        adopt: str | None = None,
    ) -> Lock | t.Refusal:
        key, reply = self._begin(name, wait, linger, owner, adopt)
        try:
            outcome = reply.result()
            return Lock(self._session, outcome, self) if isinstance(outcome, Grant) else outcome
        except BaseException:
            # Whatever it is, nobody waits any more: a grant that crosses this is released at once.
            self._session.end(key)
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(
    *endpoints: str,
    ttl: Seconds | None = None,
    owner: str = "",
    answer_timeout: Seconds = 5.0,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
) -> Client:
    """Makes a client for the brokers at `endpoints`, which have one store and are asked in turn.

    An endpoint is `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:/PATH`. Without any, the environment
    names them, as for the command line: `LOCKBROKER_SERVER`, with commas between several, and
    `LOCKBROKER_CLIENT_TLS_CA`, `LOCKBROKER_CLIENT_TLS_CERT` and `LOCKBROKER_CLIENT_TLS_KEY`.

    `ttl` is for how many seconds a lock outlives a holder that falls silent: 5 s up to the broker's --max-ttl, by default
    15 s. `owner` is the label of all locks that have none of their own. `answer_timeout` is how long an answer may take,
    connecting included, beyond the wait that was asked for. `tls_ca` names the PEM file with the authorities that may
    sign the broker's certificate, by default the system's; `tls_cert` and `tls_key` are what the client shows.

    Raises `EndpointError` and `TlsError`. Connects only when the client is first asked for something.
    """
    return Client(
        *endpoints,
        ttl=ttl,
        owner=owner,
        answer_timeout=answer_timeout,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )


def _from_environment(
    environment: Mapping[str, str], given: dict[str, str | None]
) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """Returns the endpoints and TLS files that the environment names, where none are given.

    An empty variable is an error: without it, locks would be taken that others do not see.
    """
    server = environment.get("LOCKBROKER_SERVER", DEFAULT_SERVER)
    endpoints = tuple(part.strip() for part in server.split(","))
    if not all(endpoints):
        raise EndpointError(server, "LOCKBROKER_SERVER, or a part of it, is empty: unset it or give it a value")
    files = dict(given)
    for name, path in given.items():
        variable = f"LOCKBROKER_CLIENT_TLS_{name}"
        if path is None and variable in environment:
            files[name] = environment[variable]
            if not files[name]:
                raise TlsError(f"{variable} is empty: unset it or give it a value")
    return endpoints, files


def waits(wait: Seconds | None, poll_interval: Seconds | None) -> t.Wait | None:
    """Returns the way to wait; None to try once."""
    interval = None if poll_interval is None else wire.nanos(poll_interval)
    if wait is None:
        return t.Wait(None, interval)
    span = wire.nanos(wait)
    if span < 0:
        raise ValueError(f"wait is to be 0 or more, not {wait}")
    return None if span == 0 else t.Wait(_clock.now() + span, interval)


def not_acquired(name: str, refusal: t.Refusal) -> NotAcquired:
    """Makes the exception of a refusal. Fails if it is one that nobody has asked for."""
    if refusal.reason.name not in NotAcquiredReason.__members__:
        raise Unexpected(name, f"not acquired: {refusal.reason.value}")
    return NotAcquired(name, NotAcquiredReason[refusal.reason.name], refusal.owner)


def lock_info(name: str, answer: Answer, sent: int) -> LockInfo:
    """Reads the answer of GetLock, which was sent at `sent`."""
    if isinstance(answer, t.Failure):
        raise from_failure(name, answer)
    states = {1: LockState.FREE, 2: LockState.HELD, 3: LockState.LINGERING, 4: LockState.REVOKED}
    if answer.state not in states:
        raise Unexpected(name, "a lock without a state")
    free_within, expires, held_for = (
        wire.from_wire(getattr(answer, field)) if answer.HasField(field) else None
        for field in ("free_within", "expires_after_request", "held_for")
    )
    return LockInfo(
        states[answer.state],
        answer.owner,
        None if free_within is None else free_within / t.SECOND,
        None if expires is None else max(sent + expires - _clock.now(), 0) / t.SECOND,
        answer.fencing_token if answer.fencing_token > 0 else None,
        None if held_for is None else held_for / t.SECOND,
        answer.etag,
    )


def release_outcome(name: str, answer: Answer) -> ReleaseOutcome:
    """Reads the answer of Release."""
    if isinstance(answer, t.Failure):
        raise from_failure(name, answer)
    outcomes = {1: ReleaseOutcome.RELEASED, 2: ReleaseOutcome.NOT_HELD, 3: ReleaseOutcome.HELD_BY_ANOTHER}
    if answer.outcome not in outcomes:
        raise Unexpected(name, "a release without an outcome")
    return outcomes[answer.outcome]


def _resolve(future: Future[Any], answer: Answer) -> None:
    # An aio call that was cancelled waits no more.
    if future.set_running_or_notify_cancel():
        future.set_result(answer)
