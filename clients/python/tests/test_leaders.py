"""Leaders: the value of a lock, its update, and who observes it."""

from __future__ import annotations

import asyncio
import gc
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import lockbroker
from lockbroker import Observed, ObservedState, _clock, _observe, _value, aio
from lockbroker import _proto as pb
from lockbroker._core import Held
from lockbroker._core import types as t
from lockbroker._hold import Hold
from lockbroker.testing import _abort

from .conftest import World
from .support import SOON, Broker, Holder, Proxy, eventually

UNKNOWN, FREE, HELD = ObservedState.UNKNOWN, ObservedState.FREE, ObservedState.HELD


def seen(observation: lockbroker.Observation, state: ObservedState, value: bytes | None = None) -> Observed:
    """Waits until that is told, and returns it. States before it, other than free ones, may be told as well."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if (told := observation.next(SOON)) is not None and (told.state, told.value) == (state, value):
            return told
    pytest.fail(f"not within {SOON} s: {state}, {value!r}")


def test_a_leader_is_followed(client: lockbroker.Client, other: lockbroker.Client, name: str) -> None:
    with other.observe(name) as observation, client.observe(name) as near:
        assert observation.next(SOON) == Observed(FREE)
        leader = client.lock(name, value="10.0.0.7:80", owner="host 7", wait=SOON)
        told = seen(observation, HELD, b"10.0.0.7:80")
        assert (told.owner, told.fencing_token) == ("host 7", leader.fencing_token)
        assert told.expires_in is not None
        assert 0 < told.expires_in <= 5
        # Its own broker tells at once.
        for value in (b"\xff\0", b"", "ü".encode() * 512):
            leader.update(value)
            assert seen(near, HELD, value).fencing_token == leader.fencing_token
        # Only changes are told, and the time that is left is none.
        assert near.next(0.2) is None
        leader.release()
        seen(near, FREE)
        seen(observation, FREE)
        with pytest.raises(lockbroker.Lost):
            leader.update("late")
        with client.lock(name, wait=SOON) as without:
            # Another broker knows the token of a lock without a value at times.
            assert seen(observation, HELD).fencing_token in (None, without.fencing_token)
    assert observation.next(SOON) is None
    assert list(observation) == []


def test_a_leader_is_followed_by_tasks(world: World, name: str) -> None:
    async def test() -> None:
        async with (
            aio.connect(world.first.url, ttl=5) as client,
            aio.connect(world.second.url, ttl=5) as other,
            other.observe(name) as observation,
        ):
            assert (await anext(observation)).state is FREE
            async with client.lock(name, value="one", wait=SOON) as leader:
                # Nothing is lost when a wait is given up.
                for _ in range(3):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(anext(observation), 0.001)
                async for told in observation:
                    if told.value == b"one":
                        break
                assert told.fencing_token == leader.fencing_token
                await asyncio.gather(*(leader.update(f"{number}") for number in range(20)))
                async for told in observation:
                    if told.value == b"19":
                        break
            waiting = asyncio.ensure_future(_all(observation))
            await asyncio.sleep(0.1)
            await observation.close()
            assert all(told.value in (None, b"19") for told in await waiting)

    asyncio.run(test())


async def _all(observation: aio.Observation) -> list[Observed]:
    return [told async for told in observation]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_value_moves_with_its_lock(world: World, other: lockbroker.Client, name: str, end: int) -> None:
    with (
        Broker(*world.store) as broker,
        lockbroker.connect(broker.url, world.second.url, ttl=5) as client,
        other.observe(name) as observation,
    ):
        leader = client.lock(name, value="first", keep_on_disconnect=True, wait=SOON)
        leader.update("second")
        token = seen(observation, HELD, b"second").fencing_token
        before = leader.lock_id
        broker.signal(end)
        # Some of these come while the lock is on its way.
        for number in range(50):
            leader.update(f"moving {number}")
        eventually("it has moved", lambda: leader.lock_id != before)
        told = seen(observation, HELD, b"moving 49")
        # No broker tells an earlier value any more.
        assert observation.next(1) is None
        with lockbroker.connect(world.first.url) as third, third.observe(name) as later:
            assert seen(later, HELD, b"moving 49").fencing_token == told.fencing_token == token
        leader.update("third")
        assert seen(observation, HELD, b"third").fencing_token == token
        leader.release()


def test_an_adopted_lock_has_the_value_that_it_is_adopted_with(
    client: lockbroker.Client, other: lockbroker.Client, name: str
) -> None:
    with client.observe(name) as observation:
        handed = client.lock(name, value="mine", wait=SOON)
        seen(observation, HELD, b"mine")
        with other.adopt(name, handed.lock_id, value="theirs") as adopted:
            seen(observation, HELD, b"theirs")
            adopted.update("new")
            assert seen(observation, HELD, b"new").fencing_token == handed.fencing_token
            with pytest.raises(lockbroker.Lost):
                handed.wait_lost(SOON)
                handed.update("mine again")


def test_an_observer_goes_on_at_another_broker(world: World, client: lockbroker.Client, name: str) -> None:
    leader = client.lock(name, value="leader", wait=SOON)
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url) as follower:
        observation = follower.observe(name)
        seen(observation, HELD, b"leader")
        broker.signal(signal.SIGKILL)
        leader.update("later")
        # Nobody has been told that it is not known who leads.
        told = observation.next(SOON)
        assert told is not None
        assert (told.state, told.value) == (HELD, b"later")
    # The end of the client ends it.
    with pytest.raises(lockbroker.ClientClosed):
        observation.next(SOON)
    leader.release()


def test_without_a_broker_nobody_can_tell(world: World, name: str) -> None:
    with Proxy(9) as proxy, lockbroker.connect(proxy.url) as client, client.observe(name) as observation:
        assert observation.next(SOON) == Observed(UNKNOWN)
        # Once.
        assert observation.next(0.5) is None
        proxy.target = world.first.port
        seen(observation, FREE)
        proxy.target = 9
        proxy.cut()
        assert observation.next(SOON) == Observed(UNKNOWN)


def test_a_loop_that_is_left_ends_its_stream(client: lockbroker.Client, name: str) -> None:
    streams: list[Any] = []
    for told in client.observe(name):
        streams = [watch._stream for watch in list(_observe._open) if watch._name == name]
        assert told.state is FREE
        break
    (stream,) = streams
    gc.collect()
    eventually("its stream has ended", stream.call.done)
    observation = client.observe(name)
    next(observation)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(list[Observed], observation)
        observation.close()
        assert waiting.result(SOON) == []


def test_what_cannot_be_asked_for_is_told(client: lockbroker.Client, name: str) -> None:
    asks: list[Callable[..., Any]] = [client.lock, client.try_lock]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"value": b"x" * 1025}, "the value has 1025 bytes, and brokers take at most 1024"),
        ({"value": "ü" * 513}, "the value has 1026 bytes"),
        ({"value": "\ud800"}, "not Unicode"),
        ({"value": "", "also": ["x"]}, "a value is for one lock alone"),
        ({"value": "", "shared": True}, "one holder has alone"),
        ({"value": "", "limit": 3}, "one holder has alone"),
        # All has to fit into one message.
        ({"value": "", "owner": "o" * 513}, "the owner has 513 bytes"),
    ]
    for ask in asks:
        for how, why in wrong:
            with pytest.raises(lockbroker.Invalid, match=why):
                ask(name, **how)
        with pytest.raises(TypeError, match="bytes or a str, not int"):
            ask(name, value=7)
    with pytest.raises(lockbroker.Invalid, match="the name has 1025 bytes"):
        client.observe("x" * 1025)
    with pytest.raises(lockbroker.Invalid, match="the lock id has 513 bytes"):
        client.adopt(name, "i" * 513, value="x")
    # Nothing was sent.
    assert client._session._thread is None
    with client.lock(name, wait=SOON) as lock, pytest.raises(lockbroker.Invalid, match="asked for without a value"):
        lock.update("late")
    with client.lock(name, value=bytearray(b"x" * 1024), wait=SOON) as lock:
        with pytest.raises(lockbroker.Invalid, match="has 1025 bytes"):
            lock.update(b"x" * 1025)
        with pytest.raises(TypeError, match="bytes or a str, not NoneType"):
            lock.update(None)  # type: ignore[arg-type]
        # The others go on.
        lock.update(memoryview(b"y" * 1024))
    with pytest.raises(lockbroker.Invalid) as refused:
        client.observe("\0").next(SOON)
    assert refused.value.reason is lockbroker.ErrorReason.INVALID_FIELD


FORKER = """
observation = client.observe(sys.argv[1])
say(first=observation.next(20).state.name)
child = os.fork()
if child == 0:
    try:
        observation.next(20)
    except lockbroker.ClientClosed as closed:
        say(child=str(closed))
    try:
        lock.update("child's")
    except lockbroker.Lost as lost:
        say(lost=lost.reason.name)
    observation.close()
    del observation
    os._exit(0)
