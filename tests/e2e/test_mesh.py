"""The add-on `mesh` in a real cluster: plain containers, and what the sidecars beside them do."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS, PODS
from minikube_py.api.types import Obj
from minikube_py.mesh.kinds import INJECT, SIDECAR, identity
from tests import harness
from tests.e2e.conftest import SLEEP, Cluster

IN, OUT = "mesh-in", "mesh-out"
IMAGE = "minikube-py/mesh:latest"
CLIENT = identity(IN, "client")


def app(name: str, command: str, namespace: str = IN, image: str = "busybox", **metadata: Any) -> list[Obj]:
    """A service account, a Deployment and a Service of one name: nothing in them knows of the mesh."""
    where, labels = {"name": name, "namespace": namespace}, {"app": name}
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command]}
    spec = {"serviceAccountName": name, "terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"labels": labels, **metadata}, "spec": spec}
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080}, {"name": "raw", "port": 9000, "targetPort": 9000},
    ]  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": where},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where,
         "spec": {"selector": {"matchLabels": labels}, "template": template}},
        {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": {"selector": labels, "ports": ports}},
    ]  # fmt: skip


def web(name: str, status: str = "200 OK", seconds: int = 0) -> str:
    """A busybox that says who it is, and who its sidecar says is asking; the mesh takes its port 9000 for bare TCP."""
    script = f'#!/bin/sh\nsleep {seconds}\necho "Status: {status}"\necho\necho {name} $HTTP_X_MESH_PEER\n'
    return (
        f"mkdir -p /www/cgi-bin && printf '%s' '{script}' > /www/cgi-bin/who && chmod +x /www/cgi-bin/who"
        " && httpd -p 9000 -h /www && exec httpd -f -p 8080 -h /www"
    )


def route(*rules: Obj) -> Obj:
    return {
        "apiVersion": "mesh.minikube-py.io/v1", "kind": "MeshRoute", "metadata": {"name": "v1", "namespace": IN},
        "spec": {"service": "v1", "rules": list(rules)},
    }  # fmt: skip


def policy(**spec: Any) -> Obj:
    return {
        "apiVersion": "mesh.minikube-py.io/v1", "kind": "MeshPolicy", "metadata": {"name": "all", "namespace": IN},
        "spec": spec,
    }  # fmt: skip


class Mesh:
    """Two versions of an application, a bad one, a client, and a stranger outside."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def apply(self, *objects: Obj) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def shell(self, command: str, namespace: str = IN, name: str = "client") -> str:
        return self.cluster.kubectl(
            "exec", "-n", namespace, f"deploy/{name}", "-c", "main", "--", "sh", "-c", command, check=False
        ).strip()

    def ask(self, times: int = 1, path: str = "", to: str = f"v1.{IN}", **where: str) -> Counter[str]:
        """What so many requests were answered: what the application said, or the status of a refusal."""
        url = f"http://{to}/cgi-bin/who{path}"
        said = self.shell(f"for i in $(seq {times}); do wget -qO- {url} 2>&1 || true; echo; done", **where)
        lines = [re.sub(r".*HTTP/1.1 (\d+).*", r"\1", line).strip() for line in said.splitlines()]
        return Counter(line for line in lines if line)

    def until(self, expected: dict[str, int], **ask: Any) -> None:
        def check() -> bool:
            said = self.ask(**ask)
            assert said == expected
            return True

        harness.eventually(check, interval=0.3, what=f"{expected}")

    def metrics(self) -> dict[str, float]:
        """Answers per route and class, as the client's sidecar counts them."""
        text = self.shell("wget -qO- http://127.0.0.1:15020/metrics")
        found = re.findall(r'^haproxy_backend_http_responses_total\{proxy="([^"]+)",code="(\w+)"\} (\d+)', text, re.M)
        return {f"{proxy} {code}": float(value) for proxy, code, value in found if value != "0"}


