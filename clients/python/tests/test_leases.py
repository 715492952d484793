"""Leases, locks that outlive their stream, and locks that stay closed for a while."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import lockbroker
from lockbroker import (
    Lost,
    LostReason,
    NotAcquired,
    NotAcquiredReason,
    ReleaseOutcome,
    Unavailable,
    _calls,
    _clock,
    _lease,
)
from lockbroker import _proto as pb
from lockbroker import testing as doubles
from lockbroker._core import types as t
from lockbroker.v1 import lockbroker_pb2, lockbroker_pb2_grpc

from .conftest import World
from .support import SOON, Broker, Process, Proxy, deaf_port, eventually


def test_a_lease_is_held_without_a_stream(world: World, other: lockbroker.Client, name: str) -> None:
    with lockbroker.connect(world.first.url, owner="host 7") as client:
        lease = client.lease(name, ttl=15)
        assert client._session._thread is None
        lease.check()
        assert 5 < lease.remaining() <= 12.5
        assert (lease.name, lease.lost) == (name, None)
        assert "held" in repr(lease)
        assert lease.lock_id not in repr(lease)
        with pytest.raises(NotAcquired) as refused:
            other.lease(name)
        assert (refused.value.reason, refused.value.owner) == (NotAcquiredReason.HELD, "host 7")
    lease.check()
    assert other.try_lock(name) is None
    with pytest.raises(lockbroker.ClientClosed):
        lease.renew()
    assert other.release(name, lease.lock_id) is ReleaseOutcome.RELEASED
    with other.lease(name, ttl=5, owner="me") as later:
        assert later.fencing_token is not None
        assert lease.fencing_token is not None
        assert later.fencing_token > lease.fencing_token
        assert other.get(name).owner == "me"
    assert later.lost is LostReason.ENDED
    other.lock(name, wait=0).release()


def test_a_lease_is_renewed_at_any_broker(world: World, other: lockbroker.Client, name: str) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url, ttl=5) as client:
        lease = client.lease(name)
        until = time.monotonic() + 7
        while time.monotonic() < until:
            time.sleep(1)
            if broker.pid and until - time.monotonic() < 4:
                broker.signal(signal.SIGKILL)
            lease.renew()
            assert 1.5 < lease.remaining() <= 2.84
            assert other.try_lock(name) is None
        lease.release()
        lease.release()
        with pytest.raises(Lost) as lost:
            lease.renew()
        assert lost.value.reason is LostReason.ENDED
        other.lock(name, wait=0).release()


def test_a_lost_lease(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lease = client.lease(name, ttl=15)
    other.release(name, lease.lock_id)
    # Nobody tells.
    lease.check()
    with other.lock(name, wait=0) as theirs:
        with pytest.raises(Lost) as lost:
            lease.renew()
        assert lost.value.reason in (LostReason.GONE, LostReason.TAKEN_OVER)
        for call in (lease.check, lease.renew, lease.release):
            with pytest.raises(Lost):
                call()
        assert lease.remaining() == 0
        theirs.check()
    with pytest.raises(Lost) as lost, client.lease(name) as lease:
        other.release(name, lease.lock_id)
    assert lost.value.reason is LostReason.GONE
    # What the block raises says more.
    with pytest.raises(KeyError), client.lease(name) as lease:
        other.release(name, lease.lock_id)
        raise KeyError("of the block")


def test_a_lease_runs_out(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lease = client.lease(name, ttl=5)
    with ThreadPoolExecutor() as pool:
        granted = pool.submit(other.lock, name, wait=20)
        while lease.remaining() > 0:
            assert not granted.done()
            time.sleep(0.01)
        for call in (lease.check, lease.renew, lease.release):
            with pytest.raises(Lost, match="no renewal"):
                call()
        granted.result(20).release()


def test_a_lease_is_waited_for(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with other.lock(name) as theirs:
        began = time.monotonic()
        with pytest.raises(NotAcquired) as refused:
            client.lease(name, wait=0.3)
        assert refused.value.reason is NotAcquiredReason.MAX_WAIT
        assert 0.2 < time.monotonic() - began < 3
        with pytest.raises(lockbroker.Invalid, match="wait"):
            client.lease(name, wait=31)
        with pytest.raises(ValueError, match="0 or more"):
            client.lease(name, wait=-1)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.lease, name, wait=20)
            wait([waiting], 1)
            assert not waiting.done()
            theirs.release()
            lease = waiting.result(10)
    # It counts from the grant, not from the request.
    assert lease.remaining() <= 2.84
    lease.release()


def test_another_process_goes_on_with_a_lease(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    lease = client.lease(name, ttl=5)
    adopted = other.adopt_lease(name, lease.lock_id)
    assert (adopted.name, adopted.lock_id, adopted.fencing_token) == (name, lease.lock_id, None)
    assert 1.5 < adopted.remaining() <= 2.84
    assert "unknown" in repr(adopted)
    client.close()
    adopted.renew()
    assert adopted.remaining() <= 2.84
    with adopted:
        assert other.try_lock(name) is None
    with pytest.raises(Lost):
        other.adopt_lease(name, lease.lock_id)
    with pytest.raises(lockbroker.Invalid):
        other.adopt_lease(name, "none")
    with pytest.raises(TypeError):
        other.adopt_lease(name, None)  # type: ignore[arg-type]
    # As a lock on a stream there is no way back.
    lease = other.lease(name, ttl=5)
    with other.adopt(name, lease.lock_id, keep_on_disconnect=True) as lock, pytest.raises(Lost):
        assert lock.fencing_token == lease.fencing_token
        lease.renew()


class Relay(grpc.GenericRpcHandler):
    """A broker that has another one do the work, and answers as the test says."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub: Any = lockbroker_pb2_grpc.LockServiceStub(channel)
        self.requests: list[Any] = []
        self.answer: Callable[[Any, Any], Any] = lambda answer, context: answer

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]

        def call(request: Any, context: Any) -> Any:
            self.requests.append(request)
            return self.answer(getattr(self.stub, method)(request), context)

        deserialize = getattr(lockbroker_pb2, f"{method}Request").FromString
        return grpc.unary_unary_rpc_method_handler(call, deserialize, lambda answer: answer.SerializeToString())


