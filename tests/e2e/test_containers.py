"""Pods as containers: shared addresses and files, restarts, probes, limits, configuration."""

import json
from collections.abc import Callable

from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from minikube_py.cluster import engine
from tests import harness
from tests.e2e.conftest import SLEEP, WEB, Cluster, deployment, pod

Apply = Callable[[Obj], None]


def test_a_killed_container_is_back_with_one_restart_and_the_same_address(cluster: Cluster, apply: Apply) -> None:
    apply(deployment("phoenix", 1, SLEEP))
    before = cluster.ready_pods("app=phoenix", 1)[0]
    engine.connect().api.kill(cluster.app_container(before))

    def back() -> Obj | None:
        after = cluster.ready_pods("app=phoenix", 1)[0]
        return after if after["status"]["containerStatuses"][0]["restartCount"] == 1 else None

    after: Obj = harness.eventually(back, 40, what="one restart")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert after["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


def test_containers_of_a_pod_share_address_hostname_and_files(cluster: Cluster, apply: Apply) -> None:
    shared = pod("pair", f"while ! [ -f /shared/ready ]; do sleep 0.1; done; {SLEEP}", restart="Always")
    mount = [{"name": "shared", "mountPath": "/shared"}]
    shared["spec"]["containers"][0]["volumeMounts"] = mount
    web = {"name": "web", "image": "busybox", "imagePullPolicy": "IfNotPresent", "volumeMounts": mount,
           "command": ["sh", "-c", f"touch /shared/ready; {WEB}"]}  # fmt: skip
    shared["spec"]["containers"].append(web)
    shared["spec"]["volumes"] = [{"name": "shared", "emptyDir": {}}]
    apply(shared)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/pair", "--timeout=60s")
    assert cluster.kubectl("exec", "pair", "-c", "main", "--", "wget", "-qO-", "http://localhost:8080/") == "pair\n"
    assert cluster.kubectl("exec", "pair", "-c", "main", "--", "hostname") == "pair\n"


def test_configuration_reaches_the_container(cluster: Cluster, apply: Apply) -> None:
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"greeting": "hello"}})
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"}, "stringData": {"token": "s3cret"}})
    wanted = pod("configured", "echo $GREETING $TOKEN $NODE; cat /etc/conf/greeting")
    wanted["spec"]["containers"][0] |= {
        "env": [
            {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "greeting"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "door", "key": "token"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "volumeMounts": [{"name": "conf", "mountPath": "/etc/conf"}],
    }  # fmt: skip
    wanted["spec"]["volumes"] = [{"name": "conf", "configMap": {"name": "conf"}}]
    apply(wanted)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/configured", "--timeout=60s")
    node = cluster.client.get(PODS, "configured", "default")["spec"]["nodeName"]
    assert cluster.kubectl("logs", "configured") == f"hello s3cret {node}\nhello"


def test_liveness_failure_restarts_and_readiness_failure_only_hides(cluster: Cluster, apply: Apply) -> None:
    probe = {"exec": {"command": ["test", "-f", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    sick = pod("sick", f"touch /tmp/ok; sleep 3; rm /tmp/ok; {SLEEP}", restart="Always", livenessProbe=probe)
    shy = pod("shy", SLEEP, restart="Always", readinessProbe=probe)
    apply(sick)
    apply(shy)
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    harness.eventually(
        lambda: int(cluster.kubectl("get", "pod", "sick", "-o", restarts) or 0) >= 1, 60, what="a restart"
    )
    assert cluster.kubectl("get", "pod", "shy", "--no-headers").split()[1:4] == ["0/1", "Running", "0"]
    cluster.kubectl("exec", "shy", "--", "touch", "/tmp/ok")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/shy", "--timeout=30s")


def test_memory_limit_ends_in_oomkilled(cluster: Cluster, apply: Apply) -> None:
    hungry = pod("hungry", "x=a; while true; do x=$x$x; done", resources={"limits": {"memory": "16Mi"}})
    apply(hungry)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/hungry", "--timeout=60s")
    state = json.loads(cluster.kubectl("get", "pod", "hungry", "-o", "json"))["status"]["containerStatuses"][0]["state"]
    assert state["terminated"]["reason"] == "OOMKilled"
    assert state["terminated"]["exitCode"] == 137


def test_crash_loop_and_missing_image_say_so(cluster: Cluster, apply: Apply) -> None:
    apply(pod("crash", "exit 3", restart="Always"))
    missing = pod("missing", "true")
    missing["spec"]["containers"][0] |= {"image": "no-such-image:1", "imagePullPolicy": "Never"}
    apply(missing)

    def waiting(name: str) -> str:
        return cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")

    harness.eventually(lambda: waiting("crash") == "CrashLoopBackOff", 60, what="back-off")
    harness.eventually(lambda: waiting("missing") == "ErrImageNeverPull", 60, what="the reason")


def test_a_pod_that_fits_nowhere_says_why_node_by_node(cluster: Cluster, apply: Apply) -> None:
    apply(pod("huge", "true", resources={"requests": {"memory": "900Gi"}}))
    verdict = "0/3 nodes are available: 3 Insufficient memory"
    harness.eventually(lambda: verdict in cluster.kubectl("describe", "pod", "huge"), 30, what="FailedScheduling")
