"""The scheduler against the real API server: what clients see of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from controllers.scheduler.config import ProfileConfig, expand
from controllers.scheduler.main import Scheduler, start
from minikube_py.api import meta
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import EVENTS, NODES, PODS
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from tests import harness
from tests.harness import eventually
from tests.scheduler.build import node, options, pod


class Cluster:
    """Nodes of the test's own, pods in its namespace that only go there, and a scheduler that serves only them."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.running: list[tuple[Scheduler, SharedInformers]] = []
        self.nodes: list[str] = []

    def start(self, client: Client | None = None, *more: ProfileConfig) -> Scheduler:
        informers = SharedInformers(client or self.client)
        scheduler = start(client or self.client, informers, REAL, options(self.namespace, *more))
        informers.start()
        self.running.append((scheduler, informers))
        return scheduler

    def stop(self) -> None:
        for scheduler, informers in self.running:
            scheduler.stop(1)
            informers.stop()
        self.running.clear()

    def add_node(self, name: str, **more: Any) -> str:
        made = node(f"{self.namespace}-{name}", labels={"test": self.namespace}, **more)
        self.client.create(NODES, made)
        stored = self.client.patch(NODES, meta.name_of(made), {"status": made["status"]}, subresource="status")
        self.client.patch(NODES, meta.name_of(made), {"spec": {"taints": made["spec"].get("taints")}})
        self.nodes.append(meta.name_of(stored))
        return meta.name_of(stored)

    def add_pod(self, name: str, **more: Any) -> Obj:
        made = pod(name, namespace=self.namespace, **{"schedulerName": self.namespace, **more})
        made["spec"].setdefault("nodeSelector", {"test": self.namespace})
        made["spec"].setdefault("tolerations", [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}])
        del made["metadata"]["uid"], made["status"]
        return self.client.create(PODS, made)

    def pod(self, name: str) -> Obj:
        return self.client.get(PODS, name, self.namespace)

    def where(self, name: str) -> str:
        return str(self.pod(name)["spec"].get("nodeName", ""))

    def condition(self, name: str) -> Obj:
        return meta.condition_of(self.pod(name), "PodScheduled") or {}

    def messages(self, name: str, reason: str) -> list[str]:
        listed = self.client.list(EVENTS, self.namespace)["items"]
        return [e["message"] for e in listed if e["involvedObject"].get("name") == name and e["reason"] == reason]


@pytest.fixture
def cluster(client: Client, namespace: str) -> Iterator[Cluster]:
    made = Cluster(client, namespace)
    yield made
    made.stop()
    for name in made.nodes:
        client.delete(NODES, name)


def test_a_pod_is_bound_with_an_event_and_an_explanation(cluster: Cluster) -> None:
    there = cluster.add_node("a")
    scheduler = cluster.start()
    cluster.add_pod("p")
    eventually(lambda: cluster.where("p") == there)
    assert cluster.condition("p")["status"] == "True"
    eventually(
        lambda: cluster.messages("p", "Scheduled") == [f"Successfully assigned {cluster.namespace}/p to {there}"]
    )
    explained = scheduler.explain(cluster.namespace, "p")
    assert explained is not None and explained["nodes"][there]["chosen"]
    eventually(lambda: not scheduler.snapshot.assumed)


def test_a_pod_that_fits_nowhere_says_why_and_goes_when_room_appears(cluster: Cluster) -> None:
    taint = {"key": "example.com/off", "value": "yes", "effect": "NoSchedule"}
    cluster.add_node("a", taints=[taint])
    there = cluster.add_node("b", gpu=1)
    scheduler = cluster.start()
    _gpu_pod(cluster, "first")
    eventually(lambda: cluster.where("first") == there)
    _gpu_pod(cluster, "second")
    condition = eventually(lambda: (c := cluster.condition("second")).get("reason") and c)
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    message = condition["message"]
    assert "1 node(s) had untolerated taint {example.com/off: yes}" in message
    assert "1 Insufficient nvidia.com/gpu" in message
    assert "preemption: 0/" in message and "1 No preemption victims found for incoming pod" in message
    eventually(lambda: message in cluster.messages("second", "FailedScheduling"))
    explained = scheduler.explain(cluster.namespace, "second")
    assert explained is not None and explained["nodes"][there]["reasons"] == ["Insufficient nvidia.com/gpu"]
    cluster.client.delete(PODS, "first", cluster.namespace, grace_period_seconds=0)
    eventually(lambda: cluster.where("second") == there)