os.waitpid(child, 0)
sys.stdin.readline()
while (seen := observation.next(20)).state.name == "HELD":
    pass
say(last=seen.state.name)
"""


def test_a_forked_child_observes_nothing(world: World, other: lockbroker.Client, name: str) -> None:
    with Holder(name, world.first.url, then=FORKER) as holder:
        holder.says('"first": "HELD"')
        holder.says(f"child.*belongs to process {holder.pid}")
        holder.says('"lost": "FORKED"')
        other.release(name, holder.lock_id)
        holder.tell("")
        # The parent's stream is as it was.
        holder.says('"last": "FREE"')
        assert holder.wait() == 0


class Script:
    """A broker that tells those who observe what a test says."""

    def __init__(self) -> None:
        self.says: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """States, or the reason by which the stream ends; None for no reason."""
        self.streams = 0
        self.has_ended = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor())
        handler: Any = grpc.unary_stream_rpc_method_handler(
            self._observe, lambda it: it, lambda it: it.SerializeToString()
        )
        service = pb.SERVICE.strip("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Observe": handler}),))
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def tell(self, state: int, **more: Any) -> None:
        self.says.put(pb.ObserveResponse(state=state, **more))  # type: ignore[arg-type]

    def _observe(self, _: bytes, context: grpc.ServicerContext) -> Iterator[pb.ObserveResponse]:
        self.streams += 1
        context.add_callback(self.has_ended.set)
        context.send_initial_metadata(())
        while True:
            said = self.says.get()
            if said is None:
                return
            if isinstance(said, lockbroker.ErrorReason):
                _abort(context, "name", said, "as the test says")
            yield said

    def __enter__(self) -> Script:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.says.put(None)
        self._server.stop(None).wait()


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as script:
        yield script


@pytest.fixture
def scripted(script: Script) -> Iterator[lockbroker.Observation]:
    with lockbroker.connect(script.url) as client, client.observe("name") as observation:
        yield observation


def test_only_changes_are_told(script: Script, scripted: lockbroker.Observation) -> None:
    for seconds in (5, 4, 3):
        script.tell(3, owner="me", value=b"", fencing_token=7, expires_in={"seconds": seconds})
        told = scripted.next(SOON if seconds == 5 else 0.2)
        assert told == (Observed(HELD, "me", b"", 7, 5.0) if seconds == 5 else None)
    for state, expected in [
        (4, "LINGERING"),
        (5, "REVOKED"),
        (1, "UNKNOWN"),
        (3, "HELD"),
        (99, "UNKNOWN"),
        (2, "FREE"),
    ]:
        script.tell(state, fencing_token=7 if state == 3 else 0)
        told = scripted.next(SOON)
        assert told is not None
        assert (told.state.name, told.value) == (expected, None)


def test_a_lower_token_is_not_told(script: Script, scripted: lockbroker.Observation) -> None:
    expected = [
        (7, Observed(HELD, fencing_token=7)),
        (5, Observed(UNKNOWN)),
        (6, None),
        (8, Observed(HELD, fencing_token=8)),
    ]
    for token, told in expected:
        script.tell(3, fencing_token=token)
        assert scripted.next(SOON if told else 0.2) == told
    # Not by another stream either.
    script.says.put(None)
    script.tell(3, fencing_token=7)
    assert scripted.next(SOON) == Observed(UNKNOWN)
    assert scripted.next(0.5) is None
    assert script.streams == 2
    script.tell(3, fencing_token=8)
    assert scripted.next(SOON) == Observed(HELD, fencing_token=8)


def test_a_broker_that_ends_its_streams_is_not_asked_all_the_time(script: Script) -> None:
    with Script() as next_one, lockbroker.connect(script.url, next_one.url) as client:
        observation = client.observe("name")
        for broker in (script, next_one):
            for _ in range(100):
                broker.tell(2)
                broker.says.put(None)
        told = [observation.next(1) for _ in range(5)]
        assert set(told) <= {None, Observed(FREE), Observed(UNKNOWN)}
        assert Observed(UNKNOWN) in told
        assert 2 < script.streams + next_one.streams < 50


def test_a_stream_that_has_served_ends_unnoticed(script: Script, scripted: lockbroker.Observation) -> None:
    script.tell(3, fencing_token=7)
    assert scripted.next(SOON) == Observed(HELD, fencing_token=7)
    assert scripted.next(1.1) is None
    script.says.put(None)
    script.tell(3, fencing_token=8)
    assert scripted.next(SOON) == Observed(HELD, fencing_token=8)
    assert script.streams == 2


def test_who_reads_slowly_gets_the_latest_alone(script: Script, scripted: lockbroker.Observation) -> None:
    script.tell(2)
    assert scripted.next(SOON) == Observed(FREE)
    for token in range(1, 1000):
        script.tell(3, value=bytes(1024), fencing_token=token)
    eventually("all are read", lambda: scripted._watch._highest == 999)
    assert scripted.next(SOON) == Observed(HELD, value=bytes(1024), fencing_token=999)
    # Where it has become what was told last, there is nothing to tell.
    script.tell(2)
    script.tell(3, value=bytes(1024), fencing_token=999)
    eventually("all are read", script.says.empty)
    assert scripted.next(0.3) in (None, Observed(FREE))


def test_a_refusal_ends_it(script: Script) -> None:
    reasons = lockbroker.ErrorReason
    with lockbroker.connect(script.url) as client:
        for reason, error in [(reasons.INVALID_FIELD, lockbroker.Invalid), (reasons.POLICY_DENIED, lockbroker.Denied)]:
            observation = client.observe("name")
            script.says.put(reason)
            with pytest.raises(error):
                observation.next(SOON)
            assert list(observation) == []
        # The first call says that there is no room, and the next one asks again.
        observation = client.observe("name")
        for _ in range(2):
            script.says.put(reasons.MAX_OBSERVERS)
            with pytest.raises(lockbroker.Exhausted):
                observation.next(SOON)
        script.tell(2)
        assert observation.next(SOON) == Observed(FREE)


def test_where_there_is_no_room_the_next_broker_is_asked(script: Script) -> None:
    with Script() as next_one, lockbroker.connect(script.url, next_one.url) as client:
        observation = client.observe("name")
        script.says.put(lockbroker.ErrorReason.MAX_OBSERVERS)
        with pytest.raises(lockbroker.Exhausted):
            observation.next(SOON)
        next_one.tell(2)
        assert observation.next(SOON) == Observed(FREE)
        assert (script.streams, next_one.streams) == (1, 1)


def test_a_broker_that_is_silent_is_left(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_observe, "_SILENCE", 300 * t.MILLISECOND)
    with Script() as next_one, lockbroker.connect(script.url, next_one.url) as client:
        observation = client.observe("name")
        script.tell(2)
        assert observation.next(SOON) == Observed(FREE)
        next_one.tell(3, fencing_token=7)
        assert observation.next(SOON) == Observed(HELD, fencing_token=7)
        assert script.has_ended.wait(SOON)
        # Neither tells anything: nobody can tell.
        assert observation.next(SOON) == Observed(UNKNOWN)


class Calls:
    """Updates that a test answers."""

    def __init__(self) -> None:
        self.made: queue.SimpleQueue[tuple[str, bytes, Callable[[Any], None]]] = queue.SimpleQueue()

    def update(self, _: str, lock_id: str, value: bytes, done: Callable[[Any], None]) -> None:
        self.made.put((lock_id, value, done))

    def answer(self, lock_id: str, value: bytes, outcome: Any) -> None:
        """Awaits a call, and answers it."""
        asked_id, asked_value, done = self.made.get(timeout=SOON)
        assert (asked_id, asked_value) == (lock_id, value)
        done(outcome if isinstance(outcome, t.Failure) else pb.UpdateLockResponse(outcome=outcome))


class Session:
    """A session that a test looks at."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.settings = self
        self.answer_timeout = 200 * t.MILLISECOND
        self.given: list[bytes] = []

    def give_value(self, _: int, value: bytes) -> None:
        self.given.append(value)


