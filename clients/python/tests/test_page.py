"""Every sample of the page runs, as it stands there, and so does the example."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

import lockbroker

from .conftest import World
from .support import Broker, Process, eventually

HOME = Path(__file__).parents[1]
PAGE = (HOME / "README.md").read_text()
ALL: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def sample(number: int, must_have: str) -> str:
    """Returns a sample of the page, by its place. What it must have tells if it is another one by now."""
    assert must_have in ALL[number], ALL[number]
    return ALL[number]


def run(world: World, code: str, **names: Any) -> dict[str, Any]:
    """Runs a sample with the names that it takes for granted."""
    code = code.replace("http://127.0.0.1:28551", world.first.url).replace(
        "unix:/run/lockbroker/lb.sock", world.first.unix
    )
    names = {"lockbroker": lockbroker, "pytest": pytest, **names}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_all_samples_are_tested() -> None:
    here = Path(__file__).read_text()
    assert sorted(set(map(int, re.findall(r"sample\((\d+), ", here)))) == list(range(len(ALL)))


def test_a_lock(world: World, other: lockbroker.Client) -> None:
    held = []
    run(world, sample(0, "write_report"), write_report=lambda: held.append(other.try_lock("reports/monthly")))
    assert held == [None]


def test_wait_or_do_not(
    world: World, client: lockbroker.Client, other: lockbroker.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    code, runs = sample(1, "NotAcquired").replace("wait=10", "wait=0.2"), []
    run(world, code, client=client, run_job=lambda: runs.append(1))
    assert runs == [1, 1]
    comment = re.search(r"print\(why\)  # (.*)", code)
    assert comment is not None
    with other.lock("nightly", owner="host 8"):
        # The name of the holder is best effort: a store that is slow may not say it in time.
        for _ in range(5):
            run(world, code, client=client, run_job=lambda: runs.append(1))
            printed = capsys.readouterr().out
            if "host 8" in printed:
                break
    assert printed == comment.group(1) + "\n"
    assert runs == [1, 1]


def test_a_loss(world: World, client: lockbroker.Client, other: lockbroker.Client) -> None:
    written: list[int] = []

    def write_page(page: int) -> None:
        written.append(page)
        if page == 1:
            (held,) = client._session._callers.values()
            other.release("reports/loss", held.hold.held.lock_id)  # type: ignore[union-attr]
            held.hold.wait(10)  # type: ignore[union-attr]

    code = sample(2, "lock.check()").replace("reports/monthly", "reports/loss")
    with pytest.raises(lockbroker.Lost):
        run(world, code, client=client, pages=[0, 1, 2], write_page=write_page)
    assert written == [0, 1]


def test_fencing(world: World, client: lockbroker.Client) -> None:
    write_total = run(world, sample(3, "token <= ?"))["write_total"]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE account (total INTEGER, token INTEGER)")
    database.execute("INSERT INTO account VALUES (0, 0)")
    with client.lock("fencing") as stale:
        write_total(database, stale, 1)
    with client.lock("fencing") as lock:
        write_total(database, lock, 2)
        with pytest.raises(RuntimeError):
            write_total(database, stale, 3)
    assert database.execute("SELECT total FROM account").fetchone() == (2,)
    database.close()


def test_asyncio(world: World) -> None:
    tokens = []

    async def write_pages(token: int) -> None:
        tokens.append(token)

    run(world, sample(4, "lockbroker.aio"), write_pages=write_pages)
    assert len(tokens) == 1


def test_tls(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path("ca.pem")
    leaf.cert_chain_pems[0].write_to_path("me.pem")
    leaf.private_key_pem.write_to_path("me-key.pem")
    tls = ("--tls-cert", "me.pem", "--tls-key", "me-key.pem", "--tls-client-ca", "ca.pem")
    with Broker(*tls, "--store", "memory") as broker:
        code = sample(5, "tls_key").replace("locks.example.com:28551", f"localhost:{broker.port}")
        with run(world, code)["client"] as client:
            client.lock("x").release()


def test_sidecar(world: World, name: str) -> None:
    with run(world, sample(6, "unix:"))["client"] as client:
        client.lock(name).release()


def test_hand_over(world: World, client: lockbroker.Client) -> None:
    lock, finished = client.lock("deploy"), []
    run(world, sample(7, "adopt"), lock_id=lock.lock_id, finish_deployment=lambda: finished.append(1))
    assert lock.wait_lost(10)
    assert finished == [1]


def test_leases(world: World, client: lockbroker.Client, other: lockbroker.Client) -> None:
    tokens: list[int] = []
    ids: list[tuple[str, str]] = []
    finished: list[int | None] = []
    # Another test hands the lock on as well.
    code = sample(8, "client.lease").replace('"deploy"', '"deploy/lease"')
    run(
        world,
        code,
        client=client,
        other=other,
        start_deployment=lambda token: tokens.append(token),
        hand_on=lambda *handed: ids.append(handed),
        finish_deployment=lambda: finished.append(client.get("deploy/lease").fencing_token),
    )
    assert ids[0][0] == "deploy/lease"
    assert finished == tokens
    assert client.get("deploy/lease").state is lockbroker.LockState.FREE


def test_kept_and_closed(world: World, client: lockbroker.Client, other: lockbroker.Client) -> None:
    runs = []
    code = sample(9, "keep_on_disconnect").replace("nightly", "nightly/once")
    run(world, code, client=client, work_for_days=lambda: runs.append(1), run_job=lambda: runs.append(2))
    assert runs == [1, 2]
    with pytest.raises(lockbroker.NotAcquired):
        run(world, code, client=other, work_for_days=lambda: None, run_job=lambda: runs.append(3))
    assert runs == [1, 2]


def test_several_at_a_time(world: World, client: lockbroker.Client, other: lockbroker.Client) -> None:
    done: list[Any] = []

    def read_data() -> None:
        assert other.try_lock("data") is None
        with other.lock("data", wait=0, shared=True):
            done.append("read")

    def write_data() -> None:
        assert other.try_lock("data", shared=True) is None
        done.append("written")

    def run_import() -> None:
        with other.lock("imports", wait=0, limit=3), other.lock("imports", wait=0, limit=3):
            assert other.try_lock("imports", limit=3) is None
        done.append("imported")

    code = sample(10, "seat.permit")
    names = {"read_data": read_data, "write_data": write_data, "run_import": run_import, "work": done.append}
    run(world, code, client=client, load=done.append, **names)
    *others, permits, number = done
    assert others == ["read", "written", "read", "imported"]
    assert len(set(permits)) == 4
    assert set(permits) <= set(range(16))
    assert number in range(8)


def test_several_together(world: World, client: lockbroker.Client, other: lockbroker.Client) -> None:
    fenced: dict[str, int] = {}
    done: list[str] = []

    def transfer() -> None:
        for name, token in fenced.items():
            assert client.get(name).fencing_token == token
            done.append(name)

    code = sample(11, "also=").replace('"reports"', '"reports/together"')
    run(world, code, client=client, fence=fenced.__setitem__, transfer=transfer)
    assert done == ["accounts/1", "accounts/2", "reports/together"]
    assert all(other.get(name).state is lockbroker.LockState.FREE for name in done)


def test_a_leader(
    world: World, client: lockbroker.Client, other: lockbroker.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def awaits(wanted: str) -> None:
        def find() -> bool:
            printed.append(capsys.readouterr().out)
            return wanted in "".join(printed)

        eventually(f"{wanted} in {printed}", find)

    def work(token: int) -> None:
        awaits(f"10.0.0.7:8080 leads, for term {token}\n")

    names = run(world, sample(12, "def follow"), work=work)

    def follow() -> None:
        # As its client is closed at the end.
        with contextlib.suppress(lockbroker.ClientClosed):
            names["follow"](other)

    threading.Thread(target=follow, daemon=True).start()
    awaits("free\n")
    names["lead"](client)
    printed.clear()
    awaits("free\n")


def test_a_test_of_a_users_own(world: World) -> None:
    def nightly(client: lockbroker.Client, before_each_page: Any) -> None:
        with client.lock("nightly") as lock:
            before_each_page()
            lock.wait_lost(5)
            lock.check()

    run(world, sample(13, "lockbroker.testing"), nightly=nightly)["test_nightly_stops_when_it_loses_its_lock"]()


def test_a_django_command(world: World, client: lockbroker.Client, tmp_path: Path) -> None:
    files = {
        "settings.py": f"""
