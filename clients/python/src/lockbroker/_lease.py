"""A lease, as its holder sees it: a lock without a stream."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from dataclasses import replace as changed
from types import TracebackType
from typing import Any, Union

from . import _clock
from . import _proto as pb
from . import _wire as wire
from ._calls import Answer, Repeated
from ._core import Held
from ._core import types as t
from ._core.link import notice
from ._futures import resolve
from ._hold import Hold
from ._lock import released_in_scope
from ._session import Session
from .errors import LockbrokerError, Lost, LostReason, Unavailable, Unexpected, from_failure

_RELEASED, _NOT_HELD = 1, 2
_LESS = 2 * t.SECOND
"""By so much less than its ttl a broker counts a lease."""


@dataclass(frozen=True)
class Leased:
    """A lease that was acquired, or adopted."""

    hold: Hold
    fencing_token: int | None
    ttl: int | None
    """The ttl that was asked for; none if it was left to the broker, or to whoever acquired it."""
    permit: int | None = None


Outcome = Union[Leased, t.Refusal]


def acquire(session: Session, spec: t.LockSpec, ttl: int | None, wait: int) -> Future[Outcome]:
    """Asks for a lease. Whoever no longer waits for the outcome calls `give_up`."""
    session.ensure_open()
    outcome: Future[Outcome] = Future()
    began, id = _clock.now(), str(uuid.uuid4())

    def request(now: int) -> pb.AcquireLeaseRequest:
        left = t.WaitLeft(max(began + wait - now, 0)) if wait > 0 else None
        return wire.lease_request(spec, ttl, left, id)

    def answered(answer: Answer, sent: int) -> None:
        granted = _acquired(spec.name, ttl, answer, sent)
        if isinstance(granted, Leased) and granted.hold.lost() is not None:
            granted = Unavailable(spec.name, "the answer came when the lease had run out")
        is_taken = resolve(outcome, granted) and isinstance(granted, Leased)
        if not is_taken and not isinstance(answer, t.Failure) and answer.HasField("acquired"):
            # The caller has gone, or can do nothing with it.
            session.calls.release(spec.name, answer.acquired.lock_id, lambda _: None)

    until = began + session.settings.answer_timeout + wait
    call = Repeated(
        session.calls, "AcquireLease", request, answered, until=until, waits_until=began + wait if wait > 0 else 0
    )
    outcome.add_done_callback(lambda it: call.cancel() if it.cancelled() else None)
    call.start()
    return outcome


def adopt(session: Session, name: str, lock_id: str) -> Future[Leased]:
    """Renews a lease of somebody else's, and so becomes its holder."""
    session.ensure_open()
    outcome: Future[Leased] = Future()

    def answered(answer: Answer, sent: int) -> None:
        until = _renewed(name, None, answer, sent)
        if isinstance(until, int):
            hold = Hold(name, Held(lock_id, 0, until, False))
            resolve(outcome, Leased(hold, None, None))
        else:
            resolve(outcome, Lost(name, until) if isinstance(until, LostReason) else until)

    session.calls.renew(name, lock_id, answered)
    return outcome


def give_up(session: Session, outcome: Future[Outcome]) -> None:
    """Ends a call for a lease, or the lease if it has been granted."""
    if not outcome.cancel() and not outcome.cancelled() and outcome.exception() is None:
        granted = outcome.result()
        if isinstance(granted, Leased):
            _release_at_all(session, granted.hold)


class BaseLease:
    """What leases of threads and of tasks have in common."""

    def __init__(self, session: Session, leased: Leased, client: object) -> None:
        self._session = session
        self._hold = leased.hold
        self._fencing_token = leased.fencing_token
        self._permit = leased.permit
        self._ttl = leased.ttl
        # It can be renewed for as long as somebody has it.
        self._client = client
        self._release: Future[None] | None = None
        # A handler of a signal may release it while the same thread does.
        self._mutex = threading.RLock()

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._hold.name

    @property
    def lock_id(self) -> str:
        """Names this lease at any broker: see `Client.adopt_lease` and `Client.release`.

        It stays the same, and it is a capability: keep it out of logs.
        """
        return self._hold.held.lock_id

    @property
    def fencing_token(self) -> int | None:
        """The number of this grant: greater than that of every earlier grant of the same name, and below 2**53.

        What the lock protects should refuse a token below the highest that it has seen. None for a lease that was adopted:
        whoever hands the lease on hands on its token, too.
        """
        return self._fencing_token

    @property
    def permit(self) -> int | None:
        """The number of the permit, as that of a lock. None for a lease that is not shared, and for one that was adopted."""
        return self._permit

    @property
    def lost(self) -> LostReason | None:
        """Why the lease is not held any more, as far as is known here; None while it is held."""
        return self._hold.lost()

    def remaining(self) -> float:
        """Returns the seconds for which the holder may act without renewing the lease. 0 once it is lost."""
        return self._hold.remaining()

    def check(self) -> None:
        """Fails unless the holder may act at this moment, by the clock of this machine. Asks no broker.

        Raises `Lost` if the lease has run out, was released here, or was found lost by `renew`.
        """
        self._hold.check()

    def _begin_renewal(self) -> Future[None]:
        """Begins a renewal, and returns its end."""
        hold = self._hold
        if (reason := hold.lost()) is not None:
            raise Lost(self.name, reason)
        self._session.ensure_open()
        renewal: Future[None] = Future()

        def answered(answer: Answer, sent: int) -> None:
            until = _renewed(self.name, self._ttl, answer, sent)
            if isinstance(until, LostReason):
                hold.lose(until)
            elif isinstance(until, LockbrokerError):
                resolve(renewal, until)
                return
            else:
                hold.publish(changed(hold.held, until=max(hold.held.until, until)))
                if hold.lost() is LostReason.EXPIRED:
                    # The holder was told so before the answer came. Nobody uses it any more.
                    _release_at_all(self._session, hold)
            reason = hold.lost()
            resolve(renewal, None if reason is None else Lost(self.name, reason))

        self._session.calls.renew(self.name, self.lock_id, answered)
        return renewal

    def _begin_release(self) -> Future[None]:
        """Begins the release, unless it was begun before, and returns its end."""
        if self._hold.is_inherited:
            # It is the parent's to release.
            done: Future[None] = Future()
            done.set_result(None)
            return done
        with self._mutex:
            if self._release is None:
                self._release = Future()
                until = self._hold.held.until
                if (reason := self._hold.end()) is None:
                    _release(self._session, self._hold, until, self._release)
                else:
                    self._release.set_exception(Lost(self.name, reason))
                    if reason is LostReason.EXPIRED:
                        # By the broker's clock it stands for a while yet.
                        _release_at_all(self._session, self._hold)
            return self._release

    def __repr__(self) -> str:
        state = "held" if self.lost is None else f"not held: {self.lost.value}"
        token = "unknown" if self.fencing_token is None else self.fencing_token
        permit = "" if self.permit is None else f", permit {self.permit}"
        return f"<{type(self).__qualname__} {self.name!r}, token {token}{permit}, {state}>"


