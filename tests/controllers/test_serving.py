"""The controllers' own pages against a real API server: who may read them, and what they say."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api.gvr import CLUSTERROLES, GVR, NODES, PODS, SERVICEACCOUNTS, new_object
from minikube_py.client.rest import Client
from minikube_py.cluster import pki
from tests import harness
from tests.conftest import APIServer
from tests.harness import eventually
from tests.scheduler.build import node, pod

CLUSTERROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
Answer = tuple[int, str]


class Pages:
    def __init__(self, keys: Path, port: int) -> None:
        self.keys, self.port = keys, port

    def get(self, path: str, *, identity: str = "", token: str = "") -> Answer:
        """Read a page with a certificate of the cluster, a token, or nothing."""
        context = ssl.create_default_context(cafile=str(self.keys / "ca.crt"))
        if identity:
            context.load_cert_chain(self.keys / f"{identity}.crt", self.keys / f"{identity}.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.fixture
def pages(apiserver: APIServer, tmp_path: Path) -> Iterator[Pages]:
    pki.issue(apiserver.pki, "stranger", "stranger")
    port, keys = harness.free_port(), apiserver.pki
    process = harness.python_component(
        "controllers.main", "--kubeconfig", apiserver.kubeconfig, "--no-leader-elect", "--controllers", "replicaset",
        "--secure-port", str(port), "--tls-cert", f"{keys}/controllers.crt", "--tls-key", f"{keys}/controllers.key",
        "--client-ca", f"{keys}/ca.crt", log=tmp_path / "controllers.log",
    )  # fmt: skip
    found = Pages(keys, port)
    try:
        eventually(lambda: found.get("/healthz") == (200, "ok"), what="the page /healthz")
        yield found
    finally:
        harness.stop(process)


def test_only_those_who_may_read_them(pages: Pages, client: Client, namespace: str) -> None:
    assert pages.get("/metrics") == (401, "Unauthorized\n")
    assert pages.get("/metrics", token="made-up")[0] == 401
    status, text = pages.get("/metrics", identity="stranger")
    assert (status, text) == (403, 'User "stranger" cannot get path "/metrics"\n')
    assert pages.get("/metrics", identity="admin")[0] == 200
    assert "pages: /healthz, /metrics, /scheduling" in pages.get("/nothing", identity="admin")[1]


def test_a_service_account_reads_metrics_once_it_may(pages: Pages, client: Client, namespace: str) -> None:
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "prometheus", namespace))
    role = {**new_object(CLUSTERROLES, namespace), "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]}
    client.create(CLUSTERROLES, role)
    client.create(CLUSTERROLEBINDINGS, {
        **new_object(CLUSTERROLEBINDINGS, namespace),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": namespace}],
    })  # fmt: skip
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = client.create(SERVICEACCOUNTS, request, namespace, name="prometheus", subresource="token")
    status, text = pages.get("/metrics", token=made["status"]["token"])
    assert status == 200
    assert "leader_election_master_status 1" in text
    assert 'workqueue_adds_total{name="replicaset"}' in text
    assert 'scheduler_pending_pods{queue="unschedulable"}' in text
    assert pages.get("/scheduling/a/b", token=made["status"]["token"])[0] == 403


def test_why_a_pod_is_where_it_is(pages: Pages, client: Client, namespace: str) -> None:
    made = node(f"{namespace}-node", labels={"test": namespace}, cpu="1")
    client.create(NODES, made)
    client.patch(NODES, f"{namespace}-node", {"status": made["status"]}, subresource="status")
    try:
        for name, cpu in (("fits", "500m"), ("large", "2")):
            asked = pod(name, namespace=namespace, nodeSelector={"test": namespace}, requests={"cpu": cpu})
            asked["spec"]["tolerations"] = [{"operator": "Exists"}]
            del asked["metadata"]["uid"], asked["status"]
            client.create(PODS, asked)

        def attempt(name: str) -> dict[str, Any]:
            status, text = pages.get(f"/scheduling/{namespace}/{name}", identity="admin")
            return json.loads(text) if status == 200 else {}

        eventually(lambda: attempt("fits").get("node") == f"{namespace}-node", what="a decision")
        eventually(lambda: attempt("large"), what="a refusal")
        refused = attempt("large")["nodes"][f"{namespace}-node"]
        assert (refused["plugin"], refused["reasons"]) == ("NodeResourcesFit", ["Insufficient cpu"])
        assert not refused["preemptible"], "the node is too small even when it is empty"
        status, text = pages.get(f"/scheduling/{namespace}/nobody", identity="admin")
        assert status == 404 and "nothing is known about scheduling pod" in text
        metrics = pages.get("/metrics", identity="admin")[1]
        assert 'scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"}' in metrics
    finally:
        client.delete(NODES, f"{namespace}-node")


def test_a_silent_connection_holds_up_nobody(pages: Pages) -> None:
    silent = [socket.create_connection(("127.0.0.1", pages.port)) for _ in range(20)]
    try:
        assert pages.get("/healthz") == (200, "ok")
    finally:
        for connection in silent:
            connection.close()
