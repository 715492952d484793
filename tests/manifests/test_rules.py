"""What schemas miss: what a broker needs to keep its locks, and what restricted pods may do."""

import re

import pytest
import yaml
from conftest import CHART, ROOT, VALUES, WORKLOADS, find, flags, kustomize, pod, render, seconds

APP = "registry.example/"


def containers(workload):
    return pod(workload).get("initContainers", []) + pod(workload)["containers"]


def ours(documents):
    """Every container of ours, with its pod."""
    for document in documents:
        if document["kind"] in WORKLOADS:
            for container in containers(document):
                if not container["image"].startswith(APP) or re.search("/lockbroker[:@]", container["image"]):
                    yield pod(document), container


def brokers(documents):
    return [(spec, it) for spec, it in ours(documents) if it["name"] == "lockbroker"]


def megabytes(quantity):
    return int(re.fullmatch(r"(\d+)Mi", quantity).group(1))


def check_containers(documents):
    for spec, container in ours(documents):
        security = spec["securityContext"] | container["securityContext"]
        assert security["runAsNonRoot"] is True and security.get("runAsUser", 1) > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert "cpu" not in container["resources"]["limits"]


def check_broker(spec, broker, known_flags):
    given = flags(broker)
    names, variables = known_flags
    assert broker["args"][0] == "serve"
    assert given.keys() <= names
    assert {it["name"] for it in broker["env"] if it["name"].startswith("LOCKBROKER_")} <= variables
    assert given["--advertise"] == "$(POD_IP)"
    assert broker["env"][0] == {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}

    # Probes go where the flags say, by number, as those for gRPC must.
    ports = {it["name"]: it["containerPort"] for it in broker["ports"]}
    admin = int(given["--admin-listen"].rsplit(":", 1)[1])
    assert admin in ports.values()
    for probe in ("readinessProbe", "livenessProbe"):
        assert broker[probe]["grpc"]["port"] == admin
        assert broker[probe]["grpc"]["service"] in ("readiness", "liveness")
    assert broker["livenessProbe"]["grpc"]["service"] == "liveness"
    # At the default port, since --advertise gives none.
    assert 28553 in ports.values()

    assert seconds(given["--drain"]) < spec.get("terminationGracePeriodSeconds", 30)


def test_containers(chart, example):
    check_containers(chart)
    check_containers(example)


def test_brokers_of_the_chart(chart, known_flags):
    [(spec, broker)] = brokers(chart)
    check_broker(spec, broker, known_flags)
    assert broker["readinessProbe"]["grpc"]["service"] == "readiness"
    listens = int(flags(broker)["--listen"].rsplit(":", 1)[1])
    assert broker["startupProbe"]["tcpSocket"] == {"port": "grpc"}
    assert {"name": "grpc", "containerPort": listens} in broker["ports"]
    assert spec["enableServiceLinks"] is False and spec["automountServiceAccountToken"] is False
    # What is named is mounted.
    for flag in ("--tls-cert", "--tls-key", "--tls-client-ca", "--policy"):
        if flag in flags(broker):
            folder = flags(broker)[flag].rsplit("/", 1)[0]
            [mount] = [it for it in broker["volumeMounts"] if it["mountPath"] == folder]
            assert mount["readOnly"] and mount["name"] in {it["name"] for it in spec["volumes"]}


def test_the_image_listens_where_the_chart_does():
    dockerfile = (ROOT / "Dockerfile").read_text()
    [(_, broker)] = brokers(render())
    for flag in ("--listen", "--admin-listen"):
        variable = "LOCKBROKER" + flag[1:].upper().replace("-", "_")
        assert f"{variable}={flags(broker)[flag]}" in dockerfile


def test_evictions_never_take_all(chart):
    for document in chart:
        if document["kind"] == "PodDisruptionBudget":
            [workload] = [
                it
                for it in chart
                if it["kind"] in ("Deployment", "StatefulSet") and it["spec"]["selector"] == document["spec"]["selector"]
            ]
            # At least one may go, or a node could not be drained; of several never all.
            assert document["spec"]["maxUnavailable"] in (1, "50%")
            assert "minAvailable" not in document["spec"] and workload