class Lease(BaseLease):
    """A lock without a stream. It stands for its ttl, whatever becomes of the client and its process.

    Nothing renews it but `renew`. `release` ends it, and so does the end of its `with` block. Nobody tells the holder that it
    is lost: `renew` says so, and `check` does when it has run out by this machine's clock.

    It belongs to no thread: any may use it.
    """

    def renew(self) -> None:
        """Has the lease stand for its ttl from now on, at whichever broker answers.

        Raises `Lost` if the lease is lost. Raises `Unavailable` if no broker answered: then the lease is as good as before,
        for `remaining()`, and another try makes sense.
        """
        self._begin_renewal().result()

    def release(self) -> None:
        """Releases the lease and waits until a broker has confirmed it. Does nothing the second time.

        It is repeated at whichever broker answers until the lease has run out, also if the waiting is interrupted. Raises
        `Lost` if the lease had been lost before, and `Unavailable` if no broker confirmed the release before the lease ran
        out.
        """
        self._begin_release().result()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        released_in_scope(self._begin_release().exception(), error)


def _acquired(name: str, ttl: int | None, answer: Answer, sent: int) -> Outcome | LockbrokerError:
    """Reads the answer of AcquireLease."""
    if isinstance(answer, t.Failure):
        return from_failure(name, answer)
    kind = answer.WhichOneof("result")
    if kind == "not_acquired":
        return wire.refusal(answer.not_acquired)
    until = _until(answer.acquired, ttl, sent) if kind == "acquired" else None
    if until is None:
        return Unexpected(name, "a lease without its validity")
    acquired = answer.acquired
    hold = Hold(name, Held(acquired.lock_id, ttl or 0, until, False))
    return Leased(hold, acquired.fencing_token, ttl, wire.permit(acquired))


def _renewed(name: str, ttl: int | None, answer: Answer, sent: int) -> int | LostReason | LockbrokerError:
    """Reads the answer of RenewLease: until when the lease is valid, or how it was lost."""
    if isinstance(answer, t.Failure):
        return from_failure(name, answer)
    kind = answer.WhichOneof("result")
    if kind == "lost":
        return wire.loss(answer.lost)
    until = _until(answer.renewed, ttl, sent) if kind == "renewed" else None
    return Unexpected(name, "a renewal without its validity") if until is None else until


def _until(granted: Any, ttl: int | None, sent: int) -> int | None:
    """Returns the end of a validity that counts from `sent`, less the time in which the holder stops."""
    expires_after = wire.from_wire(granted.expires_after_request) if granted.HasField("expires_after_request") else None
    if expires_after is None:
        return None
    told = sent + expires_after
    # The broker has just counted from the ttl, whichever it is. (`expires_after` has the wait in it.)
    margin = notice(max(told - _clock.now(), 0) + _LESS if ttl is None else ttl)
    return max(told - margin, sent)


def _release(session: Session, hold: Hold, until: int, release: Future[None]) -> None:
    """Releases a lease, again and again until a broker answers or it has run out."""
    request = pb.ReleaseRequest(name=hold.name, lock_id=hold.held.lock_id)

    def answered(answer: Answer, _: int) -> None:
        if isinstance(answer, t.Failure):
            resolve(release, from_failure(hold.name, answer))
        elif answer.outcome == _RELEASED or call.has_lost_an_answer:
            # If there was a call whose answer is lost, it was that one perhaps.
            resolve(release, None)
        else:
            reason = LostReason.GONE if answer.outcome == _NOT_HELD else LostReason.TAKEN_OVER
            resolve(release, Lost(hold.name, reason))

    until = max(until, _clock.now() + session.calls.share)
    call = Repeated(session.calls, "Release", lambda _: request, answered, until=until, is_patient=True)
    call.start()


def _release_at_all(session: Session, hold: Hold) -> None:
    """Releases a lease that nobody uses. If that fails, it runs out."""
    session.calls.release(hold.name, hold.held.lock_id, lambda _: None)
