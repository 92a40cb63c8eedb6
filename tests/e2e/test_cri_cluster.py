"""`up --runtime cri`: a cluster whose pods a containerd of its own runs, from start to the last trace."""

import os
import signal
from pathlib import Path

import docker
import pytest

from minikube_py.cluster import containerd, image_archive, images
from tests import harness
from tests.e2e.conftest import running_cluster

NAME = "oncri"


def traces(run: str) -> list[str]:
    """What a containerd and its pods are seen by on this machine, beside those of others."""
    commands = [
        path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline") if _is(path)
    ]
    mounts = Path("/proc/mounts").read_text().splitlines()
    return [line for line in (*commands, *mounts) if f"/profiles/{NAME}/" in line or run in line]


def _is(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def test_a_cluster_on_containerd(
    docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_cluster(NAME, tmp_path, monkeypatch, "--nodes", "1", "--runtime", "cri", "--sample") as cluster:
        own = containerd.of(cluster.profile)
        version = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}")
        assert version.startswith("containerd://")
        hello = cluster.ready_pods("app=hello", 2)
        assert "Hello" in cluster.kubectl("exec", "deploy/hello", "--", "wget", "-qO-", "http://hello.default")
        assert not cluster.containers(), "Docker runs none of it"

        archive = tmp_path / "images.tar"
        archive.write_bytes(image_archive.archive((images.BaseImage("mine.example/app:1", ('CMD ["sh"]',)),)))
        assert "image/mine.example/app:1 loaded" in cluster.minikube("image", "load", str(archive)).stdout
        assert "mine.example/app:1" in cluster.minikube("image", "list").stdout
        cluster.kubectl("run", "mine", "--image=mine.example/app:1", "--restart=Never", "--", "true")
        cluster.kubectl("wait", "pod/mine", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")

        # The power goes, and comes back; then containerd dies under its pods, which live on until `up` mends it.
        cluster.minikube("node", "stop", "node-1")
        cluster.minikube("node", "start", "node-1")
        harness.eventually(lambda: all(_restarts(pod) >= 1 for pod in cluster.ready_pods("app=hello", 2)), 60)
        before = {pod["metadata"]["name"]: _restarts(pod) for pod in cluster.ready_pods("app=hello", 2)}
        os.kill(own.pid(), signal.SIGKILL)
        harness.eventually(lambda: not own.pid(), what="containerd's end")
        cluster.up()
        after = {pod["metadata"]["name"]: _restarts(pod) for pod in cluster.ready_pods("app=hello", 2)}
        assert after == before and before.keys() == {pod["metadata"]["name"] for pod in hello}
        harness.eventually(
            lambda: "Hello" in cluster.kubectl("exec", "deploy/hello", "--", "wget", "-qO-", "http://hello.default"),
            what="an exec after containerd came back",
        )
    assert not traces(str(own.run)) and not own.run.exists()


def _restarts(pod: dict[str, object]) -> int:
    status = pod["status"]
    assert isinstance(status, dict)
    return int(status["containerStatuses"][0]["restartCount"])
