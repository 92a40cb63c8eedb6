"""GPUs on a machine without any: the mock NVML library shows what a class should see of exclusive assignment."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from minikube_py.api.gvr import NODES
from minikube_py.api.types import Obj
from tests import harness
from tests.e2e.conftest import SLEEP, Cluster, pod, running_cluster

CARDS = "driver: 550.163.01\ngpus:\n- {model: A100-SXM4-40GB, count: 2}\n"


@pytest.fixture
def equipped(docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    described = tmp_path / "gpus.yaml"
    described.write_text(CARDS)
    with running_cluster("cards", tmp_path, monkeypatch, "--nodes", "2", "--gpus", str(described)) as one:
        yield one


def _asking(name: str, cards: int) -> Obj:
    resources = {"limits": {"nvidia.com/gpu": str(cards)}} if cards else {}
    wanted = pod(name, SLEEP, restart="Always", resources=resources)
    wanted["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-1"}
    return wanted


def _own_cards(cluster: Cluster, name: str) -> list[str]:
    """What nvidia-smi says inside the container."""
    listed = cluster.kubectl("exec", name, "--", "sh", "-c", "nvidia-smi -L 2>/dev/null || true").splitlines()
    return [line.split("UUID: ")[1].rstrip(")") for line in listed if "UUID: " in line]


def test_no_card_is_given_twice_and_a_returned_one_is_given_again(equipped: Cluster) -> None:
    node = equipped.client.get(NODES, "node-1")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB"
    for name, cards in (("one", 1), ("two", 1), ("none", 0)):
        equipped.kubectl("apply", "-f", "-", stdin=json.dumps(_asking(name, cards)))
        equipped.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    first, second = _own_cards(equipped, "one"), _own_cards(equipped, "two")
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    assert _own_cards(equipped, "none") == []
    assert equipped.kubectl("exec", "none", "--", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES").strip() == "void"
    equipped.kubectl("apply", "-f", "-", stdin=json.dumps(_asking("three", 1)))
    why = "Insufficient nvidia.com/gpu"
    harness.eventually(lambda: why in equipped.kubectl("describe", "pod", "three"), 30, what="the reason it waits")
    assert equipped.kubectl("get", "pod", "three", "-o", "jsonpath={.status.phase}") == "Pending"
    equipped.kubectl("delete", "pod", "one")
    equipped.kubectl("wait", "--for=condition=Ready", "pod/three", "--timeout=60s")
    assert _own_cards(equipped, "three") == first