INSTALLED_APPS = ["shop"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "db")!r}}}}}
LOCKBROKER = {{"endpoints": [{world.second.url!r}], "ttl": 5}}
""",
        "shop/__init__.py": "",
        "shop/management/commands/nightly.py": sample(14, "LockedCommand") + NIGHTLY,
        "shop/management/commands/nameless.py": "from lockbroker.contrib.django import LockedCommand as Command\n",
        "shop/management/commands/migrate.py": MIGRATE,
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HOME / 'src'}:{tmp_path}",
        "DJANGO_SETTINGS_MODULE": "settings",
        "LOCKBROKER_SERVER": "http://127.0.0.1:9",
    }

    def command(name: str) -> Process:
        return Process(sys.executable, "-m", "django", name, env=environment)

    with command("nightly") as nightly:
        owner = nightly.says("page 0, token [0-9]+ (.* pid [0-9]+)").group(1)
        with command("nightly") as second:
            second.says(re.escape(f'CommandError: lock "shop/nightly" was not acquired: held (holder: {owner})'))
            assert second.wait() == 75
        nightly.tell("")
        nightly.says("page 1, ")
        nightly.tell("")
        assert nightly.wait() == 0
    with command("nightly") as nightly:
        lock_id = nightly.says("page 0, .* id (.*)").group(1)
        client.release("shop/nightly", lock_id)
        nightly.tell("await the loss")
        nightly.says('CommandError: lock "shop/nightly" was lost')
        assert nightly.wait() == 70
        assert not any("page 1" in line for line in nightly.lines)
    with command("nameless") as nameless:
        nameless.says("has no lock_name")
    with client.lock("shop/migrate"), command("migrate") as migrate:
        migrate.says("waits")
    with command("migrate") as migrate:
        migrate.says("No migrations to apply")
        assert migrate.wait() == 0


MIGRATE = """
from django.core.management.commands import migrate
from lockbroker.contrib.django import LockedCommand


