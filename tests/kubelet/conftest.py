"""What kubelet tests share: a real API server, a bridge of their own, and kubelets on it; everything is removed afterwards."""

import contextlib
import os
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubelet import cgroups
from kubelet.main import Kubelet, Options
from kubelet.runtime.base import Runtime
from minikube_py.api.clock import REAL
from minikube_py.api.errors import APIError, NotFound
from minikube_py.api.gvr import NODES, PODS
from minikube_py.api.types import Obj
from minikube_py.cluster import images, pki
from minikube_py.cluster.containerd import Containerd
from tests import harness
from tests.conftest import APIServer
from tests.kubelet.containerd import running as running_containerd

if TYPE_CHECKING:
    import docker

    from minikube_py.client.rest import Client


class Bridge:
    """A Docker network with a bridge of its own, as `minikube-py up` makes one."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.profile = f"test-{secrets.token_hex(3)}"
        self.name = f"mkpy{secrets.token_hex(4)}"
        self.prefix, self.network = self._make()

    def _make(self) -> tuple[str, Any]:
        import docker

        for _ in range(20):
            second = 60 + secrets.randbelow(36)  # below 10.96, where Services live
            config = docker.types.IPAMPool(subnet=f"10.{second}.0.0/16", gateway=f"10.{second}.0.1")
            with contextlib.suppress(docker.errors.APIError):
                return f"10.{second}", self.engine.networks.create(
                    f"minikube-py-{self.profile}", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[config]),
                    options={"com.docker.network.bridge.name": self.name},
                )  # fmt: skip
        raise AssertionError("no free subnet for a test network")

    def containers(self) -> list[Any]:
        found: list[Any] = self.engine.api.containers(
            all=True, filters={"label": [f"io.minikube-py.profile={self.profile}"]}
        )
        return found

    def remove(self) -> None:
        for container in self.containers():
            with contextlib.suppress(Exception):
                self.engine.api.remove_container(container["Id"], force=True, v=True)
        self.network.remove()
        cgroups.remove_all(self.profile)


class Nodes:
    """Kubelets of one test, in this process or (to be killed) in one of their own."""

    def __init__(self, server: APIServer, bridge: Bridge | None, directory: Path, endpoint: str = "") -> None:
        self.server, self.bridge, self.directory, self.endpoint = server, bridge, directory, endpoint
        self.client: Client = server.client()
        self.running: dict[str, Kubelet] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.profiles: set[str] = set()

    def options(self, index: int = 1, **changes: Any) -> Options:
        name = f"node-{secrets.token_hex(3)}"
        profile = self.bridge.profile if self.bridge else f"test-{secrets.token_hex(3)}"
        self.profiles.add(profile)
        address = f"{self.bridge.prefix}.{index}.1" if self.bridge else "127.0.0.1"
        cidr = f"{self.bridge.prefix}.{index}.0/24" if self.bridge else "10.123.0.0/16"
        pki.issue_node(self.server.pki, name, [address])
        base = Options(
            kubeconfig=self.server.kubeconfig, node_name=name, root_dir=str(self.directory / name), profile=profile,
            runtime="cri" if self.endpoint else "docker" if self.bridge else "simulated",
            runtime_endpoint=self.endpoint, pod_cidr=cidr, node_ip=address,
            bridge=self.bridge.name if self.bridge else "", port=10250 if self.bridge else harness.free_port(),
            tls_cert=str(self.server.pki / f"kubelet-{name}.crt"), tls_key=str(self.server.pki / f"kubelet-{name}.key"),
            client_ca=str(self.server.pki / "ca.crt"), capacity={"cpu": "8", "memory": "8Gi", "pods": "110",
            "ephemeral-storage": "20Gi"}, node_lease_renew_interval=1.0, node_lease_duration=4, crash_backoff=0.5,
            crash_backoff_max=4.0, image_backoff=0.5, sync_frequency=1.0, service_proxy=False,
            network="own" if self.bridge else "none",
        )  # fmt: skip
        return replace(base, **changes)

    def start(self, options: Options | None = None, runtime: Runtime | None = None) -> Options:
        """A kubelet in this process, its node Ready."""
        options = options or self.options()
        kubelet = Kubelet(options, REAL, runtime)
        kubelet.start(threading.Event())
        self.running[options.node_name] = kubelet
        self.wait_ready(options.node_name)
        return options

    def stop(self, options: Options) -> None:
        self.running.pop(options.node_name).stop()

    def wait_ready(self, name: str) -> None:
        def ready() -> bool:
            conditions = self.client.get(NODES, name).get("status", {}).get("conditions") or []
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        harness.eventually(ready, timeout=30, what=f"node {name} Ready")

    def spawn(self, options: Options, *, module: str = "kubelet.main", **environment: str) -> subprocess.Popen[bytes]:
        """A kubelet process of its own."""
        import sys

        flags = {
            "kubeconfig": options.kubeconfig, "node-name": options.node_name, "root-dir": options.root_dir,
            "profile": options.profile, "runtime": options.runtime,
            "runtime-endpoint": options.runtime_endpoint, "pod-cidr": options.pod_cidr, "node-ip": options.node_ip,
            "bridge": options.bridge, "port": options.port, "tls-cert": options.tls_cert, "tls-key": options.tls_key,
            "client-ca": options.client_ca, "crash-backoff": options.crash_backoff, "network": options.network,
            "capacity": ",".join(f"{k}={v}" for k, v in options.capacity.items()), "sync-frequency": options.sync_frequency,
            "crash-backoff-max": options.crash_backoff_max, "relist-period": options.relist_period,
        }  # fmt: skip
        argv = [f"--{name}={value}" for name, value in flags.items()]
        with (self.directory / f"{options.node_name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "--no-service-proxy", *argv], stdout=log, stderr=log,
                env={**harness.environment(), **environment}, cwd=harness.ROOT,
            )  # fmt: skip
        self.processes[options.node_name] = process
        return process

    def close(self) -> None:
        for kubelet in self.running.values():
            kubelet.stop()
        for process in self.processes.values():
            harness.stop(process)
        for profile in self.profiles:
            cgroups.remove_all(profile)
        subprocess.run(
            ["sh", "-c", f"grep -o ' {self.directory}[^ ]*' /proc/mounts | xargs -r -n1 umount -l"], check=False
        )

    # --- pods

    def pod(
        self, namespace: str, options: Options, name: str = "", containers: list[Obj] | None = None, **spec: Any
    ) -> Obj:
        """Create a pod bound to the node."""
        body = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name or f"pod-{secrets.token_hex(3)}", "namespace": namespace},
            "spec": {
                "nodeName": options.node_name, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
                "containers": containers or [container("main", ["sleep", "3600"])], **spec,
            },
        }  # fmt: skip
        return self.client.create(PODS, body)

    def get(self, pod: Obj) -> Obj:
        return self.client.get(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])

    def wait(self, pod: Obj, check: Callable[[Obj], Any], timeout: float = 90.0, what: str = "") -> Obj:
        """The pod, once `check(pod)` holds."""

        def probe() -> Obj | None:
            found = self.get(pod)
            return found if check(found) else None

        try:
            result: Obj = harness.eventually(probe, timeout, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {self.get(pod).get('status')}") from None
        return result

    def wait_phase(self, pod: Obj, phase: str, timeout: float = 90.0) -> Obj:
        return self.wait(pod, lambda p: p.get("status", {}).get("phase") == phase, timeout, f"phase {phase}")

    def wait_gone(self, pod: Obj, timeout: float = 90.0) -> None:
        def gone() -> bool:
            try:
                return bool(self.get(pod)["metadata"]["uid"] != pod["metadata"]["uid"])
            except NotFound:
                return True

        harness.eventually(gone, timeout, what="the pod's removal")

    def delete(self, pod: Obj, **options: Any) -> None:
        with contextlib.suppress(APIError):
            self.client.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], **options)


def container(name: str, command: list[str] | None = None, image: str = "busybox:latest", **fields: Any) -> Obj:
    """A container spec; the image is never pulled."""
    return {
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent", **({"command": command} if command else {}), **fields,
    }  # fmt: skip


def is_ready(pod: Obj) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def status_of(pod: Obj, name: str) -> Obj:
    """The ContainerStatus of a container, {} while there is none."""
    status = pod.get("status", {})
    groups = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    entries = [entry for group in groups for entry in status.get(group) or []]
    return next((entry for entry in entries if entry["name"] == name), {})


@pytest.fixture(scope="session")
def bridge(docker_engine: "docker.DockerClient") -> Iterator[Bridge]:
    assert os.geteuid() == 0, "these tests make network interfaces: run them as root"
    images.build(images.missing())
    made = Bridge(docker_engine)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd of our own, with the base images."""
    with running_containerd(tmp_path_factory.mktemp("cri")) as own:
        yield own


@pytest.fixture(scope="module")
def short_path() -> Iterator[Path]:
    """A directory for nodes: the paths of the sockets below it may have 107 bytes, and pytest's own names are long."""
    with tempfile.TemporaryDirectory(prefix="mkpy-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def nodes(
    apiserver: APIServer, docker_engine: "docker.DockerClient", bridge: Bridge, short_path: Path
) -> Iterator[Nodes]:
    """Kubelets on real Docker."""
    made = Nodes(apiserver, bridge, short_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def simulated(apiserver: APIServer, short_path: Path) -> Iterator[Nodes]:
    """Kubelets on the simulated runtime."""
    made = Nodes(apiserver, None, short_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> Options:
    """One kubelet on real Docker for the whole file."""
    return nodes.start()
