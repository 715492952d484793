"""Brokers for all tests. Each test takes names of its own, so they can share them."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import lockbroker

from .support import BROKER, MEMCACHED, Broker, Memcached


@dataclass(frozen=True)
class Place:
    """Where a broker listens."""

    url: str
    unix: str
    address: str
    port: int


@dataclass(frozen=True)
class World:
    """Two brokers on one memcached."""

    first: Place
    second: Place
    store: tuple[str, str]
    """The arguments of one more broker."""


def place(broker: Broker) -> Place:
    return Place(broker.url, broker.unix, broker.address, broker.port)


@contextlib.contextmanager
def started() -> Iterator[World]:
    with Memcached() as memcached:
        store = ("--store", memcached.store)
        with Broker(*store) as first, Broker(*store) as second:
            yield World(place(first), place(second), store)


_stack = contextlib.ExitStack()
_shared: list[World] = []


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Starts the brokers once for all processes of pytest-xdist."""
    if not _shared and BROKER and MEMCACHED:
        _shared.append(_stack.enter_context(started()))
    node.workerinput["world"] = pickle.dumps(_shared)


def pytest_unconfigure() -> None:
    _stack.close()


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if not BROKER or not MEMCACHED:
        pytest.fail("set LOCKBROKER_TEST_BROKER and LOCKBROKER_TEST_MEMCACHED, as scripts/test-clients does")
    if hasattr(request.config, "workerinput"):
        yield pickle.loads(request.config.workerinput["world"])[0]
    else:
        with started() as world:
            yield world


@pytest.fixture
def client(world: World) -> Iterator[lockbroker.Client]:
    """A client of the first broker."""
    with lockbroker.connect(world.first.url, ttl=5) as client:
        yield client


@pytest.fixture
def other(world: World) -> Iterator[lockbroker.Client]:
    """A client of the second broker."""
    with lockbroker.connect(world.second.url, ttl=5) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A lock's name that no other test uses."""
    return re.sub(r"\W", "-", request.node.nodeid.rpartition("/")[2])[:110]
