"""A single lock, from the call that wants it to its end. Every transition is here.

::

                place           acquired          place              acquired
      Wanted ----------> Asked ----------> Held ----------> Moving ----------> Held
        ^                 |                  |  <----------    |
        +-----------------+                  | end   failed    | end
          leave, try later                   v                 v      acquired, failed
                                         Releasing <-------- GivenUp

A lock that has been given up, refused or lost is gone. One whose release its stream cannot confirm goes to
`elsewhere`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Union

from . import types as t
from .link import At, Link, Links

# States.


@dataclass(frozen=True)
class Wanted:
    """To be asked for as soon as there is a link."""


@dataclass(frozen=True)
class Asked:
    """Asked for."""

    at: At


@dataclass(frozen=True)
class Held:
    """Held. The link is the one that counts."""

    home: At


@dataclass(frozen=True)
class Moving:
    """Held at `home`, and its reattach asked for at `to`.

    There is one at a time: a second would not know the lock id that the first one's answer brings.
    """

    home: At
    to: At


@dataclass(frozen=True)
class GivenUp:
    """Given up while it was moving: to be released by the lock id that the answer brings."""

    home: At
    to: At


@dataclass(frozen=True)
class Releasing:
    """Given up; its end has been sent and not been answered."""

    home: At


State = Union[Wanted, Asked, Held, Moving, GivenUp, Releasing]

# The rest of a transition: what is to be done beyond this lock.


@dataclass(frozen=True)
class Stay:
    """Nothing."""


@dataclass(frozen=True)
class Gone:
    """Forget the lock."""


@dataclass(frozen=True)
class Place:
    """Ask the current link for it."""


@dataclass(frozen=True)
class PlaceLater:
    """Ask again after a pause."""

    after: int | None


@dataclass(frozen=True)
class Retire:
    """Take the link out of use, for it does not keep its word."""

    link: int


@dataclass(frozen=True)
class GoElsewhere:
    """Release it at any broker, within its validity."""

    until: int


Next = Union[Stay, Gone, Place, PlaceLater, Retire, GoElsewhere]


class Lock:
    """A lock as the client has it."""

    def __init__(self, key: int, spec: t.LockSpec, wait: t.Wait | None, adopt: str | None) -> None:
        self.key = key
        self.spec = spec
        self.wait = wait
        self.lock_id = adopt
        """The id of the grant; before it is granted that of the grant to take over. None: a new one is wanted."""
        self.also: tuple[str, ...] = ()
        """The ids of those that are held together with it, in the order of `LockSpec.others`."""
        self.permit: int | None = None
        """The permit, once the lock is held and if it is shared."""
        self._wants_permit = False
        # A reattach that was to share it has not been answered.
        self._may_be_shared = False
        """It is held alone and to be shared: a reattach does that, also on the link where it is."""
        self.state: State = Wanted()

    @property
    def home(self) -> At | None:
        """Returns the place that counts for the lock's validity, if it is held or was until its release."""
        match self.state:
            case Held(home) | Moving(home, _) | GivenUp(home, _) | Releasing(home):
                return home
            case _:
                return None

    @property
    def is_pending(self) -> bool:
        """Returns true while a call waits for the answer."""
        return self.home is None

    def place(self, link: Link, now: int, out: list[t.Output]) -> None:
        """Asks a link for the lock if nobody has been asked, or for its reattach if it is held elsewhere."""
        match self.state:
            case Wanted():
                wait = None if self.wait is None else _left(self.wait, now)
                self.state = Asked(link.begin(self.key, self.spec, wait, self.lock_id, self.also, out))
            case Held(home) if home.link != link.id or self._wants_permit:
                to = link.begin(self.key, self.spec, None, self.lock_id, self.also, out)
                self.state = Moving(home, to)

    def share(self, limit: int | None) -> Next:
        """Shares the lock from now on. Nothing may be written under it any more."""
        if self.permit is not None:
            return Stay()
        self.spec = replace(self.spec, is_shared=True, limit=self.spec.limit if limit is None else limit)
        self._wants_permit = True
        return Place()

    def end(self, links: Links, now: int, out: list[t.Output]) -> Next:
        """Gives the lock up, or the wait for it."""
        match self.state:
            case Wanted():
                return Gone()
            case Asked(at):
                links.forget(at, out)
                return Gone()
            case Held(home):
                return self._release(home, links, now, out)
            case Moving(home, to):
                self.state = GivenUp(home, to)
        return Stay()

    def _release(self, home: At, links: Links, now: int, out: list[t.Output]) -> Next:
        link = links.get(home.link)
        if link is None:
            return Gone()
        if link.is_open and not link.is_silent(now):
            link.end(home.lock_ref, out)
            self.state = Releasing(home)
            return Stay()
        until = link.until(home.lock_ref)
        links.forget(home, out)
        return GoElsewhere(until)

    def _resume(self, links: Links, now: int, out: list[t.Output]) -> Next | None:
        """Goes on after a reattach that was not granted."""
        match self.state:
            case Moving(home, _):
                self.state = Held(home)
            case GivenUp(home, _):
                self.state = Held(home)
                return self._release(home, links, now, out)
        return None

    def leave(self, id: int, answers: bool, links: Links, now: int, out: list[t.Output]) -> Next:
        """Leaves a link that has been taken out of use, as far as it can be left.

        What is held there stays until it is reattached. `answers` says whether a release is still answered there.
        """
        link = links.get(id)
        is_open = link is not None and link.is_open
        match self.state:
            case Asked(at) if at.link == id:
                links.forget(at, out)
                self.state = Wanted()
            # Unanswered, and nobody will ever know: the old lock id is all there is to try with.
            case Moving(_, to) | GivenUp(_, to) if to.link == id and not is_open:
                links.remove(to)
                self._may_be_shared |= self._wants_permit
                return self._resume(links, now, out) or Stay()
            case Releasing(home) if home.link == id and not answers:
                until = now if link is None else link.until(home.lock_ref)
                links.forget(home, out)
                return GoElsewhere(until)
        return Stay()

    def event(self, at: At, event: t.Event, links: Links, now: int, out: list[t.Output]) -> Next:
        """Takes an event of this lock from its place `at`."""
        match self.state:
            case Asked():
                return self._asked_event(at, event, links, now, out)
            case Moving(_, to) | GivenUp(_, to) if to == at:
                return self._moving_event(at, event, links, now, out)
            case Moving() | GivenUp():
                link = links.get(at.link)
                if isinstance(event, (t.LostEvent, t.ReleasedEvent)) and link is not None:
                    # The reattach makes the old broker lose the lock: the answer to it decides. It must come within
                    # what the old broker has told so far, for that one knows of the lock no more.
                    link.settle(at.lock_ref)
            case Held(home):
                if isinstance(event, t.LostEvent) and self.also:
                    # The broker keeps the others from everybody for as long as they were valid.
                    links.remove(home)
                    out.append(t.Lost(self.key, event.reason))
                    return Gone()
                if isinstance(event, t.LostEvent):
                    return self.lose(event.reason, links, out)
                if isinstance(event, t.ReleasedEvent):
                    return self.lose(t.LostReason.RELEASED, links, out)
            case Releasing():
                return self._releasing_event(at, event, links, out)
        return Stay()

    def _asked_event(self, at: At, event: t.Event, links: Links, now: int, out: list[t.Output]) -> Next:
        link = links.get(at.link)
        if link is None:
            return Stay()
        match event:
            # Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back, and a stream
            # that works is asked.
            case t.Acquired() if link.until(at.lock_ref) <= now:
                return Retire(at.link)
            # A broker that does not know of several locks, or permits, takes the first alone.
            case t.Acquired(also=also) if len(also) != len(self.spec.others):
                links.forget(at, out)
                why = "the broker does not know how to acquire several locks or permits together"
                out.append(t.Failed(self.key, t.Failure(t.Code.UNIMPLEMENTED, why)))
                return Gone()
            case t.Acquired(lock_id, fencing_token, permit, also):
                self.state = Held(at)
                self.lock_id = lock_id
                self.permit = permit
                self.also = tuple(granted.lock_id for granted in also)
                out.append(t.Granted(self.key, lock_id, fencing_token, permit, also))
                return Place()
            # A broker that goes away tells its waiters so, perhaps before it tells that it does.
            case t.FailedEvent(failure) if self.wait is not None and failure.code is t.Code.UNAVAILABLE:
                links.remove(at)
                self.state = Wanted()
                return PlaceLater(failure.retry_after)
            case t.NotAcquired(refusal):
                out.append(t.Refused(self.key, refusal))
            case t.FailedEvent(failure):
                out.append(t.Failed(self.key, failure))
            case t.LostEvent(reason):
                out.append(t.Lost(self.key, reason))
            case t.ReleasedEvent():
                return Stay()
        links.remove(at)
        return Gone()

    def _moving_event(self, at: At, event: t.Event, links: Links, now: int, out: list[t.Output]) -> Next:
        match event:
            case t.Acquired(lock_id, permit=permit, also=also):
                home = self.home
                if home is None:
                    return Stay()
                # An answer counts only if what it brings is still good. (That the old validity has not run out is
                # seen before any input.)
                link = links.get(at.link)
                if link is None or link.until(at.lock_ref) <= now or len(also) != len(self.also):
                    return self.lose(t.LostReason.EXPIRED, links, out)
                links.remove(home)
                given_up = isinstance(self.state, GivenUp)
                self.state = Held(at)
                self.lock_id = lock_id
                self.also = tuple(granted.lock_id for granted in also)
                self.permit = permit
                self._may_be_shared = False
                if permit is not None:
                    self._wants_permit = False
                if given_up:
                    return self._release(at, links, now, out)
                out.append(t.Moved(self.key, lock_id, self.also, permit))
                # Whatever keeps the broker from a permit may pass. And the link may have been retired while it answered.
                return PlaceLater(None) if self._wants_permit else Place()
            case t.FailedEvent(failure):
                links.remove(at)
                resumed = self._resume(links, now, out)
                if failure.code.is_final and self._wants_permit and not self._may_be_shared:
                    self._wants_permit = False
                    self.spec = replace(self.spec, is_shared=False, limit=None)
                    out.append(t.NotShared(self.key, failure))
                return resumed or PlaceLater(failure.retry_after)
            case _:
                return self.lose(t.LostReason.GONE, links, out)

    def _releasing_event(self, at: At, event: t.Event, links: Links, out: list[t.Output]) -> Next:
        match event:
            case t.ReleasedEvent() | t.NotAcquired():
                out.append(t.Released(self.key))
            case t.LostEvent(reason):
                out.append(t.Lost(self.key, reason))
            case t.FailedEvent(failure):
                out.append(t.Failed(self.key, failure))
            case t.Acquired():
                return Stay()
        links.remove(at)
        return Gone()

    def lose(self, reason: t.LostReason, links: Links, out: list[t.Output]) -> Next:
        """Ends the lock as lost, wherever it is."""
        match self.state:
            case Wanted() | Asked():
                return Stay()
            case Held(home) | Releasing(home):
                links.forget(home, out)
            case Moving(home, to) | GivenUp(home, to):
                links.forget(home, out)
                links.forget(to, out)
        out.append(t.Lost(self.key, reason))
        return Gone()


def _left(wait: t.Wait, now: int) -> t.WaitLeft:
    """Returns the wait, less the time that has passed."""
    return t.WaitLeft(None if wait.until is None else max(wait.until - now, 0), wait.poll_interval)