@pytest.fixture(scope="module")
def mesh(cluster: Cluster) -> Iterator[Mesh]:
    assert "add-on mesh is on" in cluster.minikube("addon", "enable", "mesh").stdout
    one = Mesh(cluster)
    one.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": IN, "labels": {INJECT: "enabled"}}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OUT}},
        *app("v1", web("v1")), *app("v2", web("v2")), *app("bad", web("bad", "503 Unavailable")), *app("client", SLEEP),
        *app("plain", web("plain"), annotations={INJECT: "false"}), *app("stranger", SLEEP, OUT, IMAGE),
    )  # fmt: skip
    for name in ("v1", "v2", "bad", "client", "plain"):
        cluster.ready_pods(f"app={name}", 1, IN)
    cluster.ready_pods("app=stranger", 1, OUT)
    one.until({f"v1 {CLIENT}": 1})
    yield one
    cluster.kubectl("delete", "namespace", IN, OUT, "--wait=false")
    cluster.minikube("addon", "disable", "mesh")
    kinds = "crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,namespace"
    harness.eventually(lambda: not cluster.kubectl("get", kinds, "-o", "name", "-l", "minikube-py.io/addon=mesh"), 60)
    harness.eventually(lambda: "mesh-" not in cluster.kubectl("get", "csr", "-o", "name"))


def address(cluster: Cluster, name: str) -> str:
    return str(cluster.pods(f"app={name}", IN)[0]["status"]["podIP"])


_HANDSHAKE = """
import socket, ssl
context = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
with context.wrap_socket(socket.create_connection(("%s", 8080)), server_hostname="v1.mesh-in.mesh.minikube-py.io") as s:
    print([name for name in s.getpeercert()["subjectAltName"] if name[0] == "URI"])
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    try:
        print(s.recv(100))
    except OSError as error:
        print(error)
"""


def test_traffic_is_mutual_tls_with_identities(mesh: Mesh) -> None:
    cluster = mesh.cluster
    [client] = cluster.pods("app=client", IN)
    [plain] = cluster.pods("app=plain", IN)
    assert client["metadata"]["labels"][SIDECAR] == "true" and SIDECAR not in plain["metadata"]["labels"]
    assert mesh.ask() == {f"v1 {CLIENT}": 1}, "the sidecar tells who asks"
    there = address(cluster, "v1")
    assert mesh.ask(to=f"{there}:8080") == {f"v1 {CLIENT}": 1}, "also by the pod's own address"
    assert mesh.ask(to=f"plain.{IN}") == {"plain": 1}, "a pod without a sidecar is reached as ever"
    assert mesh.ask(to=f"v1.{IN}:9000") == {"v1": 1}, "a port that is not HTTP"
    outside: dict[str, Any] = {"namespace": OUT, "name": "stranger"}
    assert mesh.ask(**outside) == {"v1": 1}, "permissive: the stranger is let in, and has no name"
    mesh.apply(policy(mode="Strict"))
    mesh.until({"wget: error getting response": 1}, **outside)
    assert mesh.ask(to=f"{there}:8080", **outside) == {"wget: error getting response": 1}
    assert mesh.ask() == {f"v1 {CLIENT}": 1}
    assert mesh.ask(to=f"v1.{IN}:9000") == {"v1": 1}
    assert mesh.shell(f"wget -qO- --header 'X-Mesh-Peer: me' http://v1.{IN}/cgi-bin/who") == f"v1 {CLIENT}", (
        "no forgery"
    )
    seen = mesh.shell(f"python3 -c '{_HANDSHAKE % there}'", **outside).splitlines()
    assert identity(IN, "v1") in seen[0] and "certificate required" in seen[1], "who has no certificate is sent away"


def test_only_named_callers(mesh: Mesh) -> None:
    mesh.apply(policy(mode="Strict", **{"from": [{"serviceAccount": "v2"}]}))
    mesh.until({"403": 1})
    assert mesh.ask(to=f"v1.{IN}:9000") == {"wget: error getting response": 1}
    mesh.apply(policy(mode="Strict", **{"from": [{"serviceAccount": "client"}, {"serviceAccount": "v2"}]}))
    mesh.until({f"v1 {CLIENT}": 1})


def test_a_peer_with_another_identity_is_not_talked_to(mesh: Mesh) -> None:
    """The cluster says "v2", at v1's address: v1's certificate does not."""
    [v2] = mesh.cluster.pods("app=v2", IN)
    ports = [{"name": "http", "port": 80}]
    mesh.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "forged", "namespace": IN}, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "forged", "namespace": IN, "labels": {"kubernetes.io/service-name": "forged"}},
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{
                "addresses": [address(mesh.cluster, "v1")],
                "targetRef": {"kind": "Pod", "name": v2["metadata"]["name"], "namespace": IN},
            }],
        },
    )  # fmt: skip
    mesh.until({"503": 1}, to=f"forged.{IN}")


