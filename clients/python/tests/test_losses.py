"""What processes and networks do to locks: brokers and clients that die, stop or fall silent, and broken connections."""

from __future__ import annotations

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import lockbroker
from lockbroker import LostReason, NotAcquired, Unavailable

from .conftest import World
from .support import MEMCACHED, Broker, Holder, Memcached, Process, Proxy, deaf_port, eventually, swallowing_address


def test_a_killed_client_leaves_its_lock_at_once(world: World, other: lockbroker.Client, name: str) -> None:
    def passes_on(name: str) -> float:
        with Holder(name, world.first.url) as holder:
            assert other.try_lock(name) is None
            holder.signal(signal.SIGKILL)
            holder.wait()
            killed = time.monotonic()
            with other.lock(name, wait=10) as lock:
                assert lock.fencing_token > holder.token
                return time.monotonic() - killed

    # Far less than the 3 s for which it is valid. Now and then the kernel finds bytes that the client had not read, and resets
    # the connection. A broker takes that for silence, and waits for the validity to be over.
    taken: list[float] = []
    while not taken or taken[-1] >= 1.5:
        assert len(taken) < 3, taken
        taken.append(passes_on(f"{name}-{len(taken)}"))


@pytest.mark.parametrize("then", ["", "sys.exit(3)", "raise KeyError", "del lock", "os.kill(os.getpid(), 2)"])
def test_a_process_that_ends_leaves_its_lock_at_once(
    world: World, other: lockbroker.Client, name: str, then: str
) -> None:
    with Holder(name, world.first.url, then=then) as holder:
        holder.wait()
        ended = time.monotonic()
        other.lock(name, wait=10).release()
        assert time.monotonic() - ended < 1.5
        assert not any("Fatal" in line or "lockbroker/" in line for line in holder.lines), holder.lines


def test_a_killed_broker_costs_no_lock(world: World, other: lockbroker.Client, name: str) -> None:
    broker = Broker(*world.store)
    with broker, lockbroker.connect(broker.url, world.second.url, ttl=15) as client:
        locks = [client.lock(f"{name}-{number}") for number in range(20)]
        ids = [lock.lock_id for lock in locks]
        broker.signal(signal.SIGKILL)
        eventually("they are reattached", lambda: all(new.lock_id != old for new, old in zip(locks, ids, strict=True)))
        for number, lock in enumerate(locks):
            lock.check()
            assert lock.remaining() > 5
            assert other.try_lock(f"{name}-{number}") is None
            lock.release()
            other.lock(f"{name}-{number}", wait=0).release()


def test_a_waiter_goes_to_the_next_broker(world: World, other: lockbroker.Client, name: str) -> None:
    lock = other.lock(name)
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, world.second.url) as client:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.lock, name)
            eventually("it waits", lambda: len(client._session._links) == 1)
            broker.signal(signal.SIGKILL)
            eventually("it has moved", lambda: client._session._core.endpoint(2) == 1)
            lock.release()
            waiting.result(10).release()


def test_a_draining_broker_is_left_without_a_gap(world: World, other: lockbroker.Client, name: str) -> None:
    with (
        Broker(*world.store, "--drain", "10s") as broker,
        lockbroker.connect(broker.url, world.second.url, ttl=5) as client,
    ):
        lock = client.lock(name)
        before = lock.lock_id
        broker.signal(signal.SIGTERM)
        while lock.lock_id == before:
            # Not for an instant is it without a broker.
            lock.check()
            time.sleep(0.01)
        assert broker.wait() == 0
        assert other.try_lock(name) is None
        lock.release()
        other.lock(name, wait=0).release()


def test_while_the_stream_is_broken_the_holder_does_not_act(world: World, name: str) -> None:
    with Broker(*world.store) as broker, lockbroker.connect(broker.url, ttl=5) as client:
        lock = client.lock(name)
        told: list[LostReason] = []
        lock.on_lost(told.append)
        broker.signal(signal.SIGKILL)
        eventually("the break is noticed", lambda: lock.remaining() == 0)
        with pytest.raises(Unavailable, match="broken"):
            lock.check()
        assert lock.expires_in() > 0
        assert lock.wait_lost(10) is LostReason.EXPIRED
        assert lock.expires_in() == 0
        eventually("the callback is called", lambda: told == [LostReason.EXPIRED])
        with pytest.raises(lockbroker.Lost, match="no renewal got through"):
            lock.release()


