"""Disturbances that test_every_controller.py does not make: a process that dies in the middle of a rollout that goes on without
it, and every way of deleting an owner. The end must be the same as without, and not one child more on the way.
"""

from collections.abc import Callable

import pytest

from minikube_py.api.gvr import (
    CONFIGMAPS,
    DEPLOYMENTS,
    REPLICASETS,
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
    running,
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
