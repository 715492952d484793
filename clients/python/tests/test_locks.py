"""The verbs of the client, between two clients at two brokers of one store."""

from __future__ import annotations

import gc
import pickle
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import lockbroker
from lockbroker import ErrorReason, LockState, Lost, LostReason, NotAcquired, NotAcquiredReason, ReleaseOutcome

from .conftest import World
from .support import eventually


def test_a_lock_is_held_until_its_block_ends(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with client.lock(name) as lock:
        assert (lock.name, lock.ttl, lock.lost) == (name, 5.0, None)
        assert len(lock.lock_id) == 36
        assert 1 < lock.remaining() <= 2.9
        lock.check()
        assert other.try_lock(name) is None
        assert "held" in repr(lock)
        first = lock.fencing_token
    assert lock.lost is LostReason.ENDED
    assert lock.remaining() == 0
    with pytest.raises(Lost, match=f'"{name}" was lost: it was released here'):
        lock.check()
    with other.lock(name) as lock:
        assert lock.fencing_token > first


def test_a_lock_is_renewed_for_longer_than_its_ttl(client: lockbroker.Client, name: str) -> None:
    with client.lock(name) as lock:
        before = lock.lock_id
        end = time.monotonic() + 6
        while time.monotonic() < end:
            lock.check()
            assert lock.remaining() > 0
            time.sleep(0.05)
        # By heartbeats: without any, the client would have moved it to a new stream.
        assert lock.lock_id == before


def test_who_does_not_get_it_learns_why(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with client.lock(name, owner="nightly on host 7"):
        with pytest.raises(NotAcquired) as refused:
            other.lock(name, wait=0)
        assert (refused.value.reason, refused.value.lock) == (NotAcquiredReason.HELD, name)
        assert refused.value.owner == "nightly on host 7"
        assert str(refused.value) == f'lock "{name}" was not acquired: held (holder: nightly on host 7)'
        began = time.monotonic()
        with pytest.raises(NotAcquired) as refused:
            other.lock(name, wait=timedelta(milliseconds=300))
        assert refused.value.reason is NotAcquiredReason.MAX_WAIT
        assert 0.2 < time.monotonic() - began < 3
        assert other.try_lock(name, wait=0.1) is None


def test_an_exception_releases(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with pytest.raises(KeyError), client.lock(name):
        raise KeyError("of the block")
    with other.lock(name, wait=0):
        pass


def test_waiters_of_one_broker_come_in_order(client: lockbroker.Client, name: str) -> None:
    order: list[int] = []

    def wait(number: int) -> None:
        with client.lock(name):
            order.append(number)

    first = client.lock(name)
    threads = []
    for number in range(5):
        thread = threading.Thread(target=wait, args=(number,))
        thread.start()
        threads.append(thread)
        # The request of each is on the stream before the next one's: they are counted there.
        eventually("it has asked", lambda n=number: len(client._session._callers) == n + 2)  # type: ignore[misc]
    first.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_waiter_elsewhere_is_granted(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.lock, name, wait=10)
        eventually("it waits", lambda: len(other._session._callers) == 1)
        lock.release()
        with waiting.result(5) as granted:
            assert granted.fencing_token > lock.fencing_token


def test_a_linger_keeps_others_out(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    client.lock(name, linger=1).release()
    released = time.monotonic()
    with pytest.raises(NotAcquired) as refused:
        other.lock(name, wait=0)
    assert refused.value.reason is NotAcquiredReason.LINGERING
    assert other.get(name).state is LockState.LINGERING
    with other.lock(name, wait=10):
        assert time.monotonic() - released > 0.8


def test_released_twice(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    lock.release()
    with other.lock(name, wait=0) as theirs:
        lock.release()
        theirs.check()
        assert other.release(name, lock.lock_id) is ReleaseOutcome.HELD_BY_ANOTHER
        assert client.get(name).state is LockState.HELD
    assert other.release(name, lock.lock_id) is ReleaseOutcome.NOT_HELD


def test_released_by_its_lock_id(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    told: list[LostReason] = []
    lock.on_lost(told.append)
    assert client.release(name, lock.lock_id) is ReleaseOutcome.RELEASED
    assert lock.wait_lost(10) is LostReason.RELEASED
    eventually("the callback is called", lambda: told == [LostReason.RELEASED])
    with pytest.raises(Lost) as lost:
        lock.check()
    assert lost.value.reason is LostReason.RELEASED
    with pytest.raises(Lost):
        lock.release()
    with other.lock(name, wait=0):
        pass


def test_a_loss_comes_out_of_the_block(client: lockbroker.Client, name: str) -> None:
    with pytest.raises(Lost), client.lock(name) as lock:
        client.release(name, lock.lock_id)
        lock.wait_lost(10)
    with pytest.raises(KeyError), client.lock(name) as lock:
        client.release(name, lock.lock_id)
        lock.wait_lost(10)
        raise KeyError("says more")


def test_looked_at(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    assert client.get(name).state is LockState.FREE
    with client.lock(name, owner="me") as lock:
        info = client.get(name, lock.lock_id)
        assert (info.state, info.owner) == (LockState.HELD, "me")
        assert info.remaining is not None
        assert 1 < info.remaining <= 3
        assert info.free_within is not None
        assert 1 < info.free_within <= 7
        assert other.get(name, lock.lock_id).remaining is None


def test_adopted(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    with other.adopt(name, lock.lock_id) as adopted:
        assert adopted.fencing_token == lock.fencing_token
        assert adopted.lock_id != lock.lock_id
        assert lock.wait_lost(10) in (LostReason.TAKEN_OVER, LostReason.GONE)
        with pytest.raises(NotAcquired) as refused:
            client.adopt(name, lock.lock_id)
        assert refused.value.reason is NotAcquiredReason.NOT_REATTACHABLE
        adopted.check()


def test_a_thousand_locks_on_one_client(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        locks = list(pool.map(lambda n: client.lock(f"{name}-{n}"), range(1_000)))
        assert len({lock.fencing_token for lock in locks}) == 1_000
        assert other.try_lock(f"{name}-999") is None
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for lock in locks:
                lock.check()
            time.sleep(0.1)
        assert len(client._session._links) == 1
        list(pool.map(lambda lock: lock.release(), locks))
    with other.lock(f"{name}-999", wait=0):
        pass


def test_threads_exclude_each_other(client: lockbroker.Client, name: str) -> None:
    inside = 0
    seen = []

    def work(_: int) -> None:
        nonlocal inside
        for _ in range(5):
            with client.lock(name, wait=30):
                inside += 1
                seen.append(inside)
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert seen == [1] * 20


def test_a_lock_is_released_by_another_thread(client: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    threads = [threading.Thread(target=lock.release) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.lock(name, wait=0).release()


def test_a_lock_that_is_collected_is_released(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lock = client.lock(name)
    lock.on_lost(print)
    gone = weakref.ref(lock)
    with pytest.warns(ResourceWarning, match=f'"{name}" was not released'):
        del lock
        gc.collect()
    assert gone() is None
    other.lock(name, wait=5).release()


def test_a_client_that_is_closed_has_released(world: World, other: lockbroker.Client, name: str) -> None:
    client = lockbroker.connect(world.first.url, ttl=5)
    locks = [client.lock(f"{name}-{number}") for number in range(20)]
    waiter = threading.Thread(target=lambda: pytest.raises(lockbroker.ClientClosed, client.lock, f"{name}-0"))
    waiter.start()
    eventually("it waits", lambda: len(client._session._callers) == 21)
    client.close()
    waiter.join(5)
    assert not waiter.is_alive()
    for number, lock in enumerate(locks):
        assert lock.lost is LostReason.ENDED
        other.lock(f"{name}-{number}", wait=0).release()
    with pytest.raises(lockbroker.ClientClosed):
        client.lock(name)
    client.close()


def test_releases_that_cross_the_close_end(world: World, name: str) -> None:
    for number in range(15):
        client = lockbroker.connect(world.first.url, ttl=5)
        locks = [client.lock(f"{name}-{number}-{each}") for each in range(4)]
        with ThreadPoolExecutor(5) as pool:
            ends = [pool.submit(lock.release) for lock in locks[:2]]
            closed = pool.submit(client.close)
            ends += [pool.submit(lock.release) for lock in locks[2:]]
            closed.result(20)
            for end in ends:
                # Released by the one or by the other.
                assert isinstance(end.exception(20), (Lost, type(None)))


def test_a_release_after_the_end_of_the_thread_ends(world: World, name: str) -> None:
    with lockbroker.connect(world.first.url, ttl=5) as client:
        lock = client.lock(name)
        client._session.close(20)
        # As if its guard had not been told.
        lock._hold._lost = None
        lock.release()


def test_a_client_that_is_collected_leaves_no_threads(world: World, other: lockbroker.Client, name: str) -> None:
    client = lockbroker.connect(world.first.url, ttl=5)
    lock = client.lock(name)
    thread = client._session._thread
    assert thread is not None
    del client
    gc.collect()
    lock.check()
    lock.release()
    del lock
    gc.collect()
    eventually("the thread ends", lambda: not thread.is_alive())


def test_threads_end_with_the_client(world: World, name: str) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        with lockbroker.connect(world.first.url) as client:
            client.lock(name).release()
            client.get(name)
    eventually("its threads end", lambda: not set(threading.enumerate()) - before)


@pytest.mark.parametrize("how", ["tcp", "unix", "bare"])
def test_ways_to_a_broker(world: World, how: str, name: str) -> None:
    url = {"tcp": world.first.url, "unix": world.first.unix, "bare": world.first.address}[how]
    with lockbroker.connect(url) as client, client.lock(name) as lock:
        assert client.get(name, lock.lock_id).state is LockState.HELD
        assert url in repr(client)


def test_without_arguments_the_environment_says_where(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LOCKBROKER_SERVER", f"http://127.0.0.1:1,{world.first.url}")
    with lockbroker.connect() as client, client.lock(name):
        pass
    monkeypatch.setenv("LOCKBROKER_SERVER", "")
    with pytest.raises(lockbroker.EndpointError, match="LOCKBROKER_SERVER"):
        lockbroker.connect()
    monkeypatch.delenv("LOCKBROKER_SERVER")
    assert "http://127.0.0.1:28551" in repr(lockbroker.connect())
    monkeypatch.setenv("LOCKBROKER_CLIENT_TLS_CA", "")
    with pytest.raises(lockbroker.TlsError, match="LOCKBROKER_CLIENT_TLS_CA is empty"):
        lockbroker.connect()


def test_what_is_wrong_is_told(client: lockbroker.Client, name: str) -> None:
    with pytest.raises(lockbroker.Invalid) as invalid:
        client.lock("")
    assert invalid.value.reason is ErrorReason.INVALID_FIELD
    assert "name" in invalid.value.message
    for wrong in ({"linger": -1}, {"linger": 7200}, {"owner": "x" * 200}, {"poll_interval": 7200}):
        with pytest.raises(lockbroker.Invalid):
            client.lock(name, wait=1, **wrong)
    with pytest.raises(lockbroker.Invalid):
        client.release(name, "no lock id")
    with pytest.raises(lockbroker.Invalid):
        client.adopt(name, "no lock id")
    with pytest.raises(ValueError, match="wait is to be 0 or more"):
        client.lock(name, wait=-1)
    with pytest.raises(ValueError, match="NaN"):
        client.lock(name, wait=float("nan"))
    with client.lock(f"{name}/kept") as kept:
        # Each of these would end the Session, and so free the lock.
        for bad_name, owner in (("x" * 5000, "me"), ("\ud800", "me"), (name, "\ud800")):
            with pytest.raises(lockbroker.Invalid):
                client.try_lock(bad_name, owner=owner)
        with pytest.raises(TypeError, match="name has to be a str, not int"):
            client.try_lock(7)  # type: ignore[arg-type]
        # The Session has gone on.
        with client.lock(name, wait=float("inf")):
            kept.check()


def test_a_ttl_that_is_wrong_is_told_by_every_call(world: World, name: str) -> None:
    with lockbroker.connect(world.first.url, ttl=1) as client:
        for _ in range(2):
            with pytest.raises(lockbroker.Invalid, match="ttl"):
                client.lock(name)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("localhost", "no port"),
        ("ftp://localhost:1", "no scheme"),
        ("http://", "no host"),
        ("http://localhost:1/path", "after the port"),
        ("http://localhost:99999", "range"),
        ("http://localhost:0", "port 0"),
        ("http://user@localhost:1", "beside"),
        ("unix:relative", "begins with /"),
        ("", "no host"),
    ],
)
def test_what_is_no_endpoint_is_told(endpoint: str, why: str) -> None:
    with pytest.raises(lockbroker.EndpointError, match=why):
        lockbroker.connect(endpoint)


def test_errors_can_be_pickled() -> None:
    errors = [
        NotAcquired("x", NotAcquiredReason.HELD, "me"),
        Lost("x", LostReason.GONE),
        lockbroker.Unavailable("x", "away", ErrorReason.STORE_UNAVAILABLE, 1.5),
        lockbroker.EndpointError("x", "wrong"),
        lockbroker.HandshakeError("x", "wrong"),
        lockbroker.TlsError("wrong"),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert copy.__dict__ == error.__dict__
