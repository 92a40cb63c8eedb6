"""`healthCheckNodePort`: who answers, what, and when it stops."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from kubelet.network.health_ports import HealthPorts
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client.config import Config
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from tests.network.objects import service, slice_of


class Node:
    def __init__(self) -> None:
        self.informers = SharedInformers(Client(Config(server="https://127.0.0.1:1")))
        self.ports = HealthPorts(self.informers, "n1", "127.0.0.1")

    def put(self, port: int, name: str = "web") -> None:
        obj = service(name, "10.96.3.4", externalTrafficPolicy="Local", healthCheckNodePort=port)
        self.informers.of(SERVICES)._change(key_of(obj), obj)

    def place(self, addresses: list[str], node: str, suffix: str = "1", *, ready: bool = True) -> None:
        obj = slice_of("web", addresses, node=node, suffix=suffix, ready=ready)
        self.informers.of(ENDPOINTSLICES)._change(key_of(obj), obj)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.ports.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def ask(port: int) -> tuple[int, Obj, str]:
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.loads(answer.read()), answer.headers["X-Load-Balancing-Endpoint-Weight"]


def test_it_counts_ready_endpoints_of_the_node_alone(node: Node) -> None:
    port = free_port()
    node.put(port)
    status, body, weight = ask(port)
    assert (status, body["localEndpoints"], weight) == (503, 0, "0")
    node.place(["10.0.0.1", "10.0.0.2"], "n1")
    node.place(["10.0.0.2"], "n1", "again")
    node.place(["10.0.0.3"], "n1", "unready", ready=False)
    node.place(["10.0.0.4"], "n2", "elsewhere")
    assert ask(port) == (
        200,
        {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True},
        "2",
    )


def test_listeners_come_and_go_with_their_services(node: Node) -> None:
    first, second = free_port(), free_port()
    node.put(first)
    node.put(first)
    assert ask(first)[0] == 503
    node.put(second)
    assert ask(second)[0] == 503
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), 5)
    node.put(first, "other")
    assert ask(first)[1]["service"]["name"] == "other", "a port that was let go is free at once"
    node.informers.of(SERVICES)._change("default/web", None)
    node.put(0, "other")
    for port in (first, second):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_a_taken_port_hurts_nobody_else(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node.put(taken.getsockname()[1])
        port = free_port()
        node.put(port, "other")
        assert ask(port)[0] == 503
