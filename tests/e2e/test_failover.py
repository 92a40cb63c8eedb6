"""Nodes fail: power cut, partition, and coming back; on SQLite and on etcd."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from minikube_py.api.gvr import DEPLOYMENTS, NODES
from minikube_py.api.meta import condition_is
from tests import harness
from tests.e2e.conftest import SLEEP, Cluster, deployment, running_cluster

ROUNDS = 2


@pytest.fixture(params=["sqlite", "etcd"])
def fragile(
    request: pytest.FixtureRequest,
    docker_engine: docker.DockerClient,
    etcd: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    store = "sqlite" if request.param == "sqlite" else f"etcd://{etcd}?prefix=/{tmp_path.name}"
    with running_cluster("failover", tmp_path, monkeypatch, "--store", store) as one:
        one.client.create(DEPLOYMENTS, deployment("app", 3, SLEEP))
        one.ready_pods("app=app", 3)
        yield one


def _ready(cluster: Cluster, node: str) -> bool:
    return condition_is(cluster.client.get(NODES, node), "Ready")


def _elsewhere(cluster: Cluster, node: str) -> bool:
    pods = cluster.pods("app=app")
    running = [p for p in pods if condition_is(p, "Ready") and p["spec"].get("nodeName") != node]
    return len(running) == 3


def _break_and_mend(cluster: Cluster, failure: str, repair: str) -> None:
    node = cluster.pods("app=app")[0]["spec"]["nodeName"]
    cluster.minikube("node", failure, node)
    harness.eventually(lambda: not _ready(cluster, node), 30, what=f"{node} NotReady after {failure}")
    harness.eventually(lambda: _elsewhere(cluster, node), 60, what=f"3 pods off {node} after {failure}")
    if failure == "partition":
        assert any(c["Labels"]["io.minikube-py.node"] == node for c in cluster.containers(running_only=True))
    cluster.minikube("node", repair, node)
    harness.eventually(lambda: _ready(cluster, node), 30, what=f"{node} Ready after {repair}")
    cluster.ready_pods("app=app", 3)
    harness.eventually(cluster.no_strays, 60, what=f"no stray container after {repair}")


@pytest.mark.timeout(600)
def test_power_cut_and_partition_move_pods_and_leave_no_strays(fragile: Cluster) -> None:
    for _ in range(ROUNDS):
        for failure, repair in (("stop", "start"), ("partition", "heal")):
            _break_and_mend(fragile, failure, repair)


def test_nodes_come_and_go(fragile: Cluster) -> None:
    fragile.minikube("node", "add")
    assert _ready(fragile, "node-4")
    fragile.kubectl("scale", "deployment/app", "--replicas=8")
    assert {p["spec"]["nodeName"] for p in fragile.ready_pods("app=app", 8)} == {f"node-{i}" for i in range(1, 5)}
    fragile.minikube("node", "remove", "node-2")
    harness.eventually(
        lambda: {p["spec"]["nodeName"] for p in fragile.ready_pods("app=app", 8)} == {"node-1", "node-3", "node-4"},
        60, what="pods on the remaining nodes",
    )  # fmt: skip
    assert "node-2" not in fragile.kubectl("get", "nodes", "-o", "name")
    assert not [c for c in fragile.containers() if c["Labels"]["io.minikube-py.node"] == "node-2"]
