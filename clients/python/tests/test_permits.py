"""Locks that several have at a time, each with a permit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lockbroker
from lockbroker import LockState, NotAcquired, NotAcquiredReason, aio

from .conftest import World
from .support import SOON, Broker, eventually


def waits(client: lockbroker.Client, number: int) -> None:
    """Waits until a client has that many locks and calls for locks."""
    eventually("it waits", lambda: len(client._session._callers) == number)


def test_a_lock_is_shared(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    readers = [
        client.lock(name, shared=True, wait=SOON),
        client.lock(name, shared=True, wait=SOON),
        other.lock(name, shared=True, owner="me", wait=SOON),
    ]
    permits = {reader.permit: reader for reader in readers}
    assert len(permits) == 3
    assert f", permit {readers[0].permit}" in repr(readers[0])
    with pytest.raises(NotAcquired) as refused:
        other.lock(name, wait=0)
    assert refused.value.reason is NotAcquiredReason.HELD
    info = client.get(name)
    assert (info.state, info.shared_count) == (LockState.HELD, 3)
    for permit, reader in permits.items():
        info = client.get(name, permit=permit)
        assert (info.state, info.fencing_token, info.shared_count) == (LockState.HELD, reader.fencing_token, 0)
    assert client.get(name, permit=readers[2].permit).owner == "me"
    assert client.get(name, readers[0].lock_id).remaining
    assert client.get(name, permit=4095).state is LockState.FREE
    for reader in readers:
        reader.release()
    with other.lock(name, wait=5) as writer:
        assert writer.permit is None
        assert writer.fencing_token > max(reader.fencing_token for reader in readers)
        assert ", permit" not in repr(writer)
        assert client.try_lock(name, shared=True) is None
        assert client.get(name).shared_count == 0


def test_a_limit_lets_in_so_many(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    seats = [client.lock(name, limit=2, wait=SOON), other.lock(name, limit=2, wait=SOON)]
    assert {seat.permit for seat in seats} == {0, 1}
    assert other.try_lock(name, limit=2) is None
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.lock, name, limit=2, wait=SOON)
        waits(client, 2)
        seats[1].release()
        third = waiting.result(SOON)
    assert third.permit == seats[1].permit
    assert third.fencing_token > seats[1].fencing_token
    # Shared without a limit is with the highest.
    with other.lock(name, wait=5, shared=True) as beside:
        assert beside.permit not in (0, 1, None)
    third.release()
    seats[0].release()


def test_a_writer_lets_no_new_readers_in(client: lockbroker.Client, name: str) -> None:
    reader = client.lock(name, shared=True, wait=SOON)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(client.lock, name, wait=SOON)

        def is_kept_out() -> bool:
            let_in = client.try_lock(name, shared=True)
            if let_in is not None:
                let_in.release()
            return let_in is None

        eventually("it lets in no new ones", is_kept_out)
        later = pool.submit(client.lock, name, shared=True, wait=SOON)
        waits(client, 3)
        reader.release()
        writer = writing.result(SOON)
        assert writer.permit is None
        assert not later.done()
        writer.release()
        with later.result(SOON) as second:
            assert second.permit is not None


def test_a_permit_stays_the_same_when_its_lock_moves(world: World, other: lockbroker.Client, name: str) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        # A broker may grant nothing in its first second.
        locks = [client.lock(name, limit=2, wait=SOON) for _ in range(2)]
        before = [(lock.permit, lock.fencing_token) for lock in locks]
        ids = [lock.lock_id for lock in locks]
        broker.signal(signal.SIGTERM)
        eventually("they have moved", lambda: all(lock.lock_id != id for lock, id in zip(locks, ids, strict=True)))
        assert [(lock.permit, lock.fencing_token) for lock in locks] == before
        for lock in locks:
            lock.check()
            assert other.get(name, permit=lock.permit).fencing_token == lock.fencing_token
        assert other.try_lock(name, limit=2) is None
        with other.adopt(name, locks[0].lock_id) as adopted:
            assert (adopted.permit, adopted.fencing_token) == before[0]
        locks[1].release()


def test_a_lease_has_a_permit(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lease = client.lease(name, limit=2)
    with client.lease(name, limit=2) as second:
        assert {lease.permit, second.permit} == {0, 1}
        assert f"permit {second.permit}" in repr(second)
        with pytest.raises(NotAcquired):
            other.lease(name, limit=2)
    adopted = other.adopt_lease(name, lease.lock_id)
    assert adopted.permit is None
    lease.renew()
    assert other.get(name, permit=lease.permit).fencing_token == lease.fencing_token
    with other.adopt(name, lease.lock_id) as lock:
        assert (lock.permit, lock.fencing_token) == (lease.permit, lease.fencing_token)
    with client.lease(name) as alone:
        assert alone.permit is None


def test_tasks_share_a_lock(world: World, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with aio.connect(world.first.url, ttl=5) as client:
            async with client.lock(name, limit=2, wait=SOON) as lock, client.lease(name, limit=2) as lease:
                assert {lock.permit, lease.permit} == {0, 1}
                assert await client.try_lock(name, limit=2) is None
                assert (await client.get(name)).shared_count == 2
                assert (await client.get(name, permit=lock.permit)).fencing_token == lock.fencing_token
                assert other.try_lock(name) is None
                third = await client.try_lock(name, shared=True)
                assert third is not None
                assert third.permit is not None
                await third.release()
            for ask in (lambda: client.lock(name, limit=0), lambda: client.lease(name, limit=0)):
                with pytest.raises(lockbroker.Invalid, match="limit"):
                    await ask()
            with pytest.raises(lockbroker.Invalid, match="limit"):
                await client.try_lock(name, limit=0)

    asyncio.run(test())


def test_wrong_limits_are_told(client: lockbroker.Client, name: str) -> None:
    asks: list[Callable[..., Any]] = [client.lock, client.try_lock, client.lease]
    for ask in asks:
        for limit in (0, -1, 4097, 2**40):
            with pytest.raises(lockbroker.Invalid, match=f"the limit is to be 1 to 4096, not {limit}"):
                ask(name, limit=limit)
        for wrong in (True, "5", 2.0):
            with pytest.raises(TypeError, match="the limit has to be an int"):
                ask(name, limit=wrong)
    for permit in (-1, 4096):
        with pytest.raises(lockbroker.Invalid, match=f"the permit is to be 0 to 4095, not {permit}"):
            client.get(name, permit=permit)
    # Nothing was sent.
    assert client._session._thread is None
    with client.lock(name, limit=4096, wait=SOON) as lock:
        assert lock.permit is not None
