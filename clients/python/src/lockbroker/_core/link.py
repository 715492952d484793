"""One Session stream: what was sent on it, what it covers, and when it has to be heard again."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from . import types as t
from .validity import Validity


class At(NamedTuple):
    """A lock on a link."""

    link: int
    lock_ref: int


class Phase(enum.Enum):
    """The state of a link. It only goes on."""

    CURRENT = enum.auto()
    """Takes new locks. There is one such link at most."""
    RETIRED = enum.auto()
    """Takes no new locks, and stays open until those that it has are elsewhere: closing it would release them."""
    ENDED = enum.auto()
    """Ended by the other side. What it covered is still what bounds a reattach."""


def notice(ttl: int) -> int:
    """Returns how long before the end of its validity a lock of this `ttl` counts as lost.

    A broker tells `lost` then, and a client says so by its own count. No later answer counts. It is the time in which
    the holder stops.
    """
    return ttl // 30


class Link:
    """A stream and its locks."""

    def __init__(self, id: int, endpoint: int, sent: int, now: int, terms: t.Opened) -> None:
        """Makes the link of a Session whose `open` was sent at `sent` and has been answered now."""
        self.id = id
        self.endpoint = endpoint
        """The number of the endpoint."""
        self.ttl = terms.ttl
        """The ttl of its locks, as granted."""
        self.phase = Phase.CURRENT
        self.locks: dict[int, int] = {}
        """The keys of the locks that were begun here and have not ended, by their `lock_ref`, which rises."""
        self._validity = Validity(sent, max(terms.expires_after - notice(terms.ttl), 0))
        self._last_ref = 0
        self._last_seq = 0
        self._heartbeat_interval = terms.heartbeat_interval
        # The validity counts from `open`, and so do the heartbeats that carry it on: after an answer that took long,
        # the first would come too late.
        self._next_beat = sent + terms.heartbeat_interval
        # The moment of the broker's last message.
        self._heard = now

    @property
    def is_open(self) -> bool:
        """Returns true unless the other side has ended the stream."""
        return self.phase is not Phase.ENDED

    def begin(
        self,
        key: int,
        spec: t.LockSpec,
        wait: t.WaitLeft | None,
        reattach: str | None,
        reattach_also: tuple[str, ...],
        out: list[t.Output],
    ) -> At:
        """Asks for a lock and returns its place here."""
        self._last_ref += 1
        self.locks[self._last_ref] = key
        if self.is_open:
            out.append(t.Begin(self.id, self._last_ref, spec, wait, reattach, reattach_also))
        return At(self.id, self._last_ref)

    def end(self, lock_ref: int, out: list[t.Output]) -> None:
        """Releases a lock or gives up the wait for it.

        The stream keeps order, so a grant that crosses this is released by it.
        """
        if self.is_open:
            out.append(t.EndLock(self.id, lock_ref))

    def heard(self, now: int) -> None:
        """Notes that the broker was heard."""
        self._heard = now

    def acknowledged(self, seq: int, expires_after: int, not_renewed: Iterable[int]) -> None:
        """Takes an acknowledgement."""
        self._validity.acknowledged(seq, max(expires_after - notice(self.ttl), 0), not_renewed)

    def settle(self, lock_ref: int) -> None:
        """Notes that no more events come for a lock that may still be valid. Acknowledgements no longer cover it."""
        self._validity.settle(lock_ref)

    def until(self, lock_ref: int) -> int:
        """Returns the end of a lock's validity."""
        return self._validity.until(lock_ref)

    def beat(self, now: int, out: list[t.Output]) -> None:
        """Sends a heartbeat if one is due."""
        if not self.is_open or now < self._next_beat:
            return
        self._last_seq += 1
        self._validity.beat(self._last_seq, now)
        out.append(t.Heartbeat(self.id, self._last_seq))
        self._next_beat = now + self._heartbeat_interval

    def run_out(self, now: int) -> list[int]:
        """Returns the keys of what has run out by `now` and was not reported before."""
        return [self.locks[lock_ref] for lock_ref in self._validity.run_out(now, self.locks)]

    def is_silent(self, now: int) -> bool:
        """Returns true if the silence has lasted too long."""
        return now >= self._silent_at()

    def _silent_at(self) -> int:
        # Half a ttl after the last message. An acknowledgement may take a sixth of the ttl. The rest is for its way.
        return self._heard + self.ttl // 2 + self.ttl // 30

    def due(self) -> int | None:
        """Returns the moment at which this link has something to do next. None: not before a message comes."""
        moments = []
        if self._validity.next is not None and self.locks:
            moments.append(self._validity.next)
        if self.is_open:
            moments.append(self._next_beat)
        if self.phase is Phase.CURRENT:
            moments.append(self._silent_at())
        return min(moments, default=None)


class Links:
    """All streams of a client."""

    def __init__(self) -> None:
        self.all: list[Link] = []

    def get(self, id: int) -> Link | None:
        """Returns the one with that id, unless it is gone."""
        return next((link for link in self.all if link.id == id), None)

    def current(self) -> Link | None:
        """Returns the one that takes new locks."""
        return next((link for link in self.all if link.phase is Phase.CURRENT), None)

    def remove(self, at: At) -> None:
        """Takes a lock off its link without a word."""
        if link := self.get(at.link):
            link.locks.pop(at.lock_ref, None)

    def forget(self, at: At, out: list[t.Output]) -> None:
        """Ends a lock, and ignores whatever the broker says of it from now on."""
        if link := self.get(at.link):
            link.locks.pop(at.lock_ref, None)
            link.end(at.lock_ref, out)
