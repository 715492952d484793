"""Breaks a rule of the client, so that the driver's scenarios can show that they see it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from lockbroker import _lock, _session
from lockbroker._core import core, link, lock, validity
from lockbroker._core import types as t

_EVER = 10**9 * t.SECOND


def _heartbeat() -> None:
    """Sends no heartbeats, and goes on as if they had been answered."""
    carry_out = _session.Session._carry_out

    def carried_out(self: _session.Session, output: t.Output) -> None:
        if not isinstance(output, t.Heartbeat):
            return carry_out(self, output)
        found = self._core._links.get(output.link)
        if found is not None:
            ack = t.HeartbeatAck(output.seq, found.ttl * 13 // 15, ())
            self._events.put(t.Received(output.link, ack))

    _replace(_session.Session, "_carry_out", carried_out)


def _reattach() -> None:
    """Never moves a lock, and says that it is held."""
    place = lock.Lock.place

    def placed(self: lock.Lock, to: link.Link, now: int, out: list[t.Output]) -> None:
        if not isinstance(self.state, lock.Held):
            place(self, to, now, out)

    _replace(lock.Lock, "place", placed)
    held = core.Core.held

    def not_broken(self: core.Core, key: int) -> core.Held | None:
        found = held(self, key)
        return None if found is None else replace(found, is_broken=False)

    _replace(core.Core, "held", not_broken)


def _clock() -> None:
    """Has no validity end, and believes no broker that it has."""
    begin, acknowledged = validity.Validity.__init__, validity.Validity.acknowledged

    def begun(self: validity.Validity, sent: int, expires_after: int) -> None:
        begin(self, sent, _EVER)

    def acknowledge(self: validity.Validity, seq: int, expires_after: int, not_renewed: Any) -> None:
        acknowledged(self, seq, _EVER, not_renewed)

    _replace(validity.Validity, "__init__", begun)
    _replace(validity.Validity, "acknowledged", acknowledge)
    lose = lock.Lock.lose

    def lost(self: lock.Lock, reason: t.LostReason, links: link.Links, out: list[t.Output]) -> lock.Next:
        return lock.Stay() if reason is t.LostReason.EXPIRED else lose(self, reason, links, out)

    _replace(lock.Lock, "lose", lost)


def _release() -> None:
    """Releases nothing, and says so."""

    def begin_release(self: _lock.BaseLock) -> Future[None]:
        if self._release is None:
            self._release = Future()
            self._release.set_result(None)
            self._hold.end()
        return self._release

    _replace(_lock.BaseLock, "_begin_release", begin_release)
    publish = _session.Session._publish

    def published(self: _session.Session, key: int) -> None:
        # The client would end a lock whose guard believes in it no more.
        caller = self._callers.get(key)
        if not isinstance(caller, _session._Holds) or caller.hold.lost() is not t.LostReason.ENDED:
            publish(self, key)

    _replace(_session.Session, "_publish", published)


def _replace(owner: type, name: str, by: Any) -> None:
    # One that is not there any more would break nothing.
    assert name in vars(owner), f"{owner.__name__} has no {name}"
    setattr(owner, name, by)


RULES = {"heartbeat": _heartbeat, "reattach": _reattach, "clock": _clock, "release": _release}
