"""The commands for the client of threads. Each runs in a thread of its own."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimedOut
from typing import Any

import stub
from answers import (
    OVER,
    Answer,
    Cancelled,
    Failed,
    checked,
    downgraded,
    failed,
    granted,
    info,
    lease_options,
    observed,
    options,
    renewed,
    say,
)
from forks import fork

import lockbroker
from lockbroker import Lease, Lock, _session

FEATURES = ["fork", "collect"]

_current = threading.local()


class _Call:
    """A command under way, and what it waits for."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.waits_for: _Interruptible | None = None

    def cancel(self) -> None:
        """Ends the wait."""
        self.is_cancelled = True
        if (future := self.waits_for) is not None:
            with future._condition:
                future._condition.notify_all()


class _Interruptible(Future[Any]):
    """A wait that `cancel` ends in any thread. Ctrl-C does so in the main thread alone."""

    def result(self, timeout: float | None = None) -> Any:
        call: _Call = _current.call
        with self._condition:
            call.waits_for = self
            if call.is_cancelled:
                raise Cancelled
            try:
                return super().result(timeout)
            except TimedOut:
                if not call.is_cancelled:
                    raise
                # It was woken and has no result.
                raise Cancelled from None


class _Scope:
    """A `with` block that is open."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.fails = False
        self.ended: Future[Answer] = Future()


class Commands:
    """The clients, the guards, and what is done with them."""

    def __init__(self) -> None:
        self.clients: dict[str, lockbroker.Client] = {}
        self.locks: dict[str, Lock | Lease] = {}
        self.scopes: dict[str, _Scope] = {}
        self.calls: dict[int, _Call] = {}
        self.observations: dict[str, lockbroker.Observation] = {}

    def run(self) -> None:
        """Takes commands until there are no more."""
        vars(_session)["Future"] = _Interruptible
        for line in sys.stdin:
            command = json.loads(line)
            call = self.calls[command["id"]] = _Call()
            threading.Thread(target=self.one, args=(call, command), daemon=True).start()
        for client in self.clients.values():
            client.close()

    def one(self, call: _Call, command: dict[str, Any]) -> None:
        """Runs a command."""
        _current.call = call
        id, do = command.pop("id"), command.pop("do")
        try:
            answer = getattr(self, f"do_{do}")(id, **command)
        except (Exception, Cancelled) as error:
            answer = failed(error, several=bool(command.get("also")))
        del self.calls[id]
        if answer is not None:
            say(id=id, **answer)

    def keep(self, name: str, lock: Lock) -> Answer:
        """Keeps a guard, and tells of its loss."""
        self.locks[name] = lock
        lock.on_lost(lambda reason: say(notice="lost", lock=name, reason=reason.name))
        return granted(lock)

    def do_connect(self, id: int, client: str, servers: list[str] | None = None, tls: Any = None) -> Answer:
        files = {f"tls_{name}": path for name, path in (tls or {}).items()}
        self.clients[client] = lockbroker.connect(*(servers or []), **files)
        return {"ok": True}

    def do_try(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        return self.keep(lock, self.clients[client].lock(name, **options(**{**how, "wait_ms": 0})))

    def do_deadline(self, id: int, ms: int, **asks: Any) -> Answer:
        # Threads hand no deadlines down.
        return self.do_try(id, **asks)

    def do_wait(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        return self.keep(lock, self.clients[client].lock(name, **options(**how)))

    def do_enter(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer | None:
        scope = None
        try:
            with self.clients[client].lock(name, **options(**how)) as held:
                scope = self.scopes[lock] = _Scope()
                say(id=id, **self.keep(lock, held))
                scope.leave.wait()
                if scope.fails:
                    raise Failed
        except Exception as error:
            if scope is None:
                raise
            scope.ended.set_result({"left": True} if isinstance(error, Failed) else failed(error))
        else:
            scope.ended.set_result({"left": not scope.fails})
        return None

    def do_leave(self, id: int, lock: str, fail: bool = False) -> Answer:
        scope = self.scopes.pop(lock)
        scope.fails = fail
        scope.leave.set()
        return scope.ended.result()

    def do_cancel(self, id: int, call: int) -> Answer:
        if (waiting := self.calls.get(call)) is not None:
            waiting.cancel()
        return {"ok": True}

    def do_release(self, id: int, lock: str) -> Answer:
        held = self.locks[lock]
        is_over = held.lost in OVER
        try:
            held.release()
        except lockbroker.Lost as lost:
            if lost.reason not in OVER:
                raise
        return {"released": not is_over}

    def do_check(self, id: int, lock: str) -> Answer:
        return checked(self.locks[lock])

    def do_adopt(self, id: int, client: str, lock: str, name: str, lock_id: str) -> Answer:
        return self.keep(lock, self.clients[client].adopt(name, lock_id))

    def do_lease(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        lease = self.locks[lock] = self.clients[client].lease(name, **lease_options(**how))
        return granted(lease)

    def do_renew(self, id: int, lock: str) -> Answer:
        lease = self.locks[lock]
        assert isinstance(lease, Lease)
        lease.renew()
        return renewed(lease)

    def do_adopt_lease(self, id: int, client: str, lock: str, name: str, lock_id: str) -> Answer:
        lease = self.locks[lock] = self.clients[client].adopt_lease(name, lock_id)
        return renewed(lease)

    def do_get(self, id: int, client: str, name: str) -> Answer:
        return info(self.clients[client].get(name))

    def do_update(self, id: int, lock: str, value: str) -> Answer:
        held = self.locks[lock]
        assert isinstance(held, Lock)
        held.update(value)
        return {"updated": True}

    def do_downgrade(self, id: int, lock: str, limit: int | None = None) -> Answer:
        held = self.locks[lock]
        assert isinstance(held, Lock)
        held.downgrade(limit)
        return downgraded(held)

    def do_observe(self, id: int, client: str, name: str, **more: str) -> Answer:
        called = more["as"]
        observation = self.observations[called] = self.clients[client].observe(name)

        def follow() -> None:
            try:
                for seen in observation:
                    say(**observed(called, seen))
            except lockbroker.LockbrokerError as error:
                say(notice="seen", **{"as": called}, **failed(error))

        threading.Thread(target=follow, daemon=True).start()
        return {"ok": True}

    def do_unobserve(self, id: int, **more: str) -> Answer:
        self.observations.pop(more["as"]).close()
        return {"ok": True}

    def do_work(self, id: int, lock: str, every_ms: int) -> Answer:
        held = self.locks[lock]

        def work() -> None:
            while held.lost is None:
                at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                if "held" in checked(held):
                    say(notice="acting", lock=lock, at=at)
                time.sleep(every_ms / 1000)

        threading.Thread(target=work, daemon=True).start()
        return {"ok": True}

    def do_forget(self, id: int, lock: str) -> Answer:
        del self.locks[lock]
        gc.collect()
        return {"ok": True}

    def do_many(self, id: int, client: str, prefix: str, count: int) -> Answer:
        got: list[Answer] = []

        def ask(name: str) -> None:
            if lock := self.clients[client].try_lock(name):
                got.append(self.keep(name, lock))

        _in_threads([f"{prefix}{number}" for number in range(count)], ask)
        return {"granted": len(got)}

    def do_check_many(self, id: int, prefix: str, count: int) -> Answer:
        answers = [checked(self.locks[f"{prefix}{number}"]) for number in range(count)]
        return {"held": sum("held" in answer for answer in answers)}

    def do_cycle(self, id: int, client: str, name: str, count: int) -> Answer:
        began = time.monotonic_ns()
        for _ in range(count):
            self.clients[client].lock(name).release()
        return {"nanos": time.monotonic_ns() - began}

    def do_bare(self, id: int, server: str, name: str) -> Answer:
        stub.cycles(server, name, 1)
        return {"ok": True}

    def do_bare_cycle(self, id: int, server: str, name: str, count: int) -> Answer:
        return {"nanos": stub.cycles(server, name, count)}

    def do_fork(self, id: int, lock: str, child: str) -> Answer:
        def use() -> list[Answer]:
            return [self.do_check(id, lock), self.do_release(id, lock)]

        return fork(child, use)

    def do_close(self, id: int, client: str) -> Answer:
        self.clients[client].close()
        return {"ok": True}


def _in_threads(names: list[str], ask: Any) -> None:
    call = _current.call

    errors: list[lockbroker.LockbrokerError] = []

    def run(name: str) -> None:
        _current.call = call
        try:
            ask(name)
        except lockbroker.LockbrokerError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