UPDATED, NOT_HELD, ANOTHERS, NONE = 1, 2, 3, 4


@pytest.fixture
def held() -> tuple[Session, Hold, _value.Updates]:
    session: Any = Session()
    hold = Hold("name", Held("id", 15 * t.SECOND, _clock.now() + 15 * t.SECOND, False))
    return session, hold, _value.Updates(session, 1, hold)


def move(hold: Hold, lock_id: str) -> None:
    hold.publish(Held(lock_id, 15 * t.SECOND, _clock.now() + 15 * t.SECOND, False))


def test_updates_are_brought_one_at_a_time(held: tuple[Session, Hold, _value.Updates]) -> None:
    session, hold, updates = held
    replies = [updates.update(value) for value in (b"1", b"2", b"3")]
    assert session.given == [b"1", b"2", b"3"]
    session.calls.answer("id", b"1", UPDATED)
    assert [reply.done() for reply in replies] == [True, False, False]
    # Those that came meanwhile are brought as one.
    session.calls.answer("id", b"3", UPDATED)
    assert [reply.result(SOON) for reply in replies] == [None] * 3
    assert session.calls.made.empty()
    # Where it has moved it is brought again.
    reply = updates.update(b"4")
    move(hold, "new id")
    updates.moved()
    session.calls.answer("id", b"4", UPDATED)
    assert not reply.done()
    session.calls.answer("new id", b"4", UPDATED)
    reply.result(SOON)
    updates.moved()
    session.calls.answer("new id", b"4", UPDATED)