@contextmanager
def relayed(address: str) -> Iterator[tuple[Relay, str]]:
    with ThreadPoolExecutor(8) as pool, grpc.insecure_channel(address) as channel:
        relay = Relay(channel)
        server = grpc.server(pool, handlers=[relay])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield relay, f"http://127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def _fails(answer: Any, context: Any) -> Any:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")


def _is_silent(answer: Any, context: Any) -> Any:
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(20)
    context.abort(grpc.StatusCode.CANCELLED, "nobody waits")


@pytest.mark.parametrize("missing", [_fails, _is_silent])
def test_an_answer_that_is_lost_costs_nothing(
    world: World, other: lockbroker.Client, name: str, missing: Callable[[Any, Any], Any]
) -> None:
    got: list[Any] = []

    def lost(answer: Any, context: Any) -> Any:
        got.append(answer.acquired)
        return missing(answer, context)

    with (
        relayed(world.first.address) as (relay, url),
        lockbroker.connect(url, world.second.url, answer_timeout=4) as client,
    ):
        relay.answer = lost
        with client.lease(name, ttl=15) as lease:
            (granted,) = got
            assert (lease.lock_id, lease.fencing_token) == (granted.lock_id, granted.fencing_token)
            assert uuid.UUID(relay.requests[0].request_id).version == 4
        other.lock(name, wait=0).release()
        relay.answer = lambda answer, context: answer
        with lockbroker.connect(url) as again:
            again.lease(name).release()
        assert relay.requests[1].request_id != relay.requests[0].request_id


def test_what_is_granted_and_cannot_be_used_is_released(world: World, other: lockbroker.Client, name: str) -> None:
    def senseless(answer: Any, context: Any) -> Any:
        answer.acquired.ClearField("expires_after_request")
        return answer

    with relayed(world.first.address) as (relay, url), lockbroker.connect(url) as client:
        relay.answer = lambda answer, context: senseless(answer, context) if len(relay.requests) == 1 else answer
        with pytest.raises(lockbroker.Unexpected):
            client.lease(name)
        other.lock(name, wait=5).release()
        assert len(relay.requests) == 2


def test_the_only_broker_is_asked_again(world: World, other: lockbroker.Client, name: str) -> None:
    with relayed(world.first.address) as (relay, url), lockbroker.connect(url) as client:

        def twice(answer: Any, context: Any) -> Any:
            return _fails(answer, context) if len(relay.requests) < 3 else answer

        relay.answer = twice
        lease = client.lease(name)
        first, second, third = relay.requests
        assert first.request_id == second.request_id == third.request_id
        # So is the release, and what it finds then is its own work.
        relay.requests.clear()
        lease.release()
        assert len(relay.requests) == 3
        other.lock(name, wait=0).release()


