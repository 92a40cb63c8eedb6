"""Probes of real containers: http, tcp and exec, and what they do to the pod."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from kubelet.options import Options
from minikube_py.api.gvr import EVENTS
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Nodes, container, is_ready, status_of

SERVER = ["sh", "-c", r"while true; do printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' | nc -l -p 8080; done"]
QUICK: Obj = {"periodSeconds": 1, "failureThreshold": 1}


def test_readiness_follows_the_probe(nodes: Nodes, node: Options, namespace: str) -> None:
    probe = {"exec": {"command": ["test", "-f", "/tmp/ready"]}, **QUICK}
    script = "sleep 2; touch /tmp/ready; sleep 2; rm /tmp/ready; sleep 3600"
    body = container("main", ["sh", "-c", script], readinessProbe=probe)
    pod = nodes.pod(namespace, node, containers=[body])
    first = nodes.wait(pod, lambda p: "running" in status_of(p, "main").get("state", {}))
    assert not is_ready(first)
    ready = next(c for c in first["status"]["conditions"] if c["type"] == "ContainersReady")
    assert ready["message"] == "containers with unready status: [main]"
    nodes.wait(pod, is_ready)
    last = nodes.wait(pod, lambda p: not is_ready(p))
    assert status_of(last, "main")["restartCount"] == 0


def test_http_and_tcp(nodes: Nodes, node: Options, namespace: str) -> None:
    http = container("main", SERVER, readinessProbe={"httpGet": {"path": "/", "port": "web"}, **QUICK},
                     ports=[{"name": "web", "containerPort": 8080}])  # fmt: skip
    tcp = container("main", SERVER, readinessProbe={"tcpSocket": {"port": 8080}, **QUICK})
    dead = container("main", ["sleep", "3600"], readinessProbe={"tcpSocket": {"port": 8080}, **QUICK})
    pods = [nodes.pod(namespace, node, name, [body]) for name, body in (("http", http), ("tcp", tcp), ("dead", dead))]
    nodes.wait(pods[0], is_ready)
    nodes.wait(pods[1], is_ready)
    assert not is_ready(nodes.get(pods[2]))


def test_liveness_restarts(nodes: Nodes, node: Options, namespace: str) -> None:
    probe = {"exec": {"command": ["test", "-f", "/tmp/alive"]}, **QUICK}
    body = container("main", ["sh", "-c", "touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 3600"], livenessProbe=probe)
    pod = nodes.pod(namespace, node, containers=[body])
    after = nodes.wait(pod, lambda p: status_of(p, "main").get("restartCount", 0) >= 1 and is_ready(p))
    assert after["status"]["phase"] == "Running"


def test_startup_comes_first(nodes: Nodes, node: Options, namespace: str) -> None:
    """Liveness waits for the startup probe, and a container that never starts is restarted."""
    startup = {"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 20}
    body = container("main", ["sh", "-c", "sleep 3; touch /tmp/up; sleep 3600"], startupProbe=startup,
                     livenessProbe={"exec": {"command": ["test", "-f", "/tmp/up"]}, **QUICK})  # fmt: skip
    never = container("main", ["sleep", "3600"], startupProbe={**startup, "failureThreshold": 2})
    slow, stuck = nodes.pod(namespace, node, "slow", [body]), nodes.pod(namespace, node, "stuck", [never])
    early = nodes.wait(slow, lambda p: "running" in status_of(p, "main").get("state", {}))
    assert status_of(early, "main")["started"] is False
    final = nodes.wait(slow, is_ready)
    assert (status_of(final, "main")["started"], status_of(final, "main")["restartCount"]) == (True, 0)
    nodes.wait(stuck, lambda p: status_of(p, "main").get("restartCount", 0) >= 1)


class Health:
    """A gRPC server with the standard health service; `serving` holds what it calls healthy."""

    def __init__(self, address: str) -> None:
        self.serving = {"", "good", "long" * 60}
        self.asked: set[str] = set()
        check = grpc.unary_unary_rpc_method_handler(self._check)
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),)
        )
        self.port = self._server.add_insecure_port(f"{address}:0")
        self._server.start()

    def _check(self, request: bytes, context: Any) -> bytes:
        """HealthCheckRequest{1: service} → HealthCheckResponse{1: status}, 1 SERVING, 2 NOT_SERVING."""
        service = request[2 if len(request) < 130 else 3 :].decode()
        self.asked.add(service)
        if service == "unknown":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return b"\x08\x01" if service in self.serving else b"\x08\x02"

    def close(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def health(node: Options) -> Iterator[Health]:
    made = Health(node.node_ip)
    try:
        yield made
    finally:
        made.close()


def test_grpc(nodes: Nodes, node: Options, namespace: str, health: Health) -> None:
    """Pods in the node's network, so that a real gRPC server beside them answers for them."""

    def ask(name: str, service: str | None) -> Obj:
        probe: Obj = {"grpc": {"port": health.port, **({} if service is None else {"service": service})}, **QUICK}
        return nodes.pod(
            namespace, node, name, [container("main", ["sleep", "3600"], readinessProbe=probe)], hostNetwork=True
        )

    whole, good, long = ask("whole", None), ask("good", "good"), ask("long", "long" * 60)
    bad, unknown = ask("bad", "bad"), ask("unknown", "unknown")
    for pod in (whole, good, long):
        nodes.wait(pod, is_ready)

    def complaints() -> dict[str, str]:
        found = nodes.client.list(EVENTS, namespace)["items"]
        return {e["involvedObject"]["name"]: e["message"] for e in found if e["reason"] == "Unhealthy"}

    harness.eventually(lambda: {"bad", "unknown"} <= complaints().keys(), what="events about what is not healthy")
    assert "NOT_SERVING" in complaints()["bad"] and "NOT_FOUND" in complaints()["unknown"]
    assert not is_ready(nodes.get(bad)) and not is_ready(nodes.get(unknown))
    health.serving.add("bad")
    nodes.wait(bad, is_ready)
    health.close()
    nodes.wait(good, lambda p: not is_ready(p))
    assert status_of(nodes.get(good), "main")["restartCount"] == 0
