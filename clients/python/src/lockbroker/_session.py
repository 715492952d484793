"""The thread behind a client: does what the core says, and tells it what happens.

Users' threads and loops put commands into its queue and wait on futures. Each link has a thread that reads. So nothing
that blocks a user's thread or loop keeps heartbeats back.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import queue
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Union

import grpc

from . import _clock, _fork
from . import _proto as pb
from . import _wire as wire
from ._calls import Answer, Calls, closed
from ._core import Core
from ._core import Settings as CoreSettings
from ._core import types as t
from ._endpoint import Endpoint
from ._futures import resolve
from ._hold import Hold
from ._value import Updates
from .errors import ClientClosed, LockbrokerError, Lost, from_failure

log = logging.getLogger("lockbroker")

_MAX_SLEEP = 1 * t.SECOND
"""The longest sleep of the thread. Leases run on while the machine is suspended and timers do not, so the thread may
notice that late that something has run out."""
_GOODBYE = 1 * t.SECOND
"""The longest time that a broker may take to confirm the end of a Session."""


@dataclass(frozen=True)
class Settings:
    """The settings of a client."""

    endpoints: tuple[Endpoint, ...]
    ttl: int | None
    owner: str
    answer_timeout: int


@dataclass(frozen=True)
class Grant:
    """A lock that was acquired."""

    key: int
    hold: Hold
    fencing_token: int
    also: tuple[tuple[str, t.Also], ...]
    """The names and the grants of those that are held together with it."""


Outcome = Union[Grant, t.Refusal]


@dataclass(frozen=True)
class _Begin:
    """A lock is wanted."""

    acquire: t.Acquire
    reply: Future[Outcome]


@dataclass(frozen=True)
class _End:
    """A lock, or the wait for it, is no longer wanted."""

    key: int
    reply: Future[None] | None
    """Told when the lock has been released, or if it had ended before."""


@dataclass(frozen=True)
class _Share:
    """A lock that is held alone is to be shared."""

    share: t.Share
    reply: Future[None]
    """Told when it has a permit, or has ended."""


@dataclass(frozen=True)
class _Close:
    """The client is no longer wanted."""


@dataclass
class _Asks:
    """A call waits for the answer."""

    name: str
    also: tuple[str, ...]
    has_value: bool
    reply: Future[Outcome]


@dataclass
class _Holds:
    """A guard holds the lock, or its release is under way."""

    hold: Hold
    release: Future[None] | None = None
    sharing: list[Future[None]] = field(default_factory=list)
    """Those who wait until the lock is shared."""

    def tell_sharing(self, outcome: LockbrokerError | None) -> None:
        """Tells those who wait until the lock is shared."""
        waiting, self.sharing = self.sharing, []
        for reply in waiting:
            resolve(reply, outcome)


_Event = Union[_Begin, _End, _Share, _Close, t.Value, t.Received, t.Ended, t.ReleasedElsewhere]


class _Link:
    """A Session stream on a connection of its own."""

    def __init__(self, id: int, endpoint: Endpoint) -> None:
        self._id = id
        self._endpoint = endpoint
        self._channel = endpoint.channel()
        self._outbound: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._call: Any = None

    def open(self, events: queue.SimpleQueue[_Event]) -> None:
        """Opens the Session. What comes on it goes to `events`."""
        session: Any = self._channel.stream_stream(
            pb.SERVICE + "Session", lambda it: it.SerializeToString(), pb.SessionResponse.FromString
        )
        # The thread that sends ends with the iterator.
        self._call = session(iter(self._outbound.get, None))
        thread = threading.Thread(target=self._read, args=(self._call, events), name="lockbroker-read", daemon=True)
        thread.start()

    def send(self, request: pb.SessionRequest) -> None:
        """Sends a message, after all earlier ones."""
        self._outbound.put(request)

    def half_close(self) -> None:
        """Says that nothing comes any more. The broker releases what it has, and ends the stream."""
        self._outbound.put(None)

    def hang_up(self) -> None:
        """Ends the stream at once."""
        self._outbound.put(None)
        if self._call is None:
            self._channel.close()
        else:
            # Its thread closes the channel then.
            self._call.cancel()

    def _read(self, call: Any, events: queue.SimpleQueue[_Event]) -> None:
        """Reads what a broker sends until the stream ends."""
        failure = t.unavailable("the broker ended the Session")
        try:
            responses: Iterator[pb.SessionResponse] = iter(call)
            for response in responses:
                message = wire.message(response)
                if message is None:
                    failure = t.Failure(t.Code.INTERNAL, "`opened` lacks a duration, or has one that makes no sense")
                    call.cancel()
                    break
                events.put(t.Received(self._id, message))
        except grpc.RpcError as error:
            failure = self._endpoint.explained(wire.failure(error if isinstance(error, grpc.Call) else call))
        finally:
            self._channel.close()
        events.put(t.Ended(self._id, failure))


class Session:
    """The thread, and how to talk to it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.calls = Calls(settings.endpoints, settings.answer_timeout)
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._keys = itertools.count(1)
        names = tuple(endpoint.name for endpoint in settings.endpoints)
        core_settings = CoreSettings(names, settings.answer_timeout)
        self._core = Core(core_settings, random.random, _clock.now())
        self._callers: dict[int, _Asks | _Holds] = {}
        self._links: dict[int, _Link] = {}
        # A handler of a signal may ask for a lock while the same thread is in here.
        self._mutex = threading.RLock()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._closing = False
        self._epoch, self._pid = _fork.epoch(), os.getpid()

    # From any thread.

    def begin(self, spec: t.LockSpec, wait: t.Wait | None, adopt: str | None) -> tuple[int, Future[Outcome]]:
        """Asks for a lock. Whoever no longer waits for the outcome calls `end`."""
        # In a child, the mutex may be another thread's of the parent.
        self.ensure_usable()
        reply: Future[Outcome] = Future()
        with self._mutex:
            self.ensure_open()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lockbroker", daemon=True)
                self._thread.start()
                _running.add(self)
            key = next(self._keys)
            self._events.put(_Begin(t.Acquire(key, spec, wait, adopt), reply))
        return key, reply

    def end(self, key: int, reply: Future[None] | None = None) -> None:
        """Gives up a lock, or the wait for it. Never blocks; without `reply` it may be called from a destructor."""
        if self._epoch != _fork.epoch():
            return
        if reply is None:
            return self._events.put(_End(key, None))
        with self._mutex:
            # After the end nobody reads it, and everything has been released.
            if self._is_over:
                resolve(reply, None)
            else:
                self._events.put(_End(key, reply))

    def give_value(self, key: int, value: bytes) -> None:
        """Has each reattach from now on bring another value."""
        self._events.put(t.Value(key, value))

    def share(self, key: int, limit: int | None) -> Future[None]:
        """Has a lock that is held alone be shared.

        Returns what is told when it has a permit, or has ended, or why it is not shared. Who no longer waits cancels it.
        """
        reply: Future[None] = Future()
        with self._mutex:
            if self._is_over:
                resolve(reply, None)
            else:
                self._events.put(_Share(t.Share(key, limit), reply))
        return reply

    @property
    def is_inherited(self) -> bool:
        """Returns true in a process that was forked from the client's."""
        return self._epoch != _fork.epoch()

    def ensure_usable(self) -> None:
        """Fails in a process that was forked from the client's."""
        if self.is_inherited:
            raise ClientClosed(
                f"the client belongs to process {self._pid}, from which this one was forked; make one here with "
                "lockbroker.connect"
            )

    def ensure_open(self) -> None:
        """Fails in a forked process, and once the client is closed."""
        self.ensure_usable()
        if self._closing:
            raise closed()

    def start_closing(self) -> None:
        """Begins to release all locks. Never blocks, and may be called from a destructor."""
        if self._epoch != _fork.epoch() or self._closing:
            return
        self._closing = True
        self._events.put(_Close())

    def close(self, timeout: float) -> None:
        """Releases all locks, and waits for up to `timeout` seconds until brokers have confirmed that."""
        if self._epoch != _fork.epoch():
            return
        with self._mutex:
            self.start_closing()
            thread = self._thread
        if thread is None:
            self.calls.close()
        elif thread is not threading.current_thread():
            thread.join(timeout)

    # In the thread.

    def _run(self) -> None:
        try:
            while not isinstance(event := self._next(), _Close):
                self._take(event)
            self._say_goodbye()
        except Exception:
            # Nothing is renewed any more, and the guards count down by themselves.
            log.exception("the thread of a client has failed; its locks run out")
        finally:
            self._leave()

    def _next(self) -> _Event | None:
        due = self._core.due()
        left = _MAX_SLEEP if due is None else min(due - _clock.now(), _MAX_SLEEP)
        try:
            if left > 0:
                # Without a due time nothing can run out.
                return self._events.get(timeout=None if due is None else left / t.SECOND)
            return self._events.get_nowait()
        except queue.Empty:
            return None

    def _take(self, event: _Event | None) -> None:
        match event:
            case None:
                self._step(t.Timeout())
            case _Begin(acquire, reply):
                spec = acquire.spec
                self._callers[acquire.key] = _Asks(spec.name, spec.others, spec.value is not None, reply)
                self._step(acquire)
            case _End(key, reply):
                self._end(key, reply)
            case _Share(share, reply):
                self._share(share, reply)
            case t.Ended(link, failure):
                self._stream_ended(link, failure)
            case t.Received(link, _):
                if link in self._links:
                    self._step(event)
            case t.ReleasedElsewhere() | t.Value():
                self._step(event)

    def _end(self, key: int, reply: Future[None] | None) -> None:
        caller = self._callers.get(key)
        match caller:
            case None:
                resolve(reply, None)
                return
            case _Asks():
                del self._callers[key]
                resolve(reply, None)
            case _Holds():
                caller.release = caller.release or reply
        self._step(t.End(key))

    def _share(self, share: t.Share, reply: Future[None]) -> None:
        caller = self._callers.get(share.key)
        if not isinstance(caller, _Holds):
            # It has ended, and its guard knows of that.
            resolve(reply, None)
            return
        caller.sharing = [*(waiting for waiting in caller.sharing if not waiting.cancelled()), reply]
        self._step(share)
        self._tell_if_shared(share.key)

    def _tell_if_shared(self, key: int) -> None:
        caller, held = self._callers.get(key), self._core.held(key)
        if isinstance(caller, _Holds) and held is not None and held.permit is not None:
            caller.tell_sharing(None)

    def _stream_ended(self, link: int, failure: t.Failure) -> None:
        stream = self._links.pop(link, None)
        if stream is None:
            return
        stream.half_close()
        log.debug("the stream of link %d has ended: %s", link, failure.message)
        self._step(t.Ended(link, failure))

    def _step(self, event: t.Input) -> None:
        """Tells the core what has happened, and does what it says."""
        endpoint = self._core.next_endpoint
        outputs = self._core.handle(_clock.now(), event)
        if self._core.next_endpoint != endpoint:
            # Single calls turn from it too. What is to be released elsewhere is not asked of a broker that was just left.
            self.calls.turn_from(endpoint)
        for output in outputs:
            self._carry_out(output)
        # These change what all locks of a stream may believe in.
        if isinstance(event, t.Ended) or (isinstance(event, t.Received) and isinstance(event.message, t.HeartbeatAck)):
            for key, caller in list(self._callers.items()):
                if isinstance(caller, _Holds):
                    self._publish(key)

    def _publish(self, key: int) -> None:
        """Tells a guard for how long its lock is valid.

        A guard that has seen its lock run out since the core looked is believed: the lock is given up.
        """
        caller, held = self._callers.get(key), self._core.held(key)
        if isinstance(caller, _Holds) and held is not None and not caller.hold.publish(held):
            self._step(t.End(key))

    def _carry_out(self, output: t.Output) -> None:
        match output:
            case t.Dial(link, endpoint):
                self._dial(link, endpoint)
            case t.Open(link):
                if stream := self._links.get(link):
                    stream.open(self._events)
                    stream.send(wire.request(output, self.settings.ttl))
            case t.Heartbeat(link, _) | t.Begin(link) | t.EndLock(link, _):
                if stream := self._links.get(link):
                    stream.send(wire.request(output, self.settings.ttl))
            case t.Hangup(link):
                if stream := self._links.pop(link, None):
                    stream.hang_up()
            case t.Granted():
                self._granted(output)
            case t.Moved(key, _):
                self._publish(key)
                self._tell_if_shared(key)
                caller = self._callers.get(key)
                if isinstance(caller, _Holds) and caller.hold.updates is not None:
                    caller.hold.updates.moved()
            case t.NotShared(key, failure):
                caller = self._callers.get(key)
                if isinstance(caller, _Holds):
                    caller.tell_sharing(from_failure(caller.hold.name, failure))
            case t.Refused(key, refusal):
                caller = self._callers.pop(key, None)
                if isinstance(caller, _Asks):
                    resolve(caller.reply, refusal)
            case t.Failed(key, failure):
                self._ended(key, lambda name: from_failure(name, failure))
            case t.Lost(key, reason):
                caller = self._callers.get(key)
                if isinstance(caller, _Holds):
                    caller.hold.lose(reason)
                self._ended(key, lambda name: Lost(name, reason))
            case t.Released(key):
                self._ended(key, None)
            case t.ReleaseElsewhere(key, name, lock_id):
                self._release_elsewhere(key, name, lock_id)

    def _dial(self, link: int, number: int) -> None:
        # gRPC connects when the Session is opened, which is at once. So the validity counts from before the connection
        # stands: that is too early and never too late, until the first heartbeat.
        try:
            self._links[link] = _Link(link, self.settings.endpoints[number])
        except LockbrokerError as error:
            failure = t.Failure(t.Code.HANDSHAKE, str(error), disagreement=error)
            self._step(t.Dialled(link, failure))
        else:
            self._step(t.Dialled(link))

    def _granted(self, granted: t.Granted) -> None:
        key = granted.key
        caller, held = self._callers.get(key), self._core.held(key)
        if not isinstance(caller, _Asks) or held is None:
            return
        hold = Hold(caller.name, held)
        if caller.has_value:
            hold.updates = Updates(self, key, hold)
        self._callers[key] = _Holds(hold)
        also = tuple(zip(caller.also, granted.also, strict=True))
        if not resolve(caller.reply, Grant(key, hold, granted.fencing_token, also)):
            # Gives the lock back, for the caller has gone.
            self._step(t.End(key))

    def _ended(self, key: int, error: Any) -> None:
        """Tells the end of a lock, or of a call that has failed."""
        caller = self._callers.pop(key, None)
        if isinstance(caller, _Holds):
            resolve(caller.release, None if error is None else error(caller.hold.name))
            caller.tell_sharing(None)
        elif caller is not None and error is not None:
            resolve(caller.reply, error(caller.name))

    def _release_elsewhere(self, key: int, name: str, lock_id: str) -> None:
        def done(answer: Answer) -> None:
            failure = answer if isinstance(answer, t.Failure) else None
            if failure is not None and failure.code is t.Code.HANDSHAKE:
                failure = t.unavailable(failure.message)
            self._events.put(t.ReleasedElsewhere(key, failure))

        self.calls.release(name, lock_id, done)

    def _say_goodbye(self) -> None:
        """Releases everything: by ending the streams, and by calls where a stream cannot."""
        for key, caller in list(self._callers.items()):
            if isinstance(caller, _Asks):
                resolve(caller.reply, ClientClosed("the client was closed"))
                del self._callers[key]
            else:
                caller.hold.lose(t.LostReason.ENDED)
            self._step(t.End(key))
        for link in self._links.values():
            link.half_close()
        give_up = _clock.now() + _GOODBYE
        while self._links and (left := give_up - _clock.now()) > 0:
            try:
                event = self._events.get(timeout=left / t.SECOND)
            except queue.Empty:
                break
            if isinstance(event, t.Ended):
                self._links.pop(event.link, None)
            else:
                self._take_late(event)
        self._hang_up()
        while self._core.is_releasing_elsewhere:
            self._take_late(self._next())
            # Nothing is dialled any more.
            self._hang_up()

    def _take_late(self, event: _Event | None) -> None:
        """Takes what comes when everything has been given up."""
        match event:
            case None:
                self._step(t.Timeout())
            case t.ReleasedElsewhere():
                self._step(event)
            case _Begin(_, reply):
                resolve(reply, ClientClosed("the client was closed"))
            case _End(_, reply) | _Share(_, reply):
                resolve(reply, None)

    def _hang_up(self) -> None:
        for link in self._links.values():
            link.hang_up()
        self._links.clear()

    def _leave(self) -> None:
        self._hang_up()
        self.calls.close()
        with self._mutex:
            self._closing = self._is_over = True
        # Answers the requests that came too late, and those that have no answer yet.
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, (_Begin, _End, _Share)):
                self._take_late(event)
        for caller in self._callers.values():
            if isinstance(caller, _Asks):
                resolve(caller.reply, ClientClosed("the client was closed"))
            else:
                resolve(caller.release, None)
                caller.tell_sharing(None)
        self._callers.clear()
        _running.discard(self)


_running: set[Session] = set()


def _close_all() -> None:
    """Releases what is held when the process ends. Without it the end of the connections would do, as after a kill."""
    for session in list(_running):
        session.close(timeout=_GOODBYE / t.SECOND)


def _in_child() -> None:
    _fork.keep(list(_running))
    _running.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
