"""Silent nodes: conditions, taints, evictions after tolerationSeconds, and pods that stay when the node comes back."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.node_health import ready_status, wanted_taints
from controllers.options import Options
from controllers.tainteviction import time_allowed
from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339, rfc3339_micro
from minikube_py.api.gvr import LEASES, NAMESPACES, NODES, PODS, new_object
from minikube_py.api.meta import condition_of, is_terminating
from minikube_py.api.tolerations import Taint, tolerates
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, pod_template, running, set_ready
from tests.harness import eventually

FAST = Options(node_monitor_period=0.2, node_monitor_grace_period=1.5)
UNREACHABLE = "node.kubernetes.io/unreachable"


class Node:
    """Plays the heartbeats of one kubelet."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name
        client.create(NODES, new_object(NODES, name, spec={}))
        self.report()
        lease = new_object(LEASES, name, "kube-node-lease", spec={"holderIdentity": name})
        client.create(LEASES, lease)
        self.beating = threading.Event()
        self.beating.set()
        self._end = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def report(self, ready: str = "True") -> None:
        """What a kubelet patches into its node's status."""
        now = rfc3339(REAL.now())
        common = {"reason": "Kubelet", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now}
        states = {"Ready": ready, "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
        conditions = [{"type": kind, "status": status, **common} for kind, status in states.items()]
        self._client.patch(NODES, self.name, {"status": {"conditions": conditions}}, subresource="status")

    def _beat(self) -> None:
        while not self._end.wait(0.2):
            if self.beating.is_set():
                renewed = {"spec": {"renewTime": rfc3339_micro(REAL.now())}}
                with contextlib.suppress(errors.APIError):
                    self._client.patch(LEASES, self.name, renewed, "kube-node-lease")

    def remove(self) -> None:
        self._end.set()
        with contextlib.suppress(errors.NotFound):
            self._client.delete(NODES, self.name)
            self._client.delete(LEASES, self.name, "kube-node-lease")


@pytest.fixture
def nodes(client: Client, namespace: str) -> Iterator[list[Node]]:
    with contextlib.suppress(errors.AlreadyExists):
        client.create(NAMESPACES, new_object(NAMESPACES, "kube-node-lease"))
    made = [Node(client, f"{namespace}-{n}") for n in (1, 2)]
    yield made
    for node in made:
        node.remove()


def _pod(client: Client, namespace: str, name: str, node: Node, seconds: int | None) -> None:
    spec = {**pod_template("x")["spec"], "nodeName": node.name}
    if seconds is not None:
        spec["tolerations"] = [{
            "key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
        }]  # fmt: skip
    set_ready(client, client.create(PODS, new_object(PODS, name, namespace, spec=spec)), True, "10.9.9.9")


def _gone(client: Client, namespace: str, name: str) -> bool:
    try:
        return is_terminating(client.get(PODS, name, namespace))
    except errors.NotFound:
        return True


def _taints(client: Client, node: Node) -> set[tuple[str, str]]:
    return {(t["key"], t["effect"]) for t in client.get(NODES, node.name)["spec"].get("taints") or []}


def test_a_silent_node_is_tainted_emptied_and_recovers(client: Client, namespace: str, nodes: list[Node]) -> None:
    dead, _ = nodes
    with running(client, "node-lifecycle", "taint-eviction", options=FAST):
        for name, seconds in (("short", 2), ("long", 300)):
            _pod(client, namespace, name, dead, seconds)
        time.sleep(2.5)
        assert ready_status(client.get(NODES, dead.name)) == "True" and not _taints(client, dead), "it lives"
        dead.beating.clear()
        silent_at = time.monotonic()
        eventually(lambda: ready_status(client.get(NODES, dead.name)) == "Unknown", timeout=5)
        assert time.monotonic() - silent_at > 1.0, "not before the grace period is over"
        live = client.get(NODES, dead.name)
        assert (condition_of(live, "Ready") or {})["message"] == "Kubelet stopped posting node status."
        eventually(lambda: _taints(client, dead) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")})
        eventually(lambda: (condition_of(client.get(PODS, "long", namespace), "Ready") or {})["status"] == "False")
        tainted_at = time.monotonic()
        eventually(lambda: _gone(client, namespace, "short"), timeout=6)
        assert time.monotonic() - tainted_at > 1.0, "it had two seconds"
        assert not _gone(client, namespace, "long")
        dead.beating.set()
        dead.report()
        eventually(lambda: not _taints(client, dead))
        time.sleep(0.5)
        assert not _gone(client, namespace, "long")


def test_a_node_that_comes_back_in_time_keeps_its_pods(client: Client, namespace: str, nodes: list[Node]) -> None:
    node = nodes[0]
    with running(client, "node-lifecycle", "taint-eviction", options=FAST):
        _pod(client, namespace, "stays", node, 3)
        node.beating.clear()
        eventually(lambda: (UNREACHABLE, "NoExecute") in _taints(client, node), timeout=6)
        node.beating.set()
        node.report()
        eventually(lambda: not _taints(client, node))
        time.sleep(3.5)
        assert not _gone(client, namespace, "stays")


def test_the_last_node_is_not_emptied(client: Client, namespace: str, nodes: list[Node]) -> None:
    first, last = nodes
    with running(client, "node-lifecycle", "taint-eviction", options=FAST):
        _pod(client, namespace, "stays", last, 0)
        first.beating.clear()
        eventually(lambda: (UNREACHABLE, "NoExecute") in _taints(client, first), timeout=6)
        last.beating.clear()
        eventually(lambda: (UNREACHABLE, "NoSchedule") in _taints(client, last), timeout=6)
        eventually(lambda: (UNREACHABLE, "NoExecute") not in _taints(client, first), what="nowhere to go any more")
        assert not _gone(client, namespace, "stays")


def test_cordon_and_pressure_become_taints_and_others_are_left_alone(client: Client, nodes: list[Node]) -> None:
    node = nodes[0]
    with running(client, "node-lifecycle", options=FAST):
        theirs = {"key": "theirs", "value": "x", "effect": "NoSchedule"}
        client.patch(NODES, node.name, {"spec": {"unschedulable": True, "taints": [theirs]}})
        eventually(lambda: ("node.kubernetes.io/unschedulable", "NoSchedule") in _taints(client, node))
        client.patch(NODES, node.name, {"spec": {"unschedulable": None}})
        eventually(lambda: _taints(client, node) == {("theirs", "NoSchedule")})


def test_lively_nodes_are_not_written(client: Client, nodes: list[Node]) -> None:
    counting = CountingClient(client)
    with running(counting, "node-lifecycle", "taint-eviction", options=FAST):
        time.sleep(3)
        assert [write for write in counting.writes if nodes[0].name in write] == []


KEYS, EFFECTS = st.sampled_from(["a", "b", ""]), st.sampled_from(["NoExecute", "NoSchedule", ""])
TOLERATIONS = st.fixed_dictionaries(
    {"key": KEYS, "effect": EFFECTS, "operator": st.sampled_from(["Exists", "Equal"])},
    optional={"tolerationSeconds": st.integers(-1, 9), "value": st.sampled_from(["", "v"])},
)


@given(st.lists(TOLERATIONS, max_size=3), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2, unique=True))
def test_time_allowed(tolerations: list[Obj], keys: list[str]) -> None:
    taints = [{"key": key, "effect": "NoExecute"} for key in keys]
    allowed = time_allowed({"spec": {"tolerations": tolerations}}, taints)
    covered = [[t for t in tolerations if tolerates(t, Taint(key, "", "NoExecute"))] for key in keys]
    if not all(covered):
        assert allowed == 0.0
    elif all("tolerationSeconds" not in t for ts in covered for t in ts):
        assert allowed is None
    else:
        assert allowed is not None and allowed >= 0.0


@given(st.sampled_from(["True", "False", "Unknown"]), st.booleans(), st.booleans())
def test_wanted_taints_are_stable(ready: str, unschedulable: bool, may_evict: bool) -> None:
    node: Obj = {
        "metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable, "taints": [{"key": "x", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }  # fmt: skip
    once = wanted_taints(node, "t1", may_evict=may_evict)
    node["spec"]["taints"] = once
    assert wanted_taints(node, "t2", may_evict=may_evict) == once
    node["status"]["conditions"][0]["status"], node["spec"]["unschedulable"] = "True", False
    assert wanted_taints(node, "t3", may_evict=may_evict) == [{"key": "x", "effect": "NoExecute"}]
