"""Strategies through the real API server: addresses and ports, subresources, deletion, what the server owns."""

import base64
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from minikube_py.api import errors
from minikube_py.api.gvr import (
    BINDINGS,
    DEPLOYMENTS,
    GVR,
    NAMESPACES,
    PODDISRUPTIONBUDGETS,
    PODS,
    SERVICEACCOUNTS,
    SERVICES,
    new_object,
)
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.conftest import APIServer

IPS = GVR("networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False)
CSRS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False)
_names = itertools.count(1)


def service(ns: str, name: str = "", **spec: Any) -> Obj:
    return new_object(SERVICES, name or f"s{next(_names)}", ns, spec={"ports": [{"port": 80}], **spec})


def pod(ns: str, **spec: Any) -> Obj:
    spec = {"containers": [{"name": "c", "image": "a:1"}], **spec}
    return new_object(PODS, f"p{next(_names)}", ns, spec=spec)


def addresses(client: Client) -> set[str]:
    return {item["metadata"]["name"] for item in client.list(IPS)["items"]}


# ---- cluster IPs and node ports --------------------------------------------------------------------------------------


def test_concurrent_services_get_different_addresses_and_ports(client: Client, namespace: str) -> None:
    def create(_: int) -> Obj:
        return client.create(SERVICES, service(namespace, type="NodePort"))["spec"]  # type: ignore[no-any-return]

    with ThreadPoolExecutor(8) as pool:
        specs = list(pool.map(create, range(40)))
    assert len({spec["clusterIP"] for spec in specs}) == 40
    assert len({spec["ports"][0]["nodePort"] for spec in specs}) == 40
    assert all(30000 <= spec["ports"][0]["nodePort"] <= 32767 for spec in specs)
    assert {spec["clusterIP"] for spec in specs} <= addresses(client)


def test_an_explicit_address_is_exclusive_and_comes_back(client: Client, namespace: str) -> None:
    first = client.create(SERVICES, service(namespace, clusterIP="10.96.0.77"))
    with pytest.raises(errors.Invalid, match=r"failed to allocate IP 10.96.0.77: provided IP is already allocated"):
        client.create(SERVICES, service(namespace, clusterIP="10.96.0.77"))
    with pytest.raises(errors.Invalid, match=r"is not in the valid range. The range of valid IPs is 10.96.0.0/16"):
        client.create(SERVICES, service(namespace, clusterIP="10.1.0.1"))
    client.delete(SERVICES, first["metadata"]["name"], namespace)
    assert client.create(SERVICES, service(namespace, clusterIP="10.96.0.77"))["spec"]["clusterIPs"] == ["10.96.0.77"]


def test_a_failed_create_gives_everything_back(client: Client, namespace: str) -> None:
    before = addresses(client)
    name = client.create(SERVICES, service(namespace, clusterIP="None"))["metadata"]["name"]
    with pytest.raises(errors.AlreadyExists):
        client.create(SERVICES, service(namespace, name, type="NodePort", ports=[{"port": 80, "nodePort": 30777}]))
    ports = [{"port": 80, "nodePort": 80}]
    with pytest.raises(errors.Invalid, match="The range of valid ports is 30000-32767"):
        client.create(SERVICES, service(namespace, type="NodePort", ports=ports))
    assert addresses(client) == before
    made = client.create(SERVICES, service(namespace, type="NodePort", ports=[{"port": 80, "nodePort": 30777}]))
    with pytest.raises(errors.Invalid, match="provided port is already allocated"):
        client.create(SERVICES, service(namespace, type="NodePort", ports=[{"port": 80, "nodePort": 30777}]))
    client.delete(SERVICES, made["metadata"]["name"], namespace)


def test_a_dry_run_shows_an_address_and_takes_none(client: Client, namespace: str) -> None:
    before = addresses(client)
    assert client.create(SERVICES, service(namespace), dry_run=True)["spec"]["clusterIP"].startswith("10.96.")
    assert addresses(client) == before


