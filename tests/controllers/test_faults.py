"""Every loop under disturbance: writes that fail, are lost, doubled or refused, and a process that dies after any write.

The end must be the same as without: the same objects, and not one child more on the way.
"""

from collections.abc import Callable

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    NAMESPACES,
    PODS,
    REPLICASETS,
    SERVICES,
    new_object,
)
from minikube_py.api.meta import name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import (
    CountingClient,
    Kubelet,
    deployment,
    live_pods,
    pod_template,
    replicaset,
    running,
    set_ready,
)
from tests.harness import eventually

FAULTS = ("lost", "down", "conflict", "twice")
WORKLOADS = ("replicaset", "deployment")


def every(step: int, fault: str) -> Callable[[int, str, str], str]:
    """Disturb every `step`-th write."""
    return lambda number, method, path: fault if number % step == 0 else ""


def dies_after(writes: int) -> Callable[[int, str, str], str]:
    """The process ends after this many writes: nothing it does later reaches the server."""
    return lambda number, method, path: "down" if number > writes else ""


def _settled(client: Client, namespace: str, image: str, replicas: int = 2) -> Callable[[], bool]:
    def check() -> bool:
        status = client.get(DEPLOYMENTS, "web", namespace).get("status") or {}
        images = [p["spec"]["containers"][0]["image"] for p in live_pods(client, namespace)]
        counts = [status.get(f, 0) for f in ("replicas", "updatedReplicas", "availableReplicas")]
        return images == [image] * replicas and counts == [replicas] * 3

    return check


def _roll_out(client: Client, namespace: str) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}
    client.patch(DEPLOYMENTS, "web", {"spec": spec}, namespace)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_rollouts_under_disturbance(client: Client, namespace: str, fault: str, step: int) -> None:
    if step == 1 and fault != "twice":
        disturbed = CountingClient(client, lambda n, method, path: fault if n < 12 else "")
    else:
        disturbed = CountingClient(client, every(step, fault))
    with running(disturbed, *WORKLOADS), Kubelet(client, namespace) as kubelet:
        client.create(DEPLOYMENTS, deployment("web", namespace, 2))
        eventually(_settled(client, namespace, "busybox:1"))
        _roll_out(client, namespace)
        eventually(_settled(client, namespace, "busybox:2"))
        assert len(kubelet.seen) == 4, "not one pod more than two of each template"
        assert len(client.list(REPLICASETS, namespace)["items"]) == 2


@pytest.mark.parametrize("writes", range(1, 20, 2))
def test_rollouts_survive_the_end_of_the_process(client: Client, namespace: str, writes: int) -> None:
    with Kubelet(client, namespace) as kubelet:
        client.create(DEPLOYMENTS, deployment("web", namespace, 2))
        dying = CountingClient(client, dies_after(writes))
        with running(dying, *WORKLOADS):
            eventually(lambda: len(dying.writes) > writes or _settled(client, namespace, "busybox:1")())
            _roll_out(client, namespace)
            eventually(lambda: len(dying.writes) > writes)
        with running(client, *WORKLOADS):
            eventually(_settled(client, namespace, "busybox:2"))
        assert len(kubelet.seen) <= 4
        assert len(client.list(REPLICASETS, namespace)["items"]) <= 2


@pytest.mark.parametrize("fault", FAULTS)
def test_replicasets_make_no_pod_too_many(client: Client, namespace: str, fault: str) -> None:
    with running(CountingClient(client, every(2, fault)), "replicaset"), Kubelet(client, namespace) as kubelet:
        client.create(REPLICASETS, replicaset("web", namespace, 9))
        eventually(lambda: client.get(REPLICASETS, "web", namespace)["status"].get("availableReplicas") == 9)
        client.patch(REPLICASETS, "web", {"spec": {"replicas": 4}}, namespace)
        eventually(lambda: client.get(REPLICASETS, "web", namespace)["status"].get("replicas") == 4)
        assert len(kubelet.seen) == 9 and len(live_pods(client, namespace)) == 4


@pytest.mark.parametrize("fault", FAULTS)
def test_endpointslices(client: Client, namespace: str, fault: str) -> None:
    with running(CountingClient(client, every(2, fault)), "endpointslice"):
        spec = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
        client.create(SERVICES, new_object(SERVICES, "web", namespace, spec=spec))
        for number in range(4):
            pod = new_object(PODS, f"p{number}", namespace, spec=pod_template("x")["spec"])
            pod["metadata"]["labels"] = {"app": "x"}
            set_ready(client, client.create(PODS, pod), True, f"10.2.0.{number}")
        client.delete(PODS, "p0", namespace, grace_period_seconds=0)

        def found() -> list[list[str]]:
            slices = client.list(ENDPOINTSLICES, namespace)["items"]
            return [sorted(e["addresses"][0] for e in s["endpoints"] or []) for s in slices]

        eventually(lambda: found() == [["10.2.0.1", "10.2.0.2", "10.2.0.3"]], what="one slice with the three pods left")


def _owned(client: Client, namespace: str, name: str, owner: Obj) -> Obj:
    obj = new_object(CONFIGMAPS, name, namespace)
    ref = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": name_of(owner),
        "uid": uid_of(owner),
        "blockOwnerDeletion": True,
    }
    obj["metadata"]["ownerReferences"] = [ref]
    return client.create(CONFIGMAPS, obj)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_garbage_collection(client: Client, namespace: str, fault: str, policy: str) -> None:
    owner = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "owner", namespace))
    children = {name_of(_owned(client, namespace, f"child-{n}", owner)) for n in range(3)}
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "stranger", namespace))
    with running(CountingClient(client, every(2, fault)), "garbage-collector"):
        client.delete(CONFIGMAPS, "owner", namespace, propagation_policy=policy)
        left = {"stranger"} | (children if policy == "Orphan" else set())
        eventually(lambda: {name_of(o) for o in client.list(CONFIGMAPS, namespace)["items"]} == left)


@pytest.mark.parametrize("fault", FAULTS)
def test_namespaces(client: Client, namespace: str, fault: str) -> None:
    doomed = f"{namespace}-doomed"
    client.create(NAMESPACES, new_object(NAMESPACES, doomed))
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "config", doomed))
    disturbed = CountingClient(client, every(2, fault))
    with running(disturbed, "serviceaccount", "root-ca", "namespace"):
        eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", doomed))
        client.delete(NAMESPACES, doomed)

        def gone() -> bool:
            try:
                client.get(NAMESPACES, doomed)
            except errors.NotFound:
                return True
            return False

        eventually(gone)
