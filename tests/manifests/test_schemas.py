"""Every manifest is one that the API server would take."""

import subprocess

import kubernetes_validate
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from conftest import CHART, ROOT, helm

# The oldest with the sidecar in it, and the newest that is known here.
VERSIONS = ("1.29", "1.37")

# Those of the Prometheus operator, by a model of their own.
MONITORING = {"PrometheusRule": PrometheusRule, "ServiceMonitor": ServiceMonitor}


def check(documents):
    assert documents
    for document in documents:
        if model := MONITORING.get(document["kind"]):
            # The model passes over what it does not know, so all of it must come back.
            known = model.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json")
            assert known["spec"] == document["spec"]
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_chart(chart):
    check(chart)


def test_the_example(example):
    check(example)


def test_helm_lint():
    answer = helm("lint", "--strict", str(CHART))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_compose():
    subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "deploy/compose.yaml"], check=True
    )


def test_workflows():
    for workflow in sorted((ROOT / ".github/workflows").iterdir()):
        subprocess.run(["check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow], check=True)


def test_hadolint():
    subprocess.run(["hadolint", ROOT / "Dockerfile"], check=True)


def test_values_that_cost_locks_are_refused():
    for value, complaint in {
        "resources.limits.cpu=1": "resources.limits",
        "resources.limits=null": "limits",
        "replicas=-1": "replicas",
        "store=memcached://cache.example": "store",
        "defaultTtlSeconds=4": "defaultTtlSeconds",
        "replica=2": "replica",
        "shardAdopt.enabled=true,shardAdopt.stopped=true": "stop the brokers first",
        "replicas=0,shardAdopt.enabled=true,shardAdopt.stopped=true,shardAdopt.from=10.0.0.5:11211": "while brokers run",
        "shardAdopt.from=10.0.0.5": "from",
        "shardAdopt.dead={memcached://10.0.0.5:11211}": "dead",
        "memcached.shards=3,memcached.inUse={0,3}": "there is no pod 3",
        "memcached.inUse={0,0}": "inUse",
        "tls.clientCaSecretName=clients": "tls.secretName",
        "memcached.resources.limits.cpu=1": "memcached.resources",
        "store=memcached://[fd00::1:11211": "store",
        "store=memcached://fd00::1:11211": "store",
    }.items():
        answer = helm("template", "lockbroker", str(CHART), "--set", value)
        assert answer.returncode != 0, value
        assert complaint in answer.stderr, answer.stderr
    answer = helm("template", "lockbroker", str(CHART), "--set", "memcached.enabled=false")
    assert "name your memcached servers" in answer.stderr
