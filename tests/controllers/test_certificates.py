"""Certificate requests from the key to the certificate, and away again; bootstrap tokens that end."""

import base64
import ipaddress
import itertools
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controllers import certificates, csrcleaner
from controllers.options import Options
from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS as CSRS
from minikube_py.api.gvr import SECRETS, new_object
from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import pki
from tests.apiserver.wire import Wire
from tests.conftest import APIServer
from tests.controllers.play import running
from tests.harness import eventually

_serial = itertools.count(1)
CLIENT_USAGES, SERVING_USAGES = ["digital signature", "client auth"], ["digital signature", "server auth"]


def request(
    user: str, *groups: str, names: list[x509.GeneralName] | None = None
) -> tuple[Any, x509.CertificateSigningRequest]:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(key, hashes.SHA256())


def csr(asked: x509.CertificateSigningRequest, signer: str, usages: list[str], **spec: Any) -> Obj:
    text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": signer, "usages": usages, **spec}
    return new_object(CSRS, f"csr-test-{next(_serial)}", spec=spec)


def decide(client: Client, name: str, kind: str = "Approved") -> None:
    condition = {"type": kind, "status": "True", "reason": "Test", "message": "by hand"}
    client.patch(CSRS, name, {"status": {"conditions": [condition]}}, subresource="approval")


def issued(client: Client, name: str) -> bytes:
    text = eventually(lambda: client.get(CSRS, name)["status"].get("certificate"), what="the certificate")
    return base64.b64decode(text)


def signing(apiserver: APIServer) -> Options:
    return Options(cluster_signing_cert=f"{apiserver.pki}/ca.crt", cluster_signing_key=f"{apiserver.pki}/ca.key")


def test_from_a_key_to_a_certificate_that_the_server_believes(
    apiserver: APIServer, client: Client, tmp_path: Path
) -> None:
    key, asked = request("ann", "devs")
    made = client.create(CSRS, csr(asked, certificates.CLIENT, CLIENT_USAGES, expirationSeconds=3600))
    name = made["metadata"]["name"]
    with running(client, "csrsigning", "csrapproving", options=signing(apiserver)):
        assert "certificate" not in client.get(CSRS, name)["status"], "nothing is signed unapproved"
        decide(client, name)
        pem = issued(client, name)
    certificate = x509.load_pem_x509_certificate(pem)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(seconds=3600 + 300)
    files = tmp_path / "ann.crt", tmp_path / "ann.key"
    files[0].write_bytes(pem)
    encoding, form, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(encoding, form, plain))
    ann = Wire(apiserver.url, apiserver.ca_file, cert=(str(files[0]), str(files[1])))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = ann.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
    assert (found["username"], found["groups"]) == ("ann", ["devs", "system:authenticated"])


def test_denied_is_denied_and_a_foreign_signer_is_left_alone(apiserver: APIServer, client: Client) -> None:
    denied = client.create(CSRS, csr(request("eve")[1], certificates.CLIENT, CLIENT_USAGES))["metadata"]["name"]
    foreign = client.create(CSRS, csr(request("eve")[1], "example.com/mine", CLIENT_USAGES))["metadata"]["name"]
    decide(client, denied, "Denied")
    decide(client, foreign)
    with running(client, "csrsigning", options=signing(apiserver)):
        last = client.create(CSRS, csr(request("ann")[1], certificates.CLIENT, CLIENT_USAGES))["metadata"]["name"]
        decide(client, last)
        issued(client, last)
    for name in (denied, foreign):
        status = client.get(CSRS, name)["status"]
        assert "certificate" not in status and not condition_of({"status": status}, "Failed")


def test_an_approved_request_that_the_signer_refuses_has_failed(apiserver: APIServer, client: Client) -> None:
    name = client.create(CSRS, csr(request("ann")[1], certificates.KUBELET_CLIENT, CLIENT_USAGES))["metadata"]["name"]
    decide(client, name)
    with running(client, "csrsigning", options=signing(apiserver)):
        failed = eventually(lambda: condition_of(client.get(CSRS, name), "Failed"), what="Failed")
    assert (failed["reason"], failed["message"]) == (
        "SignerValidationFailure",
        "subject organization is not system:nodes",
    )


DNS, IP, MAIL = x509.DNSName("n1"), x509.IPAddress(ipaddress.ip_address("10.0.0.1")), x509.RFC822Name("a@b.c")
NODE = ("system:node:n1", "system:nodes")


