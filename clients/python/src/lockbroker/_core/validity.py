"""Counts until when the locks of one stream may be believed in.

There is one moment for the whole stream, which every acknowledged heartbeat moves on, and one for each lock that the
latest acknowledgement left out. Moments count from when the client *sent* what is acknowledged, so the clocks of client
and broker are never compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Validity:
    """The book-keeping of one stream. Locks are named by their `lock_ref`."""

    def __init__(self, sent: int, expires_after: int) -> None:
        """Begins with a stream whose `open` was sent at `sent` and answered with `expires_after`."""
        # The end of the validity of every lock that is not in `_behind`, later ones included.
        self._covered_until = sent + expires_after
        # The locks that the latest acknowledgement did not renew, with the validity that an earlier one gave them.
        self._behind: dict[int, int] = {}
        # The locks in `_behind` that acknowledgements no longer mention.
        self._settled: set[int] = set()
        # Heartbeats that may still be acknowledged and when they were sent, oldest first. The first may have been
        # acknowledged already, since the broker repeats itself when it has renewed more.
        self._beats: deque[tuple[int, int]] = deque()
        self.next: int | None = self._covered_until
        """The moment at which to call `run_out` again. None once everything has run out."""

    def beat(self, seq: int, now: int) -> None:
        """Notes that the heartbeat `seq` is being sent."""
        self._beats.append((seq, now))

    def acknowledged(self, seq: int, expires_after: int, not_renewed: Iterable[int]) -> None:
        """Takes an acknowledgement. Ignores one that was never asked for, or is older than another that has come."""
        if all(sent != seq for sent, _ in self._beats):
            return
        while self._beats[0][0] < seq:
            self._beats.popleft()
        self._behind = {lock: self.until(lock) for lock in {*not_renewed, *self._settled}}
        self._covered_until = self._beats[0][1] + expires_after
        self._look_ahead()

    def settle(self, lock_ref: int) -> None:
        """Notes that no more events come for this lock. It keeps its validity, and nothing is added to it.

        Acknowledgements leave it out from now on, though not in `not_renewed`.
        """
        self._behind[lock_ref] = self.until(lock_ref)
        self._settled.add(lock_ref)
        self._look_ahead()

    def until(self, lock_ref: int) -> int:
        """Returns the end of the lock's validity."""
        return self._behind.get(lock_ref, self._covered_until)

    def run_out(self, now: int, locks: Iterable[int]) -> list[int]:
        """Returns which of `locks` have run out by `now` and were not reported before."""
        if self.next is None or now < self.next:
            return []
        if self._covered_until <= now:
            self.next = None
            return list(locks)
        over = {lock for lock, until in self._behind.items() if until <= now}
        # Those reported stay in `_behind`: a lock that has run out once must not become valid again.
        self.next = min([self._covered_until, *(until for until in self._behind.values() if until > now)])
        return [lock for lock in locks if lock in over]

    def _look_ahead(self) -> None:
        self.next = min([self._covered_until, *self._behind.values()])
