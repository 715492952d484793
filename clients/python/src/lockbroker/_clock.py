"""The clock of leases. It runs on while the machine is suspended.

Everything that decides whether a lock is still valid reads it. Timers run on other clocks, and may come late.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def _linux() -> Callable[[], int]:
    # CLOCK_BOOTTIME runs on during a suspend, and is slewed. CLOCK_MONOTONIC_RAW is not slewed, and stands still. Neither
    # ever goes back, so the greater of the times that have passed on them does not either.
    boot, raw = time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC_RAW
    read = time.clock_gettime_ns
    boot_began, raw_began = read(boot), read(raw)
    return lambda: max(read(boot) - boot_began, read(raw) - raw_began)


def _clock() -> Callable[[], int]:
    if sys.platform == "linux":
        return _linux()
    if sys.platform == "darwin":
        # There it runs on during a suspend.
        return lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    return time.monotonic_ns


now: Callable[[], int] = _clock()
"""Returns the moment, in nanoseconds since some beginning. Only differences within one process mean anything."""
