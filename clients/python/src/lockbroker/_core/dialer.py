"""The next link: at which endpoint it is tried, when, and for how long."""

from __future__ import annotations

import enum
from collections.abc import Callable

from . import types as t
from .pause import pause

DIAL = 3 * t.SECOND
"""The longest time that a new connection and its Session may take to answer; less where brokers share the time."""
MOST = 2 * t.SECOND
"""The longest pause between two dials."""


class State(enum.Enum):
    """How far a dial is."""

    IDLE = enum.auto()
    """There is none."""
    CONNECTING = enum.auto()
    """The connection is being made."""
    OPENING = enum.auto()
    """`open` was sent."""


class Dialer:
    """Makes links."""

    def __init__(self, endpoints: int, answer_timeout: int, now: int) -> None:
        self._state = State.IDLE
        self._within = min(answer_timeout // endpoints, DIAL)
        self._endpoints = endpoints
        self.endpoint = 0
        """The endpoint to try next."""
        # The earliest moment of the next dial.
        self._next = now
        # The dials since a heartbeat was acknowledged.
        self._tries = 0
        # The dial under way or, when idle, the last one.
        self._link = 0
        self._dialled = 0
        self._until = now
        self._sent = now

    @property
    def is_idle(self) -> bool:
        """Returns true if no dial is under way."""
        return self._state is State.IDLE

    def endpoint_of(self, link: int) -> int | None:
        """Returns the endpoint that `link` is being dialled at."""
        return None if self.is_idle or link != self._link else self._dialled

    def dial(self, now: int, chance: Callable[[], float], out: list[t.Output]) -> None:
        """Dials if it is time."""
        if not self.is_idle or now < self._next:
            return
        self._link += 1
        self._next = now + pause(self._tries, MOST, chance())
        self._tries += 1
        self._dialled, self._until = self.endpoint, now + self._within
        self._state = State.CONNECTING
        out.append(t.Dial(self._link, self._dialled))

    def connected(self, link: int, now: int, out: list[t.Output]) -> None:
        """Opens the Session on a connection that stands."""
        if self._state is State.CONNECTING and link == self._link:
            self._state, self._sent = State.OPENING, now
            out.append(t.Open(link))

    def opened(self, link: int) -> tuple[int, int] | None:
        """Takes the dial as done, and returns its endpoint and when `open` was sent."""
        if self._state is not State.OPENING or link != self._link:
            return None
        self._state = State.IDLE
        return self._dialled, self._sent

    def failed(self, link: int) -> int | None:
        """Takes the dial as failed, and returns its endpoint."""
        endpoint = self.endpoint_of(link)
        if endpoint is not None:
            self._state = State.IDLE
            self.turn_from(endpoint)
        return endpoint

    def late(self, now: int) -> tuple[int, t.Failure] | None:
        """Returns the dial that has taken too long, and its failure."""
        if self.is_idle or now < self._until:
            return None
        return self._link, t.unavailable(f"no broker answered within {self._within / t.SECOND:g} s")

    def turn_from(self, endpoint: int) -> None:
        """Turns from an endpoint that was of no use to the next, unless it has been turned from already."""
        if self.endpoint == endpoint:
            self.endpoint = (endpoint + 1) % self._endpoints

    def start_over(self, now: int) -> None:
        """Starts the pauses over: a broker keeps its word."""
        self._tries = 0
        self._next = now

    def due(self, needed: bool) -> int | None:
        """Returns the moment at which a dial is late, or the next one may be made."""
        if not self.is_idle:
            return self._until
        return self._next if needed else None
