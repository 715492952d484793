"""A memcached, a broker on it, and clients: processes on this machine."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCKBROKER = os.environ.get("LOCKBROKER_TEST_BROKER", ROOT / "target/debug/lockbroker")
MEMCACHED = os.environ["LOCKBROKER_TEST_MEMCACHED"]


def free_port():
    """Returns a port on which nobody listens now."""
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return any_socket.getsockname()[1]


class Deployment:
    """All processes of a test. They end with it."""

    program = LOCKBROKER

    def __init__(self, max_ttl=5):
        """`max_ttl` is how many seconds a quarantine takes."""
        self.folder = tempfile.TemporaryDirectory(prefix="page-test-")
        self.processes = []
        self.memcached_port = free_port()
        self.memcached = None
        self.store = f"memcached://127.0.0.1:{self.memcached_port}"
        self.start_memcached()
        subprocess.run(
            [LOCKBROKER, "shard", "open", f"--store={self.store}", f"--max-ttl={max_ttl}s"],
            check=True,
            capture_output=True,
        )
        self.log = pathlib.Path(self.folder.name) / "log"
        arguments = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", f"--store={self.store}"]
        arguments += [f"--max-ttl={max_ttl}s", "--log-format=json", "--drain=20s"]
        with self.log.open("w") as log:
            self.broker = self.start([LOCKBROKER, "serve", *arguments], stderr=log)
        self.address = self.logged("listening")
        self.page = f"http://{self.logged('listening for health checks and scrapes')}/"
        self.wait(lambda: self.json("status.json")["ready"])

    def close(self):
        """Ends all processes."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.folder.cleanup()

    def start(self, command, **options):
        """Starts a process."""
        process = subprocess.Popen(command, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options})
        self.processes.append(process)
        return process

    def start_memcached(self):
        """Starts memcached, with an empty memory."""
        command = [MEMCACHED, "-u", "nobody", "-M", "-F", "-l", "127.0.0.1", "-p", str(self.memcached_port)]
        self.memcached = self.start(command)
        self.wait(self.memcached_listens)

    def memcached_listens(self):
        """Says whether memcached takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.memcached_port)) == 0

    def logged(self, message):
        """Returns the address in a line of the broker's log, once it is there."""

        def find():
            # The last line may not be whole yet.
            lines = [json.loads(line)["fields"] for line in self.log.read_text().split("\n")[:-1]]
            return [line["address"] for line in lines if line["message"] == message]

        return self.wait(find)[0]

    def hold(self, name, *options):
        """Holds a lock, or waits for it, until the process is ended."""
        server = f"--server=http://{self.address}"
        return self.start([LOCKBROKER, "run", server, *options, name, "--", "sleep", "600"])

    def end(self, process):
        """Lets a client end as by Ctrl-C, with its command."""
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    def json(self, path):
        """Asks the admin listener."""
        with urllib.request.urlopen(self.page + path, timeout=20) as answer:
            return json.load(answer)

    @staticmethod
    def wait(condition, seconds=30):
        """Waits until `condition` returns something, and returns that."""
        until = time.monotonic() + seconds
        while True:
            try:
                found = condition()
            except (OSError, urllib.error.URLError) as error:
                found, last = None, error
            else:
                last = None
            if found:
                return found
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s: {last}")
            time.sleep(0.05)
