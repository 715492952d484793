"""Holds a lock while it works, and never works without it.

    python hold.py SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]

SERVER is http://HOST:PORT or unix:/PATH. Exit status: 0 the work is done, 1 it was stopped half-way, 2 wrong usage,
69 no broker answered, 75 somebody else has the lock.
"""

import queue
import signal
import sys
import threading
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from lockbroker.v1 import lockbroker_pb2 as pb
from lockbroker.v1 import lockbroker_pb2_grpc

TTL = 15  # For how long a grant stands without renewal, in seconds.
MARGIN = TTL / 30  # Stops this much early, as the broker does. The last step of the work has this long.
SILENCE = 15  # A broker repeats `queued` every 5 s. One that says nothing for this long is gone.
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


def now():
    """Seconds of a clock that runs on while the machine is suspended; time.monotonic() does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lock:
    def __init__(self, stub, name, wait):
        self.stub, self.name = stub, name
        self.events = queue.SimpleQueue()
        self.lock_id, self.token, self.until, self.stopped = "", 0, 0.0, None
        lock, ttl = pb.LockSpec(name=name), Duration(seconds=TTL)
        spec = pb.WaitSpec(max_wait=Duration(seconds=wait))  # 0 tries once; unset would wait for ever.
        self.sent = now()  # Before the call: all times that the broker tells count from here.
        # No deadline (timeout=): the stream would end with it, and so would the lock.
        self.stream = stub.WaitAcquire(pb.WaitAcquireRequest(lock=lock, ttl=ttl, wait=spec))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """Passes on what the broker says, and the end of the stream. Runs in a thread of its own."""
        try:
            for response in self.stream:
                self.events.put(response.event)
            self.events.put("the stream has ended")
        except grpc.RpcError as error:
            self.events.put(f"{error.code().name}: {error.details()}")

    def heed(self, event):
        kind = "end" if isinstance(event, str) else event.WhichOneof("kind")
        if kind in ("acquired", "renewed"):
            granted = getattr(event, kind)
            # Counts from the request, not from now. So it grows with every renewal.
            self.until = self.sent + granted.expires_after_request.ToNanoseconds() / 1e9 - MARGIN
            if kind == "acquired":
                self.lock_id, self.token = granted.lock_id, granted.fencing_token
        elif kind == "queued":
            print(f"waiting: place {event.queued.position}", flush=True)
        elif kind in ("not_acquired", "lost", "released", "draining", "end"):
            # `draining`: the broker is going away. It renews for a while yet: enough to end the work.
            self.stopped = self.stopped or (event if kind == "end" else kind)
        # A broker may say more than this program knows: it passes over the rest.

    def wait(self):
        """Returns when the lock is held, or when it is certain that it will not be."""
        try:
            while not (self.lock_id or self.stopped):
                self.heed(self.events.get(timeout=SILENCE))
        except queue.Empty:
            self.stopped = "no answer"

    def held(self):
        """Says whether the work may go on. Ask before every step."""
        while not self.events.empty():
            self.heed(self.events.get())
        if not self.stopped and now() >= self.until:
            self.stopped = "no renewal came in time"
        return not self.stopped

    def release(self):
        """Gives the lock back. Call it when the work has stopped, not before."""
        try:
            if self.lock_id:
                self.stub.Release(pb.ReleaseRequest(name=self.name, lock_id=self.lock_id), timeout=3)
        except grpc.RpcError as error:
            print(f"not released: {error.code().name}", file=sys.stderr)
        self.stream.cancel()  # Releases too, and gives up a wait.


def work(lock, seconds):
    """The work, in steps that are short beside MARGIN. Send `lock.token` along with every write."""
    end = time.monotonic() + seconds
    while lock.held():
        if time.monotonic() >= end:
            return True
        print("acting", flush=True)
        time.sleep(0.02)
    return False


def main(server, name, wait, seconds):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("stopped: a signal"))  # Ends the work; `finally` releases.
    with grpc.insecure_channel(server.removeprefix("http://"), OPTIONS) as channel:
        lock = Lock(lockbroker_pb2_grpc.LockServiceStub(channel), name, wait)
        try:
            lock.wait()
            if not lock.lock_id:
                print(f"not acquired: {lock.stopped}", flush=True)
                sys.exit(75 if lock.stopped == "not_acquired" else 69)
            print(f"acquired: token {lock.token}", flush=True)
            done = work(lock, seconds)
            print("done" if done else f"stopped: {lock.stopped}", flush=True)
        finally:
            lock.release()
    sys.exit(0 if done else 1)


def arguments(server, name, wait="0", seconds="60"):
    return server, name, int(wait), float(seconds)


if __name__ == "__main__":
    try:
        given = arguments(*sys.argv[1:])
    except (TypeError, ValueError):  # Too few or too many, or no numbers.
        print("usage: hold.py SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]", file=sys.stderr)
        sys.exit(2)
    main(*given)
