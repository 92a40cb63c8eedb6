"""DaemonSets: a pod on every node that qualifies, updated node by node."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.daemonset_rollout import limits, step, surplus
from controllers.pod import is_ready
from controllers.revisions import HASH_LABEL
from minikube_py.api import errors
from minikube_py.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS, new_object
from minikube_py.api.meta import is_terminating, labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, live_pods, pod_template, running
from tests.harness import eventually

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def three_nodes(client: Client, namespace: str) -> Iterator[list[str]]:
    """Three nodes only this test's DaemonSets select."""
    names = [f"{namespace}-n{number}" for number in range(3)]
    for name in names:
        node = new_object(NODES, name, spec={})
        node["metadata"]["labels"] = {"test": namespace}
        client.create(NODES, node)
        client.patch(NODES, name, {"spec": {"taints": None}})
    yield names
    for name in names:
        with contextlib.suppress(errors.NotFound):
            client.delete(NODES, name)


def _daemons(namespace: str, image: str = "busybox:1", **spec: Any) -> Obj:
    template = pod_template("agent", image)
    template["spec"]["nodeSelector"] = {"test": namespace}
    spec = {"selector": {"matchLabels": {"app": "agent"}}, "template": template, **spec}
    return new_object(DAEMONSETS, "agent", namespace, spec=spec)


def _target(pod: Obj) -> str:
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    return str(terms[0]["matchFields"][0]["values"][0])


def _counts(client: Client, namespace: str) -> tuple[int, ...]:
    status = client.get(DAEMONSETS, "agent", namespace).get("status") or {}
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return tuple(status.get(name, 0) for name in names)


def test_one_pod_per_node_that_qualifies(client: Client, namespace: str, three_nodes: list[str]) -> None:
    with running(client, "daemonset"), Kubelet(client, namespace):
        ds = client.create(DAEMONSETS, _daemons(namespace))
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3))
        pods = live_pods(client, namespace)
        assert sorted(map(_target, pods)) == three_nodes
        [revision] = client.list(CONTROLLERREVISIONS, namespace)["items"]
        assert revision["revision"] == 1 and revision["metadata"]["ownerReferences"][0]["uid"] == uid_of(ds)
        assert {labels_of(p)["controller-revision-hash"] for p in pods} == {
            labels_of(revision)["controller-revision-hash"]
        }
        assert revision["data"]["spec"]["template"]["$patch"] == "replace"
        client.patch(NODES, three_nodes[0], {"metadata": {"labels": {"test": "elsewhere"}}})
        eventually(lambda: sorted(map(_target, live_pods(client, namespace))) == three_nodes[1:])
        client.patch(NODES, three_nodes[1], {"spec": {"unschedulable": True}})
        client.patch(NODES, three_nodes[2], {"spec": {"taints": [{"key": "away", "effect": "NoExecute"}]}})
        eventually(lambda: list(map(_target, live_pods(client, namespace))) == [three_nodes[1]])
        client.patch(NODES, three_nodes[2], {"spec": {"taints": None}})
        eventually(lambda: len(live_pods(client, namespace)) == 2)


def test_a_failed_pod_is_replaced(client: Client, namespace: str, three_nodes: list[str]) -> None:
    with running(client, "daemonset"), Kubelet(client, namespace) as kubelet:
        client.create(DAEMONSETS, _daemons(namespace))
        eventually(lambda: _counts(client, namespace)[2] == 3)
        victim = live_pods(client, namespace)[0]
        client.patch(PODS, name_of(victim), {"status": {"phase": "Failed"}}, namespace, subresource="status")
        eventually(lambda: len(kubelet.seen) == 4 and _counts(client, namespace)[2] == 3)


def test_updates_go_node_by_node_and_back_without_restarts(
    client: Client, namespace: str, three_nodes: list[str]
) -> None:
    with running(client, "daemonset"), Kubelet(client, namespace) as kubelet:
        lowest = [3]
        client.create(DAEMONSETS, _daemons(namespace))
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3))
        kubelet.pods.add_handler(lambda old, new: lowest.append(sum(_is_up(p) for p in kubelet.pods.list())))
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}}
        client.patch(DAEMONSETS, "agent", patch, namespace)
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3) and len(kubelet.seen) == 6)
        assert min(lowest) >= 2, "one at a time"
        first, second = sorted(client.list(CONTROLLERREVISIONS, namespace)["items"], key=lambda r: int(r["revision"]))
        patch["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:1"
        client.patch(DAEMONSETS, "agent", patch, namespace)
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3) and len(kubelet.seen) == 9)
        revisions = {name_of(r): r["revision"] for r in client.list(CONTROLLERREVISIONS, namespace)["items"]}
        assert revisions == {name_of(first): 3, name_of(second): 2}, "going back renumbers the old revision"


