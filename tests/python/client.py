"""What most users are: a client made from the proto alone, by the generator of their language.

    python client.py STUBS BROKER MEMCACHED

STUBS is the folder with what grpc_tools generated, BROKER and MEMCACHED are host:port. Each test
takes a name of its own, and its first failed assertion ends the run with a traceback.
"""

import queue
import socket
import sys
import time

sys.path.insert(0, sys.argv[1])
BROKER, MEMCACHED = sys.argv[2:4]

import grpc
from google.protobuf.duration_pb2 import Duration
from lockbroker.v1 import lockbroker_pb2 as pb
from lockbroker.v1 import lockbroker_pb2_grpc

# For every call: the run fails rather than hangs.
DEADLINE = 60


class Broker:
    """A connection of its own; as a context, it ends with its block."""

    def __enter__(self):
        # Channels with the same target and options would share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(BROKER, options)
        return lockbroker_pb2_grpc.LockServiceStub(self.channel)

    def __exit__(self, *_):
        self.channel.close()


def kind(stream):
    """The next event's kind and content."""
    event = next(stream).event
    name = event.WhichOneof("kind")
    return name, getattr(event, name)


def expect(stream, wanted):
    """The content of the next event, which must be of this kind; repeated signs of life are passed over."""
    while True:
        name, content = kind(stream)
        if name == wanted:
            return content
        assert name in ("renewed", "queued"), f"{name} ({content}) where {wanted} was expected"


def acquire(stub, name, **lock):
    """A stream that holds the lock: grpc cancels it when nothing refers to it any more."""
    request = pb.AcquireRequest(lock=pb.LockSpec(name=name, **lock), ttl=Duration(seconds=5))
    return stub.Acquire(request, timeout=DEADLINE)


def state(stub, name):
    return stub.GetLock(pb.GetLockRequest(name=name), timeout=DEADLINE).state


def wait_until_free(stub, name):
    """The end of a stream reaches the broker, and it the store, a moment after the client ended it."""
    deadline = time.monotonic() + 10
    while state(stub, name) != pb.GetLockResponse.STATE_FREE:
        assert time.monotonic() < deadline, f"{name} is not free"
        time.sleep(0.01)


def test_several_addresses_need_a_name_for_them(name):
    """A list of addresses is the authority of its channel, which no HTTP/2 server on h2 takes over TCP."""
    if BROKER.startswith("unix:"):
        return
    target = f"ipv4:{BROKER},{BROKER}"
    with grpc.insecure_channel(target, [("grpc.default_authority", "lockbroker")]) as channel:
        assert state(lockbroker_pb2_grpc.LockServiceStub(channel), name) == pb.GetLockResponse.STATE_FREE


def test_acquire_and_cancel(name):
    with Broker() as stub:
        stream = acquire(stub, name, owner="python")
        acquired = expect(stream, "acquired")
        assert acquired.lock_id and acquired.fencing_token > 0
        assert 0 < acquired.expires_after_request.ToMilliseconds() <= 5000
        held = stub.GetLock(pb.GetLockRequest(name=name), timeout=DEADLINE)
        assert held.state == pb.GetLockResponse.STATE_HELD and held.owner == "python", held
        stream.cancel()
        wait_until_free(stub, name)
        again = expect(acquire(stub, name), "acquired")
        assert again.fencing_token > acquired.fencing_token
        assert again.lock_id != acquired.lock_id


def test_contention_is_an_answer(name):
    with Broker() as holder, Broker() as rival:
        held = acquire(holder, name, owner="the holder")
        expect(held, "acquired")
        stream = acquire(rival, name)
        refused = expect(stream, "not_acquired")
        assert refused.reason == pb.NotAcquired.REASON_HELD and refused.owner == "the holder", refused
        assert next(stream, None) is None
        assert stream.code() == grpc.StatusCode.OK


def test_wait_until_the_other_lets_go(name):
    with Broker() as holder, Broker() as waiter:
        held = acquire(holder, name)
        token = expect(held, "acquired").fencing_token
        waiting = waiter.WaitAcquire(pb.WaitAcquireRequest(lock=pb.LockSpec(name=name)), timeout=DEADLINE)
        first, queued = kind(waiting)
        assert first == "queued" and queued.position == 1
        held.cancel()
        assert expect(waiting, "acquired").fencing_token > token


