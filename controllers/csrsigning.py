"""Signs approved certificate requests of the signers `kubernetes.io/…`, and of the mesh's, with the cluster's CA.

Who calls it: `controllers.main`; it acts when `--cluster-signing-cert` and `-key` are given. Invariant: nothing is signed
that is not approved, and nothing that the signer's own rule refuses, approved or not: that is marked Failed. A certificate is
good for what was asked for, at most a year, and not beyond the CA's own end.
Upstream: pkg/controller/certificates/{signer,authority}. Differs: one controller for all signers; `legacy-unknown` cannot
be asked for through certificates.k8s.io/v1, so it is not signed.
"""

import base64
from datetime import timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from controllers.certificates import is_issued, parse, refusal
from controllers.context import Context
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS
from minikube_py.api.meta import condition_is, is_terminating
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_BACKDATE = timedelta(minutes=5)
_SHORT = timedelta(hours=8)
_LONGEST, _SHORTEST = timedelta(days=365), timedelta(minutes=10)
_KEY_USAGES = {
    "signing": "digital_signature", "digital signature": "digital_signature", "content commitment": "content_commitment",
    "key encipherment": "key_encipherment", "key agreement": "key_agreement", "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign", "crl sign": "crl_sign",
}  # fmt: skip
_EXTENDED: dict[str, ObjectIdentifier] = {
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
}  # fmt: skip


def build(context: Context) -> Controller:
    """Signs nothing when no CA was given."""
    reconciler = Signing(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.requests)


class Signing:
    """The reconciler."""

    name = "csrsigning"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self._ca = (context.options.cluster_signing_cert, context.options.cluster_signing_key)
        self.requests = context.informers.of(CERTIFICATESIGNINGREQUESTS)

    def reconcile(self, key: str) -> float | None:
        csr = self.requests.get_key(key)
        if not all(self._ca) or csr is None or is_terminating(csr) or is_issued(csr):
            return None
        if not condition_is(csr, "Approved") or condition_is(csr, "Denied") or condition_is(csr, "Failed"):
            return None
        spec, request = csr["spec"], parse(csr)
        why = refusal(spec.get("signerName", ""), request, spec.get("usages") or ())
        if why is None:
            return None  # somebody else's signer
        if why:
            self._fail(csr, why)
            return None
        pem = sign(*_authority(*self._ca), request, spec, self._clock)
        self._write(csr, {"certificate": base64.b64encode(pem).decode()})
        return None

    def _fail(self, csr: Obj, why: str) -> None:
        now = rfc3339(self._clock.now())
        failed = {
            "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
            "lastUpdateTime": now, "lastTransitionTime": now,
        }  # fmt: skip
        self._write(csr, {"conditions": [*csr["status"]["conditions"], failed]})

    def _write(self, csr: Obj, status: Obj) -> None:
        changed = {**csr, "status": {**csr["status"], **status}}
        self._client.update(CERTIFICATESIGNINGREQUESTS, changed, subresource="status")


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def _authority(cert_file: str, key_file: str) -> tuple[x509.Certificate, Key]:
    certificate = x509.load_pem_x509_certificate(Path(cert_file).read_bytes())
    key = serialization.load_pem_private_key(Path(key_file).read_bytes(), None)
    if not isinstance(key, Key):
        raise ValueError(f"{key_file}: only EC and RSA keys can sign certificates")
    return certificate, key


def sign(ca: x509.Certificate, key: Key, request: x509.CertificateSigningRequest, spec: Obj, clock: Clock) -> bytes:
    """The certificate (PEM): subject and names as requested, usages and length of life as the request object says."""
    wanted = timedelta(seconds=spec["expirationSeconds"]) if spec.get("expirationSeconds") else _LONGEST
    life = min(max(wanted, _SHORTEST), _LONGEST)
    now = clock.now()
    ends = now + life if life < _SHORT else now + life - _BACKDATE
    builder = (
        x509.CertificateBuilder().subject_name(request.subject).issuer_name(ca.subject).public_key(request.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - _BACKDATE)
        .not_valid_after(min(ends, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )  # fmt: skip
    usages = spec.get("usages") or []
    on = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    bits = {name: name in on for name in (*_KEY_USAGES.values(), "encipher_only", "decipher_only")}
    if on:
        builder = builder.add_extension(x509.KeyUsage(**bits), critical=True)
    extended = [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
