"""The client for asyncio: the verbs of `lockbroker`, to be awaited.

Heartbeats are sent by a thread, so a loop that is blocked, closed or slow loses no lock. A client belongs to no loop:
those of several threads can share one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, TypeVar

from . import _clock, _lease
from ._checks import others
from ._client import (
    BaseClient,
    How,
    LockInfo,
    ReleaseOutcome,
    lock_info,
    not_acquired,
    release_outcome,
    waits,
)
from ._core import types as t
from ._lease import BaseLease
from ._lock import BaseLock, released_in_scope
from ._observe import BaseObservation, Observed
from ._session import Grant
from ._value import Value
from ._wire import Seconds
from .errors import Lost, LostReason

__all__ = ["Acquiring", "Client", "Lease", "Lock", "Observation", "connect"]


class Lock(BaseLock):
    """A lock that is held until it is released: by `release`, or at the end of its `async with` block.

    If the lock is lost within the block, the block is cancelled, and `Lost` comes out of it. A block that does not await
    is not interrupted: call `check` between its steps. Hand the `fencing_token` to whatever the lock protects.

    It belongs to no task: any may use and release it. One that is garbage collected is released, too.
    """

    _interrupt: _Interrupt | None = None

    async def wait_lost(self) -> LostReason:
        """Waits until the lock is lost or released, and returns why it is not held."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell() -> None:
            _call_soon(loop, ended.set)

        self._hold.listen(tell, any_end=True)
        try:
            while (reason := self._hold.lost()) is None:
                await ended.wait()
        finally:
            if not self._hold.is_inherited:
                self._hold.unlisten(tell)
        return reason

    async def update(self, value: Value) -> None:
        """Gives the lock another value, for those who observe it; see `lockbroker.Lock.update`.

        It goes on if the waiting is cancelled.
        """
        await _outcome(self._begin_update(value))

    async def downgrade(self, limit: int | None = None) -> None:
        """Shares the lock from now on, and waits until it has a permit; see `lockbroker.Lock.downgrade`.

        **Stop writing first**: others may share the lock before this returns, and also if it fails or is cancelled.
        """
        shared = self._begin_downgrade(limit)
        try:
            await asyncio.wait_for(asyncio.wrap_future(shared), self._answer_timeout)
        except (TimeoutError, asyncio.TimeoutError):
            pass
        self._ensure_shared()

    async def release(self) -> None:
        """Releases the lock and waits until a broker has confirmed it. Does nothing the second time.

        If the stream breaks meanwhile, the release is repeated at whichever broker answers until the lock has run out.
        It goes on if the waiting is cancelled. Raises `Lost` if the lock had been lost before, and `Unavailable` if no
        broker confirmed the release before the lock ran out.
        """
        await _outcome(self._begin_release())

    async def __aenter__(self) -> Lock:
        reason = self.lost
        if reason is not None:
            raise Lost(self.name, reason)
        self._interrupt = _Interrupt()
        self._hold.listen(self._interrupt.from_any_thread)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = self._interrupt is not None and self._interrupt.stop(kind)
        release = self._begin_release()
        if interrupted:
            raise Lost(self.name, self.lost or LostReason.EXPIRED) from None
        failure = None
        try:
            await _outcome(release)
        except Exception as wrong:
            failure = wrong
        released_in_scope(failure, error)


class Lease(BaseLease):
    """A lock without a stream. It stands for its ttl, whatever becomes of the client and its process.

    Nothing renews it but `renew`. `release` ends it, and so does the end of its `async with` block. Nobody tells the holder
    that it is lost, and nothing cancels the block: `renew` says so, and `check` does when it has run out by this machine's
    clock.

    It belongs to no task: any may use it.
    """

    async def renew(self) -> None:
        """Has the lease stand for its ttl from now on, at whichever broker answers; see `lockbroker.Lease.renew`.

        It goes on if the waiting is cancelled.
        """
        await _outcome(self._begin_renewal())

    async def release(self) -> None:
        """Releases the lease and waits until a broker has confirmed it; see `lockbroker.Lease.release`.

        It goes on if the waiting is cancelled.
        """
        await _outcome(self._begin_release())

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = None
        try:
            await self.release()
        except Exception as wrong:
            failure = wrong
        released_in_scope(failure, error)


class Observation(BaseObservation):
    """Tells what a lock is, from now on: an asynchronous iterator over its states; see `lockbroker.Observation`.

    It ends by `close`, at the end of its `async with` block, or when nobody has it any more, as after a loop that is left. A task
    that is cancelled while it waits loses no state.
    """

    async def close(self) -> None:
        """Ends it, and a loop over it."""
        self._watch.close()

    def __aiter__(self) -> Observation:
        return self

    async def __anext__(self) -> Observed:
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            _call_soon(loop, wake.set)

        self._watch.listen(tell)
        try:
            while True:
                wake.clear()
                seen = self._watch.poll()
                if seen is None:
                    raise StopAsyncIteration
                if not isinstance(seen, int):
                    return seen
                timer = loop.call_later(max(seen - _clock.now(), 0) / t.SECOND, wake.set)
                try:
                    await wake.wait()
                finally:
                    timer.cancel()
        finally:
            self._watch.unlisten(tell)

    async def __aenter__(self) -> Observation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.close()


class _Interrupt:
    """Cancels the task of a block whose lock is lost."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = 0
        if sys.version_info >= (3, 11) and self._task is not None:
            self._cancelling = self._task.cancelling()
        self._over = False
        self._cancelled = False

    def from_any_thread(self) -> None:
        """Cancels the task soon."""
        _call_soon(self._loop, self._cancel)

    def _cancel(self) -> None:
        if not self._over and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def stop(self, kind: type[BaseException] | None) -> bool:
        """Cancels nothing any more. Returns true if the block ends by this and by nobody else's cancel."""
        self._over = True
        if not self._cancelled or self._task is None:
            return False
        others = sys.version_info >= (3, 11) and self._task.uncancel() > self._cancelling
        return kind is asyncio.CancelledError and not others