@pytest.mark.parametrize(
    ("signer", "subject", "names", "usages", "expected"),
    [
        (certificates.CLIENT, ("ann",), None, ["client auth"], ""),
        (certificates.CLIENT, ("ann",), None, ["digital signature"], "missing required usage for client certificate"),
        (certificates.CLIENT, ("a",), None, ["client auth", "server auth"], "invalid usage for client certificate"),
        (certificates.KUBELET_CLIENT, NODE, None, CLIENT_USAGES, ""),
        (certificates.KUBELET_CLIENT, NODE, None, [*CLIENT_USAGES, "key encipherment"], ""),
        (certificates.KUBELET_CLIENT, NODE, [DNS], CLIENT_USAGES, "DNS subjectAltNames are not allowed"),
        (certificates.KUBELET_CLIENT, NODE, None, SERVING_USAGES, "usages did not match"),
        (certificates.KUBELET_CLIENT, ("n1", "system:nodes"), None, CLIENT_USAGES, "subject common name does not begin"),
        (certificates.KUBELET_CLIENT, (*NODE, "system:masters"), None, CLIENT_USAGES, "subject organization is not"),
        (certificates.KUBELET_SERVING, NODE, [DNS, IP], SERVING_USAGES, ""),
        (certificates.KUBELET_SERVING, NODE, None, SERVING_USAGES, "DNS or IP subjectAltName is required"),
        (certificates.KUBELET_SERVING, NODE, [DNS, MAIL], SERVING_USAGES, "email subjectAltNames are not allowed"),
    ],
)  # fmt: skip
def test_what_each_signer_signs(
    signer: str, subject: tuple[str, ...], names: Any, usages: list[str], expected: str
) -> None:
    found = certificates.refusal(signer, request(*subject, names=names)[1], usages)
    assert found is not None and found.startswith(expected) and bool(found) == bool(expected)
    assert certificates.refusal("kubernetes.io/legacy-unknown", request("ann")[1], usages) is None


def test_a_node_with_a_token_is_approved_and_renews_itself_and_nobody_else(
    apiserver: APIServer, client: Client
) -> None:
    token = bootstrap_token(client, "system:bootstrappers:minikube-py:default-node-token")
    joining, node_key = Wire(apiserver.url, apiserver.ca_file, token), "test-csr-node"
    pki.issue(apiserver.pki, node_key, NODE[0], [NODE[1]])
    files = (f"{apiserver.pki}/{node_key}.crt", f"{apiserver.pki}/{node_key}.key")
    node = Wire(apiserver.url, apiserver.ca_file, cert=files)
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    with running(client, "csrsigning", "csrapproving", options=signing(apiserver)):
        for who in (joining, node):
            name = who.ok("POST", path, csr(request(*NODE)[1], certificates.KUBELET_CLIENT, CLIENT_USAGES))["metadata"][
                "name"
            ]
            assert issued(client, name)
        other = request("system:node:n2", "system:nodes")[1]
        refused = node("POST", path, csr(other, certificates.KUBELET_CLIENT, CLIENT_USAGES))
        assert (refused.status, "CN=system:node:n1" in refused.body["message"]) == (403, True), (
            "it asks for itself alone"
        )
        serving = csr(request(*NODE, names=[DNS])[1], certificates.KUBELET_SERVING, SERVING_USAGES)
        by_hand = node.ok("POST", path, serving)["metadata"]["name"]
        own = node.ok("POST", path, csr(request(*NODE)[1], certificates.KUBELET_CLIENT, CLIENT_USAGES))["metadata"][
            "name"
        ]
        assert issued(client, own)
        assert not client.get(CSRS, by_hand)["status"].get("conditions"), "server names are for people to approve"
        decide(client, by_hand)
        names = x509.load_pem_x509_certificate(issued(client, by_hand)).extensions
        assert names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
            "n1"
        ]


def bootstrap_token(client: Client, *groups: str, **data: str) -> str:
    """A token's Secret in kube-system; out: the token."""
    number = next(_serial)
    key, secret = f"tok{number:03}", f"secretsecret{number:04}"
    fields = {
        "token-id": key, "token-secret": secret, "usage-bootstrap-authentication": "true",
        "auth-extra-groups": ",".join(groups), **data,
    }  # fmt: skip
    client.create(
        SECRETS,
        new_object(
            SECRETS, f"bootstrap-token-{key}", "kube-system", type="bootstrap.kubernetes.io/token", stringData=fields
        ),
    )
    return f"{key}.{secret}"