def test_no_broker_answers(world: World, other: lockbroker.Client, name: str) -> None:
    with deaf_port() as port, lockbroker.connect(f"127.0.0.1:{port}", answer_timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            client.lease(name)
        assert 0.4 < time.monotonic() - began < 3
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, answer_timeout=0.5) as client:
        # A broker may grant nothing in its first second.
        lease = client.lease(name, ttl=5, wait=20)
        left = lease.remaining()
        broker.signal(signal.SIGKILL)
        with pytest.raises(Unavailable):
            lease.renew()
        # It is as good as before.
        lease.check()
        assert 0 < lease.remaining() <= left
        with pytest.raises(Unavailable):
            lease.release()
        assert other.try_lock(name) is None


def test_what_each_broker_refuses_fails_at_once(client: lockbroker.Client, name: str) -> None:
    with doubles.Broker() as one, doubles.Broker() as two, lockbroker.connect(one.url, two.url) as both:
        for broker in (one, two):
            broker.fail(name)
        began = time.monotonic()
        with pytest.raises(Unavailable) as away:
            both.lease(name)
        assert away.value.reason is lockbroker.ErrorReason.STORE_UNAVAILABLE
        assert time.monotonic() - began < 2
        # A wait goes on.
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(both.lease, name, wait=20)
            wait([waiting], 0.5)
            assert not waiting.done()
            two.mend(name)
            waiting.result(10).release()
    wrongs: list[dict[str, Any]] = [{"ttl": 1}, {"linger": -1}, {"min_hold": 4000}, {"owner": "x" * 200}]
    for wrong in wrongs:
        began = time.monotonic()
        with pytest.raises(lockbroker.Invalid):
            client.lease(name, **wrong)
        assert time.monotonic() - began < 2


