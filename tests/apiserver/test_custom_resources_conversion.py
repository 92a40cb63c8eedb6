"""Conversion webhooks: two versions that really differ, and a stored one that changes."""

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from minikube_py.api import errors
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.apiserver.test_custom_resources import CRDS, definition, gvr
from tests.conftest import APIServer
from tests.harness import eventually


class _Converter(BaseHTTPRequestHandler):
    """v1 has `hostPort: "h:1"`, v2 has `host` and `port`."""

    protocol_version = "HTTP/1.1"
    calls: list[int]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        self.calls.append(len(request["objects"]))
        wanted: str = request["desiredAPIVersion"]
        response: Obj = {"uid": request["uid"], "result": {"status": "Success"}}
        if any("refuse" in obj["metadata"].get("labels", {}) for obj in request["objects"]):
            response["result"] = {"status": "Failed", "message": "I do not like it"}
        else:
            response["convertedObjects"] = [_converted(obj, wanted) for obj in request["objects"]]
        body = json.dumps(
            {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


def _converted(obj: Obj, wanted: str) -> Obj:
    new = {**obj, "apiVersion": wanted}
    if wanted.endswith("/v2"):
        host, _, port = new.pop("hostPort").partition(":")
        new |= {"host": host, "port": port}
    else:
        new["hostPort"] = f"{new.pop('host')}:{new.pop('port')}"
    return new


def _serve(certificate: str, key: str, address: str = "127.0.0.1") -> tuple[ThreadingHTTPServer, list[int]]:
    """A converter, and the list that its calls' sizes go to."""
    calls: list[int] = []
    server = ThreadingHTTPServer((address, 0), type("Converter", (_Converter,), {"calls": calls}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, name="converter", daemon=True).start()
    return server, calls


@pytest.fixture
def webhook(apiserver: APIServer) -> Iterator[tuple[Obj, list[int]]]:
    """A converter with the API server's own certificate: its client configuration, and the sizes of its calls."""
    server, calls = _serve(f"{apiserver.pki}/apiserver.crt", f"{apiserver.pki}/apiserver.key")
    bundle = base64.b64encode(Path(apiserver.ca_file).read_bytes()).decode()
    yield {"url": f"https://127.0.0.1:{server.server_address[1]}/convert", "caBundle": bundle}, calls
    server.shutdown()
    server.server_close()


@pytest.fixture
def ports(client: Client, webhook: tuple[Obj, list[int]]) -> Iterator[Obj]:
    text = {"type": "string"}
    fields = {"v1": ["hostPort"], "v2": ["host", "port"]}
    versions = [
        {
            "name": name, "served": True, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": dict.fromkeys(names, text)}},
            "selectableFields": [{"jsonPath": f".{field}"} for field in names],
        }
        for name, names in fields.items()
    ]  # fmt: skip
    hook = {"clientConfig": webhook[0], "conversionReviewVersions": ["v1"]}
    crd = definition("ports", versions=versions, conversion={"strategy": "Webhook", "webhook": hook})
    yield client.create(CRDS, crd)
    client.delete(CRDS, crd["metadata"]["name"])
    eventually(lambda: not any(one["metadata"]["name"].startswith("ports.") for one in client.list(CRDS)["items"]))


def _made(crd: Obj, version: str, name: str, **fields: str) -> Obj:
    return {
        "apiVersion": f"shop.example.com/{version}",
        "kind": crd["spec"]["names"]["kind"],
        "metadata": {"name": name},
        **fields,
    }


def test_each_version_shows_its_own_form(
    client: Client, ports: Obj, webhook: tuple[Obj, list[int]], namespace: str
) -> None:
    v1, v2 = gvr(ports, "v1"), gvr(ports, "v2")
    made = client.create(v1, _made(ports, "v1", "a", hostPort="x:1"), namespace)
    two = client.get(v2, "a", namespace)
    assert (two["host"], two["port"], two["metadata"]["uid"]) == ("x", "1", made["metadata"]["uid"])
    client.create(v2, _made(ports, "v2", "b", host="y", port="2"), namespace)
    assert client.get(v1, "b", namespace)["hostPort"] == "y:2"
    changed = client.patch(v2, "a", {"port": "9"}, namespace, kind="merge")
    assert (changed["host"], changed["port"], changed["apiVersion"]) == ("x", "9", "shop.example.com/v2")
    assert client.get(v1, "a", namespace)["hostPort"] == "x:9"
    with client.watch(v2, namespace, resource_version="0") as events:
        assert {obj["host"] for _, (_, obj) in zip(range(2), events, strict=False)} == {"x", "y"}


def test_the_stored_version_changes_and_nothing_is_lost(
    client: Client, ports: Obj, webhook: tuple[Obj, list[int]], namespace: str
) -> None:
    v1, v2 = gvr(ports, "v1"), gvr(ports, "v2")
    client.create(v1, _made(ports, "v1", "old", hostPort="x:1"), namespace)
    crd = client.get(CRDS, ports["metadata"]["name"])
    for version in crd["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    assert client.update(CRDS, crd)["status"]["storedVersions"] == ["v1", "v2"]
    client.create(v1, _made(ports, "v1", "new", hostPort="y:2"), namespace)
    webhook[1].clear()
    assert [(item["apiVersion"], item["host"]) for item in client.list(v2, namespace)["items"]] == [
        ("shop.example.com/v2", "y"), ("shop.example.com/v2", "x"),
    ]  # fmt: skip
    assert [item["hostPort"] for item in client.list(v1, namespace)["items"]] == ["y:2", "x:1"]
    assert sum(webhook[1]) <= 2, "what was converted once is remembered"


def test_fields_of_either_version_select(client: Client, ports: Obj, namespace: str) -> None:
    v1, v2 = gvr(ports, "v1"), gvr(ports, "v2")
    for name, target in (("a", "x:1"), ("b", "y:1"), ("c", "x:2")):
        client.create(v1, _made(ports, "v1", name, hostPort=target), namespace)

    def names(listed: Obj) -> list[str]:
        return [item["metadata"]["name"] for item in listed["items"]]

    assert names(client.list(v1, namespace, field_selector="hostPort=x:2")) == ["c"]
    assert names(client.list(v2, namespace, field_selector="host=x")) == ["a", "c"]
    with client.watch(v2, namespace, resource_version="0", field_selector="host=x,port=1") as events:
        seen = iter(events)
        assert next(seen)[1]["metadata"]["name"] == "a"
        client.patch(v2, "a", {"port": "3"}, namespace, kind="merge")
        client.patch(v1, "b", {"hostPort": "x:1"}, namespace, kind="merge")
        assert [(kind, obj["metadata"]["name"]) for kind, obj in (next(seen), next(seen))] == [
            ("DELETED", "a"),
            ("ADDED", "b"),
        ]


def test_a_webhook_that_refuses_is_an_error_of_the_server(client: Client, ports: Obj, namespace: str) -> None:
    bad = _made(ports, "v2", "bad", host="x", port="1")
    bad["metadata"]["labels"] = {"refuse": "me"}
    with pytest.raises(errors.InternalError, match=r"conversion webhook for .* failed: I do not like it"):
        client.create(gvr(ports, "v2"), bad, namespace)


def _certificate(directory: Path, name: str) -> tuple[str, str]:
    """Files of a certificate that is its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    (directory / "tls.crt").write_bytes(certificate)
    (directory / "tls.key").write_bytes(secret)
    return str(directory / "tls.crt"), str(directory / "tls.key")


def test_a_webhook_behind_a_service(client: Client, namespace: str, tmp_path: Path) -> None:
    files = _certificate(tmp_path, f"converter.{namespace}.svc")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address of ours is not loopback
        address = probe.getsockname()[0]
    server, calls = _serve(*files, address)
    client.create(SERVICES, new_object(SERVICES, "converter", namespace) | {"spec": {"ports": [{"port": 8443}]}})
    slices = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"port": server.server_address[1]}],
    }
    labelled = new_object(ENDPOINTSLICES, "converter-1", namespace) | slices
    labelled["metadata"]["labels"] = {"kubernetes.io/service-name": "converter"}
    client.create(ENDPOINTSLICES, labelled)
    hook: Obj = {
        "clientConfig": {
            "service": {"name": "converter", "namespace": namespace, "port": 8443, "path": "/convert"},
            "caBundle": base64.b64encode(Path(files[0]).read_bytes()).decode(),
        },
        "conversionReviewVersions": ["v1"],
    }
    text, fields = {"type": "string"}, {"v1": ["hostPort"], "v2": ["host", "port"]}
    versions = [
        {"name": name, "served": True, "storage": name == "v1",
         "schema": {"openAPIV3Schema": {"type": "object", "properties": dict.fromkeys(names, text)}}}
        for name, names in fields.items()
    ]  # fmt: skip
    crd = definition("docks", versions=versions, conversion={"strategy": "Webhook", "webhook": hook})
    client.create(CRDS, crd)
    client.create(gvr(crd, "v1"), _made(crd, "v1", "a", hostPort="x:1"), namespace)
    assert client.get(gvr(crd, "v2"), "a", namespace)["host"] == "x" and calls == [1]
    client.delete(ENDPOINTSLICES, "converter-1", namespace)
    client.create(gvr(crd, "v1"), _made(crd, "v1", "b", hostPort="y:1"), namespace)
    with pytest.raises(errors.InternalError, match='no endpoints available for service "converter"'):
        client.get(gvr(crd, "v2"), "b", namespace)
    client.delete(CRDS, crd["metadata"]["name"])
    server.shutdown()
    server.server_close()
