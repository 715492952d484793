"""The broker for tests of users' own does what it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lockbroker
from lockbroker import ErrorReason, LockState, Lost, LostReason, NotAcquired, NotAcquiredReason, ReleaseOutcome
from lockbroker.testing import CODES, Broker, Holder

from .support import eventually


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[lockbroker.Client]:
    with lockbroker.connect(broker.url) as client:
        yield client


def test_grants_and_shows_who_has_what(broker: Broker, client: lockbroker.Client) -> None:
    assert broker.holder("x") is None
    with client.lock("x", owner="me") as lock:
        assert broker.holder("x") == Holder("me", lock.fencing_token)
        assert client.try_lock("x") is None
        info = client.get("x", lock.lock_id)
        assert (info.state, info.owner) == (LockState.HELD, "me")
        assert info.remaining
        assert info.fencing_token == lock.fencing_token
    assert broker.holder("x") is None
    info = client.get("x")
    assert (info.state, info.fencing_token, info.held_for, info.etag) == (LockState.FREE, None, None, "")
    with client.lock("x") as lock:
        assert lock.fencing_token == 2


def test_of_values_it_does_not_know(broker: Broker, client: lockbroker.Client) -> None:
    with client.lock("x", value="10.0.0.7:80") as lock:
        assert broker.holder("x") == Holder("", lock.fencing_token)
        with pytest.raises(lockbroker.Unexpected, match="UNIMPLEMENTED"):
            lock.update("10.0.0.8:80")
        with pytest.raises(lockbroker.Unexpected, match="UNIMPLEMENTED"):
            client.observe("x").next(5)


def test_somebody_else_has_it(broker: Broker, client: lockbroker.Client) -> None:
    broker.occupy("x", owner="host 7")
    with pytest.raises(NotAcquired) as refused:
        client.lock("x", wait=1)
    assert (refused.value.reason, refused.value.owner) == (NotAcquiredReason.MAX_WAIT, "host 7")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.lock, "x")
        eventually("it waits", lambda: broker.waiting("x") == 1)
        broker.free("x")
        waiting.result(5).release()


def test_shares(broker: Broker, client: lockbroker.Client) -> None:
    first, second = client.lock("x", limit=2, owner="me"), client.lock("x", limit=2, wait=5)
    assert broker.holders("x") == [Holder("me", first.fencing_token, 0), Holder("", second.fencing_token, 1)]
    assert broker.holder("x") == broker.holders("x")[0]
    assert client.try_lock("x", limit=2) is None
    info = client.get("x")
    assert (info.state, info.owner, info.fencing_token, info.shared_count) == (LockState.HELD, "", None, 2)
    info = client.get("x", permit=0)
    assert (info.owner, info.fencing_token, info.shared_count) == ("me", first.fencing_token, 0)
    assert client.get("x", second.lock_id).remaining
    assert client.get("x", permit=2).state is LockState.FREE
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(client.lock, "x")
        eventually("the writer waits", lambda: broker.waiting("x") == 1)
        assert client.try_lock("x", shared=True) is None
        reading = pool.submit(client.lock, "x", shared=True, wait=20)
        leasing = pool.submit(client.lease, "x", shared=True, wait=20)
        eventually("the readers wait", lambda: broker.waiting("x") == 3)
        first.release()
        moved = client.adopt("x", second.lock_id)
        assert (moved.permit, moved.fencing_token) == (1, second.fencing_token)
        moved.release()
        writer = writing.result(5)
        assert (writer.permit, broker.waiting("x")) == (None, 2)
        writer.release()
        lock, lease = reading.result(5), leasing.result(5)
        assert {lock.permit, lease.permit} == {0, 1}
        lease.renew()
        # A writer that waits no more is in nobody's way.
        assert client.try_lock("x", wait=0.05) is None
        client.lock("x", shared=True, wait=5).release()
        broker.lose("x")
        assert lock.wait_lost(5) is LostReason.GONE
        with pytest.raises(Lost):
            lease.renew()
    assert broker.holders("x") == []


def test_it_refuses_several_together(broker: Broker, client: lockbroker.Client) -> None:
    with pytest.raises(lockbroker.Unexpected, match="several locks or permits together"):
        client.lock("x", also=["y"])
    with pytest.raises(lockbroker.Unexpected, match="several locks or permits together"):
        client.lock("x", weight=2)
    eventually("the first is free again", lambda: broker.holder("x") is None)


def test_a_lock_is_shared_from_then_on(broker: Broker, client: lockbroker.Client) -> None:
    lock = client.lock("x")
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(client.lock, "x", shared=True)
        eventually("it waits", lambda: broker.waiting("x") == 1)
        lock.downgrade()
        assert {lock.permit, reading.result(5).permit} == {0, 1}
    first = broker.holder("x")
    assert first is not None
    assert (first.permit, first.fencing_token) == (lock.permit, lock.fencing_token)
    assert client.try_lock("x") is None
    with client.lock("y", min_hold=60) as alone:
        with pytest.raises(lockbroker.Invalid, match="min_hold"):
            alone.downgrade()
        assert (alone.permit, alone.lost) == (None, None)


def test_permits_linger(broker: Broker, client: lockbroker.Client) -> None:
    client.lock("x", limit=1, linger=60).release()
    with pytest.raises(NotAcquired) as refused:
        client.lock("x", wait=0)
    assert refused.value.reason is NotAcquiredReason.LINGERING
    assert client.get("x").state is LockState.LINGERING
    assert client.get("x", permit=0).state is LockState.LINGERING
    with client.lock("x", wait=0, limit=2) as beside:
        assert beside.permit == 1
    client.lock("y", limit=1, linger=0.3).release()
    with client.lock("y", wait=5, limit=1) as lock:
        assert lock.permit == 0
    client.lock("y", wait=0).release()


def test_loses(broker: Broker, client: lockbroker.Client) -> None:
    for reason in (LostReason.GONE, LostReason.EXPIRED, LostReason.TAKEN_OVER, LostReason.REVOKED):
        with pytest.raises(Lost) as lost, client.lock("x") as lock:
            broker.lose("x", reason)
            lock.wait_lost(5)
        assert lost.value.reason is reason
    with pytest.raises(Lost), client.lock("x") as lock:
        broker.occupy("x")
        lock.wait_lost(5)
    assert client.try_lock("x") is None


def test_falls_silent(client: lockbroker.Client) -> None:
    with Broker(ttl=0.6) as broker, lockbroker.connect(broker.url) as client:
        with pytest.raises(Lost) as lost, client.lock("x") as lock:
            # Renewed for longer than its ttl.
            assert lock.wait_lost(1) is None
            broker.fall_silent()
            assert lock.wait_lost(5) is LostReason.EXPIRED
        assert lost.value.reason is LostReason.EXPIRED


def test_fails(broker: Broker, client: lockbroker.Client) -> None:
    broker.fail("x")
    for call in (lambda: client.lock("x", wait=0), lambda: client.get("x"), lambda: client.release("x", "?")):
        with pytest.raises(lockbroker.Unavailable) as away:
            call()
        assert away.value.reason is ErrorReason.STORE_UNAVAILABLE
    broker.fail("x", ErrorReason.POLICY_DENIED)
    with pytest.raises(lockbroker.Denied) as denied:
        client.lock("x")
    assert denied.value.reason is ErrorReason.POLICY_DENIED
    broker.fail("x", ErrorReason.MAX_LOCKS)
    with pytest.raises(lockbroker.Exhausted):
        client.lock("x")
    broker.mend("x")
    client.lock("x").release()


def test_lingers(broker: Broker, client: lockbroker.Client) -> None:
    client.lock("x", linger=0.3).release()
    released = time.monotonic()
    with pytest.raises(NotAcquired) as refused:
        client.lock("x", wait=0)
    assert refused.value.reason is NotAcquiredReason.LINGERING
    assert client.get("x").state is LockState.LINGERING
    client.lock("x", wait=5).release()
    assert time.monotonic() - released > 0.25


def test_adopts_and_releases_by_lock_id(broker: Broker, client: lockbroker.Client) -> None:
    lock = client.lock("x")
    with lockbroker.connect(broker.url) as other:
        adopted = other.adopt("x", lock.lock_id)
        assert adopted.fencing_token == lock.fencing_token
        assert lock.wait_lost(5) is LostReason.TAKEN_OVER
        assert client.release("x", lock.lock_id) is ReleaseOutcome.HELD_BY_ANOTHER
        assert client.release("x", adopted.lock_id) is ReleaseOutcome.RELEASED
        assert adopted.wait_lost(5) is LostReason.RELEASED
        assert client.release("x", adopted.lock_id) is ReleaseOutcome.NOT_HELD
        with pytest.raises(NotAcquired):
            other.adopt("x", adopted.lock_id)


def test_has_leases(broker: Broker, client: lockbroker.Client) -> None:
    with client.lease("x", owner="me", ttl=9) as lease:
        assert broker.holder("x") == Holder("me", lease.fencing_token or 0)
        assert 6 < lease.remaining() <= 7.5
        lease.renew()
        # It is nobody else's.
        broker.free("x")
        with pytest.raises(NotAcquired):
            client.lease("x")
        with pytest.raises(NotAcquired) as refused:
            client.lease("x", wait=0.1)
        assert refused.value.reason is NotAcquiredReason.MAX_WAIT
    assert broker.holder("x") is None
    lease = client.lease("x", linger=1)
    adopted = client.adopt_lease("x", lease.lock_id)
    broker.lose("x")
    for held in (lease, adopted):
        with pytest.raises(Lost):
            held.renew()
    broker.occupy("x")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.lease, "x", wait=20)
        eventually("it waits", lambda: broker.waiting("x") == 1)
        broker.free("x")
        waiting.result(5).release()
    broker.fail("x", ErrorReason.STORE_UNAVAILABLE)
    with pytest.raises(lockbroker.Unavailable):
        client.lease("x")
    broker.mend("x")


def test_leases_run_out() -> None:
    with Broker(ttl=1.5) as broker, lockbroker.connect(broker.url) as client:
        lease = client.lease("x")
        for _ in range(5):
            time.sleep(0.5)
            lease.renew()
        eventually("it is over", lambda: lease.lost)
        eventually("it is free", lambda: broker.holder("x") is None)


def test_a_lease_that_nobody_waits_for_is_not_granted(broker: Broker) -> None:
    broker.occupy("x")
    with lockbroker.connect(broker.url) as client, ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.lease, "x", wait=20)
        eventually("it waits", lambda: broker.waiting("x") == 1)
        client.close()
        with pytest.raises(lockbroker.ClientClosed):
            waiting.result(5)
        eventually("it waits no more", lambda: broker.waiting("x") == 0)


def test_keeps_and_closes(broker: Broker) -> None:
    with lockbroker.connect(broker.url) as client:
        client.lock("x", min_hold=0.5).release()
        with pytest.raises(NotAcquired) as refused:
            client.lock("x", wait=0)
        assert refused.value.reason is NotAcquiredReason.LINGERING
        lock = client.lock("y", keep_on_disconnect=True)
        for link in list(client._session._links.values()):
            link.half_close()
        before = lock.lock_id
        eventually("it has moved", lambda: lock.lock_id != before)
        lock.check()
        lock.release()
        client.lock("x").release()


def test_a_client_that_leaves_frees_its_locks(broker: Broker) -> None:
    with lockbroker.connect(broker.url) as client:
        lock = client.lock("x")
        assert broker.holder("x")
    assert lock.lost is LostReason.ENDED
    eventually("it is free", lambda: broker.holder("x") is None)


def test_leaves_no_thread(broker: Broker) -> None:
    before = set(threading.enumerate())
    with Broker() as other, lockbroker.connect(other.url) as client:
        client.lock("x").release()
    eventually("its threads end", lambda: not set(threading.enumerate()) - before)


def test_the_proto_lists_the_same_reasons() -> None:
    proto = (Path(__file__).parents[3] / "proto/lockbroker/v1/lockbroker.proto").read_text()
    listed = re.findall(r"^//   ([A-Z_]{5,}) +([A-Z_]{5,}) ", proto, re.MULTILINE)
    assert dict(listed) == {reason.value: code.name for reason, code in CODES.items()}
    assert len(listed) == len(ErrorReason)