def test_a_call_that_is_given_up_leaves_nothing(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    def ask(wait: int) -> Future[_lease.Outcome]:
        return _lease.acquire(client._session, t.LockSpec(name), None, wait * t.SECOND)

    lock = other.lock(name)
    asked = ask(20)
    wait([asked], 0.5)
    _lease.give_up(client._session, asked)
    lock.release()
    other.lock(name, wait=0).release()
    # The answer crosses it.
    asked = ask(0)
    assert isinstance(asked.result(), _lease.Leased)
    assert other.try_lock(name) is None
    _lease.give_up(client._session, asked)
    other.lock(name, wait=5).release()
    # A refusal and an error leave nothing either.
    with other.lock(name):
        asked = ask(0)
        assert isinstance(asked.result(), t.Refusal)
        _lease.give_up(client._session, asked)


def test_a_grant_that_nobody_waits_for_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker has granted it when the call is cancelled."""
    monkeypatch.setattr(_calls.Repeated, "cancel", lambda self: None)
    with doubles.Broker() as broker, lockbroker.connect(broker.url) as client:
        broker.occupy("x")
        asked = _lease.acquire(client._session, t.LockSpec("x"), None, 20 * t.SECOND)
        eventually("it waits", lambda: broker.waiting("x") == 1)
        _lease.give_up(client._session, asked)
        broker.free("x")
        with client.lock("x", wait=10) as lock:
            assert lock.fencing_token == 3


def test_a_client_that_is_closed_leases_nothing(world: World, other: lockbroker.Client, name: str) -> None:
    client = lockbroker.connect(world.first.url)
    lock = other.lock(name)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.lease, name, wait=20)
        wait([waiting], 0.5)
        client.close()
        with pytest.raises(lockbroker.ClientClosed):
            waiting.result(10)
    lock.release()
    other.lock(name, wait=0).release()
    for call in (client.lease, lambda name: client.adopt_lease(name, "x"), client.get):
        with pytest.raises(lockbroker.ClientClosed):
            call(name)


def test_a_renewal_that_is_answered_too_late_revives_nothing() -> None:
    with doubles.Broker() as broker, lockbroker.connect(broker.url) as client:
        lease = client.lease("x")
        held = threading.Event()

        def slow(name: str, lock_id: str, done: Any) -> None:
            def answered(answer: Any, sent: int) -> None:
                held.wait(10)
                done(answer, sent)

            started(name, lock_id, answered)

        started = client._session.calls.renew
        client._session.calls.renew = slow  # type: ignore[method-assign]
        with ThreadPoolExecutor() as pool:
            renewing = pool.submit(lease.renew)
            lease._hold.lose(LostReason.EXPIRED)
            held.set()
            with pytest.raises(Lost, match="no renewal"):
                renewing.result(10)
        # Nobody uses it any more. It would stand for 15 s.
        eventually("it is released", lambda: broker.holder("x") is None, within=10)


def test_validity_ends_before_the_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    def until(ttl: int | None, expires_after: int, waited: int = 0) -> int | None:
        monkeypatch.setattr(_clock, "now", lambda: (7 + waited) * t.SECOND)
        granted = pb.AcquireLeaseResponse(acquired={"expires_after_request": {"seconds": expires_after}}).acquired
        return _lease._until(granted, None if ttl is None else ttl * t.SECOND, 7 * t.SECOND)

    for ttl in (15, None):
        assert until(ttl, 13) == 19_500 * t.MILLISECOND
        assert until(ttl, 33, waited=20) == 39_500 * t.MILLISECOND
        assert until(ttl, 0) == 7 * t.SECOND
    assert _lease._until(pb.AcquireLeaseResponse(acquired={}).acquired, None, 7) is None


FORKED = """
import os, sys, lockbroker
client = lockbroker.connect(sys.argv[1])
lease = client.lease(sys.argv[2], ttl=15)
def says(call):
    try:
        return call()
    except lockbroker.LockbrokerError as error:
        return " ".join([type(error).__name__, *([error.reason.name] if hasattr(error, "reason") else [])])
if os.fork() == 0:
    for call in (lease.check, lease.renew, lease.release, lease.remaining, lambda: client.lease("other")):
        print("child:", says(call), flush=True)
    os._exit(0)
os.wait()
print("parent:", says(lease.renew), says(lease.check), flush=True)
"""


def test_a_forked_child_has_no_lease(world: World, other: lockbroker.Client, name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    with Process(sys.executable, "-c", FORKED, world.first.url, name, env=environment) as process:
        process.says("parent: None None")
        said = [line.removeprefix("child: ") for line in process.lines if line.startswith("child: ")]
        assert said == ["Lost FORKED", "Lost FORKED", "None", "0.0", "ClientClosed"], process.lines
        process.wait()
    # The end of the process does not end it.
    assert other.try_lock(name) is None


def test_a_lock_that_is_kept_outlives_its_connection(world: World, other: lockbroker.Client, name: str) -> None:
    with (
        Proxy(world.first.port) as proxy,
        lockbroker.connect(proxy.url, ttl=15) as client,
        ThreadPoolExecutor() as pool,
    ):
        kept = client.lock(name, keep_on_disconnect=True)
        tried = client.try_lock(f"{name}-tried", keep_on_disconnect=True)
        assert tried is not None
        plain = client.lock(f"{name}-plain")
        locks = (kept, tried)
        rivals = {lock: pool.submit(other.lock, lock.name, wait=30) for lock in (*locks, plain)}
        # Long enough for the broker to give the other away before a reattach comes.
        proxy.delay = 0.5
        for _ in range(2):
            before = [(lock, lock.lock_id) for lock in locks]
            proxy.cut()
            # All of them, before the next cut: one that comes in mid-reattach may cost a lock (docs/safety.md, R30).
            for lock, lock_id in before:
                moves(lock, lock_id)
                lock.check()
            if plain in rivals:
                theirs = rivals.pop(plain).result(10)
                assert plain.remaining() == 0
                assert plain.wait_lost(SOON) is not None
                theirs.release()
        assert not any(rival.done() for rival in rivals.values())
        for lock, rival in rivals.items():
            lock.release()
            rival.result(10).release()


def moves(lock: lockbroker.Lock, before: str) -> None:
    """Waits until the lock is held under another id. Fails as soon as it is lost, and says why."""

    def has_moved() -> bool:
        assert lock.lost is None, f"{lock} was not to be lost"
        return lock.lock_id != before and lock.remaining() > 0

    eventually(f"{lock} has moved", has_moved)


def test_a_lock_stays_closed_for_its_least_time(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    asks: list[Callable[[str], Any]] = [
        lambda name: client.lock(name, min_hold=2),
        lambda name: client.try_lock(name, min_hold=2),
        lambda name: client.lease(name, min_hold=2),
    ]
    for number, ask in enumerate(asks):
        began = time.monotonic()
        ask(f"{name}-{number}").release()
        with pytest.raises(NotAcquired) as refused:
            other.lock(f"{name}-{number}", wait=0)
        assert refused.value.reason is NotAcquiredReason.LINGERING
        other.lock(f"{name}-{number}", wait=10).release()
        assert time.monotonic() - began >= 2
