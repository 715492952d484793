"""The state of a client's Session, on whatever streams it is. Knows no stream, no thread and no clock.

One link is current and takes new locks. Others are on their way out: they drain, are silent, or have ended. A link on
its way out stays, and sends heartbeats, until each of its locks has been reattached elsewhere or has run out, because
closing it would release them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed

from . import lock as l
from . import types as t
from .dialer import Dialer
from .elsewhere import Elsewhere
from .link import At, Link, Links, Phase

PLACE_AGAIN = 250 * t.MILLISECOND
"""The longest pause before a broker is asked again for what it could not do. Within an old validity there is not much
time to be polite."""
GRACE = 1 * t.SECOND
"""The time that a broker's answer may still take when a wait is over."""
_MANY = 64
"""The number of checks of calls that are over, beside as many as there are calls, from which on they are thrown away."""
CHECK_INTERVAL = 50 * t.MILLISECOND
"""The interval at which to check if there is a broker, when a wait is over."""


@dataclass(frozen=True)
class Settings:
    """What the core has to be told once."""

    endpoints: tuple[str, ...]
    """The endpoints, as people name them; at least one."""
    answer_timeout: int
    """The longest time that an answer may take beyond a wait."""


@dataclass
class _Pending:
    """A call that waits, and until when."""

    check: int
    """The moment at which to see if it is over."""
    at_most: int
    """The moment at which it is over even if a broker may be there."""


@dataclass(frozen=True)
class Held:
    """A held lock, as its holder may believe in it."""

    lock_id: str
    ttl: int
    until: int
    """The end of its validity."""
    is_broken: bool
    """Its stream has ended against the client's will. The broker may have taken that for the client's end, so `until`
    only bounds a reattach."""
    also: tuple[str, ...] = ()
    """The ids of those that are held together with it."""
    permit: int | None = None
    """The permit, if the lock is shared."""


