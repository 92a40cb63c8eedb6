"""Any process may be killed at any moment: nothing acknowledged is lost, everything converges, nothing is left over."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import docker
import pytest

from minikube_py.api.errors import AlreadyExists, APIError
from minikube_py.api.gvr import CONFIGMAPS, DEPLOYMENTS, new_object
from tests import harness
from tests.e2e.conftest import SLEEP, Cluster, deployment, running_cluster

COMPONENTS = ("apiserver", "controllers", "kubelet-node-1", "kubelet-node-2", "kube-proxy")
ROUNDS = 20


class Load:
    """Creates ConfigMaps as fast as it is answered and remembers every one that was acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        self.acknowledged: list[str] = []
        self._client, self._stop = cluster.client, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="load")
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.01):
            number += 1
            try:
                self._client.create(
                    CONFIGMAPS, new_object(CONFIGMAPS, f"load-{number}", "default", data={"n": str(number)})
                )
                self.acknowledged.append(f"load-{number}")
            except AlreadyExists:
                self.acknowledged.append(f"load-{number}")
            except APIError:
                continue

    def stop(self) -> list[str]:
        self._stop.set()
        self._thread.join()
        return self.acknowledged


@pytest.fixture
def sturdy(docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with running_cluster("faults", tmp_path, monkeypatch, "--nodes", "2") as one:
        yield one


def _kill(cluster: Cluster, component: str) -> None:
    """kill -9, and wait until the supervisor has it running again."""
    pid: int = harness.eventually(lambda: cluster.component(component), what=f"{component} running")
    os.kill(pid, signal.SIGKILL)
    harness.eventually(lambda: cluster.component(component) not in (0, pid), 30, what=f"{component} back")


@pytest.mark.timeout(600)
def test_every_component_killed_in_turn_under_load(sturdy: Cluster) -> None:
    load = Load(sturdy)
    for turn in range(ROUNDS):
        if turn < 3:
            wanted = deployment(f"app-{turn}", 2, SLEEP)
            harness.eventually(partial(sturdy.client.create, DEPLOYMENTS, wanted), what="a create")
        _kill(sturdy, COMPONENTS[turn % len(COMPONENTS)])
    acknowledged = load.stop()
    for turn in range(3):
        sturdy.ready_pods(f"app=app-{turn}", 2, timeout=90)
    present = {obj["metadata"]["name"] for obj in sturdy.client.list(CONFIGMAPS, "default")["items"]}
    assert len(acknowledged) > 50
    assert set(acknowledged) <= present
    harness.eventually(sturdy.no_strays, 60, what="no stray container")


def test_containers_survive_their_kubelet(sturdy: Cluster) -> None:
    sturdy.client.create(DEPLOYMENTS, deployment("keep", 2, SLEEP))
    sturdy.ready_pods("app=keep", 2)
    before = {c["Id"] for c in sturdy.containers(running_only=True)}
    for node in ("node-1", "node-2"):
        _kill(sturdy, f"kubelet-{node}")
    harness.eventually(lambda: sturdy.minikube("status", check=False).returncode == 0, what="a healthy status")
    sturdy.ready_pods("app=keep", 2)
    assert {c["Id"] for c in sturdy.containers(running_only=True)} == before


def test_a_killed_supervisor_is_replaced_by_up(sturdy: Cluster) -> None:
    sturdy.client.create(DEPLOYMENTS, deployment("on", 2, SLEEP))
    sturdy.ready_pods("app=on", 2)
    before = {c["Id"] for c in sturdy.containers(running_only=True)}
    os.kill(sturdy.component("supervisor"), signal.SIGKILL)
    assert sturdy.minikube("status", check=False).returncode == 1
    sturdy.up()
    assert sturdy.minikube("status").returncode == 0
    sturdy.ready_pods("app=on", 2)
    assert {c["Id"] for c in sturdy.containers(running_only=True)} == before
