"""Runs what a pod runs, from its rendered manifest: arguments, environment, user, groups, volumes, probes.

The tests run in a network and a mount namespace of their own (scripts/manifests), as a pod has them; all
containers of all pods share these two."""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

from conftest import ROOT

FETCHED_MEMCACHED = pathlib.Path(os.environ["LOCKBROKER_TEST_MEMCACHED"])
MEMCACHED = pathlib.Path("/run/memcached") / FETCHED_MEMCACHED.name
LOCKBROKER = pathlib.Path("/run/lockbroker-program")
POD_IP = "127.0.0.1"
SETPRIV = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def set_up_machine(hosts):
    """The loopback interface is up and the names in `hosts` lead to it. /run holds what everybody may run."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    shutil.copy(ROOT / "target/debug/lockbroker", LOCKBROKER)
    MEMCACHED.parent.mkdir()
    subprocess.run(["mount", "--bind", FETCHED_MEMCACHED.parent, MEMCACHED.parent], check=True)
    names = pathlib.Path("/run/hosts")
    names.write_text("".join(f"{POD_IP} {name}\n" for name in ["localhost", *hosts]))
    subprocess.run(["mount", "--bind", names, "/etc/hosts"], check=True)


def as_user(security, command, read_only=()):
    """`command` as the user and the groups of a container, without capabilities, with some folders read-only."""
    groups = [f"--groups={security['fsGroup']}"] if "fsGroup" in security else ["--clear-groups"]
    user = security["runAsUser"]
    command = [*SETPRIV, f"--reuid={user}", f"--regid={security.get('runAsGroup', user)}", *groups, *command]
    mounts = "".join(f"mount --bind -o ro '{it}' '{it}' && " for it in read_only)
    return ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "-", *command]


def make_volumes(pod):
    """Every emptyDir, as the kubelet makes it: open to the pod's group, which its files inherit."""
    for container in pod.get("initContainers", []) + pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] in {it["name"] for it in pod.get("volumes", []) if "emptyDir" in it}:
                os.makedirs(mount["mountPath"], exist_ok=True)
                os.chown(mount["mountPath"], 0, pod["securityContext"]["fsGroup"])
                os.chmod(mount["mountPath"], 0o2777)


class Container:
    """A process that runs what a container of the manifest would."""

    def __init__(self, pod, container, configuration=None, program=LOCKBROKER):
        self.manifest = container
        self.security = pod["securityContext"] | container.get("securityContext", {})
        self.read_only = [it["mountPath"] for it in container.get("volumeMounts", []) if it.get("readOnly")]
        self.environment = {"POD_IP": POD_IP} | (configuration or {})
        self.environment |= {it["name"]: it["value"] for it in container.get("env", []) if "value" in it}
        self.program = program
        make_volumes(pod)

    def __enter__(self):
        arguments = [self._substitute(it) for it in self.manifest["args"]]
        self.process = subprocess.Popen(self._command([self.program, *arguments]), env=self.environment)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def run(self, *command, **changes):
        """Another command in the container, with `changes` to its security context."""
        return subprocess.run(
            self._command(command, **changes), env=self.environment, capture_output=True, text=True, timeout=60
        )

    def probe(self, name):
        """Whether the probe succeeds now."""
        probe = self.manifest[name]
        if "exec" in probe:
            program, *arguments = probe["exec"]["command"]
            assert program == "/lockbroker", "where the image has it"
            return self.run(LOCKBROKER, *arguments).returncode == 0
        if "grpc" in probe:
            address, service = f"http://{POD_IP}:{probe['grpc']['port']}", probe["grpc"]["service"]
            return self.run(LOCKBROKER, "health", f"--server={address}", f"--service={service}").returncode == 0
        [port] = [it["containerPort"] for it in self.manifest["ports"] if it["name"] == probe["tcpSocket"]["port"]]
        with socket.socket() as connection:
            return connection.connect_ex((POD_IP, port)) == 0

    def wait_for(self, probe, within):
        """Repeats the probe until it succeeds."""
        deadline = time.monotonic() + within
        while not self.probe(probe):
            assert self.process.poll() is None, "the container has ended"
            assert time.monotonic() < deadline, f"{probe} has not succeeded within {within} s"
            time.sleep(0.1)

    def stop(self, within):
        """What the kubelet does at the end; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=within)

    def _substitute(self, argument):
        for name, value in self.environment.items():
            argument = argument.replace(f"$({name})", value)
        return argument

    def _command(self, command, **changes):
        return as_user(self.security | changes, command, self.read_only)
