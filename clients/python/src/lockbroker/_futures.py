"""Tells those who wait for a future what came of it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any


def resolve(future: Future[Any] | None, outcome: Any) -> bool:
    """Tells the outcome. Returns false if nobody waits for it."""
    if future is None or not future.set_running_or_notify_cancel():
        return False
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return True
