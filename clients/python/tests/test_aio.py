"""The client for asyncio. Each test runs a loop of its own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import lockbroker
from lockbroker import Lost, LostReason, NotAcquired, NotAcquiredReason, ReleaseOutcome, Unavailable, aio

from .conftest import World
from .support import Broker, deaf_port, eventually


@pytest.fixture
def url(world: World) -> str:
    return world.first.url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aio.Client]:
    async with aio.connect(url, ttl=5) as client:
        yield client


async def soon(what: str, get: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not get():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a test in debug mode, with a limit."""
    return asyncio.run(asyncio.wait_for(coroutine, 40), debug=True)


def test_a_lock_is_held_until_its_block_ends(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            async with client.lock(name) as lock:
                lock.check()
                assert lock.remaining() > 0
                assert other.try_lock(name) is None
            assert lock.lost is LostReason.ENDED
            lock = await client.lock(name, wait=0)
            await lock.release()
            await lock.release()
            maybe = await client.try_lock(name)
            assert maybe is not None
            async with maybe:
                assert await client.try_lock(name) is None
                assert (await client.get(name, maybe.lock_id)).remaining
                with pytest.raises(NotAcquired) as refused:
                    async with client.lock(name, wait=0.1):
                        pass
                assert refused.value.reason is NotAcquiredReason.MAX_WAIT
            other.lock(name, wait=0).release()

    run(test())


def test_a_loss_cancels_the_block(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            began = time.monotonic()
            with pytest.raises(Lost) as lost:
                async with client.lock(name) as lock:
                    assert await client.release(name, lock.lock_id) is ReleaseOutcome.RELEASED
                    await asyncio.sleep(30)
            assert lost.value.reason is LostReason.RELEASED
            assert time.monotonic() - began < 10
            # The task goes on, and is cancelled no more.
            await asyncio.sleep(0.05)
            task = asyncio.current_task()
            assert task is not None
            assert not getattr(task, "cancelling", int)()
            with pytest.raises(Lost):
                await lock.release()
            with pytest.raises(Lost):
                async with lock:
                    pass

    run(test())


def test_a_block_that_swallows_the_cancel_hears_of_the_loss(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            with pytest.raises(Lost):
                async with client.lock(name) as lock:
                    other.release(name, lock.lock_id)
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.sleep(30)

    run(test())


def test_somebody_elses_cancel_stays_one(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            inside = asyncio.Event()

            async def hold() -> None:
                async with client.lock(name):
                    inside.set()
                    await asyncio.sleep(30)

            task = asyncio.create_task(hold())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await (await client.lock(name, wait=0)).release()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(hold(), 0.2)
            await (await client.lock(name, wait=0)).release()

    run(test())


def test_the_blocks_own_error_comes_out(url: str, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            with pytest.raises(KeyError):
                async with client.lock(name):
                    raise KeyError
            await (await client.lock(name, wait=0)).release()

    run(test())


def test_a_wait_that_is_cancelled_leaves_the_queue(url: str, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            lock = await client.lock(name)
            for _ in range(20):
                waiting = asyncio.ensure_future(client.lock(name))
                await asyncio.sleep(0)
                waiting.cancel()
            behind = asyncio.ensure_future(client.lock(name))
            await soon("all but one have left", lambda: len(client._session._callers) == 2)
            await lock.release()
            await (await asyncio.wait_for(behind, 5)).release()
            assert not client._session._callers

    run(test())


def test_a_cancel_that_crosses_the_grant_leaves_no_lock(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            for number in range(60):
                asking = asyncio.ensure_future(client.lock(name))
                await asyncio.sleep(number % 12 * 0.0005)
                asking.cancel()
                try:
                    lock = await asking
                except asyncio.CancelledError:
                    continue
                await lock.release()
            await soon("all are given up", lambda: not client._session._callers)
            # The broker may still have to read that the last is given up.
            await soon("it is free", lambda: other.get(name).state is lockbroker.LockState.FREE)

    run(test())


def test_a_release_that_is_cancelled_goes_on(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            lock = await client.lock(name)
            first, second = asyncio.ensure_future(lock.release()), asyncio.ensure_future(lock.release())
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await second
            (taken := other.lock(name, wait=0)).release()
            assert taken.fencing_token > lock.fencing_token

    run(test())


def test_a_blocked_loop_costs_no_lock(url: str, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client, client.lock(name) as lock:
            time.sleep(5)
            lock.check()
            await asyncio.sleep(0)

    run(test())


def test_a_closed_loop_leaves_the_lock_with_its_guard(url: str, other: lockbroker.Client, name: str) -> None:
    client = aio.connect(url, ttl=5)

    async def take() -> aio.Lock:
        return await client.lock(name)

    lock = asyncio.run(take())
    lock.check()
    waiting: list[Any] = []

    async def abandon() -> None:
        waiting.append(client.lock(name).__await__())
        next(waiting[0])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon())
    loop.close()
    # Another loop can go on with both.
    asyncio.run(lock.release())
    waiting[0].close()
    other.lock(name, wait=5).release()
    asyncio.run(client.close())


def test_loops_of_several_threads_share_a_client(url: str, name: str) -> None:
    client = aio.connect(url, ttl=5)
    inside, seen = 0, []

    async def work() -> None:
        nonlocal inside
        for _ in range(5):
            async with client.lock(name, wait=30):
                inside += 1
                seen.append(inside)
                await asyncio.sleep(0)
                inside -= 1

    async def tasks() -> None:
        await asyncio.gather(work(), work())

    threads = [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 20
    asyncio.run(client.close())


def test_waits_for_a_loss(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            lock = await client.lock(name)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(lock.wait_lost(), 0.05)
            assert not lock._hold._listeners
            waiting = asyncio.ensure_future(lock.wait_lost())
            await asyncio.sleep(0)
            assert other.release(name, lock.lock_id) is ReleaseOutcome.RELEASED
            # By another broker, so that its own finds it gone.
            assert await waiting is LostReason.GONE
            lock = await client.lock(name)
            waiting = asyncio.ensure_future(lock.wait_lost())
            await asyncio.sleep(0)
            await lock.release()
            assert await waiting is LostReason.ENDED

    run(test())


def test_adopted_and_released_by_lock_id(url: str, world: World, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client, connected(world.second.url) as other:
            lock = await client.lock(name)
            async with await other.adopt(name, lock.lock_id) as adopted:
                assert adopted.fencing_token == lock.fencing_token
                await lock.wait_lost()
            with pytest.raises(NotAcquired):
                await other.adopt(name, adopted.lock_id)
            assert await client.release(name, adopted.lock_id) is ReleaseOutcome.NOT_HELD

    run(test())


def test_a_lease(url: str, world: World, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client, connected(world.second.url) as second:
            async with client.lease(name) as lease:
                lease.check()
                assert other.try_lock(name) is None
                await lease.renew()
                assert 1.5 < lease.remaining() <= 2.84
                with pytest.raises(NotAcquired):
                    await second.lease(name, wait=0.1)
            assert lease.lost is LostReason.ENDED
            lease = await client.lease(name, min_hold=1)
            await client.close()
            adopted = await second.adopt_lease(name, lease.lock_id)
            assert adopted.fencing_token is None
            await adopted.release()
            await adopted.release()
            with pytest.raises(Lost):
                await adopted.renew()
            with pytest.raises(NotAcquired) as refused:
                await second.lock(name, wait=0)
            assert refused.value.reason is NotAcquiredReason.LINGERING
            with pytest.raises(Lost):
                await second.adopt_lease(name, lease.lock_id)
            with pytest.raises(Lost) as lost:
                async with second.lease(name, wait=5) as lease:
                    assert other.release(name, lease.lock_id) is ReleaseOutcome.RELEASED
            assert lost.value.reason is LostReason.GONE

    run(test())


def test_a_lease_that_is_given_up(url: str, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            lock = other.lock(name)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.lease(name, wait=20)._ask(), 0.3)
            lock.release()
            other.lock(name, wait=0).release()

            # The answer crosses it.
            asking = asyncio.ensure_future(client.lease(name)._ask())
            await asyncio.sleep(0)
            time.sleep(0.5)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            other.lock(name, wait=5).release()

    run(test())


def test_a_lock_with_options(url: str, name: str) -> None:
    async def test() -> None:
        async with connected(url) as client:
            async with client.lock(name, keep_on_disconnect=True, min_hold=1) as lock:
                lock.check()
            assert await client.try_lock(name, keep_on_disconnect=True, min_hold=1) is None

    run(test())


def test_no_broker_answers(name: str) -> None:
    async def test() -> None:
        with deaf_port() as port:
            async with aio.connect(f"127.0.0.1:{port}", answer_timeout=0.3) as client:
                with pytest.raises(Unavailable):
                    await client.lock(name, wait=0)
                with pytest.raises(Unavailable):
                    await client.get(name)

    run(test())


def test_a_broker_that_is_killed_ends_the_block(world: World, name: str) -> None:
    async def test(broker: Broker) -> None:
        async with aio.connect(broker.url, ttl=5) as client:
            with pytest.raises(Lost) as lost:
                async with client.lock(name):
                    broker.signal(9)
                    await asyncio.sleep(30)
            assert lost.value.reason is LostReason.EXPIRED

    with Broker(*world.store) as broker:
        run(test(broker))


def test_many_tasks(url: str, name: str) -> None:
    async def test() -> None:
        # With the default ttl: so many tasks in debug mode keep the loop and the processor busy for seconds.
        async with aio.connect(url) as client:

            async def one(number: int) -> int:
                async with client.lock(f"{name}-{number}") as lock:
                    return lock.fencing_token

            assert len(set(await asyncio.gather(*map(one, range(300))))) == 300

    run(test())


def test_a_client_that_is_collected_ends(url: str, name: str) -> None:
    async def test() -> None:
        client = aio.connect(url)
        await (await client.lock(name)).release()
        thread = client._session._thread
        assert thread is not None
        del client
        gc.collect()
        eventually("its thread ends", lambda: not thread.is_alive())

    run(test())