def test_a_half_open_connection_is_left_for_another(world: World, other: lockbroker.Client, name: str) -> None:
    with (
        Proxy(world.first.port) as proxy,
        lockbroker.connect(proxy.url, world.second.url, ttl=15) as client,
    ):
        lock = client.lock(name)
        before = lock.lock_id
        proxy.is_swallowing = True
        # After half the ttl of silence.
        eventually("it is reattached", lambda: lock.lock_id != before)
        lock.check()
        assert other.try_lock(name) is None
        lock.release()
        other.lock(name, wait=0).release()


def test_a_release_on_a_half_open_connection_is_done_elsewhere(
    world: World, other: lockbroker.Client, name: str
) -> None:
    with (
        Proxy(world.first.port) as proxy,
        lockbroker.connect(proxy.url, world.second.url, ttl=15, answer_timeout=2) as client,
    ):
        lock = client.lock(name)
        proxy.is_swallowing = True
        lock.release()
        other.lock(name, wait=0).release()


def test_a_release_is_not_asked_of_the_broker_that_was_just_left(
    world: World, other: lockbroker.Client, name: str
) -> None:
    with (
        Proxy(world.first.port) as proxy,
        lockbroker.connect(proxy.url, world.second.url, ttl=5) as client,
        ThreadPoolExecutor() as pool,
    ):
        lock = client.lock(name)
        proxy.is_swallowing = True
        releasing = pool.submit(lock.release)
        eventually("its end is sent", lambda: client._session._core.state(lock._key) == "releasing")
        proxy.reset(1)
        releasing.result(10)
        # The connection of the Session alone.
        assert proxy.accepted == 1
        other.lock(name, wait=0).release()


@pytest.mark.parametrize("sides", [1, 2])
def test_a_reset_costs_no_lock(world: World, other: lockbroker.Client, name: str, sides: int) -> None:
    with Proxy(world.first.port) as proxy, lockbroker.connect(proxy.url, ttl=15) as client:
        lock = client.lock(name)
        before = lock.lock_id
        proxy.reset(sides)
        eventually("it is reattached", lambda: lock.lock_id != before)
        lock.check()
        assert proxy.accepted == 2
        assert other.try_lock(name) is None
        lock.release()


STOPPED = """
while lock.lost is None:
    sys.stdin.readline()
    say(lost=str(lock.lost), remaining=lock.remaining(), now=time.time())
"""


def test_a_stopped_client_finds_its_lock_lost(world: World, other: lockbroker.Client, name: str) -> None:
    with Holder(name, world.first.url, then=STOPPED) as holder:
        holder.stop()
        with other.lock(name, wait=20) as lock:
            assert lock.fencing_token > holder.token
            # The very first look after it goes on says so, whatever may have come meanwhile.
            holder.tell("")
            holder.signal(signal.SIGCONT)
            assert holder.says(r"lost.*").group().startswith('lost": "LostReason.EXPIRED", "remaining": 0')
            lock.check()


def test_a_view_that_has_ended_is_never_revived(client: lockbroker.Client, name: str) -> None:
    """The guard looks by itself; what the session says later comes too late."""
    lock = client.lock(name)
    hold = lock._hold
    late = hold.held
    hold._held = lockbroker._core.Held(late.lock_id, late.ttl, 0, False)
    assert lock.lost is LostReason.EXPIRED
    assert not hold.publish(late)
    assert lock.remaining() == 0
    with pytest.raises(lockbroker.Lost):
        lock.check()
    # And the session gives it up, though the broker would keep it.
    eventually("it is given up", lambda: not client._session._callers)
    client.lock(name, wait=5).release()


def test_a_wait_that_is_interrupted_leaves_the_queue(world: World, other: lockbroker.Client, name: str) -> None:
    lock = other.lock(name)
    then = f"""
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    client.lock("{name}")
except TimeoutError:
    say(interrupted=1)
sys.stdin.readline()
"""
    with Holder(f"{name}-2", world.second.url, then="import signal" + then) as waiter:
        waiter.says("interrupted")
        with ThreadPoolExecutor() as pool:
            # Behind it in the same queue: granted only if it has left.
            waiting = pool.submit(other.lock, name, wait=10)
            eventually("it waits", lambda: len(other._session._callers) == 2)
            lock.release()
            waiting.result(5).release()


