"""A held lock, as its holder sees it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimedOut
from dataclasses import dataclass, field
from types import TracebackType

from . import _value
from ._checks import ensure_limit
from ._core import types as t
from ._session import Grant, Session
from ._value import Value
from .errors import CallError, Invalid, Lost, LostReason, Unavailable

log = logging.getLogger("lockbroker")


@dataclass(frozen=True)
class HeldLock:
    """A lock that a guard holds, perhaps together with others."""

    name: str
    """The lock's name."""
    lock_id: str = field(repr=False)
    """Names this grant, as `Lock.lock_id` does: a capability, which changes when the lock moves."""
    fencing_token: int
    """The number of this grant. Tokens of different names say nothing about each other."""
    permit: int | None = None
    """The number of the permit; None for a lock that is not shared."""


class BaseLock:
    """What locks of threads and of tasks have in common."""

    def __init__(self, session: Session, grant: Grant, client: object) -> None:
        self._session = session
        self._key = grant.key
        self._hold = grant.hold
        self._fencing_token = grant.fencing_token
        self._also = grant.also
        # The stream ends when the last client and the last guard are gone.
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
        """Names this grant at any broker: see `Client.release` and `Client.adopt`.

        It changes when the client has to move to another stream, and it is a capability: keep it out of logs.
        """
        return self._hold.held.lock_id

    @property
    def fencing_token(self) -> int:
        """The number of this grant: greater than that of every earlier grant of the same name, and below 2**53.

        What the lock protects should refuse a token below the highest that it has seen.
        """
        return self._fencing_token

    @property
    def permit(self) -> int | None:
        """The number of the permit, from 0 to the limit - 1. None for a lock that is not shared.

        Nobody else has the same permit of this name at the same time, so it can number a worker. It stays the same for as long
        as the lock is held, once it is shared. Several have the lock then, so what a worker writes under its number is fenced by both: refuse a
        token below the highest that has come with the same permit.
        """
        return self._hold.held.permit

    @property
    def locks(self) -> tuple[HeldLock, ...]:
        """All locks that this one guard holds, in the order in which they were named: the one that was asked for, and those of
        `also`. With a `weight`, all permits of the one."""
        held = self._hold.held
        first = HeldLock(self.name, held.lock_id, self._fencing_token, held.permit)
        others = (
            HeldLock(name, lock_id, granted.fencing_token, granted.permit)
            for (name, granted), lock_id in zip(self._also, held.also, strict=True)
        )
        return (first, *others)

    @property
    def ttl(self) -> float:
        """The lock's ttl in seconds, as granted: for so long the lock outlives a holder that falls silent."""
        return self._hold.held.ttl / t.SECOND

    @property
    def lost(self) -> LostReason | None:
        """Why the lock is not held any more; None while it is held."""
        return self._hold.lost()

    def remaining(self) -> float:
        """Returns the seconds for which the holder may act without hearing from a broker again.

        It is 0 once the lock is lost. It is 0 as well while the stream to the broker is broken and the lock not yet
        reattached: the broker may have taken the break for the client's end.
        """
        return self._hold.remaining()

    def expires_in(self) -> float:
        """Returns the seconds until the lock is lost if no broker is heard any more.

        Other than `remaining` it runs on through a broken stream and after a loss. Within this time, end your work on
        what the lock protects.
        """
        return self._hold.expires_in()

    def check(self) -> None:
        """Fails unless the holder may act at this moment; for the steps between which the work can stop.

        Raises `Lost` if the lock is lost, and `Unavailable` while the stream to the broker is broken and the lock not
        yet reattached.
        """
        self._hold.check()

    def on_lost(self, callback: Callable[[LostReason], object]) -> None:
        """Calls `callback` once, in a thread of its own, when the lock is lost. Not when it is released here."""
        # Without the guard: it could not be collected.
        hold = self._hold

        def call() -> None:
            reason = hold.lost()
            if reason is not None:
                callback(reason)

        hold.listen(lambda: threading.Thread(target=call, name="lockbroker-lost", daemon=True).start())

    def _begin_update(self, value: Value) -> Future[None]:
        """Begins to give the lock another value."""
        given = _value.read(self.name, value)
        reason = self._hold.lost()
        if reason is not None:
            raise Lost(self.name, reason)
        if self._hold.updates is None:
            raise _value.no_value(self.name)
        return self._hold.updates.update(given)

    def _begin_downgrade(self, limit: int | None) -> Future[None]:
        """Begins to share the lock. `_ensure_shared` tells the outcome when that has ended, or the time is over."""
        ensure_limit(self.name, limit)
        reason = self._hold.lost()
        if reason is not None:
            raise Lost(self.name, reason)
        if self._also:
            why = "several locks are held together, and only one alone can be shared from now on"
            raise Invalid(self.name, why)
        return self._session.share(self._key, limit)

    @property
    def _answer_timeout(self) -> float:
        return self._session.settings.answer_timeout / t.SECOND

    def _ensure_shared(self) -> None:
        """Fails unless the lock is held and shared."""
        held = self._hold.held
        reason = self._hold.lost()
        if reason is not None:
            raise Lost(self.name, reason)
        if held.permit is None:
            why = "no broker has shared the lock in time; it may still become a shared one"
            raise Unavailable(self.name, why)

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
                reason = self._hold.end()
                if reason is None:
                    self._session.end(self._key, self._release)
                else:
                    self._release.set_exception(Lost(self.name, reason))
                    self._session.end(self._key)
            return self._release

    def __del__(self) -> None:
        # A lock whose making failed has nothing to release.
        if getattr(self, "_release", self) is None and not self._hold.is_inherited:
            if self._hold.lost() is None:
                message = f'lock "{self.name}" was not released; use a with block, or call release()'
                warnings.warn(message, ResourceWarning, source=self, stacklevel=2)
            self._session.end(self._key)

    def __repr__(self) -> str:
        state = "held" if self.lost is None else f"not held: {self.lost.value}"
        permit = "" if self.permit is None else f", permit {self.permit}"
        return f"<{type(self).__qualname__} {self.name!r}, token {self.fencing_token}{permit}, {state}>"


