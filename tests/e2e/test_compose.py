"""docker-compose.yml, tried for real with the engine's own compose tool, the image built offline from a locally made base."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import yaml

from minikube_py.cluster import compose, images
from tests import harness
from tests.e2e.conftest import WEB, deployment

BASE, IMAGE = "minikube-py-base:latest", "minikube-py:test"
FILE = yaml.safe_load((harness.ROOT / "docker-compose.yml").read_text())


def test_addresses_are_those_of_the_profile() -> None:
    services = FILE["services"]
    for node in compose.PROFILE.nodes:
        command = services[node.name]["command"]
        assert f"--node-ip={compose.PROFILE.node_ip(node)}" in command
        assert f"--pod-cidr={compose.PROFILE.node_cidr(node)}" in command
        assert f"--cluster-dns={compose.PROFILE.dns_ip}" in command
    assert services["apiserver"]["networks"]["pods"]["ipv4_address"] == compose.API_ADDRESS
    assert f"--service-cluster-ip-range={compose.PROFILE.service_cidr}" in services["apiserver"]["command"]
    assert FILE["networks"]["pods"]["ipam"]["config"][0]["subnet"] == compose.PROFILE.pod_cidr


def test_every_flag_is_understood() -> None:
    import importlib

    for name, service in FILE["services"].items():
        command = service.get("command", [])
        if command[:2] == ["python", "-m"] and command[2] != "minikube_py.cluster.compose":
            assert importlib.import_module(command[2]).parse(command[3:]) is not None, name


def _compose_tool() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    return ["docker", "compose"] if plugin else [shutil.which("docker-compose") or "docker-compose"]


@pytest.fixture
def composed(docker_engine: docker.DockerClient, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The compose cluster, running; a function that runs kubectl against it."""
    images.build(images.missing())
    nodes, state, port = tmp_path / "nodes", tmp_path / "state", harness.free_port()
    nodes.mkdir()
    subprocess.run(["mount", "--bind", str(nodes), str(nodes)], check=True)
    subprocess.run(["mount", "--make-rshared", str(nodes)], check=True)
    environment = {
        **os.environ, "MINIKUBE_PY_IMAGE": IMAGE, "BASE": BASE, "MINIKUBE_PY_NODES": str(nodes),
        "MINIKUBE_PY_STATE": str(state), "MINIKUBE_PY_PORT": str(port), "COMPOSE_PROJECT_NAME": "minikube-py-test",
    }  # fmt: skip

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, cwd=harness.ROOT, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    tool = _compose_tool()
    run("hack/base-image.sh", BASE)
    run("hack/wheels.sh", str(Path(sys.prefix)))
    try:
        run(*tool, "up", "-d", "--build")
        yield lambda *words: run("kubectl", "--kubeconfig", str(state / "kubeconfig"), *words)
    finally:
        run(*tool, "stop")
        run(*tool, "--profile", "cleanup", "run", "--rm", "cleanup")
        run(*tool, "down", "-v", "--remove-orphans")
        subprocess.run(["umount", "-l", str(nodes)], check=True)


@pytest.mark.timeout(900)
def test_a_compose_cluster_runs_pods_services_and_failover(
    composed: Callable[..., str], docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    def ready(count: int) -> bool:
        return composed("get", "nodes", "--no-headers").count(" Ready ") == count

    harness.eventually(lambda: ready(3), 60, what="three nodes Ready")
    manifest = tmp_path / "web.json"
    manifest.write_text(json.dumps(deployment("web", 3, WEB)))
    composed("apply", "-f", str(manifest))
    composed("expose", "deployment", "web", "--port=80", "--target-port=8080")
    composed("rollout", "status", "deployment/web", "--timeout=90s")
    pods = json.loads(composed("get", "pods", "-o", "json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2", "node-3"}
    names = {pod["metadata"]["name"] for pod in pods}
    ask = ("exec", pods[0]["metadata"]["name"], "--", "wget", "-qO-", "http://web/")
    assert harness.eventually(lambda: composed(*ask).strip() in names, 30, what="an answer by name")
    composed("expose", "deployment", "web", "--name=front", "--type=LoadBalancer", "--port=80", "--target-port=8080")
    address = ("get", "service", "front", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
    outer = harness.eventually(lambda: composed(*address), 30, what="the load balancer's address")

    def fetched() -> str:
        try:
            with urllib.request.urlopen(f"http://{outer}/", timeout=3) as response:
                return str(response.read().decode().strip())
        except OSError:
            return ""

    assert harness.eventually(fetched, 30, what="the load balancer from the host") in names
    agents = docker_engine.containers.list(filters={"name": "node-3"})
    assert len(agents) == 1
    agents[0].stop()
    harness.eventually(lambda: ready(2), 60, what="node-3 NotReady")

    def elsewhere() -> bool:
        rows = [line.split() for line in composed("get", "pods", "-o", "wide", "--no-headers").splitlines()]
        return sum(row[2] == "Running" and row[6] != "node-3" for row in rows) == 3

    harness.eventually(elsewhere, 90, what="three copies on the nodes that are left")
    assert "kubernetes" in composed("get", "--raw", "/api/v1/namespaces/default/endpoints/kubernetes")
