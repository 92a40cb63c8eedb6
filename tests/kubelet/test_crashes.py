"""kill -9 of the kubelet at every runtime call, and of what it depends on: nothing leaks and nothing runs twice."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kubelet.options import Options
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of

POINTS = [
    # (while the pod starts, while it ends)
    ("_create:before:1", "stop_container:before:1"),
    ("_create:after:1", "stop_container:after:1"),
    ("start_container:before:1", "stop_sandbox:before:1"),
    ("start_container:after:1", "stop_sandbox:after:1"),
    ("run_sandbox:after:1", "remove:before:1"),
    ("_create:before:2", "remove:after:1"),
    ("_create:after:2", "remove:before:2"),
    ("start_container:before:2", "remove:after:2"),
    ("start_container:after:2", "stop_container:after:1"),
    ("inspect:after:2", "remove:after:1"),
]


def own_containers(bridge: Bridge, pod: Obj) -> list[Any]:
    return [c for c in bridge.containers() if pod["metadata"]["uid"] in c["Names"][0]]


def run(nodes: Nodes, options: Options, crash: str = "") -> Any:
    return nodes.spawn(options, module="tests.kubelet.crashing", CRASH=crash)


@pytest.mark.parametrize(("starting", "ending"), POINTS)
def test_killed_at_any_call(nodes: Nodes, namespace: str, bridge: Bridge, starting: str, ending: str) -> None:
    options = nodes.options(index=2)
    pod = nodes.pod(namespace, options, volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}])
    first = run(nodes, options, starting)
    first.wait(30)
    second = run(nodes, options, ending)
    ready = nodes.wait(pod, is_ready)
    assert status_of(ready, "main")["restartCount"] <= 1
    running = [c for c in own_containers(bridge, pod) if c["State"] == "running"]
    assert len(running) == 2, [c["Names"] for c in running]
    nodes.delete(pod)
    second.wait(30)
    third = run(nodes, options)
    try:
        nodes.wait_gone(pod)
        harness.eventually(lambda: not own_containers(bridge, pod), what="no container left")
        directory = Path(options.root_dir, "pods", pod["metadata"]["uid"])
        harness.eventually(lambda: not directory.exists(), what="no directory left")
        assert str(directory) not in Path("/proc/mounts").read_text()
    finally:
        harness.stop(third)


def test_a_restarted_kubelet_takes_over(nodes: Nodes, namespace: str, bridge: Bridge) -> None:
    """Running pods are not touched; what ended meanwhile is dealt with; what was deleted meanwhile goes."""
    options = nodes.options(index=3)
    first = run(nodes, options)
    pods = [nodes.pod(namespace, options, name) for name in ("stays", "dies", "leaves")]
    stays, dies, leaves = (nodes.wait(pod, is_ready) for pod in pods)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    bridge.engine.api.kill(status_of(dies, "main")["containerID"].removeprefix("docker://"))
    nodes.delete(leaves, grace_period_seconds=0)
    second = run(nodes, options)
    try:
        back = nodes.wait(dies, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
        assert back["status"]["podIP"] == dies["status"]["podIP"]
        after = nodes.get(stays)
        assert status_of(after, "main") == status_of(stays, "main")
        assert after["status"] == stays["status"]
        harness.eventually(lambda: not own_containers(bridge, leaves), what="the deleted pod's containers to go")
        assert len(own_containers(bridge, stays)) == 2
    finally:
        harness.stop(second)


def test_pods_outlive_the_api_server(
    docker_engine: Any, bridge: Bridge, tmp_path: Path, apiserver_marker: None
) -> None:
    from minikube_py.api.gvr import NAMESPACES, new_object
    from tests.conftest import APIServer

    server = APIServer(tmp_path)
    server.start()
    nodes = Nodes(server, bridge, tmp_path)
    try:
        nodes.client.create(NAMESPACES, new_object(NAMESPACES, "away"))
        options = nodes.start(nodes.options(index=4))
        pod = nodes.wait(nodes.pod("away", options), is_ready)
        server.kill()
        bridge.engine.api.kill(status_of(pod, "main")["containerID"].removeprefix("docker://"))

        def restarted() -> bool:
            running = [c for c in own_containers(bridge, pod) if c["State"] == "running"]
            return any(c["Names"][0].endswith("_1") for c in running)

        harness.eventually(restarted, what="the container to be back without an API server")
        server.start()
        nodes.wait(pod, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
    finally:
        with contextlib.suppress(Exception):
            nodes.close()
        server.stop()


def test_many_pods_at_once(nodes: Nodes, namespace: str, bridge: Bridge) -> None:
    options = nodes.start(nodes.options(index=5))
    try:
        pods = [nodes.pod(namespace, options, f"many-{i}", [container("main", ["sleep", "3600"])]) for i in range(12)]
        ready = [nodes.wait(pod, is_ready, 60) for pod in pods]
        assert len({pod["status"]["podIP"] for pod in ready}) == len(pods)
        for pod in pods:
            nodes.delete(pod)
        for pod in pods:
            nodes.wait_gone(pod)
        harness.eventually(lambda: not any(own_containers(bridge, pod) for pod in pods), what="no container left")
    finally:
        nodes.stop(options)