def test_type_changes_take_and_give(client: Client, namespace: str) -> None:
    made = client.create(SERVICES, service(namespace))
    address = made["spec"]["clusterIP"]
    name = made["metadata"]["name"]

    def become(**spec: Any) -> Obj:
        got: Obj = client.patch(SERVICES, name, {"spec": spec}, namespace)["spec"]
        return got

    assert become(type="NodePort")["clusterIP"] == address
    port = client.get(SERVICES, name, namespace)["spec"]["ports"][0]["nodePort"]
    assert become(sessionAffinity="ClientIP")["ports"][0]["nodePort"] == port
    outside = become(type="ExternalName", externalName="example.com")
    assert "clusterIP" not in outside and "nodePort" not in outside["ports"][0] and address not in addresses(client)
    back = become(type="ClusterIP", externalName=None)
    assert back["clusterIP"] in addresses(client)
    assert "nodePort" not in back["ports"][0]


def test_an_update_without_addresses_keeps_them(client: Client, namespace: str) -> None:
    made = client.create(SERVICES, service(namespace, type="NodePort"))
    plain = service(namespace, made["metadata"]["name"], type="NodePort", selector={"a": "b"})
    after = client.update(SERVICES, plain)["spec"]
    assert (after["clusterIP"], after["ports"]) == (made["spec"]["clusterIP"], made["spec"]["ports"])


def test_tcp_and_udp_of_one_port_share_a_node_port(client: Client, namespace: str) -> None:
    ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    spec = client.create(SERVICES, service(namespace, type="NodePort", ports=ports))["spec"]
    assert len({port["nodePort"] for port in spec["ports"]}) == 1


def test_headless_services_take_none(client: Client, namespace: str) -> None:
    with_selector = client.create(SERVICES, service(namespace, clusterIP="None", selector={"a": "b"}))["spec"]
    assert (with_selector["clusterIP"], with_selector["ipFamilyPolicy"]) == ("None", "SingleStack")
    without = client.create(SERVICES, service(namespace, clusterIP="None"))["spec"]
    assert (without["clusterIPs"], without["ipFamilyPolicy"]) == (["None"], "RequireDualStack")


@pytest.fixture
def two_servers(etcd: str, tmp_path: Path) -> Iterator[list[APIServer]]:
    flags = ("--store", f"etcd://{etcd}?prefix=two", "--service-cluster-ip-range", "10.96.0.0/27")
    servers = []
    for name in "ab":
        (tmp_path / name).mkdir()
        servers.append(APIServer(tmp_path / name, *flags))
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def test_two_servers_on_one_store_never_give_an_address_twice(two_servers: list[APIServer]) -> None:
    clients = [server.client() for server in two_servers]

    def create(number: int) -> str:
        try:
            return str(clients[number % 2].create(SERVICES, service("default", f"n{number}"))["spec"]["clusterIP"])
        except errors.InternalError as error:
            assert "range is full" in error.message
            return ""

    with ThreadPoolExecutor(6) as pool:
        given = [address for address in pool.map(create, range(36)) if address]
    assert len(given) == len(set(given)) == 29, "every address of the /27 but the kubernetes Service's, each once"
    for number, address in enumerate(given[:3]):
        item = next(s for s in clients[0].list(SERVICES, "default")["items"] if s["spec"]["clusterIP"] == address)
        clients[number % 2].delete(SERVICES, item["metadata"]["name"], "default")
    assert {create(100), create(101), create(102)} == set(given[:3])


# ---- subresources ----------------------------------------------------------------------------------------------------


def test_scale_reads_and_writes_replicas_only(client: Client, namespace: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    made = new_object(DEPLOYMENTS, "d", namespace, spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})
    client.create(DEPLOYMENTS, made)
    scale = client.get(DEPLOYMENTS, "d", namespace, subresource="scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 0, "selector": "a=b"},
    )
    scale["spec"]["replicas"] = 3
    assert client.update(DEPLOYMENTS, scale, subresource="scale")["spec"] == {"replicas": 3}
    with pytest.raises(errors.Conflict):
        client.update(DEPLOYMENTS, scale, subresource="scale")
    patch = {"spec": {"replicas": 4}}
    assert client.patch(DEPLOYMENTS, "d", patch, namespace, subresource="scale")["spec"] == {"replicas": 4}
    with pytest.raises(errors.Invalid, match="must be greater than or equal to 0"):
        client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": -1}}, namespace, subresource="scale")
    assert client.get(DEPLOYMENTS, "d", namespace)["metadata"]["generation"] == 3