def test_expired_tokens_go_and_others_stay(client: Client) -> None:
    now = REAL.now()
    gone = bootstrap_token(client, expiration=rfc3339(now - timedelta(seconds=5)))
    soon = bootstrap_token(client, expiration=rfc3339(now + timedelta(seconds=2)))
    kept = [bootstrap_token(client), bootstrap_token(client, expiration=rfc3339(now + timedelta(hours=1)))]
    with running(client, "token-cleaner"):
        for token in (gone, soon):
            eventually(partial(_is_gone, client, token), what="the expired token to go")
    assert not any(_is_gone(client, token) for token in kept)


def _is_gone(client: Client, token: str) -> bool:
    try:
        client.get(SECRETS, f"bootstrap-token-{token[:6]}", "kube-system")
    except errors.NotFound:
        return True
    return False


def test_requests_end() -> None:
    def end(*conditions: tuple[str, str], certificate: str = "") -> str:
        listed = [{"type": kind, "status": "True", "lastUpdateTime": at} for kind, at in conditions]
        status = {"conditions": listed, **({"certificate": certificate} if certificate else {})}
        return rfc3339(csrcleaner.ends({"metadata": {"creationTimestamp": "2030-01-01T00:00:00Z"}, "status": status}))

    assert end() == "2030-01-02T00:00:00Z"
    assert end(("Denied", "2030-01-01T10:00:00Z")) == "2030-01-01T11:00:00Z"
    assert end(("Approved", "2030-01-01T10:00:00Z")) == "2030-01-02T10:00:00Z"
    assert end(("Approved", "2030-01-01T10:00:00Z"), certificate="bm9uZQ==") == "2030-01-01T11:00:00Z"
    assert end(("Approved", "2030-01-01T10:00:00Z"), ("Failed", "2030-01-01T10:05:00Z")) == "2030-01-01T11:05:00Z"


def test_old_requests_are_removed(client: Client) -> None:
    old = client.create(CSRS, csr(request("ann")[1], certificates.CLIENT, CLIENT_USAGES))["metadata"]["name"]
    condition = {"type": "Denied", "status": "True", "reason": "Test", "lastUpdateTime": "2020-01-01T00:00:00Z"}
    client.patch(CSRS, old, {"status": {"conditions": [condition]}}, subresource="approval")
    fresh = client.create(CSRS, csr(request("ann")[1], certificates.CLIENT, CLIENT_USAGES))["metadata"]["name"]
    with running(client, "csrcleaner"):
        eventually(
            lambda: old not in [c["metadata"]["name"] for c in client.list(CSRS)["items"]], what="the old one to go"
        )
    assert client.get(CSRS, fresh)


def mesh_request(uri: str, *dns: str, subject: str = "") -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, subject or uri)])
    names = [x509.UniformResourceIdentifier(uri), *(x509.DNSName(entry) for entry in dns)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


@pytest.mark.parametrize(
    ("uri", "dns", "subject", "expected"),
    [
        ("spiffe://cluster.local/ns/a/sa/b.c", ("b.c.a.mesh.minikube-py.io",), "", ""),
        ("spiffe://cluster.local/ns/a/sa/b", ("b.a.mesh.minikube-py.io", "mesh.a.svc"), "", ""),
        ("spiffe://cluster.local/ns/a/sa/b", ("b.other.mesh.minikube-py.io",), "", "is not a name of the namespace a"),
        ("spiffe://cluster.local/ns/a/sa/b", ("kubernetes.default.svc",), "", "is not a name of the namespace a"),
        ("spiffe://cluster.local/ns/a/sa/b", (), "admin", "the subject is not UID"),
        ("spiffe://elsewhere/ns/a/sa/b", (), "", "exactly one URI"),
        ("https://cluster.local/ns/a/sa/b", (), "", "exactly one URI"),
    ],
)
def test_what_the_meshs_signer_signs(uri: str, dns: tuple[str, ...], subject: str, expected: str) -> None:
    asked = mesh_request(uri, *dns, subject=subject)
    why = certificates.refusal(certificates.MESH, asked, frozenset(["client auth", "server auth", "digital signature"]))
    assert why is not None and (expected in why if expected else why == "")
    assert "invalid usage" in str(certificates.refusal(certificates.MESH, mesh_request(
        "spiffe://cluster.local/ns/a/sa/b"), frozenset(["cert sign"])))  # fmt: skip


def test_a_user_is_never_an_identity_of_the_mesh() -> None:
    why = certificates.refusal(certificates.MESH, request("ann", names=[DNS])[1], frozenset(["client auth"]))
    assert why is not None and "exactly one URI" in why
