"""Pods nobody else would remove: of nodes that are gone, and finished ones beyond the threshold."""

import time

from controllers.options import Options
from minikube_py.api.gvr import NODES, PODS, new_object
from minikube_py.api.meta import condition_of, name_of
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.controllers.play import live_pods, pod_template, running
from tests.harness import eventually


def _pod(client: Client, namespace: str, name: str, node: str = "") -> None:
    spec = {**pod_template("x")["spec"], **({"nodeName": node} if node else {})}
    client.create(PODS, new_object(PODS, name, namespace, spec=spec))


def test_pods_of_a_node_that_is_gone_fail_and_go(client: Client, namespace: str) -> None:
    node = f"{namespace}-node"
    client.create(NODES, new_object(NODES, node))
    for name, on in (("left", node), ("waiting", "")):
        _pod(client, namespace, name, on)
    client.patch(PODS, "left", {"metadata": {"finalizers": ["example.com/hold"]}}, namespace)  # to see how it ended
    with running(client, "pod-garbage-collector"):
        client.delete(NODES, node)
        eventually(lambda: [name_of(p) for p in live_pods(client, namespace)] == ["waiting"])
    ended = client.get(PODS, "left", namespace)
    told = condition_of(ended, "DisruptionTarget") or {}
    assert ended["status"]["phase"] == "Failed"
    assert (told["reason"], told["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")


def test_a_node_that_registers_again_keeps_its_pods(client: Client, namespace: str) -> None:
    node = f"{namespace}-node"
    client.create(NODES, new_object(NODES, node))
    _pod(client, namespace, "kept", node)
    with running(client, "pod-garbage-collector"):
        client.delete(NODES, node)
        time.sleep(0.5)
        client.create(NODES, new_object(NODES, node))
        time.sleep(6)  # longer than the quarantine
        assert len(live_pods(client, namespace)) == 1
    client.delete(NODES, node)


def test_the_oldest_finished_pods_go_beyond_the_threshold(fresh_apiserver: APIServer) -> None:
    client = fresh_apiserver.client()
    for number in range(5):
        _pod(client, "default", f"p{number}")
        if number < 4:
            client.patch(PODS, f"p{number}", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
    with running(client, "pod-garbage-collector", options=Options(terminated_pod_gc_threshold=2)):
        eventually(lambda: [name_of(p) for p in live_pods(client, "default")] == ["p2", "p3", "p4"])
