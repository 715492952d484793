"""The client: asks brokers for locks."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import _clock, _lease, _value
from . import _wire as wire
from ._calls import Answer
from ._checks import (
    MAX_PERMITS,
    MAX_TEXT_BYTES,
    MOST_BESIDE_VALUE,
    ensure_limit,
    ensure_number,
    ensure_sendable,
    ensure_together,
    ensure_weight,
    others,
)
from ._core import types as t
from ._endpoint import TlsFiles, parse
from ._lease import Lease
from ._lock import Lock
from ._observe import Observation
from ._session import Grant, Outcome, Session, Settings
from ._value import Value
from ._wire import Seconds
from .errors import EndpointError, NotAcquired, NotAcquiredReason, TlsError, Unexpected, from_failure

DEFAULT_SERVER = "http://127.0.0.1:28551"
"""The broker that is asked where none is named."""


class LockState(enum.Enum):
    """The state of a lock."""

    FREE = "free"
    """Nobody has it."""
    HELD = "held"
    """Somebody holds it. If they share it, `LockInfo.shared_count` says how many."""
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
    """Names what the lock is now, for those who revoke it. It is no secret. Empty when free, and of a lock that is shared, where
    each permit has one of its own."""
    shared_count: int = 0
    """The number of permits that are held, if the lock is shared, and neither a lock id nor a permit was asked about."""


@dataclass(frozen=True)
class How:
    """The properties of a lock that is asked for, as users write them."""

    linger: Seconds | None = None
    owner: str | None = None
    keep_on_disconnect: bool = False
    min_hold: Seconds | None = None
    shared: bool = False
    limit: int | None = None
    also: tuple[str, ...] = ()
    value: Value | None = None
    weight: int | None = None


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

    def _begin(self, name: str, wait: t.Wait | None, how: How, adopt: str | None = None) -> tuple[int, Future[Outcome]]:
        spec = self._spec(name, how)
        most = MAX_TEXT_BYTES if how.value is None else MOST_BESIDE_VALUE
        for what, text in (("name", name), ("owner", spec.owner), ("lock id", adopt or "")):
            ensure_sendable(name, what, text, most)
        return self._session.begin(spec, wait, adopt)

    def _spec(self, name: str, how: How) -> t.LockSpec:
        owner = self._session.settings.owner if how.owner is None else how.owner
        ensure_sendable(name, "name", name)
        ensure_sendable(name, "owner", owner)
        linger, min_hold = (None if span is None else wire.nanos(span) for span in (how.linger, how.min_hold))
        ensure_limit(name, how.limit)
        ensure_weight(name, how.weight, how.limit)
        spec = t.LockSpec(
            name,
            linger,
            owner,
            min_hold,
            is_kept=how.keep_on_disconnect,
            is_shared=bool(how.shared) or how.limit is not None or how.weight is not None,
            limit=how.limit,
            also=how.also,
            value=None if how.value is None else _value.read(name, how.value),
            weight=how.weight or 1,
        )
        ensure_together(spec)
        return spec

    def _begin_lease(self, name: str, ttl: Seconds | None, wait: Seconds, how: How) -> Future[_lease.Outcome]:
        spec = self._spec(name, how)
        settings = self._session.settings
        return _lease.acquire(self._session, spec, settings.ttl if ttl is None else wire.nanos(ttl), _wait_span(wait))

    def _begin_adopting(self, name: str, lock_id: str) -> Future[_lease.Leased]:
        ensure_sendable(name, "name", name)
        ensure_sendable(name, "lock id", lock_id)
        return _lease.adopt(self._session, name, lock_id)

    def _get(self, name: str, lock_id: str | None, permit: int | None) -> Future[Any]:
        self._session.ensure_usable()
        if permit is not None:
            ensure_number(name, "permit", permit, 0, MAX_PERMITS - 1)
        answer: Future[Any] = Future()
        self._session.calls.get(name, lock_id or "", permit, lambda it: _resolve(answer, it))
        return answer

    def _observed(self, name: str) -> Session:
        ensure_sendable(name, "name", name)
        self._session.ensure_open()
        return self._session

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
        keep_on_disconnect: bool = False,
        min_hold: Seconds | None = None,
        shared: bool = False,
        limit: int | None = None,
        also: Iterable[str] = (),
        value: Value | None = None,
        weight: int | None = None,
    ) -> Lock:
        """Waits for the lock `name`, and returns it. The name has 1 to 128 bytes without control characters.

        `wait` is the longest wait in seconds, exact to 50 ms, or to 150 ms while the store is slow; 0 tries once, None waits for as long as it takes. `linger`
        is the time after the release for which nobody can acquire the lock, up to 1 h. `owner` is a label that others
        see who ask for the lock. `poll_interval` is the least time between two of the broker's polls for a lock that
        another broker holds.

        With `keep_on_disconnect` the broker keeps the lock until its validity is over when the connection ends, however
        that ends: a proxy that closes connections costs no lock then. The price: if this process dies, others wait until
        the validity is over. `min_hold` is the time after the grant for which nobody else can acquire the lock, whenever
        and however this client ends, up to 1 h.

        With `shared` others who share the lock may have it at the same time, each with a `permit`, and nobody has it alone
        meanwhile. Who waits for it alone lets in no new ones. `limit` shares it among so many at a time, 1 to 4096: all who use
        the name should say the same. A `linger` and a `min_hold` close the permit alone. `weight` shares it by so many permits at
        once, 1 to 16 and at most the `limit`: all or none. Who waits for several lets in no new ones. `Lock.locks` has all of
        them, and when one is lost, all are. Not with `also` and `min_hold`.

        With `also` other locks are asked for together with this one, in the same way: all or none, for one `Lock`. At most 15 names,
        and no `min_hold`. Whoever asks for several waits for nobody in a circle, in whatever order the names are said. When one is
        lost, all are. See `Lock.locks`.

        `value` is for those who `observe` the lock: where a leader can be reached, say. Up to 1,024 bytes, or a text, which is
        sent as UTF-8; it may be empty. `Lock.update` gives the lock another one. Not with `shared`, `limit` and `also`.

        Raises `NotAcquired` when the wait is over, `Unavailable` if no broker answers by then (or, if that is later,
        within the client's answer_timeout), and `Exhausted`, `Invalid` or `Denied` as the broker says. If it is
        interrupted, the place in the queue is given up at once.
        """
        how = How(linger, owner, keep_on_disconnect, min_hold, shared, limit, others(also), value, weight)
        outcome = self._ask(name, waits(wait, poll_interval), how)
        if isinstance(outcome, t.Refusal):
            raise not_acquired(name, outcome)
        return outcome

    def try_lock(
        self,
        name: str,
        *,
        wait: Seconds = 0,
        linger: Seconds | None = None,
        owner: str | None = None,
        keep_on_disconnect: bool = False,
        min_hold: Seconds | None = None,
        shared: bool = False,
        limit: int | None = None,
        also: Iterable[str] = (),
        value: Value | None = None,
        weight: int | None = None,
    ) -> Lock | None:
        """Asks for the lock `name`, and returns it, or None if it is not free within `wait` seconds.

        Everything else is as with `lock`.
        """
        how = How(linger, owner, keep_on_disconnect, min_hold, shared, limit, others(also), value, weight)
        outcome = self._ask(name, waits(wait, None), how)
        if isinstance(outcome, t.Refusal):
            # A reason that was not asked for is an error.
            not_acquired(name, outcome)
            return None
        return outcome

    def adopt(self, name: str, lock_id: str, *, keep_on_disconnect: bool = False, value: Value | None = None) -> Lock:
        """Takes over the grant that `lock_id` names, from another process that has handed it on, say.

        Its fencing token stays. The former holder is told that it has lost the lock. `keep_on_disconnect` and `value` are as
        with `lock`; without `value` it has none from now on. Raises `NotAcquired` if the grant has ended.

        The lock id of a lease makes the lease a lock. To go on with it as a lease, use `adopt_lease`.
        """
        outcome = self._ask(name, None, How(keep_on_disconnect=keep_on_disconnect, value=value), lock_id)
        if isinstance(outcome, t.Refusal):
            raise not_acquired(name, outcome)
        return outcome

    def lease(
        self,
        name: str,
        *,
        ttl: Seconds | None = None,
        wait: Seconds = 0,
        linger: Seconds | None = None,
        min_hold: Seconds | None = None,
        owner: str | None = None,
        shared: bool = False,
        limit: int | None = None,
    ) -> Lease:
        """Takes the lock `name` as a lease, and returns it: a lock that stands for its ttl, without a connection.

        It is for work that goes on where this process does not: see `Lease.renew` and `adopt_lease`. The end of the client
        or of the process does not release it.

        `ttl` is 5 s up to the broker's --max-ttl, by default the client's. `wait` is the longest wait in seconds, up to
        30 s; 0 tries once. Everything else is as with `lock`. If no answer comes, the same request is made again, at the
        next broker too, for up to the client's answer_timeout beyond the wait: it never takes the lock twice.

        Raises `NotAcquired` if the lock is not free by then, `Unavailable` if no broker answers (the lock may stand for its
        ttl then, and nobody has it), and `Exhausted`, `Invalid` or `Denied` as the broker says. If it is interrupted, nothing
        is held.
        """
        outcome = self._begin_lease(name, ttl, wait, How(linger, owner, False, min_hold, shared, limit))
        try:
            found = outcome.result()
            if isinstance(found, t.Refusal):
                raise not_acquired(name, found)
            return Lease(self._session, found, self)
        except BaseException:
            # Whatever it is, nobody waits any more: a lease that crosses this is released at once.
            _lease.give_up(self._session, outcome)
            raise

    def adopt_lease(self, name: str, lock_id: str) -> Lease:
        """Goes on with the lease that `lock_id` names, of another process, say. Renews it at once.

        Its former holder is not told. Its fencing token is not known then. Raises `Lost` if the lease is lost, and
        `Unavailable` if no broker answers: then try again.
        """
        return Lease(self._session, self._begin_adopting(name, lock_id).result(), self)

    def get(self, name: str, lock_id: str | None = None, *, permit: int | None = None) -> LockInfo:
        """Looks at a lock without touching it.

        If `lock_id` names the present grant and the broker keeps it, the answer says for how long it is valid. `permit`, 0 to
        4095, looks at that permit of a lock that is shared. Without both, the answer counts those who share it.
        """
        sent = _clock.now()
        return lock_info(name, self._get(name, lock_id, permit).result(), sent)

    def observe(self, name: str) -> Observation:
        """Tells what the lock `name` is, at once and whenever that changes, without touching it: `for seen in
        client.observe("leader")`. It goes on until it is closed, through brokers that go away.

        Takes the right to look at the lock: a `value` is no secret. See `Observation`.
        """
        return Observation(self._observed(name), name, self)

    def release(self, name: str, lock_id: str) -> ReleaseOutcome:
        """Releases the grant that `lock_id` names, whoever holds it and at whichever broker.

        Its holder is told. If the grant has ended, changes nothing and says so.
        """
        return release_outcome(name, self._release(name, lock_id).result())

    def close(self, timeout: float = 5.0) -> None:
        """Releases all locks of the client, and waits for up to `timeout` seconds until that is confirmed."""
        self._session.close(timeout)

    def _ask(self, name: str, wait: t.Wait | None, how: How, adopt: str | None = None) -> Lock | t.Refusal:
        key, reply = self._begin(name, wait, how, adopt)
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
    span = _wait_span(wait)
    return None if span == 0 else t.Wait(_clock.now() + span, interval)


def _wait_span(wait: Seconds) -> int:
    span = wire.nanos(wait)
    if span < 0:
        raise ValueError(f"wait is to be 0 or more, not {wait}")
    return span


def not_acquired(name: str, refusal: t.Refusal) -> NotAcquired:
    """Makes the exception of a refusal. Fails if it is one that nobody has asked for."""
    if refusal.reason.name not in NotAcquiredReason.__members__:
        raise Unexpected(name, f"not acquired: {refusal.reason.value}")
    return NotAcquired(refusal.name or name, NotAcquiredReason[refusal.reason.name], refusal.owner)


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
        answer.shared_count,
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