def _is_up(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return not is_terminating(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_settled_sets_are_not_written(client: Client, namespace: str, three_nodes: list[str]) -> None:
    counting = CountingClient(client)
    with running(counting, "daemonset"), Kubelet(client, namespace):
        client.create(DAEMONSETS, _daemons(namespace))
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3))
        time.sleep(0.5)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]


@pytest.mark.parametrize("surge", [1, "67%"])
def test_surging_never_leaves_a_node_without(
    client: Client, namespace: str, three_nodes: list[str], surge: int | str
) -> None:
    with running(client, "daemonset"), Kubelet(client, namespace) as kubelet:
        rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}
        client.create(DAEMONSETS, _daemons(namespace, updateStrategy={"type": "RollingUpdate", **rolling}))
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3))
        kubelet.healthy = lambda pod: pod["spec"]["containers"][0]["image"] == "busybox:1"
        _new_image(client, namespace, "busybox:2")
        extra = 1 if surge == 1 else 3  # 67% of three nodes, rounded up
        eventually(lambda: len(live_pods(client, namespace)) == 3 + extra)
        time.sleep(0.5)
        images = [p["spec"]["containers"][0]["image"] for p in live_pods(client, namespace)]
        assert images.count("busybox:1") == 3, "every node keeps its old pod until the new one is available"
        kubelet.healthy = lambda pod: True
        kubelet.look_again()
        eventually(lambda: _counts(client, namespace) == (3, 3, 3, 3, 3) and len(live_pods(client, namespace)) == 3)
        assert {p["spec"]["containers"][0]["image"] for p in live_pods(client, namespace)} == {"busybox:2"}
        assert kubelet.most <= 3 + extra


def _new_image(client: Client, namespace: str, image: str) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    client.patch(DAEMONSETS, "agent", {"spec": {"template": template}}, namespace)


def _rolling_pod(node: str, number: int, hashed: str, ready: bool) -> Obj:
    metadata = {"name": f"{node}-{number:03}", "labels": {HASH_LABEL: hashed}, "creationTimestamp": f"{number:03}"}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [condition]}}


@given(
    st.integers(1, 6), st.one_of(st.integers(1, 8), st.sampled_from(["1%", "34%", "100%"])), st.booleans(),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_any_update_ends_within_its_limits(count: int, most: int | str, surges: bool, random: Random) -> None:
    """Pods become ready, and deletions finish, in any order: no node is without by our doing, and it ends."""
    rolling = {"maxSurge": most, "maxUnavailable": 0} if surges else {"maxUnavailable": most}
    ds = {"spec": {"updateStrategy": {"rollingUpdate": rolling}}}
    nodes = {f"n{i}": [_rolling_pod(f"n{i}", i, "old", True)] for i in range(count)}
    bound, serial = limits(ds, count), 100
    for _ in range(500):
        doomed = [pod for pods in nodes.values() for pod in surplus(pods, ds, "new", NOW)]
        joined = [node for node, pods in nodes.items() if not pods]
        if not doomed and not joined:
            doomed, joined = step(nodes, ds, "new", NOW)
        for pod in doomed:
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        for node in joined:
            serial += 1
            nodes[node].append(_rolling_pod(node, serial, "new", False))
        without = [pods for pods in nodes.values() if not any(is_ready(p) and not is_terminating(p) for p in pods)]
        assert len(without) <= bound.unavailable
        twice = [pods for pods in nodes.values() if len([p for p in pods if not is_terminating(p)]) > 1]
        assert len(twice) <= bound.surge
        everything = [(node, pod) for node, pods in nodes.items() for pod in pods]
        if all(labels_of(pod)[HASH_LABEL] == "new" and is_ready(pod) for _, pod in everything):
            return
        node, pod = random.choice([(n, p) for n, p in everything if is_terminating(p) or not is_ready(p)])
        if is_terminating(pod):
            nodes[node].remove(pod)
        else:
            pod["status"]["conditions"][0]["status"] = "True"
    raise AssertionError("the update never ended")
