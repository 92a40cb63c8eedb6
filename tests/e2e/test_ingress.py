"""The add-on `ingress` in a real cluster: Ingresses, TLS, Gateway API; changes under load lose no request."""

import base64
import json
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minikube_py.api.gvr import INGRESSES, SERVICES
from minikube_py.api.types import Obj
from minikube_py.ingress.kinds import GATEWAYS, HTTPROUTES
from tests import harness
from tests.e2e.conftest import WEB, Cluster, deployment

Apply = Callable[[Obj], None]
GATEWAY_API = "gateway.networking.k8s.io/v1"


@pytest.fixture(scope="module")
def front(cluster: Cluster) -> Iterator[str]:
    """The add-on, on; its address."""
    assert "add-on ingress is on" in cluster.minikube("addon", "enable", "ingress").stdout
    listed = cluster.minikube("addon", "list").stdout
    assert "ingress      on" in listed and "dns          built in" in listed
    service = harness.eventually(
        lambda: _address(cluster.client.get(SERVICES, "ingress", "ingress-system")), what="address"
    )
    yield service
    cluster.minikube("addon", "disable", "ingress")
    assert "ingress      off" in cluster.minikube("addon", "list").stdout
    assert not cluster.kubectl("get", "crd", "-o", "name", "-l", "minikube-py.io/addon=ingress")


def _address(obj: Obj) -> str:
    found = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    return str(found[0].get("ip", ""))


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:
        return None


def fetch(address: str, host: str, path: str = "/", port: int = 80, headers: Obj | None = None) -> tuple[int, str]:
    """(status, body, or where a redirect leads)."""
    request = urllib.request.Request(f"http://{address}:{port}{path}", headers={"Host": host, **(headers or {})})
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=5) as response:
            return response.status, response.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location") or ""


def backends(cluster: Cluster, apply: Apply, *names: str) -> None:
    for name in names:
        script = WEB.replace("echo $HOSTNAME", f"echo {name}").replace(
            "&& exec", "&& mkdir -p /www/deep && echo deep > /www/deep/index.html && exec"
        )
        apply(deployment(name, 1, script))
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": ports},
            }
        )
    for name in names:
        cluster.ready_pods(f"app={name}", 1)


def ingress(name: str, *rules: Obj, **spec: object) -> Obj:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"rules": list(rules), **spec},
    }


def to(service: str, host: str = "", path: str = "/", kind: str = "Prefix", port: object = "http") -> Obj:
    key = "name" if isinstance(port, str) else "number"
    backend = {"service": {"name": service, "port": {key: port}}}
    return {
        **({"host": host} if host else {}),
        "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]},
    }


def test_ingress_by_host_and_path_and_tls(cluster: Cluster, apply: Apply, front: str, tmp_path: Path) -> None:
    backends(cluster, apply, "ing-a", "ing-b", "ing-c")
    key, crt = tmp_path / "key", tmp_path / "crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop.example", "-addext",
         "subjectAltName=DNS:shop.example", "-keyout", str(key), "-out", str(crt)], check=True, capture_output=True,
    )  # fmt: skip
    data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in (("tls.crt", crt), ("tls.key", key))}
    apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "type": "kubernetes.io/tls", "data": data}
    )
    apply(ingress(
        "shop", to("ing-a", "shop.example"), to("ing-b", "shop.example", "/deep", port=80),
        to("ing-c", "shop.example", "/only", "Exact"),
        to("ing-b", "*.wild.example"), defaultBackend={"service": {"name": "ing-c", "port": {"number": 80}}},
        tls=[{"hosts": ["shop.example"], "secretName": "shop"}],
    ))  # fmt: skip
    harness.eventually(lambda: fetch(front, "shop.example") == (200, "ing-a"), what="the Ingress")
    assert fetch(front, "shop.example", "/deep/") == (200, "deep")
    assert fetch(front, "SHOP.example:80", "/deeper")[0] == 404, (
        "a prefix is of whole path elements: ing-a has no such page"
    )
    assert fetch(front, "shop.example", "/only")[0] == 404, "an exact path reaches ing-c, which has no such page"
    assert fetch(front, "x.wild.example") == (200, "ing-b")
    assert fetch(front, "x.y.wild.example") == (200, "ing-c"), "a wildcard is one label"
    assert fetch(front, "anything.else") == (200, "ing-c"), "the default backend"
    found = harness.eventually(lambda: _address(cluster.client.get(INGRESSES, "shop", "default")), what="the status")
    assert found == front
    assert cluster.client.get(INGRESSES, "shop", "default")["spec"]["ingressClassName"] == "minikube-py", (
        "the default class"
    )
    context = ssl.create_default_context(cafile=str(crt))
    with (
        socket.create_connection((front, 443), 5) as raw,
        context.wrap_socket(raw, server_hostname="shop.example") as secured,
    ):
        secured.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: secured.recv(4096), b"")).endswith(b"ing-a\n")


