"""Releases that no stream can confirm. Any broker is asked, again and again, until the lock has run out by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import types as t
from .pause import pause

MOST = 1 * t.SECOND
"""The longest pause between two calls."""


@dataclass
class _Release:
    """A lock that is being released by calls."""

    grants: deque[tuple[str, str]]
    """The names and ids that are still to be released, one after another."""
    until: int
    """The end of its validity."""
    next: int | None = None
    """The moment of the next call; none while one is under way."""
    tries: int = 0

    def call(self, key: int, out: list[t.Output]) -> None:
        """Makes the next call."""
        name, lock_id = self.grants[0]
        out.append(t.ReleaseElsewhere(key, name, lock_id))


class Elsewhere:
    """All of them."""

    def __init__(self) -> None:
        self._all: dict[int, _Release] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: int) -> bool:
        return key in self._all

    def begin(self, key: int, grants: Iterable[tuple[str, str]], until: int, out: list[t.Output]) -> None:
        """Begins to release a lock, and those that are held together with it: their names and ids, at least one."""
        release = self._all[key] = _Release(deque(grants), until)
        release.call(key, out)

    def ended(
        self, key: int, failure: t.Failure | None, now: int, chance: Callable[[], float], out: list[t.Output]
    ) -> None:
        """Takes the end of a call."""
        release = self._all.get(key)
        if release is None:
            return
        if failure is None:
            release.grants.popleft()
            if release.grants:
                release.call(key, out)
                return
            out.append(t.Released(key))
        elif not failure.code.is_final:
            release.next = now + pause(release.tries, MOST, chance())
            release.tries += 1
            return
        else:
            out.append(t.Failed(key, failure))
        del self._all[key]

    def keep_time(self, now: int, out: list[t.Output]) -> None:
        """Calls again where it is time, and ends what has run out."""
        for key in sorted(self._all):
            release = self._all[key]
            if release.until <= now:
                why = "no broker confirmed the release before the lock ran out by itself"
                out.append(t.Failed(key, t.unavailable(why)))
                del self._all[key]
            elif release.next is not None and release.next <= now:
                release.next = None
                release.call(key, out)

    def due(self) -> int | None:
        """Returns the moment at which to keep time."""
        ends = (min(release.until, release.next or release.until) for release in self._all.values())
        return min(ends, default=None)
