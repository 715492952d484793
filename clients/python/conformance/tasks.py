"""The commands for the client of asyncio. Each runs in a task of its own, all of them in one loop."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from typing import Any

import stub
from answers import (
    OVER,
    Answer,
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
from lockbroker import aio

FEATURES = ["fork", "loop", "collect", "deadline"]


class _Scope:
    """An `async with` block that is open."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.fails = False
        self.ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Commands:
    """The clients, the guards, and what is done with them."""

    def __init__(self) -> None:
        self.clients: dict[str, aio.Client] = {}
        self.locks: dict[str, aio.Lock | aio.Lease] = {}
        self.scopes: dict[str, _Scope] = {}
        self.calls: dict[int, asyncio.Task[None]] = {}
        # Those that tell of losses, by the guard's name, and others that go on.
        self.watchers: dict[str, asyncio.Task[None]] = {}
        self.others: set[asyncio.Task[None]] = set()
        self.observations: dict[str, aio.Observation] = {}

    def run(self) -> None:
        """Takes commands until there are no more."""
        asyncio.run(self.run_all())

    async def run_all(self) -> None:
        """Runs a task for each command."""
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[str]()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "")

        threading.Thread(target=read, daemon=True).start()
        while line := await lines.get():
            command = json.loads(line)
            self.calls[command["id"]] = asyncio.create_task(self.one(command))
        for client in self.clients.values():
            await client.close()

    async def one(self, command: dict[str, Any]) -> None:
        """Runs a command."""
        id, do = command.pop("id"), command.pop("do")
        try:
            answer = await getattr(self, f"do_{do}")(id, **command)
        except asyncio.CancelledError:
            answer = {"cancelled": True}
        except Exception as error:
            answer = failed(error, several=bool(command.get("also")))
        del self.calls[id]
        if answer is not None:
            say(id=id, **answer)

    def keep(self, name: str, lock: aio.Lock) -> Answer:
        """Keeps a guard, and tells of its loss."""

        async def watch() -> None:
            reason = await lock.wait_lost()
            if reason is not lockbroker.LostReason.ENDED:
                say(notice="lost", lock=name, reason=reason.name)

        self.locks[name] = lock
        self.watchers[name] = asyncio.create_task(watch())
        return granted(lock)

    async def do_connect(self, id: int, client: str, servers: list[str] | None = None, tls: Any = None) -> Answer:
        files = {f"tls_{name}": path for name, path in (tls or {}).items()}
        self.clients[client] = aio.connect(*(servers or []), **files)
        return {"ok": True}

    async def do_try(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        return self.keep(lock, await self.clients[client].lock(name, **options(**{**how, "wait_ms": 0})))

    async def do_deadline(self, id: int, client: str, lock: str, name: str, ms: int) -> Answer | None:
        async def call() -> None:
            say(id=id, **await self.do_try(id, client, lock, name))
            await asyncio.Event().wait()

        try:
            await asyncio.wait_for(call(), ms / 1000)
        except (TimeoutError, asyncio.TimeoutError):
            return None if lock in self.locks else {"cancelled": True}
        return None

    async def do_wait(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        return self.keep(lock, await self.clients[client].lock(name, **options(**how)))

    async def do_enter(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer | None:
        scope = None
        try:
            async with self.clients[client].lock(name, **options(**how)) as held:
                scope = self.scopes[lock] = _Scope()
                say(id=id, **self.keep(lock, held))
                await scope.leave.wait()
                if scope.fails:
                    raise Failed
        except Exception as error:
            if scope is None:
                raise
            scope.ended.set_result({"left": True} if isinstance(error, Failed) else failed(error))
        else:
            scope.ended.set_result({"left": not scope.fails})
        return None

    async def do_leave(self, id: int, lock: str, fail: bool = False) -> Answer:
        scope = self.scopes.pop(lock)
        scope.fails = fail
        scope.leave.set()
        return await scope.ended

    async def do_cancel(self, id: int, call: int) -> Answer:
        if (task := self.calls.get(call)) is not None:
            task.cancel()
        return {"ok": True}

    async def do_release(self, id: int, lock: str) -> Answer:
        held = self.locks[lock]
        is_over = held.lost in OVER
        try:
            await held.release()
        except lockbroker.Lost as lost:
            if lost.reason not in OVER:
                raise
        return {"released": not is_over}

    async def do_check(self, id: int, lock: str) -> Answer:
        return checked(self.locks[lock])

    async def do_adopt(self, id: int, client: str, lock: str, name: str, lock_id: str) -> Answer:
        return self.keep(lock, await self.clients[client].adopt(name, lock_id))

    async def do_lease(self, id: int, client: str, lock: str, name: str, **how: Any) -> Answer:
        lease = self.locks[lock] = await self.clients[client].lease(name, **lease_options(**how))
        return granted(lease)

    async def do_renew(self, id: int, lock: str) -> Answer:
        lease = self.locks[lock]
        assert isinstance(lease, aio.Lease)
        await lease.renew()
        return renewed(lease)

    async def do_adopt_lease(self, id: int, client: str, lock: str, name: str, lock_id: str) -> Answer:
        lease = self.locks[lock] = await self.clients[client].adopt_lease(name, lock_id)
        return renewed(lease)

    async def do_get(self, id: int, client: str, name: str) -> Answer:
        return info(await self.clients[client].get(name))

    async def do_update(self, id: int, lock: str, value: str) -> Answer:
        held = self.locks[lock]
        assert isinstance(held, aio.Lock)
        await held.update(value)
        return {"updated": True}

    async def do_downgrade(self, id: int, lock: str, limit: int | None = None) -> Answer:
        held = self.locks[lock]
        assert isinstance(held, aio.Lock)
        await held.downgrade(limit)
        return downgraded(held)

    async def do_observe(self, id: int, client: str, name: str, **more: str) -> Answer:
        called = more["as"]
        observation = self.observations[called] = self.clients[client].observe(name)

        async def follow() -> None:
            try:
                async for seen in observation:
                    say(**observed(called, seen))
            except lockbroker.LockbrokerError as error:
                say(notice="seen", **{"as": called}, **failed(error))

        self.others.add(asyncio.create_task(follow()))
        return {"ok": True}

    async def do_unobserve(self, id: int, **more: str) -> Answer:
        await self.observations.pop(more["as"]).close()
        return {"ok": True}

    async def do_work(self, id: int, lock: str, every_ms: int) -> Answer:
        held = self.locks[lock]

        async def work() -> None:
            while held.lost is None:
                at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                if "held" in checked(held):
                    say(notice="acting", lock=lock, at=at)
                await asyncio.sleep(every_ms / 1000)

        self.others.add(asyncio.create_task(work()))
        return {"ok": True}

    async def do_forget(self, id: int, lock: str) -> Answer:
        del self.locks[lock]
        # A lease has none.
        if watcher := self.watchers.pop(lock, None):
            watcher.cancel()
            await asyncio.wait([watcher])
        del watcher
        gc.collect()
        return {"ok": True}

    async def do_many(self, id: int, client: str, prefix: str, count: int) -> Answer:
        async def ask(name: str) -> bool:
            try:
                lock = await self.clients[client].try_lock(name)
            except lockbroker.LockbrokerError as error:
                print(error, file=sys.stderr)
                return False
            if lock is None:
                return False
            self.keep(name, lock)
            return True

        return {"granted": sum(await asyncio.gather(*(ask(f"{prefix}{number}") for number in range(count))))}

    async def do_check_many(self, id: int, prefix: str, count: int) -> Answer:
        answers = [checked(self.locks[f"{prefix}{number}"]) for number in range(count)]
        return {"held": sum("held" in answer for answer in answers)}

    async def do_cycle(self, id: int, client: str, name: str, count: int) -> Answer:
        began = time.monotonic_ns()
        for _ in range(count):
            await (await self.clients[client].lock(name)).release()
        return {"nanos": time.monotonic_ns() - began}

    async def do_bare(self, id: int, server: str, name: str) -> Answer:
        await stub.cycles_aio(server, name, 1)
        return {"ok": True}

    async def do_bare_cycle(self, id: int, server: str, name: str, count: int) -> Answer:
        return {"nanos": await stub.cycles_aio(server, name, count)}

    async def do_block(self, id: int, ms: int) -> Answer:
        time.sleep(ms / 1000)
        return {"ok": True}

    async def do_fork(self, id: int, lock: str, child: str) -> Answer:
        async def use() -> list[Answer]:
            return [await self.do_check(id, lock), await self.do_release(id, lock)]

        return fork(child, lambda: asyncio.run(use()))

    async def do_close(self, id: int, client: str) -> Answer:
        await self.clients[client].close()
        return {"ok": True}