Guard = TypeVar("Guard", Lock, Lease)


class Acquiring(Generic[Guard]):
    """A lock or a lease that is asked for: await it to get it, or enter it with `async with`."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Guard]]) -> None:
        self._ask: Callable[[], Coroutine[Any, Any, Guard]] = ask
        self._lock: Guard | None = None

    def __await__(self) -> Generator[Any, None, Guard]:
        return self._ask().__await__()

    async def __aenter__(self) -> Guard:
        self._lock = await self._ask()
        return await self._lock.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock is not None:
            await self._lock.__aexit__(kind, error, traceback)


class Client(BaseClient):
    """Asks brokers for locks. Made by `connect`.

    All tasks of a program can share one: all its locks are on one stream. It connects when it is first asked for
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
    ) -> Acquiring[Lock]:
        """Waits for the lock `name`: await what is returned, or enter it with `async with`.

        Everything is as with `lockbroker.Client.lock`. If the task is cancelled, the place in the queue is given up at
        once, and a grant that crosses that is released.
        """
        how = How(linger, owner, keep_on_disconnect, min_hold, shared, limit, others(also), value, weight)
        waiting = waits(wait, poll_interval)

        async def ask() -> Lock:
            outcome = await self._ask(name, waiting, how)
            if isinstance(outcome, t.Refusal):
                raise not_acquired(name, outcome)
            return outcome

        return Acquiring(ask)

    async def try_lock(
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
        """Asks for the lock `name`, and returns it, or None if it is not free within `wait` seconds."""
        how = How(linger, owner, keep_on_disconnect, min_hold, shared, limit, others(also), value, weight)
        outcome = await self._ask(name, waits(wait, None), how)
        if isinstance(outcome, t.Refusal):
            # A reason that was not asked for is an error.
            not_acquired(name, outcome)
            return None
        return outcome

    async def adopt(
        self, name: str, lock_id: str, *, keep_on_disconnect: bool = False, value: Value | None = None
    ) -> Lock:
        """Takes over the grant that `lock_id` names; see `lockbroker.Client.adopt`."""
        outcome = await self._ask(name, None, How(keep_on_disconnect=keep_on_disconnect, value=value), lock_id)
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
    ) -> Acquiring[Lease]:
        """Takes the lock `name` as a lease: await what is returned, or enter it with `async with`.

        Everything is as with `lockbroker.Client.lease`. If the task is cancelled, nothing is held.
        """

        async def ask() -> Lease:
            outcome = self._begin_lease(name, ttl, wait, How(linger, owner, False, min_hold, shared, limit))
            try:
                found = await asyncio.wrap_future(outcome)
                if isinstance(found, t.Refusal):
                    raise not_acquired(name, found)
                return Lease(self._session, found, self)
            except BaseException:
                # Whatever it is, nobody waits any more: a lease that crosses this is released at once.
                _lease.give_up(self._session, outcome)
                raise

        return Acquiring(ask)

    async def adopt_lease(self, name: str, lock_id: str) -> Lease:
        """Goes on with the lease that `lock_id` names; see `lockbroker.Client.adopt_lease`."""
        return Lease(self._session, await asyncio.wrap_future(self._begin_adopting(name, lock_id)), self)

    async def get(self, name: str, lock_id: str | None = None, *, permit: int | None = None) -> LockInfo:
        """Looks at a lock without touching it; see `lockbroker.Client.get`."""
        sent = _clock.now()
        return lock_info(name, await asyncio.wrap_future(self._get(name, lock_id, permit)), sent)

    def observe(self, name: str) -> Observation:
        """Tells what the lock `name` is, at once and whenever that changes: `async for seen in client.observe("leader")`.

        Everything is as with `lockbroker.Client.observe`.
        """
        return Observation(self._observed(name), name, self)

    async def release(self, name: str, lock_id: str) -> ReleaseOutcome:
        """Releases the grant that `lock_id` names; see `lockbroker.Client.release`."""
        return release_outcome(name, await asyncio.wrap_future(self._release(name, lock_id)))

    async def close(self, timeout: float = 5.0) -> None:
        """Releases all locks of the client, and waits for up to `timeout` seconds until that is confirmed."""
        self._session.start_closing()
        await asyncio.get_running_loop().run_in_executor(None, self._session.close, timeout)

    async def _ask(self, name: str, wait: t.Wait | None, how: How, adopt: str | None = None) -> Lock | t.Refusal:
        key, reply = self._begin(name, wait, how, adopt)
        try:
            outcome = await asyncio.wrap_future(reply)
            return Lock(self._session, outcome, self) if isinstance(outcome, Grant) else outcome
        except BaseException:
            # Whatever it is, nobody waits any more: a grant that crosses this is released at once.
            self._session.end(key)
            raise

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def connect(
    *endpoints: str,
    ttl: Seconds | None = None,
    owner: str = "",
    answer_timeout: Seconds = 5.0,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
) -> Client:
    """Makes a client for the brokers at `endpoints`, with the arguments of `lockbroker.connect`."""
    return Client(
        *endpoints,
        ttl=ttl,
        owner=owner,
        answer_timeout=answer_timeout,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )


async def _outcome(release: Future[None]) -> None:
    # The release goes on when the task is cancelled, and others may wait for it.
    await asyncio.shield(asyncio.wrap_future(release))


def _call_soon(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        # The loop is closed, and all its tasks with it.
        pass
