"""Bootstrap tokens, and who may approve and sign certificate requests."""

import base64
import itertools
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apiserver.auth.bootstrap_tokens import bootstrap_user
from minikube_py.api.clock import FakeClock, rfc3339
from minikube_py.api.types import Obj
from minikube_py.cluster import pki
from tests.apiserver.wire import MERGE, Wire
from tests.conftest import APIServer

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
_serial = itertools.count(1)
ID, SECRET = "abcdef", "0123456789abcdef"


def user_of(token: str, *, kind: str = "bootstrap.kubernetes.io/token", deleted: bool = False, **changed: str) -> Any:
    """Who a token is while this Secret exists."""
    clock = FakeClock()
    texts = {"token-id": ID, "token-secret": SECRET, "usage-bootstrap-authentication": "true", **changed}
    data = {key.replace("_", "-"): base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    meta: Obj = {"name": f"bootstrap-token-{ID}"} | ({"deletionTimestamp": "2030-01-01T00:00:00Z"} if deleted else {})

    def lookup(plural: str, namespace: str, name: str) -> Obj | None:
        wanted = ("secrets", "kube-system", meta["name"])
        return {"metadata": meta, "type": kind, "data": data} if (plural, namespace, name) == wanted else None

    return bootstrap_user(token, lookup, clock)


GOOD = f"{ID}.{SECRET}"
AT_START = FakeClock().now()


def test_a_bootstrap_token_is_a_user_of_its_own() -> None:
    found = user_of(GOOD, auth_extra_groups="system:bootstrappers:x:y")
    assert found.name == f"system:bootstrap:{ID}"
    assert found.groups == ("system:bootstrappers", "system:bootstrappers:x:y", "system:authenticated")
    assert user_of(GOOD, expiration=rfc3339(AT_START + timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("token", "changed"),
    [
        (f"{ID}.{SECRET[:-1]}0", {}), (f"{ID}.{SECRET[:-1]}", {}), (f"abcdeg.{SECRET}", {}), (GOOD.upper(), {}),
        (GOOD, {"kind": "Opaque"}), (GOOD, {"deleted": True}), (GOOD, {"token_id": "abcdeg"}),
        (GOOD, {"usage_bootstrap_authentication": "false"}), (GOOD, {"expiration": rfc3339(AT_START)}),
        (GOOD, {"expiration": "tomorrow"}), (GOOD, {"auth_extra_groups": "system:masters"}),
    ],
)  # fmt: skip
def test_anything_wrong_with_it_and_it_is_nobody(token: str, changed: Any) -> None:
    assert user_of(token, **changed) is None


def test_a_token_on_the_wire(apiserver: APIServer, wire: Wire) -> None:
    texts = {"token-id": "wire01", "token-secret": SECRET, "usage-bootstrap-authentication": "true"}
    secret = {
        "metadata": {"name": "bootstrap-token-wire01"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": texts,
    }
    wire.ok("POST", "/api/v1/namespaces/kube-system/secrets", secret)
    joining = Wire(apiserver.url, apiserver.ca_file, f"wire01.{SECRET}")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = joining.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
    assert found["username"] == "system:bootstrap:wire01"
    assert joining("GET", "/api/v1/secrets").status == 403
    assert joining("POST", CSRS, {}).status == 403, "without the group that may join"
    wire.ok("DELETE", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-wire01")
    assert Wire(apiserver.url, apiserver.ca_file, f"other1.{SECRET}")("GET", "/api").status == 401


@pytest.fixture
def request_name(wire: Wire) -> str:
    """A fresh request to the signer example.com/s."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": "example.com/s", "usages": ["client auth"]}
    name = f"identity-{next(_serial)}"
    wire.ok("POST", CSRS, {"metadata": {"name": name}, "spec": spec})
    return name


def somebody(apiserver: APIServer, wire: Wire, *rules: Obj) -> Wire:
    """A new user with these rules in the whole cluster."""
    name = f"somebody-{next(_serial)}"
    wire.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
    wire.ok("POST", f"{RBAC}/clusterrolebindings", {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]})
    pki.issue(apiserver.pki, name, name)
    return Wire(apiserver.url, apiserver.ca_file, cert=(f"{apiserver.pki}/{name}.crt", f"{apiserver.pki}/{name}.key"))


def may(verbs: str, resources: str, *names: str) -> Obj:
    rule: Obj = {"verbs": verbs.split(), "apiGroups": ["certificates.k8s.io"], "resources": resources.split()}
    return rule | ({"resourceNames": list(names)} if names else {})


WRITER = may("update patch", "certificatesigningrequests/approval certificatesigningrequests/status")
APPROVAL = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}}


@pytest.mark.parametrize("scope", ["example.com/s", "example.com/*"])
def test_approving_needs_the_signers_right(apiserver: APIServer, wire: Wire, request_name: str, scope: str) -> None:
    path = f"{CSRS}/{request_name}/approval"
    refused = somebody(apiserver, wire, WRITER, may("approve", "signers", "other.com/s"))(
        "PATCH", path, APPROVAL, content_type=MERGE
    )
    assert refused.status == 403
    assert refused.body["message"].endswith('user not permitted to approve requests with signerName "example.com/s"')
    allowed = somebody(apiserver, wire, WRITER, may("approve", "signers", scope))
    assert allowed("PATCH", path, APPROVAL, content_type=MERGE).status == 200


def test_signing_needs_it_too(apiserver: APIServer, wire: Wire, request_name: str) -> None:
    path, pem = f"{CSRS}/{request_name}/status", (apiserver.pki / "ca.crt").read_bytes()
    signed = {"status": {"certificate": base64.b64encode(pem).decode()}}
    refused = somebody(apiserver, wire, WRITER, may("approve", "signers"))("PATCH", path, signed, content_type=MERGE)
    assert refused.status == 403 and "not permitted to sign" in refused.body["message"]
    assert (
        somebody(apiserver, wire, WRITER, may("sign", "signers"))("PATCH", path, signed, content_type=MERGE).status
        == 200
    )


def test_odd_requests_are_refused(wire: Wire, request_name: str) -> None:
    spec = wire.ok("GET", f"{CSRS}/{request_name}")["spec"]

    def refused(**changed: Any) -> str:
        answer = wire("POST", CSRS, {"metadata": {"name": "odd"}, "spec": {**spec, **changed}})
        assert answer.status == 422, answer.body
        return str(answer.body["message"])

    assert "the legacy signerName is not allowed via this API version" in refused(
        signerName="kubernetes.io/legacy-unknown"
    )
    assert "Unsupported value" in refused(usages=["client auth", "everything"])
    assert "Duplicate value" in refused(usages=["client auth", "client auth"])
    assert "Required value" in refused(usages=[])