def test_wait_no_longer_than_asked(name):
    with Broker() as stub:
        held = acquire(stub, name)
        expect(held, "acquired")
        wait = pb.WaitSpec(max_wait=Duration(nanos=300_000_000))
        start = time.monotonic()
        waiting = stub.WaitAcquire(pb.WaitAcquireRequest(lock=pb.LockSpec(name=name), wait=wait), timeout=DEADLINE)
        assert expect(waiting, "not_acquired").reason == pb.NotAcquired.REASON_MAX_WAIT
        assert 0.3 <= time.monotonic() - start < 5


def test_release_from_another_connection(name):
    with Broker() as holder, Broker() as other:
        held = acquire(holder, name)
        request = pb.ReleaseRequest(name=name, lock_id=expect(held, "acquired").lock_id)
        assert other.Release(request, timeout=DEADLINE).outcome == pb.ReleaseResponse.OUTCOME_RELEASED
        expect(held, "released")
        assert next(held, None) is None
        assert held.code() == grpc.StatusCode.OK
        assert other.Release(request, timeout=DEADLINE).outcome == pb.ReleaseResponse.OUTCOME_NOT_HELD


def test_lose(name):
    """Somebody deletes the lock from memcached; the next renewal finds out."""
    with Broker() as stub:
        held = acquire(stub, name)
        expect(held, "acquired")
        delete_from_memcached(name)
        assert expect(held, "lost").reason == pb.Lost.REASON_GONE
        try:
            next(held)
            raise AssertionError("a lost lock's stream must not end well")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ABORTED, error


def test_bad_input_is_refused(name):
    with Broker() as stub:
        try:
            next(acquire(stub, ""))
            raise AssertionError("a lock without a name was granted")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            assert "lock.name" in error.details(), error


def test_session(name):
    """Two locks on one stream, which lives by this client's heartbeats and ends by its word."""
    with Broker() as stub:
        requests = queue.SimpleQueue()
        responses = stub.Session(iter(requests.get, None), timeout=DEADLINE)
        requests.put(pb.SessionRequest(open=pb.OpenSession(ttl=Duration(seconds=5))))
        opened = next(responses).opened
        assert opened.ttl.seconds == 5 and 1 <= opened.heartbeat_interval.ToMilliseconds() / 1000 <= 2

        for ref in (1, 2):
            lock = pb.LockSpec(name=f"{name}/{ref}")
            requests.put(pb.SessionRequest(begin=pb.BeginLock(lock_ref=ref, lock=lock)))
        granted = {}
        while len(granted) < 2:
            event = next_event(responses)
            assert event.event.WhichOneof("kind") == "acquired", event
            granted[event.lock_ref] = event.event.acquired
        assert sorted(granted) == [1, 2]

        # Beyond the ttl: without the heartbeats both would be gone.
        for seq in range(1, 6):
            time.sleep(opened.heartbeat_interval.ToMilliseconds() / 1000)
            requests.put(pb.SessionRequest(heartbeat=pb.Heartbeat(seq=seq)))
            ack = next(responses).heartbeat_ack
            while ack.not_renewed:
                ack = next(responses).heartbeat_ack
            assert ack.seq == seq and ack.expires_after_heartbeat.ToMilliseconds() > 0
        for ref in (1, 2):
            assert state(stub, f"{name}/{ref}") == pb.GetLockResponse.STATE_HELD

        requests.put(pb.SessionRequest(end=pb.EndLock(lock_ref=1)))
        event = next_event(responses)
        assert event.lock_ref == 1 and event.event.WhichOneof("kind") == "released", event
        assert state(stub, f"{name}/2") == pb.GetLockResponse.STATE_HELD

        # Half-closes the stream, which may still carry the answer.
        requests.put(None)
        rest = [(said.event.lock_ref, said.event.event.WhichOneof("kind")) for said in responses]
        assert rest in ([], [(2, "released")]), rest
        wait_until_free(stub, f"{name}/2")


def next_event(responses):
    """Of a Session; heartbeats are acknowledged again when a late renewal got through."""
    while (response := next(responses)).WhichOneof("kind") == "heartbeat_ack":
        pass
    return response.event


def delete_from_memcached(name):
    host, port = MEMCACHED.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"md lockbroker:L:{name}\r\n".encode())
        assert connection.makefile("rb").readline() == b"HD\r\n", f"memcached has no lock {name}"


if __name__ == "__main__":
    for name, test in [(name, test) for name, test in globals().items() if name.startswith("test_")]:
        start = time.monotonic()
        test(name)
        print(f"{name}: ok, {time.monotonic() - start:.1f} s", flush=True)
