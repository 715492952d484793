"""Notices a fork. In the child nothing of its parent's works: threads are gone, and the sockets are the parent's."""

from __future__ import annotations

import os

_epoch = 0
_kept: list[object] = []


def epoch() -> int:
    """Returns a number that is another one in each child."""
    return _epoch


def keep(thing: object) -> None:
    """Keeps something of the parent's for ever. Its end in the child could write to a socket that both have."""
    _kept.append(thing)


def _in_child() -> None:
    global _epoch
    _epoch += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
