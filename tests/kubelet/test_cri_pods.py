"""A kubelet on a CRI runtime (a containerd of the test's own), through a real API server: what differs from Docker's way."""

import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from kubelet.options import Options, parse
from kubelet.runtime import cri_logs
from kubelet.runtime.base import RUNNING, RuntimeFault
from kubelet.runtime.cri import CriRuntime
from minikube_py.api.gvr import NODES, PODS
from minikube_py.cluster.containerd import Containerd
from tests import harness
from tests.conftest import APIServer
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of
from tests.kubelet.registry import Registry

if TYPE_CHECKING:
    pass

SERVE = "while true; do echo hello | nc -l -p 8080; done"


@pytest.fixture(scope="module")
def nodes(
    apiserver: APIServer, bridge: Bridge, containerd: Containerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    made = Nodes(apiserver, bridge, tmp_path_factory.mktemp("cri-nodes"), containerd.endpoint)
    try:
        yield made
    finally:
        made.close()


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def kubectl(nodes: Nodes, namespace: str, *args: str, stdin: str = "") -> str:
    command = ["kubectl", "--kubeconfig", nodes.server.kubeconfig, "-n", namespace, *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30).stdout


def test_a_pod_lives_on_containerd(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    probe = {"exec": {"command": ["test", "-f", "/data/ready"]}, "periodSeconds": 1}
    body = container(
        "main", sh(f"echo started; touch /data/ready; {SERVE}"), readinessProbe=probe,
        volumeMounts=[{"name": "data", "mountPath": "/data"}], env=[{"name": "WHO", "value": "me"}],
        securityContext={"runAsUser": 1000, "runAsGroup": 3000, "readOnlyRootFilesystem": True,
                         "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    )  # fmt: skip
    volumes = [{"name": "data", "emptyDir": {}}]
    pod = nodes.pod(namespace, node, "web", [body], volumes=volumes, securityContext={"fsGroup": 2000})
    status = nodes.wait(pod, is_ready)["status"]
    assert status["podIP"].startswith(f"{bridge.prefix}.1.")
    assert status_of({"status": status}, "main")["containerID"].startswith("containerd://")
    version = nodes.client.get(NODES, node.node_name)["status"]["nodeInfo"]["containerRuntimeVersion"]
    assert version.startswith("containerd://1.")

    script = (
        "id -u; id -g; id -G; hostname; echo $WHO; touch /x 2>&1; grep -h -e NoNewPrivs -e CapEff /proc/self/status"
    )
    told = kubectl(nodes, namespace, "exec", "web", "--", *sh(script)).split("\n")
    assert told[:5] == ["1000", "3000", "3000 2000", "web", "me"]
    assert "Read-only" in told[5]
    assert [line.split()[-1] for line in told[6:8]] == ["0000000000000000", "1"]
    assert kubectl(nodes, namespace, "exec", "-i", "web", "--", "cat", stdin="through") == "through"
    assert kubectl(nodes, namespace, "logs", "web") == "started\n"

    # Another pod reaches it at its address, and both are gone with all they had.
    ask = container("main", sh(f"until nc -w 1 {status['podIP']} 8080 > /dev/termination-log; do sleep 0.2; done"))
    client = nodes.pod(namespace, node, "client", [ask], restartPolicy="Never")
    ended = nodes.wait_phase(client, "Succeeded")
    assert status_of(ended, "main")["state"]["terminated"]["message"] == "hello\n"
    for each in (pod, client):
        nodes.delete(each)
        nodes.wait_gone(each)
    runtime = nodes.running[node.node_name].runtime
    harness.eventually(lambda: not runtime.list_all(), what="no container left")
    logs = nodes.directory / node.node_name / "pod-logs"
    harness.eventually(lambda: not list(logs.iterdir()), what="no log left")


def test_a_killed_container_and_a_new_limit(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", sh("echo instance $RANDOM; trap '' TERM; sleep 3600"), resources={
        "limits": {"cpu": "500m", "memory": "64Mi"}})  # fmt: skip
    pod = nodes.wait(nodes.pod(namespace, node, containers=[body]), is_ready)
    runtime = nodes.running[node.node_name].runtime
    before = status_of(pod, "main")["containerID"].removeprefix("containerd://")
    new = {"cpu": "1", "memory": "128Mi"}
    patch = {"spec": {"containers": [{"name": "main", "resources": {"limits": new, "requests": new}}]}}
    nodes.client.patch(PODS, pod["metadata"]["name"], patch, namespace, kind="strategic", subresource="resize")

    def limits() -> tuple[int, int]:
        found = runtime.inspect(before).limits
        return (found.cpu_quota, found.memory) if found else (0, 0)

    harness.eventually(lambda: limits() == (100_000, 128 << 20), what="the new limits")
    runtime.stop_container(before, 0)
    after = nodes.wait(pod, lambda p: status_of(p, "main").get("restartCount") == 1 and is_ready(p))
    assert after["status"]["podIP"] == pod["status"]["podIP"]
    assert status_of(after, "main")["lastState"]["terminated"]["exitCode"] == 137
    assert kubectl(nodes, namespace, "logs", pod["metadata"]["name"], "--previous").startswith("instance")


def test_a_log_is_rotated_under_a_reader(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", sh("for i in $(seq 400); do echo line $i; sleep 0.005; done"))
    pod = nodes.pod(namespace, node, "talker", [body], restartPolicy="Never")
    nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("running"))
    runtime: Any = nodes.running[node.node_name].runtime
    following = subprocess.Popen(
        ["kubectl", "--kubeconfig", nodes.server.kubeconfig, "-n", namespace, "logs", "-f", "talker"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    container_id = status_of(nodes.get(pod), "main")["containerID"].removeprefix("containerd://")
    path = runtime._log_path(runtime._status(container_id).status)
    rotations = [
        harness.eventually(lambda s=stamp: cri_logs.rotate(path, lambda: runtime._reopen(container_id), s, 1000))  # type: ignore[misc]
        for stamp in ("20260101-000001", "20260101-000002")
    ]
    whole = "".join(f"line {i}\n" for i in range(1, 401))
    assert following.communicate(timeout=30)[0] == whole
    nodes.wait_phase(pod, "Succeeded")
    assert rotations == [True, True] and len(cri_logs.files(path)) == 3
    assert kubectl(nodes, namespace, "logs", "talker") == whole
    assert kubectl(nodes, namespace, "logs", "talker", "--tail=399") == whole.removeprefix("line 1\n")


def test_an_image_is_pulled_and_collected(nodes: Nodes, node: Options, namespace: str) -> None:
    registry = Registry()
    try:
        app = container("main", ["sleep", "3600"], registry.image)
        pod = nodes.wait(nodes.pod(namespace, node, containers=[app]), is_ready)
        assert "@sha256:" in status_of(pod, "main")["imageID"]
        kubelet = nodes.running[node.node_name]
        assert not kubelet.collector.remove_all_unused(), "a container uses it"
        with pytest.raises(RuntimeFault):
            kubelet.runtime.remove_image(registry.image)
        nodes.delete(pod)
        nodes.wait_gone(pod)
        kubelet.collector._last_used[registry.image] -= 1000
        harness.eventually(kubelet.collector.remove_all_unused, what="the image to be collected")
        assert kubelet.runtime.image_status(registry.image) is None
    finally:
        registry.close()


@pytest.mark.parametrize(
    ("starting", "ending"),
    [("create_container:after:1", "stop_sandbox:after:1"), ("start_container:after:1", "remove:after:1")],
)
def test_killed_at_any_call(nodes: Nodes, namespace: str, containerd: Containerd, starting: str, ending: str) -> None:
    options = nodes.options(index=3)

    def run(crash: str = "") -> "subprocess.Popen[bytes]":
        return nodes.spawn(options, module="tests.kubelet.crashing", CRASH=crash)

    with containerd.runtime(options.profile, options.node_name) as runtime:
        pod = nodes.pod(namespace, options)
        run(starting).wait(30)
        second = run(ending)
        assert status_of(nodes.wait(pod, is_ready), "main")["restartCount"] <= 1
        running = [summary for summary in runtime.list_all() if summary.state == RUNNING]
        assert len(running) == 2, running
        nodes.delete(pod)
        second.wait(30)
        third = run()
        try:
            nodes.wait_gone(pod)
            harness.eventually(lambda: not runtime.list_all(), what="no container left")
        finally:
            harness.stop(third)


def test_a_kubelet_that_comes_back_finds_its_pods(nodes: Nodes, namespace: str) -> None:
    options = nodes.start(nodes.options(index=2))
    pod = nodes.wait(nodes.pod(namespace, options), is_ready)
    nodes.stop(options)
    nodes.start(options)
    again = nodes.wait(pod, is_ready)
    assert status_of(again, "main")["containerID"] == status_of(pod, "main")["containerID"]
    nodes.delete(pod, grace_period_seconds=0)
    nodes.wait_gone(pod)
    runtime = nodes.running[options.node_name].runtime
    assert isinstance(runtime, CriRuntime)
    harness.eventually(lambda: not runtime.list_all(), what="no container left")


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--network=docker", "--runtime cri goes with --network own"),
        ("--default-ulimits=core=0", "the CRI has no ulimits"),
    ],
)
def test_what_a_cri_runtime_cannot_do(flag: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--kubeconfig=x", "--node-name=n", "--root-dir=/r", "--runtime=cri", flag])
    assert why in capsys.readouterr().err
