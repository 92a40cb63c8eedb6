"""Certificates of the mesh: keys and requests (where the key lives), and asking the cluster's CA to sign (the control plane).

Who calls it: agent.py makes a request; control.py has it signed, through a CertificateSigningRequest of the mesh's signer that
it approves itself. Invariant: nothing is approved but what the asker's own token says it is; the key never leaves its pod. The
signer (controllers/certificates.py) refuses whatever is no identity of the mesh, whoever approved it.
Upstream: kubernetes.io "Certificates and Certificate Signing Requests"; SPIFFE's X509-SVID.
"""

import base64
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.mesh.kinds import SIGNER, tls_name

_USAGES = ["digital signature", "client auth", "server auth"]
_PATIENCE, _POLL = 10.0, 0.05


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def request(key: ec.EllipticCurvePrivateKey, identity: str, *names: str) -> str:
    """A PKCS#10 request (PEM) for an identity: the URI, its TLS name, and further DNS names."""
    subject = x509.Name([x509.NameAttribute(NameOID.USER_ID, identity)])
    dns = [x509.DNSName(name) for name in (tls_name(identity), *names)]
    alternatives = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity), *dns])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def asks_for(pem: str, identity: str) -> bool:
    """Whether a request is signed by its own key and asks for this identity and nothing else. Raises ValueError."""
    parsed = x509.load_pem_x509_csr(pem.encode())
    wanted = x509.load_pem_x509_csr(request(new_key(), identity).encode())
    same = parsed.subject == wanted.subject and list(parsed.extensions) == list(wanted.extensions)
    return parsed.is_signature_valid and same


def lifetime(pem: str) -> tuple[datetime, datetime]:
    """From when until when a certificate holds."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def signed(client: Client, pem: str, seconds: int) -> str:
    """The cluster's certificate (PEM) for a request that the caller vouches for. Raises APIError."""
    spec = {
        "signerName": SIGNER, "usages": _USAGES, "expirationSeconds": seconds,
        "request": base64.b64encode(pem.encode()).decode(),
    }  # fmt: skip
    made = client.create(CERTIFICATESIGNINGREQUESTS, {"metadata": {"generateName": "mesh-"}, "spec": spec})
    try:
        now = rfc3339(REAL.now())
        approved: Obj = {
            "type": "Approved", "status": "True", "reason": "Mesh", "message": "the pod proved who it is",
            "lastUpdateTime": now, "lastTransitionTime": now,
        }  # fmt: skip
        made["status"] = {**(made.get("status") or {}), "conditions": [approved]}
        client.update(CERTIFICATESIGNINGREQUESTS, made, subresource="approval")
        deadline = REAL.monotonic() + _PATIENCE
        while REAL.monotonic() < deadline:
            status = client.get(CERTIFICATESIGNINGREQUESTS, name_of(made)).get("status") or {}
            if status.get("certificate"):
                return base64.b64decode(status["certificate"]).decode()
            if failed := [c for c in status.get("conditions") or [] if c["type"] == "Failed"]:
                raise errors.Forbidden(f"the cluster does not sign: {failed[0].get('message')}")
            REAL.sleep(_POLL)
        raise errors.ServiceUnavailable("the cluster's signer does not answer")
    finally:
        client.delete(CERTIFICATESIGNINGREQUESTS, name_of(made))