def test_changes_under_load_lose_no_request(cluster: Cluster, apply: Apply, front: str) -> None:
    backends(cluster, apply, "load-a")
    apply(ingress("load", to("load-a", "load.example")))
    harness.eventually(lambda: fetch(front, "load.example") == (200, "load-a"), what="the Ingress")
    answers: list[tuple[int, str]] = []
    ended = threading.Event()

    def client() -> None:
        while not ended.is_set():
            try:
                answers.append(fetch(front, "load.example"))
            except OSError as error:
                answers.append((0, str(error)))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(8):
        apply(ingress(f"load-{number}", to("load-a", f"n{number}.load.example")))
        harness.eventually(lambda n=number: fetch(front, f"n{n}.load.example") == (200, "load-a"), what="a new Ingress")  # type: ignore[misc]
    ended.set()
    for thread in threads:
        thread.join()
    assert len(answers) > 100 and set(answers) == {(200, "load-a")}


def test_gateway_api(cluster: Cluster, apply: Apply, front: str) -> None:
    backends(cluster, apply, "gw-a", "gw-b")
    listeners = [
        {"name": "web", "port": 80, "protocol": "HTTP", "hostname": "*.gw.example"},
        {"name": "alt", "port": 9000, "protocol": "TCP"},
    ]
    apply({
        "apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "minikube-py", "listeners": listeners},
    })  # fmt: skip
    split = [{"name": "gw-a", "port": 80, "weight": 1}, {"name": "gw-b", "port": 80, "weight": 1}]
    version = {"headers": [{"name": "x-version", "value": "b"}]}
    move = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
    rewrite = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
    apply({
        "apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "edge"}], "hostnames": ["shop.gw.example"], "rules": [
            {"backendRefs": split}, {"matches": [version], "backendRefs": split[1:]},
            {"matches": [{"path": {"value": "/old"}}], "filters": [move]},
            {"matches": [{"path": {"value": "/cut"}}], "filters": [rewrite], "backendRefs": split[:1]},
            {"matches": [{"path": {"value": "/lost"}}], "backendRefs": [{"name": "nosuch", "port": 80}]},
        ]},
    })  # fmt: skip

    def address() -> str:
        status = cluster.client.get(GATEWAYS, "edge", "default").get("status", {})
        programmed = [c for c in status.get("conditions", []) if c["type"] == "Programmed" and c["status"] == "True"]
        return str(status["addresses"][0]["value"]) if programmed else ""

    edge = harness.eventually(address, what="the Gateway's address")
    assert edge != front, "a Gateway has an address of its own"
    harness.eventually(lambda: fetch(edge, "shop.gw.example")[0] == 200, what="the route")
    assert {fetch(edge, "shop.gw.example")[1] for _ in range(20)} == {"gw-a", "gw-b"}, "split by weight"
    assert {fetch(edge, "shop.gw.example", headers={"X-Version": "b"})[1] for _ in range(8)} == {"gw-b"}
    assert fetch(edge, "shop.gw.example", "/old/x?y=1") == (301, "https://shop.gw.example/old/x?y=1")
    assert fetch(edge, "shop.gw.example", "/cut/deep/") == (200, "deep")
    assert fetch(edge, "shop.gw.example", "/lost")[0] == 500
    assert fetch(edge, "other.gw.example")[0] == 404
    listener, alt = cluster.client.get(GATEWAYS, "edge", "default")["status"]["listeners"]
    assert listener["attachedRoutes"] == 1
    assert [c["reason"] for c in alt["conditions"] if c["type"] == "Accepted"] == ["UnsupportedProtocol"]
    [parent] = cluster.client.get(HTTPROUTES, "shop", "default")["status"]["parents"]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in parent["conditions"]}
    assert conditions == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "BackendNotFound")}
    assert json.loads(cluster.kubectl("get", "svc", "-n", "ingress-system", "gateway-default-edge", "-o", "json"))[
        "spec"
    ]["ports"]
