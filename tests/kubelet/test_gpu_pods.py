"""GPUs end to end on simulated cards: a kubelet, a real engine, containers that ask nvidia-smi what they have."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet.devices.mock_state import MockState
from kubelet.options import Options
from minikube_py.api.gvr import NODES
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready

GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module")
def gpu_node(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Options:
    file = tmp_path_factory.mktemp("gpus") / "gpus.yaml"
    file.write_text("driver: 550.163.01\ngpus: [{model: A100-SXM4-40GB, count: 2, numa: 0}]")
    return nodes.start(nodes.options(9, gpus=str(file), nvml_library="auto"))


def asking(count: int) -> list[Obj]:
    script = "nvidia-smi -L 2>&1; echo visible $NVIDIA_VISIBLE_DEVICES; ls /dev | grep -c nvidia; sleep 3600"
    resources: Obj = {"resources": {"limits": {GPU: str(count)}}} if count else {}
    return [container("main", ["sh", "-c", script], **resources)]


def said(bridge: Bridge, pod: Obj) -> str:
    """What the pod's container wrote, once it wrote all of it."""
    uid = pod["metadata"]["uid"]

    def text() -> str:
        found = next(
            c for c in bridge.containers() if uid in c["Names"][0] and not c["Names"][0].startswith("/k8s_POD")
        )
        logs: bytes = bridge.engine.api.logs(found["Id"])
        lines = logs.decode().splitlines()
        return "\n".join(lines) if lines and lines[-1].isdigit() else ""

    result: str = harness.eventually(text, what="the container's output")
    return result


def allocatable(nodes: Nodes, node: Options) -> str:
    status = nodes.client.get(NODES, node.node_name)["status"]
    return f"{status['allocatable'].get(GPU)} of {status['capacity'].get(GPU)}"


def test_cards_are_given_once_and_come_back(nodes: Nodes, gpu_node: Options, namespace: str, bridge: Bridge) -> None:
    found = nodes.client.get(NODES, gpu_node.node_name)
    assert allocatable(nodes, gpu_node) == "2 of 2"
    assert found["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB"
    assert found["metadata"]["labels"]["nvidia.com/gpu.count"] == "2"
    first, second = (nodes.pod(namespace, gpu_node, name, asking(1)) for name in ("first", "second"))
    plain = nodes.pod(namespace, gpu_node, "plain", asking(0))
    for one in (first, second, plain):
        nodes.wait(one, is_ready)
    seen = {said(bridge, one).splitlines()[0] for one in (first, second)}
    assert len(seen) == 2, "two pods, two cards"
    assert all(line.startswith("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-") for line in seen)
    assert "nvidia-smi: not found" in said(bridge, plain) and "visible void" in said(bridge, plain)
    third = nodes.wait_phase(nodes.pod(namespace, gpu_node, "third", asking(1)), "Failed")
    assert third["status"]["reason"] == f"OutOf{GPU}"
    lost = said(bridge, first).splitlines()[0]
    nodes.delete(first)
    nodes.wait_gone(first)
    fourth = nodes.pod(namespace, gpu_node, "fourth", asking(1))
    nodes.wait(fourth, is_ready)
    assert said(bridge, fourth).splitlines()[0] == lost, "the card that came back"
    assert said(bridge, fourth).splitlines()[-1] == "0", "no device nodes"
    for one in (second, fourth, plain):
        nodes.delete(one)
    for one in (second, fourth):
        nodes.wait_gone(one)


def test_a_restarted_container_and_kubelet_keep_the_card(
    nodes: Nodes, gpu_node: Options, namespace: str, bridge: Bridge
) -> None:
    pod = nodes.pod(namespace, gpu_node, "keeps", asking(2))
    nodes.wait(pod, is_ready)
    before = said(bridge, pod).splitlines()[:2]
    nodes.stop(gpu_node)
    nodes.start(gpu_node)
    refused = nodes.wait_phase(nodes.pod(namespace, gpu_node, "late", asking(1)), "Failed")
    assert refused["status"]["reason"] in (f"OutOf{GPU}", "UnexpectedAdmissionError")
    running = next(c for c in bridge.containers() if "k8s_main_keeps" in c["Names"][0])
    bridge.engine.api.kill(running["Id"])
    nodes.wait(pod, lambda p: is_ready(p) and p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert said(bridge, pod).splitlines()[:2] == before
    nodes.delete(pod)
    nodes.wait_gone(pod)


def test_a_lost_card_leaves_the_nodes_allocatable(nodes: Nodes, gpu_node: Options, namespace: str) -> None:
    pod = nodes.pod(namespace, gpu_node, "holds", asking(2))
    nodes.wait(pod, is_ready)

    def health(found: Obj) -> list[str]:
        (resource,) = found["status"]["containerStatuses"][0]["allocatedResourcesStatus"]
        assert resource["name"] == GPU
        return sorted(device["health"] for device in resource["resources"])

    assert health(nodes.get(pod)) == ["Healthy", "Healthy"]
    state = MockState(Path(gpu_node.root_dir, "gpus", "state"))
    started = time.monotonic()
    state.xid(0, 79)
    harness.eventually(lambda: allocatable(nodes, gpu_node) == "1 of 2", what="one card less")
    assert time.monotonic() - started < 10
    nodes.wait(pod, lambda p: health(p) == ["Healthy", "Unhealthy"], what="the card's health in the pod's status")
    state.recover(0)
    harness.eventually(lambda: allocatable(nodes, gpu_node) == "2 of 2", what="the card is back")
    nodes.wait(pod, lambda p: health(p) == ["Healthy", "Healthy"])
    nodes.delete(pod)
    nodes.wait_gone(pod)


def test_a_node_without_its_cards_says_zero(nodes: Nodes, gpu_node: Options) -> None:
    nodes.stop(gpu_node)
    without = nodes.start(replace(gpu_node, gpus="", nvml_library="none"))
    harness.eventually(lambda: allocatable(nodes, without) == "0 of 0", what="no cards")
    labels = nodes.client.get(NODES, without.node_name)["metadata"]["labels"]
    assert not [name for name in labels if name.startswith("nvidia.com/")]
