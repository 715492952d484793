"""A lock that one has alone becomes one that others share, and nobody has it alone in between."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import lockbroker
from lockbroker import Lost, LostReason, aio

from .conftest import World
from .support import SOON, Broker, Memcached, eventually


def test_who_has_a_lock_alone_shares_it_then(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name, wait=SOON)
    before, token = lock.lock_id, lock.fencing_token
    assert other.try_lock(name, limit=2) is None
    lock.downgrade(2)
    assert (lock.permit, lock.fencing_token, lock.locks[0].permit) == (0, token, 0)
    assert lock.lock_id != before
    assert ", permit 0" in repr(lock)
    lock.check()
    # It is not lost on the stream where it was.
    assert lock.wait_lost(0.3) is None
    after = lock.lock_id
    lock.downgrade()
    assert lock.lock_id == after
    with other.lock(name, limit=2, wait=SOON) as beside:
        assert (beside.permit, beside.fencing_token > token) == (1, True)
        assert client.try_lock(name, limit=2) is None
    assert other.try_lock(name) is None
    lock.release()
    with other.lock(name, wait=SOON) as alone:
        assert alone.permit is None


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_moves_as_a_shared_one(world: World, other: lockbroker.Client, name: str, end: int) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        # A broker may grant nothing in its first second.
        lock = client.lock(name, keep_on_disconnect=True, wait=SOON)
        token = lock.fencing_token
        if end == signal.SIGTERM:
            lock.downgrade(2)
            before = lock.lock_id
            broker.signal(end)
            eventually("it has moved", lambda: lock.lock_id != before)
        else:
            # While it moves.
            broker.signal(end)
            lock.downgrade(2)
        assert (lock.permit, lock.fencing_token) == (0, token)
        lock.check()
        with other.lock(name, limit=2, wait=SOON) as beside:
            assert beside.permit == 1
        lock.release()


def test_one_that_cannot_be_shared_is_held_alone_as_before(
    client: lockbroker.Client, other: lockbroker.Client, name: str
) -> None:
    job = client.lock(name, min_hold=1, wait=SOON)
    leader = client.lock(f"{name}/leader", value="here", wait=SOON)
    for lock in (job, leader):
        with pytest.raises(lockbroker.Invalid, match="MODE_SHARED"):
            lock.downgrade()
        assert lock.permit is None
        lock.check()
        assert other.try_lock(lock.name, shared=True) is None
    leader.update("there")
    leader.release()
    job.release()
    group = client.lock(f"{name}/a", also=[f"{name}/b"], wait=SOON)
    several = client.lock(f"{name}/c", weight=2, wait=SOON)
    for lock in (group, several):
        with pytest.raises(lockbroker.Invalid, match="several locks are held together"):
            lock.downgrade()
        lock.check()
        lock.release()


def test_wrong_limits_are_told(client: lockbroker.Client, name: str) -> None:
    with client.lock(name, wait=SOON) as lock:
        before = lock.lock_id
        for limit in (0, -1, 4097):
            with pytest.raises(lockbroker.Invalid, match=f"the limit is to be 1 to 4096, not {limit}"):
                lock.downgrade(limit)
        with pytest.raises(TypeError, match="the limit has to be an int"):
            lock.downgrade(True)
        assert (lock.permit, lock.lock_id) == (None, before)


def test_one_that_is_lost_is_not_shared(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name, wait=SOON)
    other.release(name, lock.lock_id)
    lock.wait_lost(SOON)
    with pytest.raises(Lost):
        lock.downgrade()
    released = client.lock(name, wait=SOON)
    released.release()
    with pytest.raises(Lost) as over:
        released.downgrade()
    assert over.value.reason is LostReason.ENDED
    open = lockbroker.connect(client._session.settings.endpoints[0].name, ttl=5)
    closed = open.lock(name, wait=SOON)
    open.close()
    with pytest.raises(Lost):
        closed.downgrade()


def test_it_waits_for_a_store_that_is_away(name: str) -> None:
    with Memcached() as memcached, Broker("--store", memcached.store) as broker:
        with (
            lockbroker.connect(broker.url, ttl=5) as client,
            lockbroker.connect(broker.url, ttl=5, answer_timeout=0.4) as hasty,
        ):
            lock, later = client.lock(name, wait=SOON), hasty.lock(f"{name}/later", wait=SOON)
            memcached.stop()
            with ThreadPoolExecutor() as pool:
                sharing = pool.submit(lock.downgrade)
                with pytest.raises(lockbroker.Unavailable, match="may still become a shared one"):
                    later.downgrade()
                assert not sharing.done()
                assert lock.permit is None
                memcached.signal(signal.SIGCONT)
                sharing.result(SOON)
            assert lock.permit == 0
            eventually("the other has come to be shared", lambda: later.permit == 0)
            lock.check()
            later.check()
            # Nobody is left waiting: each has been told, or forgotten.
            assert all(caller.sharing == [] for caller in hasty._session._callers.values())  # type: ignore[union-attr]
            lock.release()
            later.release()


def test_the_end_of_the_lock_ends_the_wait_for_it(name: str) -> None:
    with Memcached() as memcached, Broker("--store", memcached.store) as broker, ThreadPoolExecutor() as pool:
        with lockbroker.connect(broker.url, ttl=5, answer_timeout=60) as client:

            def waiting() -> tuple[lockbroker.Lock, Future[None]]:
                lock = client.lock(name, wait=SOON)
                memcached.stop()
                sharing = pool.submit(lock.downgrade)
                eventually("it waits", lambda: all(_waits(client)))
                return lock, sharing

            lock, sharing = waiting()
            releasing = pool.submit(lock.release)
            eventually("it is given up", lambda: lock.lost)
            memcached.signal(signal.SIGCONT)
            releasing.result(SOON)
            with pytest.raises(Lost):
                sharing.result(SOON)
            lock, sharing = waiting()
            client.close()
            with pytest.raises(Lost):
                sharing.result(SOON)
            memcached.signal(signal.SIGCONT)


def _waits(client: lockbroker.Client) -> list[bool]:
    return [bool(caller.sharing) for caller in client._session._callers.values()]  # type: ignore[union-attr]


def test_tasks_share_what_they_had_alone(world: World, other: lockbroker.Client, name: str) -> None:
    async def test() -> None:
        async with aio.connect(world.first.url, ttl=5) as client:
            async with client.lock(name, wait=SOON) as lock:
                token = lock.fencing_token
                await lock.downgrade(2)
                assert (lock.permit, lock.fencing_token) == (0, token)
                await lock.downgrade(2)
                beside = other.try_lock(name, limit=2)
                assert beside is not None
                beside.release()
                with pytest.raises(lockbroker.Invalid):
                    await lock.downgrade(0)
            async with client.lock(f"{name}/job", min_hold=0.1, wait=SOON) as job:
                with pytest.raises(lockbroker.Invalid, match="MODE_SHARED"):
                    await job.downgrade()
                assert job.permit is None

    asyncio.run(test())


def test_a_task_that_is_cancelled_waits_no_more(name: str) -> None:
    async def test(memcached: Memcached, url: str) -> None:
        async with (
            aio.connect(url, ttl=5) as client,
            aio.connect(url, ttl=5, answer_timeout=0.4) as hasty,
        ):
            lock, later = await client.lock(name, wait=SOON), await hasty.lock(f"{name}/later", wait=SOON)
            memcached.stop()
            sharing = asyncio.create_task(lock.downgrade())
            with pytest.raises(lockbroker.Unavailable, match="may still become a shared one"):
                await later.downgrade()
            sharing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sharing
            memcached.signal(signal.SIGCONT)
            # It goes on, and whoever asks again is told.
            await asyncio.gather(lock.downgrade(), lock.downgrade(), asyncio.sleep(0))
            assert lock.permit == 0
            await lock.release()
            await later.release()

    with Memcached() as memcached, Broker("--store", memcached.store) as broker:
        asyncio.run(test(memcached, broker.url))
