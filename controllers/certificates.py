"""What the three controllers of certificate requests share: reading a request, and what each signer of ours accepts.

Who calls it: `csrapproving`, `csrsigning`, `csrcleaner`. Invariant: pure; a signer's rule is asked again right before it signs,
so an approval by hand does not widen what a signer signs.
Upstream: pkg/apis/certificates/helpers.go, pkg/controller/certificates/{approver,signer}.
"""

import base64
import re
from collections.abc import Callable, Iterable

from cryptography import x509
from cryptography.x509.oid import NameOID

from minikube_py.api.types import Obj

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
MESH = "mesh.minikube-py.io/workload"
NODES, NODE_PREFIX = "system:nodes", "system:node:"
_OPTIONAL = frozenset(("digital signature", "key encipherment"))


def is_issued(csr: Obj) -> bool:
    return bool((csr.get("status") or {}).get("certificate"))


def parse(csr: Obj) -> x509.CertificateSigningRequest:
    """The PKCS#10 request inside. Raises ValueError."""
    return x509.load_pem_x509_csr(base64.b64decode(csr["spec"]["request"]))


def common_name(request: x509.CertificateSigningRequest) -> str:
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def refusal(signer: str, request: x509.CertificateSigningRequest, usages: Iterable[str]) -> str | None:
    """Why this signer does not sign that, "" when it does; None for a signer that is not ours."""
    rule = _RULES.get(signer)
    return None if rule is None else rule(request, frozenset(usages))


def _client(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> str:
    if "client auth" not in usages:
        return "missing required usage for client certificate: client auth"
    odd = sorted(usages - _OPTIONAL - {"client auth"})
    return f"invalid usage for client certificate: {odd[0]}" if odd else ""


def _kubelet_client(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> str:
    return _node_name(request) or _foreign(request, ("DNS", "email", "IP", "URI")) or _exactly(usages, "client auth")


def _kubelet_serving(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> str:
    names = _alternative_names(request)
    if not names["DNS"] and not names["IP"]:
        return "DNS or IP subjectAltName is required"
    return _node_name(request) or _foreign(request, ("email", "URI")) or _exactly(usages, "server auth")


def _mesh(request: x509.CertificateSigningRequest, usages: frozenset[str]) -> str:
    """A service account's identity, for both ends of a connection between pods. Without a common name it is no user of ours."""
    names = _alternative_names(request)
    uri = str(names["URI"][0]) if len(names["URI"]) == 1 else ""
    found = re.fullmatch(r"spiffe://cluster\.local/ns/([a-z0-9-]+)/sa/[a-z0-9.-]+", uri)
    if found is None:
        return "exactly one URI subjectAltName of the form spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT is required"
    if [(a.oid, a.value) for a in request.subject] != [(NameOID.USER_ID, uri)]:
        return "the subject is not UID=<the URI> alone"
    own = (f".{found[1]}.{MESH.partition('/')[0]}", f".{found[1]}.svc")
    if odd := [name for name in names["DNS"] if not str(name).endswith(own)]:
        return f"{odd[0]} is not a name of the namespace {found[1]}"
    odd_usages = sorted(usages - _OPTIONAL - {"client auth", "server auth"})
    return _foreign(request, ("email", "IP")) or (f"invalid usage: {odd_usages[0]}" if odd_usages else "")


def _node_name(request: x509.CertificateSigningRequest) -> str:
    groups = [str(group.value) for group in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if groups != [NODES]:
        return f"subject organization is not {NODES}"
    return (
        "" if common_name(request).startswith(NODE_PREFIX) else f"subject common name does not begin with {NODE_PREFIX}"
    )


def _exactly(usages: frozenset[str], wanted: str) -> str:
    if usages in ({wanted, "digital signature"}, {wanted, *_OPTIONAL}):
        return ""
    return f"usages did not match [digital signature key encipherment {wanted}] or [digital signature {wanted}]"


def _foreign(request: x509.CertificateSigningRequest, kinds: Iterable[str]) -> str:
    names = _alternative_names(request)
    return next((f"{kind} subjectAltNames are not allowed" for kind in kinds if names[kind]), "")


def _alternative_names(request: x509.CertificateSigningRequest) -> dict[str, list[object]]:
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {key: [] for key in ("DNS", "email", "IP", "URI")}
    return {
        "DNS": list(found.get_values_for_type(x509.DNSName)), "email": list(found.get_values_for_type(x509.RFC822Name)),
        "IP": list(found.get_values_for_type(x509.IPAddress)),
        "URI": list(found.get_values_for_type(x509.UniformResourceIdentifier)),
    }  # fmt: skip


_RULES: dict[str, Callable[[x509.CertificateSigningRequest, frozenset[str]], str]] = {
    CLIENT: _client, KUBELET_CLIENT: _kubelet_client, KUBELET_SERVING: _kubelet_serving,
    MESH: _mesh,
}  # fmt: skip
