"""A node without containers: the same kubelet on the simulated runtime, many pods at once, and a kubelet that is replaced."""

import threading
from dataclasses import replace
from pathlib import Path

from kubelet.main import Kubelet
from kubelet.runtime.simulated import SimulatedRuntime
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import LEASES, NODES, PODS
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Nodes, container, is_ready, status_of


def test_stages_logs_and_exec(simulated: Nodes, namespace: str) -> None:
    options = simulated.start(simulated.options())
    runs = simulated.pod(namespace, options, "runs", [container("main")])
    brief = container("main", ["sh", "-c", "sleep 0.2; exit 0"])
    ends = simulated.pod(namespace, options, "ends", [brief], restartPolicy="Never")
    fails = simulated.pod(namespace, options, "fails", [container("main", ["false"])])
    ready = simulated.wait(runs, is_ready)
    assert ready["status"]["podIP"].startswith("10.123.")
    assert status_of(ready, "main")["containerID"].startswith("simulated://")
    simulated.wait_phase(ends, "Succeeded")
    simulated.wait(fails, lambda p: status_of(p, "main").get("restartCount", 0) >= 2)
    for pod in (runs, ends, fails):
        simulated.delete(pod)
        simulated.wait_gone(pod)
    simulated.stop(options)


def test_hundreds_of_pods_cost_no_threads(simulated: Nodes, namespace: str) -> None:
    options = simulated.start(simulated.options(capacity={"cpu": "1000", "memory": "1Ti", "pods": "1000"}))
    for index in range(150):
        simulated.pod(namespace, options, f"p{index}", [container("main")])

    def phases() -> int:
        return sum(pod["status"].get("phase") == "Running" for pod in simulated.client.list(PODS, namespace)["items"])

    harness.eventually(lambda: phases() == 150, 60, 0.3, what="150 running pods")
    harness.eventually(
        lambda: sum(t.name.startswith("pod-") for t in threading.enumerate()) <= 2, 30, what="idle threads to end"
    )
    simulated.client.delete_collection(PODS, namespace)
    harness.eventually(lambda: not simulated.client.list(PODS, namespace)["items"], 60, 0.3, what="all pods gone")
    simulated.stop(options)


def test_a_new_kubelet_finds_what_runs(simulated: Nodes, namespace: str) -> None:
    """The runtime stays, the kubelet is another: pods keep their containers, what was deleted meanwhile is cleared away."""
    options = simulated.options()
    runtime = SimulatedRuntime(REAL)
    simulated.start(options, runtime)
    pods = [simulated.pod(namespace, options, name, [container("main")]) for name in ("kept", "dropped")]
    kept, dropped = (simulated.wait(pod, is_ready) for pod in pods)
    simulated.running[options.node_name].manager.stop()
    simulated.running[options.node_name].stop()
    simulated.delete(dropped, grace_period_seconds=0)
    simulated.start(options, runtime)
    harness.eventually(lambda: not runtime.list_all(dropped["metadata"]["uid"]), what="the orphan's containers to go")
    assert len(runtime.list_all(kept["metadata"]["uid"])) == 2
    assert simulated.get(kept)["status"] == kept["status"]
    orphan = Path(options.root_dir, "pods", dropped["metadata"]["uid"])
    harness.eventually(lambda: not orphan.exists(), what="the orphan's directory to go")
    simulated.stop(options)


def test_the_node_object(simulated: Nodes, namespace: str) -> None:
    """Registered with its share as capacity; what others put on it stays; its Lease is renewed; called Unknown, it objects."""
    options = simulated.start(
        simulated.options(capacity={"cpu": "3", "memory": "2Gi", "pods": "7"}, node_labels={"a": "b"})
    )
    name = options.node_name
    node = simulated.client.get(NODES, name)
    assert node["status"]["capacity"]["cpu"] == "3" and node["status"]["allocatable"]["pods"] == "7"
    assert node["metadata"]["labels"]["a"] == "b" and node["metadata"]["labels"]["kubernetes.io/hostname"] == name
    assert node["spec"]["podCIDR"] == options.pod_cidr
    assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == options.port
    foreign: Obj = {"status": {"capacity": {"example.com/dongle": "4"}, "allocatable": {"example.com/dongle": "4"}}}
    simulated.client.patch(NODES, name, foreign, kind="strategic", subresource="status")
    unknown = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}
    simulated.client.patch(NODES, name, unknown, kind="strategic", subresource="status")
    simulated.wait_ready(name)
    assert simulated.client.get(NODES, name)["status"]["capacity"]["example.com/dongle"] == "4"
    first = simulated.client.get(LEASES, name, "kube-node-lease")["spec"]["renewTime"]
    harness.eventually(
        lambda: simulated.client.get(LEASES, name, "kube-node-lease")["spec"]["renewTime"] != first,
        what="a renewed lease",
    )
    simulated.client.delete(NODES, name)
    simulated.wait_ready(name)
    simulated.stop(options)


def test_a_fleet_of_nodes_in_one_kubelet(simulated: Nodes, namespace: str) -> None:
    """Each is a node of its own to the API: registered, alive, with its own admission; their pods run in one process."""
    options = simulated.options(simulated_nodes=12, capacity={"cpu": "1", "memory": "1Gi", "pods": "3"})
    kubelet = Kubelet(options, REAL)
    kubelet.start(threading.Event())
    simulated.running[options.node_name] = kubelet
    names = [f"{options.node_name}-{number:04d}" for number in range(12)]
    for name in names:
        simulated.wait_ready(name)
    bound = [
        simulated.pod(namespace, replace(options, node_name=name), f"{index}-{which}", [container("main")])
        for index, name in enumerate(names) for which in range(3)
    ]  # fmt: skip
    for pod in bound:
        assert simulated.wait(pod, is_ready)["spec"]["nodeName"] in names
    late = simulated.wait_phase(simulated.pod(namespace, replace(options, node_name=names[0]), "late"), "Failed")
    assert late["status"]["reason"] == "OutOfpods"
    leases = {lease["metadata"]["name"] for lease in simulated.client.list(LEASES, "kube-node-lease")["items"]}
    assert leases >= set(names)
    unknown = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}
    simulated.client.patch(NODES, names[5], unknown, kind="strategic", subresource="status")
    simulated.client.delete(NODES, names[6])
    simulated.wait_ready(names[5])
    simulated.wait_ready(names[6])
    simulated.delete(bound[0])
    simulated.wait_gone(bound[0])
    simulated.stop(options)