def test_updates_are_tried_again(held: tuple[Session, Hold, _value.Updates]) -> None:
    session, hold, updates = held
    reply = updates.update(b"1")
    for outcome in (NOT_HELD, ANOTHERS, t.unavailable("away")):
        session.calls.answer("id", b"1", outcome)
    session.calls.answer("id", b"1", UPDATED)
    reply.result(SOON)
    # Until the time of an answer is over.
    reply = updates.update(b"2")
    end = time.monotonic() + SOON
    while not reply.done() and time.monotonic() < end:
        session.calls.answer("id", b"2", ANOTHERS)
    with pytest.raises(lockbroker.Unavailable, match="by another id"):
        reply.result(SOON)
    errors: list[tuple[Any, type[Exception]]] = [
        (NONE, lockbroker.Invalid),
        (99, lockbroker.Unexpected),
        (t.Failure(t.Code.PERMISSION_DENIED, "no"), lockbroker.Denied),
    ]
    for outcome, error in errors:
        reply = updates.update(b"3")
        session.calls.answer("id", b"3", outcome)
        with pytest.raises(error):
            reply.result(SOON)
    reply = updates.update(b"4")
    hold.lose(t.LostReason.REVOKED)
    session.calls.answer("id", b"4", ANOTHERS)
    with pytest.raises(lockbroker.Lost):
        reply.result(SOON)
    later: Future[None] = updates.update(b"5")
    with pytest.raises(lockbroker.Lost):
        later.result(SOON)
    assert session.calls.made.empty()