def test_selectors_meet_their_pods(chart):
    labels = [it["spec"]["template"]["metadata"]["labels"] for it in chart if it["kind"] in ("Deployment", "StatefulSet", "Job")]
    for document in chart:
        if document["metadata"]["name"].endswith("-adopt") and not [it for it in chart if it["kind"] == "Job"]:
            continue
        selector = document["spec"].get("selector") or document["spec"].get("podSelector") if "spec" in document else None
        if selector:
            selector = selector.get("matchLabels", selector)
            assert [it for it in labels if selector.items() <= it.items()], document["metadata"]["name"]


def test_memcached_keeps_locks_and_each_has_its_name():
    documents = render("memcached.shards=3", "memcached.megabytes=1000", "memcached.connections=5000")
    workload = find(documents, "StatefulSet", "lockbroker-memcached")
    [memcached] = pod(workload)["containers"]
    assert {"-M", "-F"} <= set(memcached["args"])
    size = int(memcached["args"][memcached["args"].index("-m") + 1])
    assert memcached["args"][memcached["args"].index("-c") + 1] == "5000"
    assert megabytes(memcached["resources"]["limits"]["memory"]) >= size * 1.5
    assert "livenessProbe" not in memcached
    assert workload["spec"]["minReadySeconds"] > seconds(flags(brokers(documents)[0][1])["--max-ttl"])
    service = find(documents, "Service", workload["spec"]["serviceName"])
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    [(_, broker)] = brokers(documents)
    servers = flags(broker)["--store"].removeprefix("memcached://").split(",")
    assert servers == [f"lockbroker-memcached-{n}.lockbroker-memcached.locks.svc:11211" for n in range(3)]
    # Every name of a server is one pod's, never the Service's own.
    assert workload["spec"]["replicas"] == len(servers)
    spread = pod(workload)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert spread[0]["podAffinityTerm"]["labelSelector"] == workload["spec"]["selector"]


def ports(rules, protocol):
    """All ports of that protocol that these rules of a NetworkPolicy open."""
    return {int(it["port"]) for rule in rules for it in rule["ports"] if it.get("protocol", "TCP") == protocol}


def test_the_network_policy_lets_through_what_the_flags_need():
    external = ["memcached.enabled=false", r"store=memcached://10.0.0.5:11211\,cache.example:11212=2"]
    for values, store in ((["memcached.shards=2"], {11211}), (external, {11211, 11212})):
        documents = render(*values)
        [(_, broker)] = brokers(documents)
        policy = find(documents, "NetworkPolicy", "lockbroker")["spec"]
        for protocol in ("TCP", "UDP"):
            opened = {it["containerPort"] for it in broker["ports"] if it.get("protocol", "TCP") == protocol}
            assert ports(policy["ingress"], protocol) == opened
        assert ports(policy["egress"], "TCP") == store | {53}
        assert ports(policy["egress"], "UDP") == {53, 28553}
        assert {int(port) for port in re.findall(r":(\d+)(?=[,=]|$)", flags(broker)["--store"])} == store
    memcached = find(render(), "NetworkPolicy", "lockbroker-memcached")["spec"]
    assert ports(memcached["ingress"], "TCP") == {11211} and all(it["from"] for it in memcached["ingress"])
    assert memcached["egress"] == [] and memcached["policyTypes"] == ["Ingress", "Egress"]


