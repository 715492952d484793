"""Real brokers on a real memcached, a proxy that does to connections what networks do, and programs that hold locks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

BROKER = os.environ.get("LOCKBROKER_TEST_BROKER", "")
MEMCACHED = os.environ.get("LOCKBROKER_TEST_MEMCACHED", "")
SOON = 20.0
"""Longer than anything takes that a test waits for, on a machine that is busy."""

T = TypeVar("T")


def eventually(what: str, get: Callable[[], T | None], within: float = SOON) -> T:
    """Waits until `get` returns something true, and returns it."""
    end = time.monotonic() + within
    while not (found := get()):
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.01)
    return found


class Process:
    """A process that ends with the test, and its output."""

    def __init__(self, *command: str, **options: Any) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line that the pattern matches."""

        def find() -> re.Match[str] | None:
            found = next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)
            assert found or self._process.poll() is None or self._reader.is_alive(), "\n".join(self.lines)
            return found

        return eventually(f"{pattern} in {self.lines}", find)

    def tell(self, line: str) -> None:
        """Writes a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Stops it, and waits until it has stopped."""
        self.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        eventually("it has stopped", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def wait(self) -> int:
        """Waits for its end, and returns its status."""
        status = self._process.wait(SOON)
        self._reader.join(SOON)
        return status

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """Kills it and its children, as far as they live."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(SOON)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port at which nobody listens. Nobody else gets it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class Memcached(Process):
    """A memcached that brokers accept."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__(MEMCACHED, "-M", "-F", "-l", "127.0.0.1", "-p", str(self.port), "-u", "nobody")
        eventually("memcached listens", self._listens)
        self.store = f"memcached://127.0.0.1:{self.port}"
        # Nobody holds a lock on it yet, so no broker needs to wait.
        subprocess.run([BROKER, "shard", "open", "--store", self.store], check=True, capture_output=True)

    def _listens(self) -> bool:
        with socket.socket() as connecting:
            return connecting.connect_ex(("127.0.0.1", self.port)) == 0


class Broker(Process):
    """A `lockbroker serve` process, on TCP and on a Unix socket."""

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.socket = f"{self._folder.name}/lb.sock"
        listen = ("--listen", "127.0.0.1:0", "--listen", f"unix:{self.socket}")
        super().__init__(BROKER, "serve", *listen, "--log-format", "json", *arguments)
        address = self.says(r'"listening","address":"(127[^"]*)"').group(1)
        self.says(r'"listening","address":"unix')
        self.port = int(address.rpartition(":")[2])
        self.address = address
        self.url = f"http://{address}"
        self.unix = f"unix:{self.socket}"
        if "--tls-cert" not in arguments:
            eventually("the broker is ready", self._ready)

    def _ready(self) -> bool:
        command = [BROKER, "health", "--server", self.url]
        return subprocess.run(command, capture_output=True).returncode == 0

    def end(self) -> None:
        super().end()
        self._folder.cleanup()


class Proxy:
    """A TCP proxy in front of a port of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._all: list[socket.socket] = []
        self.is_swallowing = False
        """Set: carries nothing any more, not even the news of an end."""
        self._is_reset = False
        self.delay = 0.0
        """The seconds after which a new connection is carried on."""
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            time.sleep(self.delay)
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            self._all += (client, server)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        swallowed = False
        try:
            while data := source.recv(65536):
                swallowed = swallowed or self.is_swallowing
                if not swallowed:
                    sink.sendall(data)
            if not (swallowed or self.is_swallowing or self._is_reset):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self) -> None:
        """Closes all connections in good order, on both sides, as a proxy does that is loaded anew."""
        for pair in self._pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def reset(self, sides: int = 2) -> None:
        """Resets all connections: the clients' halves, and with 2 those at the target, too."""
        self._is_reset = True
        for pair in self._pairs:
            for side in pair[:sides]:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # The thread that reads holds it open otherwise.
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RD)
                side.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for side in self._all:
            side.close()


@contextlib.contextmanager
def swallowing_address() -> Iterator[str]:
    """An address whose packets are swallowed: the queue of those who wait to be accepted is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            waiting.append(filler)
        try:
            yield f"http://{address[0]}:{address[1]}"
        finally:
            for filler in waiting:
                filler.close()


HOLDER = """
import os, sys, time, lockbroker
def say(**what):
    import json
    print(json.dumps(what), flush=True)
client = lockbroker.connect(*sys.argv[2:], ttl=5)
lock = client.lock(sys.argv[1])
say(token=lock.fencing_token, lock_id=lock.lock_id)
"""


class Holder(Process):
    """A program of its own that holds a lock, and then does what `then` says."""

    def __init__(self, name: str, *urls: str, then: str = "time.sleep(99)", **environment: str) -> None:
        path = str(Path(__file__).parents[1] / "src")
        env = {**os.environ, "PYTHONPATH": path, **environment}
        super().__init__(sys.executable, "-c", HOLDER + then, name, *urls, env=env)
        said = json.loads(self.says(r'\{"token.*').group())
        self.token: int = said["token"]
        self.lock_id: str = said["lock_id"]
