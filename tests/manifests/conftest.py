"""Renders the manifests as their users do."""

import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/lockbroker"
BINARY = ROOT / "target/debug/lockbroker"

# What people set: every branch of every template is in one of these.
VALUES = {
    "defaults": [],
    "one": ["replicas=1", "drainSeconds=0"],
    "shards": ["memcached.shards=3", "memcached.megabytes=1024", "replicas=5", "drainSeconds=60"],
    "external": ["memcached.enabled=false", r"store=memcached://10.0.0.5:11211\,cache.example:11212=2"],
    "tls": ["tls.secretName=certificates", "tls.clientCertificates=true", "policy=# nothing yet"],
    "watched": ["serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus"],
    "closed": [
        "networkPolicy.clients[0].namespaceSelector.matchLabels.team=a",
        "networkPolicy.monitoring[0].namespaceSelector.matchLabels.team=b",
        "networkPolicy.brokers[0].podSelector.matchLabels.app=worker",
        "networkPolicy.brokers[0].namespaceSelector.matchLabels.team=a",
        "networkPolicy.extraEgress[0].ports[0].port=4317",
    ],
    "placed": [
        "imagePullSecrets[0].name=registry",
        "nodeSelector.pool=locks",
        "tolerations[0].operator=Exists",
        "priorityClassName=high",
        "networkPolicy.enabled=false",
        "extraArgs[0]=--log=debug",
        "listenAddress=[::]",
    ],
    "ipv6": ["memcached.enabled=false", r"store=memcached://[fd00::1]:11211\,[fd00::2]:11212=3"],
    "changing": [
        "memcached.shards=4",
        "memcached.inUse={0,2,3}",
        "shardAdopt.enabled=true",
        "shardAdopt.from=lockbroker-memcached-1.lockbroker-memcached.locks.svc:11211",
        "shardAdopt.dead={10.0.0.5:11211,[fd00::1]:11211}",
        "extraArgs[0]=--key-prefix=mine:",
        "extraEnv[0].name=LOCKBROKER_LOG_FORMAT",
        "extraEnv[0].value=json",
        "extraEnvFrom[0].secretRef.name=more",
    ],
    "stopped": ["replicas=0", "memcached.shards=4", "shardAdopt.enabled=true", "shardAdopt.stopped=true", "maxTtlSeconds=30"],
    "umbrella": [
        "enabled=true",
        "global.imageRegistry=ignored",
        "nameOverride=locks",
        "commonLabels.team=a",
        "commonAnnotations.owner=a@b.example",
    ],
    "full": [
        "fullnameOverride=names",
        "image.registry=registry.example",
        "image.digest=sha256:" + "0" * 64,
        "memcached.image.registry=registry.example",
        "memcached.image.digest=sha256:" + "1" * 64,
        "autoscaling.enabled=true",
        "autoscaling.maxReplicas=20",
        "extraEnv[0].name=LOCKBROKER_LOG",
        "extraEnv[0].value=debug",
        "extraEnvFrom[0].secretRef.name=more",
        "extraVolumes[0].name=scratch",
        "extraVolumes[0].emptyDir.medium=Memory",
        "extraVolumeMounts[0].name=scratch",
        "extraVolumeMounts[0].mountPath=/scratch",
        "extraContainers[0].name=exporter",
        "extraContainers[0].image=registry.example/exporter:1",
        "initContainers[0].name=first",
        "initContainers[0].image=registry.example/first:1",
        "podLabels.pool=locks",
        r"podAnnotations.config\.linkerd\.io/skip-outbound-ports=11211-11212",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        "topologySpreadConstraints[0].maxSkew=2",
        "topologySpreadConstraints[0].topologyKey=rack",
        "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "serviceAccount.create=true",
        r"serviceAccount.annotations.example\.com/role=locks",
        "updateStrategy.type=Recreate",
        "updateStrategy.rollingUpdate=null",
        "podDisruptionBudget.maxUnavailable=50%",
        "service.type=LoadBalancer",
        r"service.annotations.example\.com/internal=yes",
        "service.port=443",
        "tls.secretName=certificates",
        "tls.clientCaSecretName=clients",
        "policyConfigMap=rules",
        "prometheusRule.enabled=true",
        "prometheusRule.labels.release=prometheus",
        "memcached.extraArgs[0]=-v",
        "memcached.resources.limits.memory=1Gi",
        "memcached.podAnnotations.a=b",
        "memcached.podLabels.a=b",
        "memcached.nodeSelector.pool=memory",
        "memcached.tolerations[0].operator=Exists",
        "memcached.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes.io/hostname",
        "memcached.priorityClassName=high",
        "memcached.podDisruptionBudget.enabled=false",
    ],
    "openshift": [f"{it}podSecurityContext.{user}=null" for it in ("", "memcached.") for user in ("runAsUser", "runAsGroup", "fsGroup")],
}


def helm(*arguments):
    return subprocess.run(["helm", *arguments], capture_output=True, text=True)


def render(*values):
    """What `helm install` would send, in the namespace `locks`."""
    settings = [word for value in values for word in ("--set", value)]
    answer = helm("template", "lockbroker", str(CHART), "--namespace", "locks", *settings)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def kustomize(folder):
    """What `kubectl apply -k` would send."""
    answer = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def find(documents, kind, name):
    """The one object of that kind and name."""
    [found] = [it for it in documents if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def pod(workload):
    spec = workload["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def flags(container):
    """`--flag=value` arguments as a dictionary."""
    return dict(word.split("=", 1) for word in container["args"] if word.startswith("--") and "=" in word)


@pytest.fixture(scope="session", params=VALUES, ids=str)
def chart(request):
    return render(*VALUES[request.param])


@pytest.fixture(scope="session")
def example():
    return kustomize(ROOT / "deploy/kustomize/example")


@pytest.fixture(scope="session")
def known_flags():
    """What `lockbroker serve` understands, and the variables that stand for it."""
    text = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--[a-z-]+", text)), set(re.findall(r"\[env: (LOCKBROKER_\w+)", text))


@pytest.fixture(scope="session")
def adopt_flags():
    """What `lockbroker shard adopt` understands."""
    text = subprocess.run([BINARY, "shard", "adopt", "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--[a-z-]+", text))
