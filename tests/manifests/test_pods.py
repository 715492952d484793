"""What the pods run works: started from the rendered manifests, with their users, volumes and probes."""

import pathlib
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pods
import pytest
import yaml
from conftest import ROOT, find, flags, kustomize, pod, render

FOLDER = ROOT / "target/manifests/pod"
VALUES = ["defaultTtlSeconds=5", "maxTtlSeconds=5", "memcached.megabytes=16"]


@pytest.fixture(scope="module")
def chart():
    """The chart's objects, on a machine that knows the names in them."""
    documents = render(*VALUES)
    [broker] = pod(find(documents, "Deployment", "lockbroker"))["containers"]
    server = flags(broker)["--store"].removeprefix("memcached://").rsplit(":", 1)[0]
    pods.set_up_machine([server])
    return documents


def memcached(chart):
    spec = pod(find(chart, "StatefulSet", "lockbroker-memcached"))
    return pods.Container(spec, spec["containers"][0], program=pods.MEMCACHED)


def run_a_lock(container, name, **changes):
    command = ["run", "--wait=30s", name, "--", "sh", "-c", 'echo "uid $(id -u), token $LOCKBROKER_FENCING_TOKEN"']
    return container.run(pods.LOCKBROKER, *command, **changes)


def run_as_job(job):
    """The exit codes of a Job's pods: another one follows one that has failed, later each time."""
    for attempt in range(job["spec"]["backoffLimit"] + 1):
        with pods.Container(pod(job), pod(job)["containers"][0]) as container:
            yield container.process.wait(timeout=90)
        time.sleep(5 * 2**attempt)


def test_the_chart_starts_without_its_store_and_is_ready_with_it(chart):
    spec = pod(find(chart, "Deployment", "lockbroker"))
    with pods.Container(spec, spec["containers"][0]) as broker:
        broker.wait_for("startupProbe", within=20)
        assert broker.probe("livenessProbe")
        assert not broker.probe("readinessProbe")
        with memcached(chart) as shard:
            shard.wait_for("readinessProbe", within=10)
            broker.wait_for("readinessProbe", within=30)
            answer = run_a_lock(broker, "chart")
            assert "token" in answer.stdout, answer.stderr
            # No stream is left, so the drain is over at once.
            assert broker.stop(within=5) == 0


def test_the_job_that_adopts_changes_the_shards_while_a_lock_is_held(chart):
    spec = pod(find(chart, "Deployment", "lockbroker"))
    changed = render(*VALUES, "maxTtlSeconds=6", "shardAdopt.enabled=true")
    with memcached(chart), ThreadPoolExecutor() as pool:
        with pods.Container(spec, spec["containers"][0]) as broker:
            broker.wait_for("readinessProbe", within=30)
            held = pool.submit(broker.run, pods.LOCKBROKER, "run", "held", "--", "sleep", "25")
            assert 0 in run_as_job(find(changed, "Job", "lockbroker-adopt"))
            assert not held.done() and "token" in run_a_lock(broker, "new").stdout
            assert held.result().returncode == 0, held.result().stderr
            assert broker.stop(within=5) == 0
        # Then Helm gives the brokers what the Job was given.
        spec = pod(find(changed, "Deployment", "lockbroker"))
        with pods.Container(spec, spec["containers"][0]) as broker:
            broker.wait_for("readinessProbe", within=10)


def test_the_sidecar_serves_another_user_of_its_group(chart):
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "deploy/kustomize/example/worker.yaml", FOLDER)
    [broker] = pod(find(chart, "Deployment", "lockbroker"))["containers"]
    overlay = {
        "resources": ["worker.yaml"],
        "components": ["../../../deploy/kustomize/sidecar"],
        "configMapGenerator": [
            {"name": "lockbroker", "literals": [f"LOCKBROKER_STORE={flags(broker)['--store']}"]
             + [f"LOCKBROKER_{name}=5s" for name in ("DEFAULT_TTL", "MAX_TTL")]}
        ],
    }
    (FOLDER / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    documents = kustomize(FOLDER)
    spec = pod(find(documents, "Deployment", "worker"))
    [sidecar] = spec["initContainers"]
    settings = find(documents, "ConfigMap", sidecar["envFrom"][0]["configMapRef"]["name"])["data"]

    with pods.Container(spec, sidecar, settings) as broker:
        app = pods.Container(spec, spec["containers"][0])
        # Without a store: the application starts, and its pod is ready.
        broker.wait_for("startupProbe", within=20)
        assert broker.probe("readinessProbe") and broker.probe("livenessProbe")

        socket = pathlib.Path(app.environment["LOCKBROKER_SERVER"].removeprefix("unix:"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        assert socket.stat().st_uid == 65532 and socket.stat().st_gid == spec["securityContext"]["fsGroup"]

        with memcached(chart):
            answer = run_a_lock(app, "sidecar")
            assert answer.stdout.startswith("uid 10001, token "), answer.stderr
            # Its folder is read-only to the application, which can neither remove nor replace the socket.
            assert "Read-only" in app.run("rm", str(socket)).stderr
            # Who is not of the group stays outside.
            answer = run_a_lock(app, "sidecar", fsGroup=10002)
            assert answer.returncode != 0 and "token" not in answer.stdout
            assert "Permission denied" in answer.stderr, answer.stderr
            assert broker.stop(within=5) == 0
