"""The package as it is installed, and the adapters; tooz's own tests run on ours."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import subprocess
import sys
import tarfile
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import lockbroker
from lockbroker import NotAcquired
from lockbroker.contrib._locked import PerProcess
from lockbroker.contrib.apscheduler import current_lock, only_one
from lockbroker.contrib.celery import one_at_a_time

from .conftest import World

HOME = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package is installed, as pip does it. It is made once for all processes of pytest-xdist."""
    common = tmp_path_factory.getbasetemp()
    folder = (common.parent if "PYTEST_XDIST_WORKER" in os.environ else common) / "installed"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "site/lockbroker").exists():
            build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
            subprocess.run(build, cwd=HOME, check=True, capture_output=True)
            (wheel,) = (folder / "dist").glob("*.whl")
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*install, "--target", str(folder / "site"), str(wheel)], check=True)
    return folder


def test_the_package_is_as_registries_want_it(installed: Path) -> None:
    files = [str(file) for file in (installed / "dist").iterdir()]
    assert sorted(file.rpartition(".")[2] for file in files) == ["gz", "whl"]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    there = {str(file.relative_to(installed / "site")) for file in (installed / "site").rglob("*")}
    assert {"lockbroker/py.typed", "lockbroker/_proto.bin", "lockbroker/v1/lockbroker_pb2.pyi"} <= there
    assert not any("test_" in name for name in there)
    for license in ("LICENSE-APACHE", "LICENSE-MIT"):
        text = (HOME.parents[1] / license).read_text()
        (packed,) = (installed / "site").glob(f"lockbroker-*.dist-info/licenses/{license}")
        assert packed.read_text() == text
        (source,) = (installed / "dist").glob("*.tar.gz")
        with tarfile.open(source) as archive:
            (member,) = (member for member in archive if member.name.endswith(f"/{license}"))
            packed_again = archive.extractfile(member)
            assert packed_again is not None
            assert packed_again.read().decode() == text


def test_a_users_types_are_checked(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import lockbroker\nwith lockbroker.connect() as c, c.lock('x') as lock:\n    lock.fencing_token + ''\n"
    )
    environment = {**os.environ, "MYPYPATH": str(installed / "site"), "PYTHONPATH": ""}
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", str(program)]
    out = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    (error,) = (line for line in out.splitlines() if "program.py:" in line)
    assert 'Unsupported operand types for + ("int" and "str")' in error


def test_toozs_own_tests(world: World, installed: Path, tmp_path: Path) -> None:
    # They import all drivers. What some of them speak to is not installed here.
    for absent in ("etcd3gw", "sysv_ipc"):
        (tmp_path / f"{absent}.py").write_text("KEY_MIN, KEY_MAX = 1, 2\ndef __getattr__(name): return Exception\n")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{installed / 'site'}:{tmp_path}",
        "TOOZ_TEST_URL": f"lockbroker://{world.first.address}",
    }
    command = [sys.executable, "-m", "unittest", "tooz.tests.test_coordination"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stderr
    total, skipped = re.search(r"Ran (\d+) tests", ran.stderr), re.search(r"skipped=(\d+)", ran.stderr)
    assert total is not None
    assert skipped is not None
    # Those of groups are skipped.
    assert int(total.group(1)) - int(skipped.group(1)) >= 17, ran.stderr


TOOZ = """
import sys
from tooz import coordination
first, second, url = sys.argv[1], sys.argv[2], sys.argv[3]
coordinator = coordination.get_coordinator(url, b"member-1", ttl="5")
coordinator.start()
lock = coordinator.get_lock(b"tooz-unix")
with lock:
    assert lock.is_still_owner() and lock.held.ttl == 5 and lock.get_owner() == b"member-1"
    other = coordination.get_coordinator(f"lockbroker://{first},{second}", b"member-2")
    other.start()
    assert not other.get_lock(b"tooz-unix").acquire(blocking=False)
    assert not other.get_lock(b"tooz-unix").acquire(blocking=0.1)
    other.client.release("tooz-unix", lock.held.lock_id)
    other.stop()
    lock.held.wait_lost(10)
    assert not lock.is_still_owner() and lock.acquired
assert not lock.release()
coordinator.stop()
print("done")
"""


def test_tooz_over_a_unix_socket(world: World, installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed / "site")}
    url = "lockbroker://" + world.first.unix.removeprefix("unix:")
    command = [sys.executable, "-c", TOOZ, world.first.address, world.second.address, url]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert ran.stdout == "done\n", ran.stderr


def test_of_two_schedulers_one_runs_the_job(world: World, name: str) -> None:
    from apscheduler.schedulers.background import BackgroundScheduler

    runs, done = [], threading.Barrier(3)

    def decorated(url: str) -> Any:
        @only_one(name, url, linger=2)
        def job(number: int) -> str:
            runs.append((number, current_lock().fencing_token))
            return "ran"

        def call() -> None:
            job(number=1)
            done.wait(20)

        return call

    schedulers = [BackgroundScheduler(timezone=timezone.utc) for _ in range(2)]
    for scheduler, url in zip(schedulers, (world.first.url, world.second.url), strict=True):
        scheduler.add_job(decorated(url), "date", run_date=datetime.now(timezone.utc), misfire_grace_time=20)
        scheduler.start()
    done.wait(20)
    for scheduler in schedulers:
        scheduler.shutdown()
    assert len(runs) == 1
    with pytest.raises(RuntimeError, match="under no lock"):
        current_lock()


def test_a_coroutine_is_a_job_too(world: World, other: lockbroker.Client, name: str) -> None:
    @only_one(lambda customer: f"{name}-{customer}", world.first.url, ttl=5)
    async def job(customer: int) -> str:
        current_lock().check()
        assert other.try_lock(f"{name}-7") is None
        return "ran"

    assert asyncio.run(job(7)) == "ran"
    with other.lock(f"{name}-7"):
        assert asyncio.run(job(7)) is None


def test_a_celery_task_runs_one_at_a_time(world: World, other: lockbroker.Client, name: str) -> None:
    from celery import Celery

    app: Any = Celery(broker="memory://")
    runs: list[str] = []

    @app.task
    @one_at_a_time(lambda customer: f"{name}-{customer}", world.first.url)
    def ignored(customer: str) -> str:
        runs.append(customer)
        assert current_lock().name == f"{name}-{customer}"
        return "ran"

    @app.task(max_retries=2)
    @one_at_a_time(name, world.first.url, retry=0.01)
    def retried() -> str:
        runs.append("retried")
        return "ran"

    assert ignored.apply(["a"]).result == "ran"
    assert retried.apply().result == "ran"
    with other.lock(f"{name}-a"), other.lock(name, owner="me"):
        assert ignored.apply(["a"]).status == "IGNORED"
        assert ignored.apply(["b"]).result == "ran"
        result = retried.apply()
        assert result.status == "FAILURE"
        assert isinstance(result.result, NotAcquired)
        assert result.result.owner == "me"
    assert runs == ["a", "retried", "b"]


def test_a_forked_worker_has_a_client_of_its_own() -> None:
    clients = PerProcess(lambda: lockbroker.connect("localhost:1"))
    parents = clients.client()
    assert clients.client() is parents
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        own = clients.client()
        own._session.ensure_usable()
        os.write(writing, b"own" if own is not parents and own is clients.client() else b"the parent's")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 99) == b"own"
    os.close(reading)
    os.close(writing)
    assert clients.client() is parents
