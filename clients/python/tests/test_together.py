"""Several locks together: all or none, for one guard."""

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


def states(client: lockbroker.Client, names: list[str]) -> list[LockState]:
    return [client.get(name).state for name in names]


@pytest.fixture
def names(name: str) -> list[str]:
    """Names that no other test uses, and not in their order."""
    return [f"{name}/{part}" for part in "bca"]


def test_all_or_none(client: lockbroker.Client, other: lockbroker.Client, names: list[str]) -> None:
    first, *also = names
    with client.lock(first, also=also, owner="me", wait=SOON) as lock:
        assert [held.name for held in lock.locks] == names
        assert (lock.name, lock.lock_id, lock.fencing_token, lock.permit) == (
            lock.locks[0].name,
            lock.locks[0].lock_id,
            lock.locks[0].fencing_token,
            lock.locks[0].permit,
        )
        for held in lock.locks:
            info = other.get(held.name, held.lock_id)
            assert (info.state, info.owner, info.fencing_token) == (LockState.HELD, "me", held.fencing_token)
            assert other.try_lock(held.name) is None
            assert held.lock_id not in repr(held)
        lock.check()
    assert states(other, names) == [LockState.FREE] * 3
    with other.lock(names[2], wait=0, owner="them"):
        for wait, reason in ((0, NotAcquiredReason.HELD), (0.2, NotAcquiredReason.MAX_WAIT)):
            with pytest.raises(NotAcquired, match=f'lock "{names[2]}" was not acquired') as refused:
                client.lock(first, also=also, wait=wait)
            assert (refused.value.lock, refused.value.reason) == (names[2], reason)
        assert client.try_lock(first, also=also) is None
        assert states(other, names) == [LockState.FREE, LockState.FREE, LockState.HELD]
    with other.lock(first, wait=0), pytest.raises(NotAcquired) as refused:
        client.lock(first, wait=0)
    assert refused.value.lock == first


def test_they_are_had_in_the_same_way(client: lockbroker.Client, other: lockbroker.Client, names: list[str]) -> None:
    first, *also = names
    shared = client.lock(first, also=iter(also), limit=2, linger=30, wait=SOON)
    assert all(held.permit in (0, 1) for held in shared.locks)
    with other.lock(first, also=also, limit=2, wait=SOON) as beside:
        for held, too in zip(shared.locks, beside.locks, strict=True):
            assert {held.permit, too.permit} == {0, 1}
    shared.release()
    assert states(other, names) == [LockState.LINGERING] * 3
    with client.lock(f"{first}/alone", wait=SOON) as lock:
        assert [held.name for held in lock.locks] == [f"{first}/alone"]
        assert lock.locks[0].permit is None


def test_nobody_waits_in_a_circle(client: lockbroker.Client, other: lockbroker.Client, names: list[str]) -> None:
    one, two, _ = names

    def rounds(client: lockbroker.Client, name: str, also: str) -> None:
        for _ in range(5):
            client.lock(name, also=[also], wait=SOON).release()

    with ThreadPoolExecutor() as pool:
        for ending in [pool.submit(rounds, client, one, two), pool.submit(rounds, other, two, one)]:
            ending.result(60)


def test_a_wait_that_is_given_up_leaves_none(
    client: lockbroker.Client, other: lockbroker.Client, names: list[str]
) -> None:
    async def test(url: str) -> None:
        async with aio.connect(url, ttl=5) as tasks:
            waiting = asyncio.ensure_future(tasks.lock(names[0], also=names[1:]))
            await asyncio.sleep(0.2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with tasks.lock(f"{names[0]}/aio", also=names[:2], wait=SOON) as lock:
                assert [held.name for held in lock.locks] == [f"{names[0]}/aio", *names[:2]]
            assert await tasks.try_lock(names[0], also=names[1:]) is None

    with other.lock(names[2], wait=SOON):
        asyncio.run(test(client._session.settings.endpoints[0].name))
        eventually("the others are free", lambda: states(other, names[:2]) == [LockState.FREE] * 2)


def test_when_one_is_lost_all_are(client: lockbroker.Client, other: lockbroker.Client, names: list[str]) -> None:
    first, *also = names
    lock = client.lock(first, also=also, wait=SOON)
    other.release(names[1], lock.locks[1].lock_id)
    assert lock.wait_lost(SOON) in (LostReason.GONE, LostReason.RELEASED, LostReason.TAKEN_OVER)
    # Its holder may still believe in it for a moment, so nobody else gets it.
    assert other.try_lock(names[2]) is None
    with pytest.raises(lockbroker.Lost):
        lock.release()
    with other.lock(names[2], also=[first], wait=SOON) as later:
        assert later.fencing_token > lock.locks[2].fencing_token


def test_they_move_together(world: World, other: lockbroker.Client, names: list[str]) -> None:
    first, *also = names
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        # A broker may grant nothing in its first second.
        lock = client.lock(first, also=also, keep_on_disconnect=True, wait=SOON)
        before = lock.locks
        broker.signal(signal.SIGTERM)
        eventually("it has moved", lambda: lock.lock_id != before[0].lock_id)
        lock.check()
        for was, held in zip(before, lock.locks, strict=True):
            assert was.lock_id != held.lock_id
            assert (was.name, was.fencing_token) == (held.name, held.fencing_token)
            assert other.get(held.name, held.lock_id).remaining
        lock.release()
    assert states(other, names) == [LockState.FREE] * 3


def test_they_are_released_where_no_stream_is_left(world: World, other: lockbroker.Client, names: list[str]) -> None:
    first, *also = names
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        lock = client.lock(first, also=also, wait=SOON)
        broker.signal(signal.SIGKILL)
        lock.release()
        assert states(other, names) == [LockState.FREE] * 3


def test_what_cannot_be_asked_for_is_told(client: lockbroker.Client, name: str) -> None:
    asks: list[Callable[..., Any]] = [client.lock, client.try_lock]
    wrong: list[tuple[Any, str]] = [
        ([str(number) for number in range(16)], "16 other locks .*: take at most 15"),
        (["x" * 1025], "the name has 1025 bytes"),
        (["x" * 1000] * 4, "too long for one message"),
        (["\ud800"], "not Unicode"),
    ]
    for ask in asks:
        for also, why in wrong:
            with pytest.raises(lockbroker.Invalid, match=why):
                ask(name, also=also)
        with pytest.raises(lockbroker.Invalid, match="too long for one message"):
            ask("n" * 1024, also=["x", "y", "z"], owner="o" * 900)
        for also in ("x", b"x"):
            with pytest.raises(TypeError, match="several names"):
                ask(name, also=also)
        with pytest.raises(TypeError, match="str, not int"):
            ask(name, also=[1])
    # Nothing was sent.
    assert client._session._thread is None
    with client.lock(name, wait=SOON) as kept:
        # A broker says these, and the Session goes on.
        for also, how in [([name], {}), (["x", "x"], {}), (["x"], {"min_hold": 1}), ([""], {})]:
            with pytest.raises(lockbroker.Invalid):
                client.lock(f"{name}/more" if also != [name] else name, also=also, wait=5, **how)  # type: ignore[arg-type]
        kept.check()
        with client.lock(f"{name}/0", also=[f"{name}/{number}" for number in range(1, 16)], wait=SOON) as lock:
            assert len(lock.locks) == 16
        longest = [f"{number:x}".rjust(128, "n") for number in range(16)]
        with client.lock(longest[0], also=longest[1:], wait=SOON) as lock:
            assert [held.name for held in lock.locks] == longest
        kept.check()