def test_the_first_address_swallows_packets(world: World, name: str) -> None:
    with swallowing_address() as address, lockbroker.connect(address, world.first.url) as client:
        began = time.monotonic()
        with client.lock(name, wait=0):
            assert time.monotonic() - began < 4.5
        began = time.monotonic()
        client.get(name)
        assert time.monotonic() - began < 4.5


def test_the_first_address_accepts_and_says_nothing(world: World, name: str) -> None:
    """Not even HTTP/2's settings. Some versions of gRPC would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"127.0.0.1:{mute.getsockname()[1]}"
        with lockbroker.connect(url, world.first.url) as client:
            began = time.monotonic()
            client.lock(name, wait=0).release()
            client.get(name)
            assert time.monotonic() - began < 8
        with lockbroker.connect(url, answer_timeout=0.5) as client, pytest.raises(Unavailable, match=r"within 0\.5 s"):
            client.lock(name, wait=0)


def test_a_loss_of_the_stores_memory_costs_no_lock(name: str) -> None:
    with Memcached() as memcached, Broker("--store", memcached.store) as broker:
        with lockbroker.connect(broker.url) as client:
            lock = client.lock(name)
            memcached.signal(signal.SIGKILL)
            memcached.wait()
            with Process(MEMCACHED, "-M", "-F", "-l", "127.0.0.1", "-p", str(memcached.port), "-u", "nobody"):
                end = time.monotonic() + 14
                while time.monotonic() < end:
                    # For longer than what was told before the loss could cover.
                    lock.check()
                    time.sleep(0.05)
                lock.release()


def test_no_broker_answers(name: str) -> None:
    with deaf_port() as port, lockbroker.connect(f"127.0.0.1:{port}", answer_timeout=0.5) as client:
        for wait in (0.0, 0.2):
            with pytest.raises(Unavailable) as away:
                client.lock(name, wait=wait)
            assert f"no session with a broker at 127.0.0.1:{port}: " in str(away.value)
            assert "Connection refused" in str(away.value)
            assert away.value.lock == name
        with pytest.raises(Unavailable, match="Connection refused"):
            client.get(name)
        with pytest.raises(Unavailable, match="Connection refused"):
            client.release(name, "0" * 36)


def test_a_broker_that_comes_back_is_used(world: World, name: str) -> None:
    with deaf_port() as port, Proxy(port) as proxy, lockbroker.connect(proxy.url, answer_timeout=1) as client:
        for _ in range(3):
            with pytest.raises(Unavailable):
                client.get(name)
            with pytest.raises(Unavailable):
                client.lock(name, wait=0)
        proxy.target = world.first.port
        eventually("it is used", lambda: _works(client, name))


def _works(client: lockbroker.Client, name: str) -> bool:
    try:
        client.get(name)
        client.lock(name, wait=0).release()
    except Unavailable:
        return False
    return True


def test_the_store_is_away(name: str) -> None:
    with Memcached() as memcached, Broker("--store", memcached.store) as broker:
        with lockbroker.connect(broker.url, ttl=5) as client:
            client.lock(name).release()
            memcached.stop()
            with pytest.raises(Unavailable) as away:
                client.lock(name, wait=0)
            assert away.value.reason is lockbroker.ErrorReason.STORE_UNAVAILABLE
            assert away.value.retry_after is not None
            # A wait waits through it.
            with ThreadPoolExecutor() as pool:
                waiting = pool.submit(client.lock, name, wait=20)
                time.sleep(0.2)
                memcached.signal(signal.SIGCONT)
                waiting.result(20).release()


def test_what_listens_is_no_broker(name: str) -> None:
    with Process("python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1") as server:
        port = server.says(r"port (\d+)").group(1)
        with lockbroker.connect(f"http://127.0.0.1:{port}") as client:
            began = time.monotonic()
            with pytest.raises(lockbroker.ProtocolError, match="does not speak HTTP/2"):
                client.lock(name)
            with pytest.raises(lockbroker.ProtocolError, match="does not speak HTTP/2"):
                client.get(name)
            assert time.monotonic() - began < 3


def test_proxy_variables_are_not_heeded(world: World, other: lockbroker.Client, name: str) -> None:
    names = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    for number, url in enumerate((world.first.url, world.first.unix)):
        with deaf_port() as port, Holder(f"{name}-{number}", url, **dict.fromkeys(names, f"http://127.0.0.1:{port}")):
            assert other.try_lock(f"{name}-{number}") is None


ADOPTER = """
adopted = client.adopt(sys.argv[1] + "-2", sys.stdin.readline().strip())
say(adopted=adopted.fencing_token)
sys.stdin.readline()
"""


def test_adopted_in_another_process(world: World, client: lockbroker.Client, name: str) -> None:
    lock = client.lock(f"{name}-2")
    with Holder(name, world.second.url, then=ADOPTER) as adopter:
        adopter.tell(lock.lock_id)
        adopter.says(rf'"adopted": {lock.fencing_token}\b')
        assert lock.wait_lost(10) is not None
        with pytest.raises(NotAcquired):
            client.lock(f"{name}-2", wait=0)
        adopter.tell("")
        client.lock(f"{name}-2", wait=5).release()


FORKER = """
import lockbroker
child = os.fork()
if child == 0:
    try:
        lock.check()
    except lockbroker.Lost as lost:
        say(child=str(lost.reason), remaining=lock.remaining())
    lock.release()
    with lock:
        pass
    try:
        client.lock("x")
    except lockbroker.ClientClosed as closed:
        say(closed=str(closed))
    client.close()
    del lock, client
    CHILD