def test_a_pod_is_bound_once(client: Client, namespace: str) -> None:
    name = client.create(PODS, pod(namespace))["metadata"]["name"]
    binding = new_object(BINDINGS, name, namespace, target={"kind": "Node", "name": "n1"})
    client.create(PODS, binding, name=name, subresource="binding")
    with pytest.raises(errors.Conflict, match=f'pod {name} is already assigned to node "n1"'):
        client.create(PODS, binding, name=name, subresource="binding")
    bound = client.get(PODS, name, namespace)
    assert (bound["spec"]["nodeName"], bound["metadata"]["generation"]) == ("n1", 1)
    assert bound["status"]["conditions"][0] | {"lastTransitionTime": ""} == {
        "type": "PodScheduled", "status": "True", "lastTransitionTime": "",
    }  # fmt: skip
    found = client.list(PODS, namespace, field_selector="spec.nodeName=n1")["items"]
    assert [item["metadata"]["name"] for item in found] == [name]


def test_eviction_respects_the_budget(client: Client, namespace: str) -> None:
    labels = {"app": namespace}
    made = pod(namespace, nodeName="n1")
    made["metadata"] |= {"labels": labels, "finalizers": ["example.com/hold"]}
    name = client.create(PODS, made)["metadata"]["name"]
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    client.patch(PODS, name, {"status": ready}, namespace, subresource="status")
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    client.create(PODDISRUPTIONBUDGETS, new_object(PODDISRUPTIONBUDGETS, "b", namespace, spec=spec))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}

    def evict() -> Obj:
        return client.create(PODS, eviction, namespace, name=name, subresource="eviction")

    with pytest.raises(errors.TooManyRequests, match="Cannot evict pod as it would violate") as caught:
        evict()
    assert caught.value.details["causes"][0]["reason"] == "DisruptionBudget"
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "desiredHealthy": 1,
        "currentHealthy": 1,
        "expectedPods": 1,
    }
    client.patch(PODDISRUPTIONBUDGETS, "b", {"status": status}, namespace, subresource="status")
    with pytest.raises(errors.TooManyRequests) as caught:
        evict()
    assert (
        caught.value.details["causes"][0]["message"]
        == "The disruption budget b needs 1 healthy pods and has 1 currently"
    )
    client.patch(PODDISRUPTIONBUDGETS, "b", {"status": {"disruptionsAllowed": 1}}, namespace, subresource="status")
    assert evict()["status"] == "Success"
    gone = client.get(PODS, name, namespace)
    assert gone["metadata"]["deletionTimestamp"]
    condition = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert condition["reason"] == "EvictionByEvictionAPI"
    spent = client.get(PODDISRUPTIONBUDGETS, "b", namespace)["status"]
    assert spent["disruptionsAllowed"] == 0 and list(spent["disruptedPods"]) == [name]
    client.patch(PODS, name, {"metadata": {"finalizers": None}}, namespace)


def test_tokens_are_bound_and_checked(client: Client, namespace: str) -> None:
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "bot", namespace))
    made = client.create(PODS, pod(namespace, serviceAccountName="bot", nodeName="n1"))
    meta = made["metadata"]

    def request(**spec: Any) -> Obj:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return client.create(SERVICEACCOUNTS, body, namespace, name="bot", subresource="token")

    reference = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    answer = request(audiences=["me"], expirationSeconds=600, boundObjectRef=reference)
    claims = jwt.decode(answer["status"]["token"], options={"verify_signature": False})
    assert claims["sub"] == f"system:serviceaccount:{namespace}:bot"
    assert claims["aud"] == ["me"] and claims["exp"] - claims["iat"] == 600
    assert claims["kubernetes.io"]["pod"] == {"name": meta["name"], "uid": meta["uid"]}
    assert answer["status"]["expirationTimestamp"].endswith("Z")
    with pytest.raises(errors.Invalid, match="may not specify a duration less than 10 minutes"):
        request(expirationSeconds=5)
    with pytest.raises(errors.Conflict, match="does not match the UID in record"):
        request(boundObjectRef={**reference, "uid": "other"})
    with pytest.raises(errors.NotFound):
        request(boundObjectRef={**reference, "name": "nobody"})


