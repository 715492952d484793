"""Several permits of one lock at once: all or none, for one guard."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lockbroker
from lockbroker import LockState, LostReason, NotAcquired, NotAcquiredReason, aio

from .conftest import World
from .support import SOON, Broker, eventually


def is_free(client: lockbroker.Client, name: str) -> bool:
    return client.get(name).state is LockState.FREE


def test_all_or_none(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name, limit=4, weight=3, owner="me", wait=SOON)
    assert [held.name for held in lock.locks] == [name] * 3
    assert (lock.lock_id, lock.fencing_token, lock.permit) == (
        lock.locks[0].lock_id,
        lock.locks[0].fencing_token,
        lock.locks[0].permit,
    )
    assert {held.permit for held in lock.locks} == {0, 1, 2}
    tokens = {held.permit: held.fencing_token for held in lock.locks}
    # Another broker knows the token by a note that is best effort: a slow store may not say it in time.
    eventually(
        "they are known elsewhere",
        lambda: {permit: other.get(name, permit=permit).fencing_token for permit in tokens} == tokens,
    )
    assert other.get(name).shared_count == 3
    with pytest.raises(NotAcquired) as refused:
        other.lock(name, limit=4, weight=2, wait=0)
    assert (refused.value.lock, refused.value.reason) == (name, NotAcquiredReason.HELD)
    single = eventually("one is left", lambda: other.try_lock(name, limit=4))
    assert single.permit == 3
    assert other.try_lock(name) is None
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.lock, name, limit=4, weight=2, wait=SOON)
        eventually("it waits, and lets no new ones in", lambda: len(other._session._callers) == 2)
        assert not waiting.done()
        lock.release()
        two = waiting.result(SOON)
    assert len({held.permit for held in (*two.locks, *single.locks)}) == 3
    two.release()
    single.release()
    assert is_free(client, name)
    # One is a permit, as any.
    with client.lock(name, weight=1, wait=SOON) as one, other.lock(name, shared=True, wait=SOON):
        assert [held.permit for held in one.locks] == [one.permit]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_they_move_together(world: World, other: lockbroker.Client, name: str, end: int) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        # A broker may grant nothing in its first second.
        lock = client.lock(name, limit=3, weight=2, wait=SOON)
        before = lock.locks
        broker.signal(end)
        eventually("it has moved", lambda: lock.lock_id != before[0].lock_id)
        lock.check()
        for was, held in zip(before, lock.locks, strict=True):
            assert was.lock_id != held.lock_id
            assert (was.name, was.fencing_token, was.permit) == (held.name, held.fencing_token, held.permit)
            assert other.get(name, held.lock_id).remaining
        assert other.get(name).shared_count == 2
        lock.release()
    assert is_free(other, name)


def test_they_are_released_where_no_stream_is_left(world: World, other: lockbroker.Client, name: str) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        lock = client.lock(name, weight=3, wait=SOON)
        broker.signal(signal.SIGKILL)
        lock.release()
        assert is_free(other, name)


def test_when_one_is_lost_all_are(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name, limit=3, weight=3, wait=SOON)
    other.release(name, lock.locks[1].lock_id)
    assert lock.wait_lost(SOON) in (LostReason.GONE, LostReason.RELEASED, LostReason.TAKEN_OVER)
    with pytest.raises(lockbroker.Lost):
        lock.release()
    other.lock(name, wait=SOON).release()


def test_tasks_take_several(world: World, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with aio.connect(world.first.url, ttl=5) as client:
            async with client.lock(name, limit=3, weight=2, wait=SOON) as lock:
                assert {held.permit for held in lock.locks} == {0, 1}
                assert await client.try_lock(name, limit=3, weight=2) is None

                async def ask() -> aio.Lock:
                    return await client.lock(name, limit=3, weight=2)

                waiting = asyncio.create_task(ask())
                await asyncio.sleep(0.2)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                # It keeps nobody out any more.
                await (await client.lock(name, limit=3, wait=SOON)).release()
            with pytest.raises(lockbroker.Invalid, match="weight"):
                await client.lock(name, weight=0)

    asyncio.run(test())
    other.lock(name, wait=SOON).release()


def test_what_cannot_be_asked_for_is_told(client: lockbroker.Client, name: str) -> None:
    asks: list[Callable[..., Any]] = [client.lock, client.try_lock]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"weight": 0}, "the weight is to be 1 to 16, not 0"),
        ({"weight": 17}, "the weight is to be 1 to 16, not 17"),
        ({"weight": 3, "limit": 2}, "the weight is to be 1 to 2, not 3"),
        ({"weight": 2, "also": ["x"]}, "a weight is for one lock alone"),
        ({"weight": 2, "value": "x"}, "a value is for a lock that one holder has alone"),
        ({"weight": 16, "owner": "o" * 200}, "too long for one message"),
    ]
    for ask in asks:
        for how, why in wrong:
            with pytest.raises(lockbroker.Invalid, match=why):
                ask(name, **how)
        for weight in (True, "2", 2.0):
            with pytest.raises(TypeError, match="the weight has to be an int"):
                ask(name, weight=weight)
    # Nothing was sent.
    assert client._session._thread is None
    with client.lock(name, wait=SOON) as kept:
        with pytest.raises(lockbroker.Invalid, match="min_hold"):
            client.lock(f"{name}/more", weight=2, min_hold=1)
        longest = "n" * 128
        with client.lock(longest, weight=16, wait=SOON) as lock:
            assert len({held.permit for held in lock.locks}) == 16
        kept.check()