def test_split_faults_retries_limits_and_what_is_counted(mesh: Mesh) -> None:
    first, bad = {"service": "v1"}, {"service": "bad"}
    mesh.apply(route(
        {"name": "abort", "match": {"pathPrefix": "/cgi-bin/who/abort"}, "fault": {"abort": {"status": 418}}},
        {"name": "delay", "match": {"pathPrefix": "/cgi-bin/who/delay"}, "fault": {"delay": {"milliseconds": 700}}},
        {"name": "retry", "match": {"pathPrefix": "/cgi-bin/who/retry"}, "retries": 3, "backends": [first, bad]},
        {"name": "once", "match": {"pathPrefix": "/cgi-bin/who/once"}, "backends": [first, bad]},
        {"name": "limit", "match": {"path": "/cgi-bin/who/limit"}, "rateLimit": {"requests": 5, "perMilliseconds": 60000}},
        {"name": "split", "backends": [{"service": "v1", "weight": 90}, {"service": "v2", "weight": 10}]},
    ))  # fmt: skip
    good = f"v1 {CLIENT}"
    mesh.until({"418": 1}, path="/abort")
    before = mesh.metrics()
    assert mesh.ask(4, "/abort") == {"418": 4}
    began = time.monotonic()
    assert mesh.ask(2, "/delay") == {good: 2} and time.monotonic() - began >= 1.4
    assert mesh.ask(8, "/retry") == {good: 8}, "the failing backend is hidden"
    assert mesh.ask(8, "/once") == {good: 4, "503": 4}
    assert mesh.ask(8, "/limit") == {good: 5, "429": 3}
    split = mesh.ask(100)
    assert 5 <= split[f"v2 {CLIENT}"] <= 15 and split[good] + split[f"v2 {CLIENT}"] == 100
    after = mesh.metrics()
    counted = {
        name.removeprefix(f"{IN}.v1.80."): n - before.get(name, 0)
        for name, n in after.items()
        if f"{IN}.v1.80." in name
    }
    assert counted == {
        "abort 4xx": 4, "delay 2xx": 2, "retry 2xx": 8, "once 2xx": 4, "once 5xx": 4, "limit 2xx": 5, "limit 4xx": 3,
        "split 2xx": 100,
    }  # fmt: skip


def test_a_timeout_ends_what_takes_too_long(mesh: Mesh) -> None:
    mesh.apply(*app("slow", web("slow", seconds=5)))
    mesh.cluster.ready_pods("app=slow", 1, IN)
    mesh.apply(route({"name": "slow", "timeoutMilliseconds": 300, "retries": 0, "backends": [{"service": "slow"}]}))
    mesh.until({"504": 1})


def test_changes_under_load_lose_no_request(mesh: Mesh) -> None:
    """Routes change, a control plane is killed, while a client asks and asks."""
    mesh.apply(route({"name": "first", "backends": [{"service": "v1"}]}))
    mesh.until({f"v1 {CLIENT}": 1})
    load = f"rm -f /tmp/end; while [ ! -e /tmp/end ]; do wget -qO- http://v1.{IN}/cgi-bin/who 2>&1 || echo; done > /tmp/said"
    mesh.shell(f"({load}) </dev/null >/dev/null 2>&1 &")
    for number in range(3):
        name = f"r{number}"
        mesh.apply(route({"name": name, "backends": [{"service": "v1", "weight": number + 1}, {"service": "v2"}]}))
        harness.eventually(lambda n=name: any(f".{n} " in key for key in mesh.metrics()), interval=0.3, what=name)  # type: ignore[misc]
    [control] = mesh.cluster.pods("app=mesh", "mesh-system")
    mesh.cluster.client.delete(PODS, control["metadata"]["name"], "mesh-system", grace_period_seconds=0)
    said = Counter(mesh.shell("sleep 1; touch /tmp/end; sleep 1; cat /tmp/said").splitlines())
    assert said.total() > 50 and set(said) == {f"v1 {CLIENT}", f"v2 {CLIENT}"}, said
    mesh.cluster.ready_pods("app=mesh", 1, "mesh-system")
    mesh.apply(route({"name": "again", "backends": [{"service": "v2"}]}))
    mesh.until({f"v2 {CLIENT}": 1})
    assert not mesh.cluster.client.list(CERTIFICATESIGNINGREQUESTS)["items"], "requests are answered and gone"
