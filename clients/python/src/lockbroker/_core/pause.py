"""The pauses before another try."""

from __future__ import annotations

from .types import MILLISECOND

LEAST = 50 * MILLISECOND
"""The shortest pause."""


def pause(tries: int, most: int, chance: float) -> int:
    """Returns the pause after `tries` of them: twice as long each time, up to `most`.

    A random half of it is spared, so that clients do not try in step; `chance` is that randomness, from 0 up to 1.
    """
    whole = min(LEAST << min(tries, 16), most)
    return whole // 2 + round(whole // 2 * chance)
