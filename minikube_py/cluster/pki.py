"""The cluster's certificates: one CA per profile and everything signed by it, and a second CA for the front proxy alone.

Who calls it: `minikube_py.cluster` when a profile is created or a node is added; the tests' harness.
Whoever holds a certificate of the second CA (`front-proxy-ca`) may say on whose behalf it asks, so nobody else gets one.
Invariant: `ensure` and `issue` never replace a key that exists and still matches what is asked for, so running `up` again
changes nothing. Private keys are readable by their owner only. Keys are ECDSA P-256: made in a millisecond.
Upstream: cmd/kubeadm/app/phases/certs (names and organisations of the component users).
"""

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_TEN_YEARS = timedelta(days=3650)
_AUTHORITIES = {"ca": "minikube-py-ca", "front-proxy-ca": "minikube-py-front-proxy-ca"}
_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def ensure(directory: Path, *, api_addresses: Sequence[str]) -> None:
    """Make the CA, the API server's certificates, the administrator's, and the service-account key, where missing.

    In: `api_addresses` are the names and IPs the API server is reached by (loopback, bridge, ClusterIP). Out, in
    `directory`: ca, front-proxy-ca, apiserver, apiserver-kubelet-client, front-proxy-client, admin, controllers, kube-proxy
    (`NAME.crt`, `NAME.key`) and `sa.key`.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, common_name in _AUTHORITIES.items():
        if not (directory / f"{name}.key").exists():
            _make_ca(directory, name, common_name)
    if not (directory / "sa.key").exists():
        _write_key(directory / "sa.key", ec.generate_private_key(ec.SECP256R1()))
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    issue(directory, "apiserver", "kube-apiserver", addresses=["localhost", "127.0.0.1", *names, *api_addresses])
    issue(directory, "apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    issue(directory, "front-proxy-client", "front-proxy-client", ca="front-proxy-ca")
    issue(directory, "admin", "kubernetes-admin", ["system:masters"])
    own = ["localhost", "127.0.0.1", "controllers", *api_addresses]
    issue(directory, "controllers", "system:kube-controller-manager", ["system:masters"], own)
    issue(directory, "kube-proxy", "system:kube-proxy", ["system:node-proxier"])


def issue_node(directory: Path, node: str, addresses: Sequence[str]) -> None:
    """A node's certificate (`kubelet-NODE`): its user `system:node:NODE`, and the server name of its HTTPS API."""
    issue(directory, f"kubelet-{node}", f"system:node:{node}", ["system:nodes"], [node, "127.0.0.1", *addresses])


def issue(
    directory: Path, name: str, user: str, groups: Sequence[str] = (), addresses: Sequence[str] = (), *, ca: str = "ca"
) -> None:  # fmt: skip
    """One certificate signed by a CA: `user` becomes the common name, `groups` the organisations.

    With `addresses` it may also serve HTTPS under those names and IPs. Kept as it is when it already covers them all.
    """
    certificate_file = directory / f"{name}.crt"
    authority = x509.load_pem_x509_certificate((directory / f"{ca}.crt").read_bytes())
    if (directory / f"{name}.key").exists() and _covers(certificate_file, authority.subject, addresses):
        return
    ca_key = serialization.load_pem_private_key((directory / f"{ca}.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    builder = _builder(x509.Name(subject), authority.subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usages = [_CLIENT, _SERVER] if addresses else [_CLIENT]
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(_authority(ca_key.public_key()), critical=False)
    if addresses:
        builder = builder.add_extension(x509.SubjectAlternativeName(_names(addresses)), critical=False)
    signed = builder.sign(ca_key, hashes.SHA256())
    _write_key(directory / f"{name}.key", key)
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _make_ca(directory: Path, file: str, common_name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _builder(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    _write_key(directory / f"{file}.key", key)
    (directory / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - timedelta(minutes=5)  # a certificate made now must hold on a clock slightly behind
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + _TEN_YEARS)


def _authority(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _names(addresses: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for address in dict.fromkeys(addresses):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def _covers(certificate_file: Path, issuer: x509.Name, addresses: Sequence[str]) -> bool:
    """Whether there is such a certificate, of this issuer, and for all these names."""
    if not certificate_file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    if certificate.issuer != issuer or not addresses:
        return certificate.issuer == issuer
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(_names(addresses)) <= set(names)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