class Core:
    """The state of a client's Session."""

    def __init__(self, settings: Settings, chance: Callable[[], float], now: int) -> None:
        """Begins without a link. `chance` returns numbers from 0 up to 1."""
        endpoints = len(settings.endpoints)
        self._settings = settings
        self._chance = chance
        self._locks: dict[int, l.Lock] = {}
        self._links = Links()
        self._dialer = Dialer(endpoints, settings.answer_timeout, now)
        self._elsewhere = Elsewhere()
        # The reason for which there is no session with each endpoint, if there is none.
        self._troubles: list[str | None] = [None] * endpoints
        # The number of dials in a row that failed in a way in which they would fail again.
        self._refused = 0
        # The moment at which to ask again for what a broker has failed to do.
        self._place_at: int | None = None
        self._pending: dict[int, _Pending] = {}
        # A heap of moments and keys. One that `_pending` does not confirm is over.
        self._checks: list[tuple[int, int]] = []

    def handle(self, now: int, input: t.Input) -> list[t.Output]:
        """Takes what has happened by `now`, and returns what is to be done.

        What time has ended comes before the input: a message that is read too late revives nothing.
        """
        out: list[t.Output] = []
        # But a broker whose message waited here for long is not silent.
        if isinstance(input, t.Received) and (link := self._links.get(input.link)):
            link.heard(now)
        self._keep_time(now, out)
        match input:
            case t.Acquire():
                self._acquire(input, now, out)
            case t.End(key):
                self._step(key, now, out, lambda lock: lock.end(self._links, now, out))
            case t.Value(key, value):
                lock = self._locks.get(key)
                if lock is not None and lock.spec.value is not None:
                    lock.spec = changed(lock.spec, value=value)
            case t.Share(key, limit):
                self._step(key, now, out, lambda lock: lock.share(limit))
            case t.Dialled(id, None):
                self._dialer.connected(id, now, out)
            case t.Dialled(id, failure) if failure is not None:
                self._dial_failed(id, failure, now, out)
            case t.Received(id, message):
                self._message(id, message, now, out)
            case t.Ended(id, failure):
                self._ended(id, failure, now, out)
            case t.ReleasedElsewhere(key, failure):
                self._elsewhere.ended(key, failure, now, self._chance, out)
        if self._needs_link():
            self._dialer.dial(now, self._chance, out)
        self._hang_up(out)
        return out

    def due(self) -> int | None:
        """Returns the moment at which to come back if nothing happens before."""
        moments = [link.due() for link in self._links.all]
        moments += [self._dialer.due(self._needs_link()), self._elsewhere.due(), self._place_at, self._next_check()]
        return min((moment for moment in moments if moment is not None), default=None)

    def held(self, key: int) -> Held | None:
        """Returns a lock that is held and not given up."""
        lock = self._locks.get(key)
        if lock is None or not isinstance(lock.state, (l.Held, l.Moving)):
            return None
        home = lock.state.home
        link = self._links.get(home.link)
        if link is None:
            return None
        until = link.until(home.lock_ref)
        return Held(lock.lock_id or "", link.ttl, until, not link.is_open, lock.also, lock.permit)

    @property
    def next_endpoint(self) -> int:
        """Returns the number of the endpoint to try next."""
        return self._dialer.endpoint

    def endpoint(self, id: int) -> int | None:
        """Returns the number of the endpoint that a link leads to, or would lead to."""
        link = self._links.get(id)
        return self._dialer.endpoint_of(id) if link is None else link.endpoint

    @property
    def is_releasing_elsewhere(self) -> bool:
        """Returns true while there are locks that only a call can release."""
        return len(self._elsewhere) > 0

    def state(self, key: int) -> str | None:
        """Returns the state of a lock, by the name that it has in the vectors. None: it has ended."""
        if key in self._elsewhere:
            return "releasing_elsewhere"
        lock = self._locks.get(key)
        return None if lock is None else _STATES[type(lock.state)]

    def _needs_link(self) -> bool:
        return self._dialer.is_idle and bool(self._locks) and self._links.current() is None

    def _acquire(self, input: t.Acquire, now: int, out: list[t.Output]) -> None:
        answer_by = now + self._settings.answer_timeout
        if input.wait is None:
            self._expect(input.key, answer_by, answer_by)
        elif input.wait.until is not None:
            # A broker ends the wait itself. One that is being connected to gets the time that a call without a wait
            # has.
            self._expect(input.key, input.wait.until, max(answer_by, input.wait.until + GRACE))
        self._locks[input.key] = l.Lock(input.key, input.spec, input.wait, input.adopt)
        self._place(input.key, now, out)

    def _expect(self, key: int, check: int, at_most: int) -> None:
        self._pending[key] = _Pending(check, at_most)
        heapq.heappush(self._checks, (check, key))

    def _answered(self, key: int) -> None:
        """Notes that a call has its answer, or needs none any more."""
        self._pending.pop(key, None)
        # A long wait that has had its answer would stay in the heap until its end.
        if len(self._checks) > 2 * len(self._pending) + _MANY:
            self._checks = [(pending.check, key) for key, pending in self._pending.items()]
            heapq.heapify(self._checks)

    def _next_check(self) -> int | None:
        """Returns the moment at which to see if a call is over."""
        while self._checks:
            check, key = self._checks[0]
            pending = self._pending.get(key)
            if pending is not None and pending.check == check:
                return check
            heapq.heappop(self._checks)
        return None

    def _step(self, key: int, now: int, out: list[t.Output], transition: Callable[[l.Lock], l.Next]) -> None:
        """Makes one transition of a lock, and does what it leaves to be done."""
        lock = self._locks.get(key)
        if lock is None:
            return
        next = transition(lock)
        if not lock.is_pending or isinstance(next, l.Gone):
            self._answered(key)
        match next:
            case l.Gone():
                del self._locks[key]
            case l.Place():
                self._place(key, now, out)
            case l.PlaceLater(after):
                at = now + (PLACE_AGAIN if after is None else min(after, PLACE_AGAIN))
                # Never later than it was, or those that fail one after another would put off all others.
                self._place_at = at if self._place_at is None else min(self._place_at, at)
            case l.Retire(link):
                self._retire(link, False, now, out)
            case l.GoElsewhere(until):
                del self._locks[key]
                names, ids = (lock.spec.name, *lock.spec.others), (lock.lock_id or "", *lock.also)
                self._elsewhere.begin(key, zip(names, ids, strict=True), until, out)

    def _place(self, key: int, now: int, out: list[t.Output]) -> None:
        """Asks the current link, if there is one, for a lock that is wanted, or for the reattach of one that is held
        elsewhere."""
        link, lock = self._links.current(), self._locks.get(key)
        if link is not None and lock is not None:
            lock.place(link, now, out)

    def _place_all(self, now: int, out: list[t.Output]) -> None:
        """Asks the current link for everything that it does not know yet, in the order in which it was wanted."""
        if link := self._links.current():
            for key in sorted(self._locks):
                self._locks[key].place(link, now, out)

    def _dial_failed(self, id: int, failure: t.Failure, now: int, out: list[t.Output]) -> None:
        endpoint = self._dialer.failed(id)
        if endpoint is None:
            return
        self._refused = self._refused + 1 if failure.code.is_final else 0
        self._troubles[endpoint] = failure.message
        # Another broker may take what one refuses.
        if self._refused < len(self._settings.endpoints):
            return
        for key in sorted(key for key, lock in self._locks.items() if lock.is_pending):
            self._fail(key, failure, now, out)

    def _fail(self, key: int, failure: t.Failure, now: int, out: list[t.Output]) -> None:
        """Ends a call by a failure."""
        self._step(key, now, out, lambda lock: lock.end(self._links, now, out))
        out.append(t.Failed(key, failure))

    def _message(self, id: int, message: t.Message, now: int, out: list[t.Output]) -> None:
        link = self._links.get(id)
        if link is None:
            if isinstance(message, t.Opened):
                self._opened(id, message, now, out)
            else:
                self._not_opened(id, now, out)
            return
        match message:
            case t.HeartbeatAck(seq, expires_after, not_renewed):
                link.acknowledged(seq, expires_after, not_renewed)
                self._dialer.start_over(now)
            case t.Draining():
                self._retire(id, True, now, out)
            case t.LockEvent(lock_ref, event):
                # Ignores what is said of a lock that has moved on or was given up.
                key = link.locks.get(lock_ref)
                if key is not None:
                    at = At(id, lock_ref)
                    self._step(key, now, out, lambda lock: lock.event(at, event, self._links, now, out))

    def _opened(self, id: int, terms: t.Opened, now: int, out: list[t.Output]) -> None:
        dialled = self._dialer.opened(id)
        if dialled is None:
            return
        endpoint, sent = dialled
        self._troubles = [None] * len(self._troubles)
        self._refused = 0
        self._links.all.append(Link(id, endpoint, sent, now, terms))
        self._place_all(now, out)

    def _not_opened(self, id: int, now: int, out: list[t.Output]) -> None:
        """Hangs up on a broker that says something else before `opened`."""
        if self._dialer.endpoint_of(id) is not None:
            out.append(t.Hangup(id))
            failure = t.Failure(t.Code.INTERNAL, "the Session did not begin with `opened`")
            self._dial_failed(id, failure, now, out)

    def _ended(self, id: int, failure: t.Failure, now: int, out: list[t.Output]) -> None:
        link = self._links.get(id)
        if link is None:
            return self._dial_failed(id, failure, now, out)
        current = link.phase is Phase.CURRENT
        link.phase = Phase.ENDED
        if current:
            self._troubles[link.endpoint] = failure.message
            self._dialer.turn_from(link.endpoint)
        self._leave(id, False, now, out)

    def _retire(self, id: int, answers: bool, now: int, out: list[t.Output]) -> None:
        """Takes a link out of use: what is wanted or held there moves to the next.

        `answers` says whether releases that were asked for on it are still answered there.
        """
        link = self._links.get(id)
        if link is None:
            return
        if link.phase is Phase.CURRENT:
            link.phase = Phase.RETIRED
            self._dialer.turn_from(link.endpoint)
        self._leave(id, answers, now, out)

    def _leave(self, id: int, answers: bool, now: int, out: list[t.Output]) -> None:
        link = self._links.get(id)
        for key in list(link.locks.values()) if link else []:
            self._step(key, now, out, lambda lock: lock.leave(id, answers, self._links, now, out))
        self._place_all(now, out)

    def _keep_time(self, now: int, out: list[t.Output]) -> None:
        """Does what it is time for."""
        self._run_out(now, out)
        self._elsewhere.keep_time(now, out)
        if late := self._dialer.late(now):
            id, failure = late
            out.append(t.Hangup(id))
            self._dial_failed(id, failure, now, out)
        for link in self._links.all:
            if link.phase is Phase.CURRENT and link.is_silent(now):
                self._troubles[link.endpoint] = "the broker is silent"
                self._retire(link.id, False, now, out)
        if self._place_at is not None and self._place_at <= now:
            self._place_at = None
            self._place_all(now, out)
        self._give_up(now, out)
        for link in self._links.all:
            link.beat(now, out)

    def _run_out(self, now: int, out: list[t.Output]) -> None:
        """Loses what has run out."""
        for link in self._links.all:
            id = link.id

            def lose(lock: l.Lock, id: int = id) -> l.Next:
                if lock.home is not None and lock.home.link == id:
                    return lock.lose(t.LostReason.EXPIRED, self._links, out)
                return l.Stay()

            for key in link.run_out(now):
                self._step(key, now, out, lose)

    def _give_up(self, now: int, out: list[t.Output]) -> None:
        """Ends the calls that have no answer in time."""
        while (check := self._next_check()) is not None and check <= now:
            _, key = heapq.heappop(self._checks)
            pending = self._pending[key]
            no_broker = any(trouble is not None for trouble in self._troubles)
            if no_broker or pending.at_most <= now:
                self._fail(key, t.unavailable(self._why_no_answer()), now, out)
            else:
                # Trouble may become known at any time.
                self._expect(key, min(now + CHECK_INTERVAL, pending.at_most), pending.at_most)

    def _why_no_answer(self) -> str:
        """Returns why no broker has answered: the troubles with each, as far as they are known."""
        told = zip(self._settings.endpoints, self._troubles, strict=True)
        all_told = [f"no session with a broker at {name}: {why}" for name, why in told if why is not None]
        if all_told:
            return "; ".join(all_told)
        names = ", ".join(self._settings.endpoints)
        within = self._settings.answer_timeout / t.SECOND
        return f"no answer from the broker at {names} within {within:g} s"

    def _hang_up(self, out: list[t.Output]) -> None:
        """Closes the links that are out of use and have no lock left."""
        stay = []
        for link in self._links.all:
            if link.phase is Phase.CURRENT or link.locks:
                stay.append(link)
            elif link.is_open:
                out.append(t.Hangup(link.id))
        self._links.all = stay


_STATES: dict[type[l.State], str] = {
    l.Wanted: "wanted",
    l.Asked: "asked",
    l.Held: "held",
    l.Moving: "moving",
    l.GivenUp: "given_up",
    l.Releasing: "releasing",
}