else:
    os.waitpid(child, 0) if "CHILD" != "time.sleep(99)" else None
    end = time.monotonic() + 6
    while time.monotonic() < end:
        lock.check()
        time.sleep(0.05)
    say(parent="holds")
    lock.release()
    say(parent="released")
    sys.stdin.readline()
"""
CHILD_CLIENT = """
    own = lockbroker.connect(sys.argv[2], ttl=5)
    with own.lock(sys.argv[1] + "-child") as mine:
        mine.check()
        say(mine=mine.fencing_token)
    own.close()
"""


@pytest.mark.parametrize("child", ["pass", "os._exit(0)", "sys.exit(0)", "time.sleep(99)", "own"])
def test_a_fork_leaves_the_lock_with_the_parent(world: World, other: lockbroker.Client, name: str, child: str) -> None:
    if child == "own" and tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 80):
        pytest.skip("before grpcio 1.80 a forked child cannot use gRPC, as the page says")
    then = FORKER.replace("    CHILD", CHILD_CLIENT if child == "own" else f"    {child}").replace(
        '"CHILD"', f'"{child}"'
    )
    with Holder(name, world.first.url, then=then) as holder:
        holder.says(r'"child": "LostReason.FORKED", "remaining": 0')
        holder.says(f"closed.*belongs to process {holder.pid}")
        if child == "own":
            holder.says('"mine"')
        holder.says("holds")
        assert not any("released" in line for line in holder.lines[:-1])
        holder.says("released")
        other.lock(name, wait=0).release()


ORPHAN = """
if (child := os.fork()) == 0:
    time.sleep(99)
say(child=child)
time.sleep(99)
"""


def test_a_child_that_outlives_its_parent_keeps_the_lock_for_its_validity(
    world: World, other: lockbroker.Client, name: str
) -> None:
    """As the page says: it has a copy of the socket, so that the broker sees no end."""
    with Holder(name, world.first.url, then=ORPHAN) as holder:
        holder.says(r'"child": (\d+)')
        holder.signal(signal.SIGKILL)
        other.lock(name, wait=15).release()


def test_a_surrounding_calls_deadline_does_not_end_the_lock(world: World, client: lockbroker.Client, name: str) -> None:
    """A Session that is opened within a call would inherit its deadline in other languages."""
    held: list[lockbroker.Lock] = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
            def serve(request: bytes, context: grpc.ServicerContext) -> bytes:
                held.append(own.lock(name))
                return b""

            return grpc.unary_unary_rpc_method_handler(serve)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with lockbroker.connect(world.first.url, ttl=5) as own:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/any/method")
            call(b"", timeout=2)
        server.stop(0).wait()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            held[0].check()
            time.sleep(0.05)
        held[0].release()


def test_a_busy_thread_costs_no_lock(client: lockbroker.Client, name: str) -> None:
    with client.lock(name) as lock:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            sum(range(10_000))
        lock.check()


def test_a_signal_handler_may_look_at_the_lock(client: lockbroker.Client, name: str) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    with client.lock(name) as lock:
        looks: list[float] = []
        before = signal.signal(signal.SIGALRM, lambda *_: looks.append(lock.remaining()))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                lock.check()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert looks
