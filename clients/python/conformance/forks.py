"""Children of the testee."""

from __future__ import annotations

import atexit
import json
import os
import signal
from collections.abc import Callable

from answers import Answer

_parent_lives: list[int] = []
"""Descriptors that close when this process ends."""


def fork(child: str, use: Callable[[], list[Answer]]) -> Answer:
    """Forks. A child that `uses` a lock says what `use` says, and ends as a program does.

    One that is `idle` ends with its parent. One that `outlives` it ends when it is killed.
    """
    (said, telling), (lifeline, living) = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        try:
            for descriptor in (said, living, *_parent_lives):
                os.close(descriptor)
            # Its parent's pipes are to end with its parent.
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1) if child == "uses" else (0, 1, 2):
                os.dup2(nothing, descriptor)
            if child == "uses":
                os.write(telling, json.dumps(use()).encode())
                atexit._run_exitfuncs()
                os._exit(0)
            os.close(telling)
            while child == "outlives":
                signal.pause()
            os.read(lifeline, 1)
        finally:
            os._exit(1)
    os.close(telling)
    os.close(lifeline)
    _parent_lives.append(living)
    with os.fdopen(said, "rb") as pipe:
        text = pipe.read()
    if child == "uses":
        os.waitpid(pid, 0)
    return {"child": pid, "said": json.loads(text) if text else []}
