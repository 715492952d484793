"""A lock by the generated stub alone. A cycle begins a lock on a Session and ends it, as the client's does."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import grpc

from lockbroker.v1.lockbroker_pb2 import (
    BeginLock,
    EndLock,
    Heartbeat,
    LockSpec,
    OpenSession,
    SessionRequest,
    SessionResponse,
)
from lockbroker.v1.lockbroker_pb2_grpc import LockServiceStub


def cycles(server: str, name: str, count: int) -> int:
    """Acquires and releases. Returns the nanoseconds that it took, without those for the connection."""
    requests: queue.SimpleQueue[SessionRequest | None] = queue.SimpleQueue()
    with grpc.insecure_channel(_target(server)) as channel:
        responses = LockServiceStub(channel).Session(iter(requests.get, None))
        requests.put(SessionRequest(open=OpenSession()))
        _is(next(responses), "opened")
        began = time.monotonic_ns()
        for request, awaited in _requests(name, count):
            requests.put(request)
            while awaited and not _is(next(responses), awaited):
                pass
        took = time.monotonic_ns() - began
        requests.put(None)
        return took


async def cycles_aio(server: str, name: str, count: int) -> int:
    """The same for asyncio."""
    async with grpc.aio.insecure_channel(_target(server)) as channel:
        # The types are those of the stub for threads.
        stub: Any = LockServiceStub(channel)
        session = stub.Session()
        await session.write(SessionRequest(open=OpenSession()))
        _is(await session.read(), "opened")
        began = time.monotonic_ns()
        for request, awaited in _requests(name, count):
            await session.write(request)
            while awaited and not _is(await session.read(), awaited):
                pass
        took = time.monotonic_ns() - began
        await session.done_writing()
        return took


def _target(server: str) -> str:
    return server.removeprefix("http://")


def _requests(name: str, count: int) -> Iterator[tuple[SessionRequest, str]]:
    """Returns what is to be sent, and the answer to wait for, if any. There is a heartbeat for each second."""
    beat = 1
    beat_at = time.monotonic() + 1
    for lock_ref in range(1, count + 1):
        if time.monotonic() >= beat_at:
            yield SessionRequest(heartbeat=Heartbeat(seq=beat)), ""
            beat, beat_at = beat + 1, beat_at + 1
        yield SessionRequest(begin=BeginLock(lock_ref=lock_ref, lock=LockSpec(name=name))), "acquired"
        yield SessionRequest(end=EndLock(lock_ref=lock_ref)), "released"


def _is(response: object, awaited: str) -> bool:
    """Returns false for the answer to a heartbeat. Fails at any other answer than that or the awaited one."""
    assert isinstance(response, SessionResponse), response
    found: str | None = response.WhichOneof("kind")
    if found == "event":
        found = response.event.event.WhichOneof("kind")
    assert found in (awaited, "heartbeat_ack"), f"{found} instead of {awaited}"
    return found == awaited