class Command(LockedCommand, migrate.Command):
    lock_wait = None

    def get_lock_name(self, database, **options):
        print("waits", database)
        return "shop/migrate"
"""

NIGHTLY = """

from lockbroker.contrib.django import current_lock


def pages():
    return range(2)


def write_page(page):
    lock = current_lock()
    owner = lock._session.settings.owner
    print(f"page {page}, token {lock.fencing_token} {owner} id {lock.lock_id}", flush=True)
    if input():
        lock.wait_lost(20)
"""


def test_the_example_refuses_a_stale_writer(world: World) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HOME / "src")}
    command = [sys.executable, "examples/fencing.py", world.first.url]
    out = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        "first holder writes: True",
        "second holder writes: True",
        "first holder writes late: False",
        "total: 200",
    ]


def test_stubs_of_a_users_own_are_not_in_the_way(world: World, tmp_path: Path, name: str) -> None:
    """Of another version, too: it has a message more, in a file of the same name."""
    code = f"""
        import lockbroker
        from google.protobuf import descriptor_pb2, descriptor_pool
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(open({str(HOME / "src/lockbroker/_proto.bin")!r}, "rb").read())
        file = next(file for file in descriptors.file if file.name.startswith("lockbroker"))
        file.message_type.add(name="Later")
        from google.protobuf import duration_pb2
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
        client = lockbroker.connect({world.first.url!r})
        client.lock({name!r}).release()
        print("both work")
    """
    environment = {**os.environ, "PYTHONPATH": str(HOME / "src")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == "both work\n"


def test_the_stubs_work_beside_the_client(world: World, client: lockbroker.Client, name: str) -> None:
    import grpc

    from lockbroker.v1 import lockbroker_pb2, lockbroker_pb2_grpc

    with client.lock(name) as lock, grpc.insecure_channel(world.first.address) as channel:
        stub: Any = lockbroker_pb2_grpc.LockServiceStub(channel)
        answer = stub.GetLock(lockbroker_pb2.GetLockRequest(name=name, lock_id=lock.lock_id))
        assert answer.state == lockbroker_pb2.GetLockResponse.STATE_HELD