def _gpu_pod(cluster: Cluster, name: str, **more: Any) -> None:
    made = pod(name, namespace=cluster.namespace, schedulerName=cluster.namespace, **more)
    made["spec"]["nodeSelector"] = {"test": cluster.namespace}
    made["spec"]["containers"][0]["resources"] = {
        "limits": {"nvidia.com/gpu": "1"},
        "requests": {"nvidia.com/gpu": "1"},
    }
    made["spec"]["tolerations"] = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    del made["metadata"]["uid"], made["status"]
    cluster.client.create(PODS, made)


def test_a_gated_pod_waits_until_the_gate_is_lifted(cluster: Cluster) -> None:
    there = cluster.add_node("a")
    cluster.start()
    cluster.add_pod("gated", schedulingGates=[{"name": "example.com/gate"}])
    cluster.add_pod("free")
    eventually(lambda: cluster.where("free") == there)
    assert cluster.where("gated") == ""
    cluster.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, cluster.namespace)
    eventually(lambda: cluster.where("gated") == there)


def test_pods_of_other_schedulers_are_left_alone_but_counted(cluster: Cluster) -> None:
    there = cluster.add_node("a", pods=1)
    scheduler = cluster.start()
    other = pod("other", namespace=cluster.namespace, schedulerName="somebody-else", nodeName=there)
    del other["metadata"]["uid"], other["status"]
    cluster.client.create(PODS, other)
    eventually(lambda: f"{cluster.namespace}/other" in scheduler.snapshot.pods)
    cluster.add_pod("mine")
    assert "1 Too many pods" in eventually(lambda: cluster.condition("mine").get("message"))
    assert cluster.where("mine") == ""


def test_preemption_deletes_the_victim_and_takes_its_place(cluster: Cluster) -> None:
    there = cluster.add_node("a", pods=1)
    scheduler = cluster.start()
    cluster.add_pod("low", terminationGracePeriodSeconds=0)
    eventually(lambda: cluster.where("low") == there)
    cluster.client.patch(PODS, "low", {"metadata": {"finalizers": ["example.com/hold"]}}, cluster.namespace)
    _with_priority(cluster, "high", 1000)
    eventually(lambda: cluster.pod("high").get("status", {}).get("nominatedNodeName") == there)
    held = eventually(lambda: (p := cluster.pod("low"))["metadata"].get("deletionTimestamp") and p)
    disrupted = meta.condition_of(held, "DisruptionTarget")
    assert disrupted is not None
    assert (disrupted["status"], disrupted["reason"]) == ("True", "PreemptionByScheduler")
    eventually(lambda: any("Preempted by pod" in m for m in cluster.messages("low", "Preempted")))
    cluster.client.patch(PODS, "low", {"metadata": {"finalizers": None}}, cluster.namespace)
    eventually(lambda: cluster.where("high") == there)
    eventually(lambda: not scheduler.snapshot.nominated)


def _with_priority(cluster: Cluster, name: str, value: int) -> None:
    from minikube_py.api.gvr import PRIORITYCLASSES, new_object

    class_name = f"{cluster.namespace}-{value}"
    cluster.client.create(PRIORITYCLASSES, new_object(PRIORITYCLASSES, class_name, value=value))
    cluster.add_pod(name, priorityClassName=class_name)


def test_a_pod_that_stays_pending_causes_no_writes(cluster: Cluster) -> None:
    cluster.add_node("a", pods=0)
    scheduler = cluster.start()
    cluster.add_pod("p")
    eventually(lambda: cluster.condition("p").get("message"))
    eventually(lambda: cluster.messages("p", "FailedScheduling"))
    before = cluster.pod("p")["metadata"]["resourceVersion"]
    with scheduler.lock:
        for _ in range(3):
            scheduler.queue.happened("NodeAdd")
    eventually(lambda: (scheduler.explain(cluster.namespace, "p") or {}).get("attempt", 0) >= 2)
    assert cluster.pod("p")["metadata"]["resourceVersion"] == before


def test_two_profiles_and_a_gang_that_is_bound_together(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(harness.ROOT / "examples" / "scheduler"))
    plugins = {"multiPoint": {"enabled": [{"name": "gang:Gang"}]}}
    gang = ProfileConfig(f"{cluster.namespace}-gang", expand(plugins))
    cluster.add_node("one", cpu="4")
    cluster.start(None, gang)

    def join(name: str) -> None:
        cluster.add_pod(name, labels={"gang": "g", "gang-size": "3"}, schedulerName=gang.scheduler_name)

    join("a")
    join("b")
    cluster.add_pod("alone")
    eventually(lambda: cluster.where("alone"), what="the pod of the other profile")
    assert not cluster.where("a") and not cluster.where("b"), "two of three have a place, none is bound"
    join("c")
    eventually(lambda: all(map(cluster.where, ("a", "b", "c"))), what="the whole gang")
    assert cluster.messages("alone", "Scheduled") and cluster.messages("c", "Scheduled")
