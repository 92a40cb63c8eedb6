"""An engine that is killed and comes back: pods are made anew, and stay themselves. On a dockerd of the test's own."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.network.netlink import RouteNetlink
from kubelet.options import Options
from minikube_py.api.gvr import CONFIGMAPS, new_object
from minikube_py.api.types import Obj
from minikube_py.cluster import images
from tests import harness
from tests.conftest import APIServer
from tests.kubelet.conftest import Nodes, container, is_ready, status_of

BRIDGE = "mkpyengine"  # an engine told to have no bridge would delete the first engine's docker0


class Engine:
    """A second Docker Engine, which shares nothing with the machine's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"unix://{directory}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        place = self.directory
        if not Path(f"/sys/class/net/{BRIDGE}").exists():
            subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
            subprocess.run(["ip", "address", "add", "10.203.0.1/24", "dev", BRIDGE], check=True)
        with (place / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--host", self.host, "--data-root", f"{place}/data", "--exec-root", f"{place}/exec",
                 "--pidfile", f"{place}/docker.pid", "--bridge", BRIDGE, "--iptables=false", "--storage-driver", "overlay2"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            harness.eventually(lambda: self.client().ping(), 60, 0.2, what="the second engine")
        except AssertionError as error:
            raise AssertionError(f"{error}; log: {(place / 'dockerd.log').read_text()[-2000:]}") from None

    def client(self) -> Any:
        import docker

        return docker.DockerClient(self.host, timeout=20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        # Its containerd dies with it; where nobody reaps orphans the engine would take the corpse for a running one.
        (self.directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(Exception):
                for container in self.client().containers.list(all=True):
                    container.remove(force=True)
            harness.stop(self.process, 30)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)


@pytest.fixture
def engine(docker_engine: Any) -> Iterator[Engine]:
    assert shutil.which("dockerd"), "dockerd is not installed: apt-get install docker.io (make test does)"
    place = tempfile.mkdtemp(prefix="mkpy-")  # short: the engine makes sockets far below, and their names are limited
    made = Engine(Path(place))
    try:
        made.start()
        archive = images.busybox_tree()
        for image in images.BASE_IMAGES:
            repository, _, tag = image.name.rpartition(":")
            made.client().api.import_image_from_data(
                archive, repository=repository, tag=tag, changes=list(image.changes)
            )
        yield made
    finally:
        made.stop()
        subprocess.run(
            ["sh", "-c", f"grep -o ' {place}[^ ]*' /proc/mounts | sort -r | xargs -r -n1 umount -l"], check=False
        )
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def bare_bridge() -> Iterator[str]:
    name = "mkpytest0"
    with RouteNetlink() as host:
        host.delete_link(name)
        host.add_bridge(name)
        try:
            yield name
        finally:
            host.delete_link(name)


PODS = 50


def with_volumes(nodes: Nodes, namespace: str, options: Options) -> Obj:
    """A pod that notes, in memory, what its ConfigMap says each time it starts."""
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "live", namespace, data={"a": "old"}))
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("live", "memory")]
    body = container("main", ["sh", "-c", "echo $(cat /live/a) >> /memory/log; sleep 3600"], volumeMounts=mounts)
    volumes = [{"name": "live", "configMap": {"name": "live"}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
    return nodes.pod(namespace, options, "volumes", [body], volumes=volumes)


def test_fifty_pods_come_back_with_the_engine(
    apiserver: APIServer, engine: Engine, bare_bridge: str, namespace: str, tmp_path: Path
) -> None:
    nodes = Nodes(apiserver, None, tmp_path)
    options = nodes.options(
        runtime="docker", docker_host=engine.host, network="own", bridge=bare_bridge, node_ip="10.59.1.1",
        pod_cidr="10.59.1.0/24", port=10250,
    )  # fmt: skip
    try:
        nodes.start(options)
        made = [nodes.pod(namespace, options, f"pod-{index}") for index in range(PODS - 1)]
        made.append(with_volumes(nodes, namespace, options))
        before = [nodes.wait(pod, is_ready, 120) for pod in made]
        kept = Path(
            options.root_dir, "pods", before[-1]["metadata"]["uid"], "volumes/kubernetes.io~empty-dir/memory/log"
        )
        harness.eventually(lambda: kept.read_text() == "old\n", what="the first line")
        nodes.client.patch(CONFIGMAPS, "live", {"data": {"a": "new"}}, namespace)
        engine.kill()
        harness.eventually(lambda: not Path(f"/proc/{engine.process.pid}").exists() if engine.process else True, 10)
        engine.start()
        for pod in before:
            after = nodes.wait(pod, lambda p: status_of(p, "main").get("restartCount", 0) == 1 and is_ready(p), 120)
            assert after["status"]["podIP"] == pod["status"]["podIP"]
        assert kept.read_text() == "old\nnew\n", "volumes outlive the engine, and are as fresh as ever"
        running = [c["Names"][0] for c in engine.client().api.containers()]
        assert len(running) == 2 * PODS, running
        assert all(sum(pod["metadata"]["uid"] in name for name in running) == 2 for pod in before)
        for pod in before:
            nodes.delete(pod)
        for pod in before:
            nodes.wait_gone(pod, 120)
        harness.eventually(lambda: not engine.client().api.containers(all=True), 60, what="no container left")
    finally:
        nodes.close()