def test_certificate_requests_are_approved_through_their_own_door(client: Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    text = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": "example.com/s", "usages": ["client auth"], "username": "mallory"}
    name = f"csr{next(_names)}"
    made = client.create(CSRS, new_object(CSRS, name, spec=spec))
    assert made["spec"]["username"] != "mallory" and "system:masters" in made["spec"]["groups"]
    condition = {"type": "Approved", "status": "True", "reason": "Yes", "message": ""}
    client.patch(CSRS, name, {"status": {"conditions": [condition]}}, subresource="status")
    assert "conditions" not in client.get(CSRS, name)["status"], "approval does not come through /status"
    client.patch(CSRS, name, {"status": {"conditions": [condition]}}, subresource="approval")
    client.patch(CSRS, name, {"status": {"certificate": "Q0VSVA=="}}, subresource="status")
    status = client.get(CSRS, name)["status"]
    assert status["certificate"] and status["conditions"][0]["type"] == "Approved"
    denied = {**condition, "type": "Denied"}
    with pytest.raises(errors.Invalid, match="mutually exclusive"):
        client.patch(CSRS, name, {"status": {"conditions": [condition, denied]}}, subresource="approval")
    client.delete(CSRS, name)


def test_ephemeral_containers_only_grow(client: Client, namespace: str) -> None:
    name = client.create(PODS, pod(namespace))["metadata"]["name"]

    def add(*items: str, image: str = "a:1") -> Obj:
        wanted = [{"name": item, "image": image} for item in items]
        patch = {"spec": {"ephemeralContainers": wanted}}
        return client.patch(PODS, name, patch, namespace, subresource="ephemeralcontainers")

    assert add("one")["metadata"]["generation"] == 2
    assert [item["name"] for item in add("one", "two")["spec"]["ephemeralContainers"]] == ["one", "two"]
    with pytest.raises(errors.Invalid, match="existing ephemeral containers may not be changed or removed"):
        add("one", "two", image="b:1")
    with pytest.raises(errors.Invalid):
        add("c")


# ---- deletion and namespaces -----------------------------------------------------------------------------------------


def test_graceful_deletion_of_pods(client: Client, namespace: str) -> None:
    running = client.create(PODS, pod(namespace, nodeName="n1", terminationGracePeriodSeconds=40))["metadata"]["name"]
    first = client.delete(PODS, running, namespace)["metadata"]
    assert (first["deletionGracePeriodSeconds"], first["generation"]) == (40, 2)
    assert (
        client.delete(PODS, running, namespace, grace_period_seconds=60)["metadata"]["deletionGracePeriodSeconds"] == 40
    )
    assert (
        client.delete(PODS, running, namespace, grace_period_seconds=7)["metadata"]["deletionGracePeriodSeconds"] == 7
    )
    client.delete(PODS, running, namespace, grace_period_seconds=0)
    waiting = client.create(PODS, pod(namespace))["metadata"]["name"]
    client.delete(PODS, waiting, namespace)
    for name in (running, waiting):
        with pytest.raises(errors.NotFound):
            client.get(PODS, name, namespace)


def test_a_namespace_goes_when_its_finalizer_does(client: Client) -> None:
    name = f"going-{next(_names)}"
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    client.delete(NAMESPACES, name)
    going = client.get(NAMESPACES, name)
    assert going["status"]["phase"] == "Terminating" and going["metadata"]["deletionTimestamp"]
    kept = client.update(NAMESPACES, {**going, "spec": {}})
    assert kept["spec"] == {"finalizers": ["kubernetes"]}, "the main endpoint cannot release it"
    client.update(NAMESPACES, {**kept, "spec": {}}, subresource="finalize")
    with pytest.raises(errors.NotFound):
        client.get(NAMESPACES, name)


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
def test_match_conditions_must_compile(client: Client, kind: str) -> None:
    plural = f"{kind.lower()}webhookconfigurations"
    res = GVR("admissionregistration.k8s.io", "v1", plural, f"{kind}WebhookConfiguration", namespaced=False)

    def hook(*conditions: tuple[str, str]) -> Obj:
        made = new_object(res, f"conditions-{kind.lower()}")
        made["webhooks"] = [{
            "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"operations": ["CREATE"], "apiGroups": ["none.example.com"], "apiVersions": ["v1"], "resources": ["x"]}],
            "matchConditions": [{"name": name, "expression": text} for name, text in conditions],
        }]  # fmt: skip
        return made

    with pytest.raises(errors.Invalid, match="compilation failed") as refused:
        client.create(res, hook(("bad", "... [] bad expression")))
    assert refused.value.details["causes"][0]["field"] == "webhooks[0].matchConditions[0].expression"
    with pytest.raises(errors.Invalid, match="Duplicate value"):
        client.create(res, hook(("same", "true"), ("same", "true")))
    made = client.create(res, hook(("good", 'request.resource.group != "rbac.authorization.k8s.io"')))
    client.delete(res, made["metadata"]["name"])