def test_the_sidecar(example, known_flags):
    worker = find(example, "Deployment", "worker")
    [sidecar] = pod(worker)["initContainers"]
    check_broker(pod(worker), sidecar, known_flags)
    assert sidecar["restartPolicy"] == "Always"
    # Neither starting nor serving depends on the store.
    assert "--service=liveness" in sidecar["startupProbe"]["exec"]["command"]
    assert sidecar["readinessProbe"]["grpc"]["service"] == "liveness"
    given = flags(sidecar)
    socket = given["--listen"]
    assert len(socket.removeprefix("unix:")) < 108
    assert f"--server={socket}" in sidecar["startupProbe"]["exec"]["command"]
    assert given["--socket-mode"] == "0660" and pod(worker)["securityContext"]["fsGroup"] == 65532
    [volume] = [it for it in pod(worker)["volumes"] if "emptyDir" in it]
    folder = socket.removeprefix("unix:").rsplit("/", 1)[0]
    assert {"name": volume["name"], "mountPath": folder} in sidecar["volumeMounts"]
    for app in pod(worker)["containers"]:
        assert {"name": volume["name"], "mountPath": folder, "readOnly": True} in app["volumeMounts"]
        assert {"name": "LOCKBROKER_SERVER", "value": socket} in app["env"]
    # What the application has of its own stays.
    assert {"name": "TZ", "value": "UTC"} in pod(worker)["containers"][0]["env"]
    assert pod(worker)["securityContext"]["runAsUser"] == 10001
    # The settings are there under the name that the sidecar knows.
    settings = find(example, "ConfigMap", sidecar["envFrom"][0]["configMapRef"]["name"])["data"]
    assert settings.keys() <= known_flags[1] and "LOCKBROKER_STORE" in settings


def test_others_are_left_alone(example):
    other = find(example, "Deployment", "other")
    assert pod(other) == {"containers": [{"name": "other", "image": "registry.example/other:1"}]}