class Lock(BaseLock):
    """A lock that is held until it is released: by `release`, or at the end of its `with` block.

    The lock can be lost all the same: when no broker renews it in time, because the network or all brokers are away, or
    when somebody releases it by its lock id. A holder therefore calls `check` before each step that must not be done
    twice, or asks to be told by `on_lost`, and hands the `fencing_token` to whatever the lock protects.

    It belongs to no thread: any may use and release it. One that is garbage collected is released, too.
    """

    def wait_lost(self, timeout: float | None = None) -> LostReason | None:
        """Waits until the lock is lost, for up to `timeout` seconds. Returns why, or None if it is still held."""
        return self._hold.wait(timeout)

    def update(self, value: Value) -> None:
        """Gives the lock another value, for those who observe it, and waits until a broker has taken it.

        The lock has to have been asked for with a `value`. Of several updates at a time the last one counts. It may happen all
        the same if the waiting is interrupted.

        Raises `Lost` if the lock is lost, `Invalid` if the value has more than 1,024 bytes or the lock was asked for without one,
        and `Unavailable` if no broker takes it within the client's answer_timeout: then those who observe may see either value,
        until the next update.
        """
        self._begin_update(value).result()

    def downgrade(self, limit: int | None = None) -> None:
        """Shares the lock from now on, and waits until it has a `permit`.

        **Stop writing first**: others may share the lock before this returns, and also if it raises an error.

        They may share it up to `limit` at a time, 1 to 4096, and nobody has it alone in between. The fencing token stays. Does
        nothing if it is shared already. It may become a shared one all the same if the waiting is interrupted.

        Raises `Lost` if the lock is lost. Raises `Invalid` if the limit is out of range, and if the lock has a `min_hold`, a
        `value`, or others beside it: then it is held alone, as before. Raises `Unavailable` if no broker could do it within the
        client's answer_timeout: it may still become a shared one.
        """
        shared = self._begin_downgrade(limit)
        try:
            shared.result(self._answer_timeout)
        except TimedOut:
            pass
        finally:
            shared.cancel()
        self._ensure_shared()

    def release(self) -> None:
        """Releases the lock and waits until a broker has confirmed it. Does nothing the second time.

        If the stream breaks meanwhile, the release is repeated at whichever broker answers until the lock has run out.
        It goes on if the waiting is interrupted. Raises `Lost` if the lock had been lost before, and `Unavailable` if no
        broker confirmed the release before the lock ran out.
        """
        self._begin_release().result()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        released_in_scope(self._begin_release().exception(), error)


def released_in_scope(error: BaseException | None, in_block: BaseException | None) -> None:
    """Decides on the error of a release at the end of a scope."""
    if isinstance(error, Lost) and in_block is None:
        raise error
    if error is not None and not isinstance(error, (Lost, CallError)):
        raise error
    if error is not None:
        # The block's own error says more; and a lock that nobody confirms to be released runs out by itself.
        log.warning("%s", error)