def test_the_sidecar_for_a_stateful_set_with_patches_of_its_own():
    folder = ROOT / "target/manifests/stateful"
    folder.mkdir(parents=True, exist_ok=True)
    worker = (ROOT / "deploy/kustomize/example/worker.yaml").read_text().split("---")[0]
    (folder / "worker.yaml").write_text(worker.replace("kind: Deployment", "kind: StatefulSet"))
    readiness = {"op": "replace", "value": "readiness"}
    readiness["path"] = "/spec/template/spec/initContainers/0/readinessProbe/grpc/service"
    group = {"op": "replace", "path": "/spec/template/spec/securityContext/fsGroup", "value": 4000}
    overlay = {
        "resources": ["worker.yaml"],
        "components": ["../../../deploy/kustomize/sidecar"],
        "patches": [{"target": {"kind": "StatefulSet"}, "patch": yaml.safe_dump([readiness, group])}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    worker = find(kustomize(folder), "StatefulSet", "worker")
    [sidecar] = pod(worker)["initContainers"]
    assert sidecar["readinessProbe"]["grpc"]["service"] == "readiness"
    assert pod(worker)["securityContext"]["fsGroup"] == 4000
    for app in pod(worker)["containers"]:
        assert "lockbroker-socket" in {it["name"] for it in app["volumeMounts"]}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_sidecar_of_every_kind_and_its_init_containers(kind):
    folder = ROOT / f"target/manifests/{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    worker = yaml.safe_load((ROOT / "deploy/kustomize/example/worker.yaml").read_text().split("---")[0])
    labels = worker["metadata"]["labels"] | {"lockbroker-sidecar-init-containers": "true"}
    template = worker["spec"]["template"]
    template["spec"]["initContainers"] = [{"name": "migrate", "image": "registry.example/migrate:1"}]
    spec = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    (folder / "worker.yaml").write_text(
        yaml.safe_dump({"apiVersion": "batch/v1" if kind.endswith("Job") else "apps/v1", "kind": kind, "metadata": {"name": "worker", "labels": labels}, "spec": spec})
    )
    settings = {"name": "lockbroker", "literals": ["LOCKBROKER_MAX_TTL=15s"]}
    overlay = {
        "resources": ["worker.yaml"],
        "components": ["../../../deploy/kustomize/sidecar"],
        "configMapGenerator": [settings],
        "images": [{"name": "lockbroker", "newName": "registry.example/lockbroker", "newTag": "9"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    documents = kustomize(folder)
    # What the component is made of does not reach the cluster.
    assert {it["kind"] for it in documents} == {kind, "ConfigMap"}
    rendered = pod(find(documents, kind, "worker"))
    # The sidecar first: what comes after it can lock.
    sidecar, migrate = rendered["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"], migrate["name"]) == ("lockbroker", "Always", "migrate")
    assert sidecar["image"] == "registry.example/lockbroker:9"
    [name] = [it["metadata"]["name"] for it in documents if it["kind"] == "ConfigMap"]
    assert sidecar["envFrom"] == [{"configMapRef": {"name": name}}]
    assert sidecar["volumeMounts"] == [{"name": "lockbroker-socket", "mountPath": "/run/lockbroker"}]
    assert rendered["securityContext"]["fsGroup"] == 65532
    for app in [migrate, *rendered["containers"]]:
        assert {"name": "lockbroker-socket", "mountPath": "/run/lockbroker", "readOnly": True} in app["volumeMounts"]
        assert {"name": "LOCKBROKER_SERVER", "value": flags(sidecar)["--listen"]} in app["env"]


def adopting(documents):
    [job] = [it for it in documents if it["kind"] == "Job"]
    [adopt] = pod(job)["containers"]
    return job, adopt


def test_the_job_that_adopts_is_told_what_the_brokers_will_be_told():
    values = ["memcached.shards=3", "memcached.inUse={0,2}", "maxTtlSeconds=20"]
    documents = render(*values, "shardAdopt.enabled=true", "extraArgs={--key-prefix=mine:,--log=debug,--allow-unsafe-store}")
    job, adopt = adopting(documents)
    [(_, broker)] = brokers(documents)
    assert adopt["args"][:2] == ["shard", "adopt"] and "--allow-unsafe-store" in adopt["args"]
    assert flags(adopt) == {name: flags(broker)[name] for name in ("--store", "--max-ttl", "--key-prefix")}
    # Before the brokers are given the new list, and before a memcached goes: nothing else of the upgrade has begun.
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"


def test_the_job_that_adopts_understands_what_it_is_told(adopt_flags):
    for values in ("changing", "stopped"):
        _, adopt = adopting(render(*VALUES[values]))
        assert {it.split("=")[0] for it in adopt["args"][2:]} <= adopt_flags
        assert ("--stopped" in adopt["args"]) == (values == "stopped")
    _, adopt = adopting(render(*VALUES["changing"]))
    assert [it for it in adopt["args"] if it.startswith("--dead")] == ["--dead=10.0.0.5:11211", "--dead=[fd00::1]:11211"]
    assert flags(adopt)["--from"] == "lockbroker-memcached-1.lockbroker-memcached.locks.svc:11211"


def test_the_job_that_adopts_reaches_memcached_and_is_no_broker():
    documents = render(*VALUES["changing"])
    job, _ = adopting(documents)
    labels = job["spec"]["template"]["metadata"]["labels"]
    [rule] = find(documents, "NetworkPolicy", "lockbroker-memcached")["spec"]["ingress"]
    assert [it for it in rule["from"] if it["podSelector"]["matchLabels"].items() <= labels.items()]
    # It needs what brokers need of others, and nobody needs it.
    policy = find(documents, "NetworkPolicy", "lockbroker-adopt")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items() and policy["ingress"] == []
    egress = find(documents, "NetworkPolicy", "lockbroker")["spec"]["egress"]
    assert policy["egress"] == [it for it in egress if it["ports"][0]["port"] != 28553]
    # Neither the Service nor the PodDisruptionBudget nor the autoscaler takes it for a broker.
    for document in documents:
        if document["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            selector = document["spec"]["selector"]
            assert not selector.get("matchLabels", selector).items() <= labels.items(), document["metadata"]["name"]
    # The policy stands before: it is no part of the step.
    assert find(render(), "NetworkPolicy", "lockbroker-adopt")["spec"] == policy


def test_pods_of_memcached_run_before_they_are_used_and_after():
    for in_use, used in (("{0}", [0]), ("{1,3}", [1, 3]), ("null", [0, 1, 2, 3])):
        documents = render("memcached.shards=4", f"memcached.inUse={in_use}")
        assert find(documents, "StatefulSet", "lockbroker-memcached")["spec"]["replicas"] == 4
        [(_, broker)] = brokers(documents)
        numbers = re.findall(r"lockbroker-memcached-(\d)\.", flags(broker)["--store"])
        assert [int(it) for it in numbers] == used
    # What decides which pods there are restarts none that stays.
    pods = [find(render(*it), "StatefulSet", "lockbroker-memcached")["spec"]["template"] for it in ([], ["memcached.shards=4", "maxTtlSeconds=60"])]
    assert pods[0] == pods[1]


def test_the_chart_brings_the_alerts():
    rules = find(render("prometheusRule.enabled=true"), "PrometheusRule", "lockbroker")["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text())


def test_user_ids_can_be_left_to_the_cluster():
    for spec, container in ours(render(*VALUES["openshift"])):
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert "runAsUser" not in container["securityContext"]


def test_every_value_goes_where_it_should():
    documents = render(*VALUES["full"])
    broker, memcached = find(documents, "Deployment", "names"), find(documents, "StatefulSet", "names-memcached")
    assert "replicas" not in broker["spec"] and broker["spec"]["strategy"] == {"type": "Recreate"}
    scaled = find(documents, "HorizontalPodAutoscaler", "names")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "names" and (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 20)
    spec = pod(broker)
    assert spec["serviceAccountName"] == "names" and find(documents, "ServiceAccount", "names")
    assert spec["automountServiceAccountToken"] is False
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "rack" and "nodeAffinity" in spec["affinity"]
    container, exporter = spec["containers"]
    assert container["image"] == "registry.example/lockbroker@sha256:" + "0" * 64
    assert exporter["name"] == "exporter" and spec["initContainers"][0]["name"] == "first"
    assert container["env"][1:] == [{"name": "LOCKBROKER_LOG", "value": "debug"}]
    assert container["envFrom"] == [{"secretRef": {"name": "more"}}]
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    assert mounts.keys() == {it["name"] for it in spec["volumes"]} == {"tls", "client-ca", "policy", "scratch"}
    assert flags(container)["--tls-client-ca"] == mounts["client-ca"] + "/ca.crt"
    assert [it["configMap"]["name"] for it in spec["volumes"] if it["name"] == "policy"] == ["rules"]
    template = broker["spec"]["template"]["metadata"]
    assert template["labels"]["pool"] == "locks"
    assert template["annotations"] == {"config.linkerd.io/skip-outbound-ports": "11211-11212"}
    service = find(documents, "Service", "names")
    assert service["spec"]["type"] == "LoadBalancer" and "clusterIP" not in service["spec"]
    # Health and metrics are not for the world.
    assert [it["port"] for it in service["spec"]["ports"]] == [443]
    assert service["metadata"]["annotations"] == {"example.com/internal": "yes"}
    store = pod(memcached)
    assert store["containers"][0]["image"] == "registry.example/library/memcached@sha256:" + "1" * 64
    assert store["containers"][0]["args"][-1] == "-v"
    assert store["containers"][0]["resources"] == {
        "requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}
    }
    assert "requiredDuringSchedulingIgnoredDuringExecution" in store["affinity"]["podAntiAffinity"]
    assert store["nodeSelector"] == {"pool": "memory"} and "nodeSelector" not in spec


def test_common_labels_reach_everything_and_no_selector():
    documents = render(*VALUES["umbrella"])
    assert {re.split("-(memcached|adopt)", it["metadata"]["name"])[0] for it in documents} == {"lockbroker-locks"}
    for document in documents:
        templates = [document["spec"]["template"]] if document["kind"] in WORKLOADS else []
        for it in [document, *templates]:
            assert it["metadata"]["labels"]["team"] == "a"
            assert it["metadata"]["annotations"]["owner"] == "a@b.example"
        assert "team" not in str(document["spec"].get("selector"))


def test_versions_agree():
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
    assert f"image: lockbroker:{version}" in (ROOT / "deploy/kustomize/sidecar/sidecar.yaml").read_text()


def test_compose_runs_what_the_documentation_says(known_flags):
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    assert {"-M", "-F"} <= set(services["memcached"]["command"])
    broker = services["lockbroker"]
    given = flags({"args": broker["command"]})
    assert given.keys() <= known_flags[0]
    assert given["--default-ttl"] == given["--max-ttl"] == "5s"
    assert broker["read_only"] is True and broker["cap_drop"] == ["ALL"]
    # The default of --drain.
    assert seconds(broker["stop_grace_period"]) > 25
    ports = [int(it["published"]) for it in broker["ports"]]
    assert all(it["host_ip"] == "127.0.0.1" for it in broker["ports"]) and 28551 in ports
