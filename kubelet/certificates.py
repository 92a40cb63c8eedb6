"""A node's certificates: asked for with a bootstrap token when it joins, renewed before they expire.

Who calls it: `kubelet.main`: `join` before it talks to the API server, `Renewals` from then on. Invariants: a key never
leaves the node; a kubelet killed at any point goes on with the key and the request it has; a file holds a certificate and
its key together and is replaced at once, so no reader ever sees one without the other.
Upstream: pkg/kubelet/certificate (bootstrap, transport), staging/src/k8s.io/client-go/util/certificate.
"""

import base64
import hashlib
import ipaddress
import json
import logging
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubelet.options import Options
from minikube_py.api.clock import Clock
from minikube_py.api.errors import AlreadyExists, APIError, NotFound
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS, new_object
from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.config import Config
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_POLL, _RETRY = 1.0, 5.0
_FIRST, _LAST = 0.7, 0.9
"""Between these parts of its life a certificate is renewed; nodes that joined together do not all come at once."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for, and the file that will hold it."""

    file: Path
    signer: str
    usages: tuple[str, ...]
    names: tuple[x509.GeneralName, ...] = ()


def client_certificate(options: Options) -> Wanted:
    return Wanted(
        _directory(options) / "kubelet-client-current.pem", "kubernetes.io/kube-apiserver-client-kubelet",
        ("digital signature", "client auth"),
    )  # fmt: skip


def serving_certificate(options: Options) -> Wanted:
    names = (x509.DNSName(options.node_name), x509.IPAddress(ipaddress.ip_address(options.node_ip)))
    return Wanted(
        _directory(options) / "kubelet-server-current.pem", "kubernetes.io/kubelet-serving",
        ("digital signature", "server auth"), names,
    )  # fmt: skip


def _directory(options: Options) -> Path:
    return Path(options.root_dir, "pki")


def join(options: Options, clock: Clock, ended: threading.Event) -> None:
    """Make sure that `--kubeconfig` is there and good, with the help of `--bootstrap-kubeconfig`.

    Returns at once when it is; else when the certificate came, or when `ended` is set. Raises KubeconfigError for a bootstrap
    file that cannot be used.
    """
    wanted = client_certificate(options)
    if not options.bootstrap_kubeconfig or (Path(options.kubeconfig).exists() and _ends(wanted.file) > clock.now()):
        return
    config = kubeconfig.load(options.bootstrap_kubeconfig)
    client = Client(config, user_agent=f"minikube-py/kubelet-{options.node_name}")
    _log.info("node %s asks to join %s", options.node_name, config.server)
    while not ended.is_set() and not _obtained(client, options, wanted, clock, ended):
        clock.wait(ended, _RETRY)
    client.close()
    if wanted.file.exists():
        _write_kubeconfig(options, config, wanted.file)


def _obtained(client: Client, options: Options, wanted: Wanted, clock: Clock, ended: threading.Event) -> bool:
    try:
        return obtain(client, options.node_name, wanted, clock, ended)
    except APIError as error:
        _log.warning("no certificate from %s yet: %s", wanted.signer, error)
        return False


def obtain(client: Client, node: str, wanted: Wanted, clock: Clock, ended: threading.Event) -> bool:
    """Ask, wait for the answer, keep it. False when refused, or when `ended` was set first. Raises APIError."""
    pending = wanted.file.with_suffix(".pending-key")
    key = _pending_key(pending)
    name = f"node-csr-{_digest(key, wanted)}"
    request = _request(key, node, wanted)
    while not ended.is_set():
        try:
            csr = client.get(CERTIFICATESIGNINGREQUESTS, name)
        except NotFound:
            csr = _ask(client, name, request, wanted)
        if certificate := (csr.get("status") or {}).get("certificate"):
            _write(wanted.file, base64.b64decode(certificate) + _pem(key))
            pending.unlink()
            return True
        refusal = condition_of(csr, "Denied") or condition_of(csr, "Failed")
        if refusal is not None:
            _log.warning("the request %s was refused: %s", name, refusal.get("message") or refusal["type"])
            pending.unlink()  # the next request is another one
            return False
        clock.wait(ended, _POLL)
    return False


def _ask(client: Client, name: str, request: bytes, wanted: Wanted) -> Obj:
    spec: Obj = {
        "request": base64.b64encode(request).decode(), "signerName": wanted.signer, "usages": list(wanted.usages),
    }  # fmt: skip
    try:
        return client.create(CERTIFICATESIGNINGREQUESTS, new_object(CERTIFICATESIGNINGREQUESTS, name, spec=spec))
    except AlreadyExists:
        return client.get(CERTIFICATESIGNINGREQUESTS, name)


def _pending_key(file: Path) -> ec.EllipticCurvePrivateKey:
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    key = ec.generate_private_key(ec.SECP256R1())
    _write(file, _pem(key))
    return key


def _request(key: ec.EllipticCurvePrivateKey, node: str, wanted: Wanted) -> bytes:
    subject = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, f"system:node:{node}")]
    builder = x509.CertificateSigningRequestBuilder()
    builder = builder.subject_name(x509.Name([x509.NameAttribute(kind, value) for kind, value in subject]))
    if wanted.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted.names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _digest(key: ec.EllipticCurvePrivateKey, wanted: Wanted) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.DER, form)
    return hashlib.sha256(wanted.signer.encode() + public).hexdigest()[:43]


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _write(file: Path, data: bytes) -> None:
    """Atomically, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def _write_kubeconfig(options: Options, config: Config, file: Path) -> None:
    ca = config.ca_data or (Path(config.ca_file).read_bytes() if config.ca_file else b"")
    cluster: Obj = {"server": config.server, "certificate-authority-data": base64.b64encode(ca).decode()}
    user = {"client-certificate": str(file.absolute()), "client-key": str(file.absolute())}
    written = {
        "apiVersion": "v1", "kind": "Config", "current-context": "default",
        "clusters": [{"name": "default", "cluster": cluster}], "users": [{"name": "default", "user": user}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
    }  # fmt: skip
    _write(Path(options.kubeconfig), json.dumps(written, indent=2).encode())  # JSON is YAML


def _ends(file: Path) -> datetime:
    """When the certificate in a file ends; long ago when there is none."""
    return _life(file)[1]


def _life(file: Path) -> tuple[datetime, datetime]:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def self_signed(options: Options) -> Path:
    """A serving certificate for the time until one is signed: it encrypts, but proves nothing to anybody."""
    wanted = serving_certificate(options)
    if not wanted.file.exists():
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, options.node_name)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
        signed = builder.not_valid_after(now + timedelta(seconds=1)).sign(key, hashes.SHA256())
        _write(wanted.file, signed.public_bytes(serialization.Encoding.PEM) + _pem(key))
    return wanted.file


class Renewals:
    """Renews certificates in a thread each, until stopped. `changed` is called after each renewal."""

    def __init__(self, client: Client, node: str, clock: Clock) -> None:
        self._client, self._node, self._clock = client, node, clock
        self._stopped = threading.Event()

    def start(self, wanted: Wanted, changed: Callable[[], None] = lambda: None) -> None:
        thread = threading.Thread(target=self._keep, args=(wanted, changed), name="certificates", daemon=True)
        thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _keep(self, wanted: Wanted, changed: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            begins, ends = _life(wanted.file)
            due = begins + (ends - begins) * random.uniform(_FIRST, _LAST)
            if self._clock.wait(self._stopped, max(0.0, (due - self._clock.now()).total_seconds())):
                return
            try:
                renewed = obtain(self._client, self._node, wanted, self._clock, self._stopped)
            except APIError as error:
                _log.warning("the certificate %s is not renewed yet: %s", wanted.file.name, error)
                renewed = False
            if renewed:
                _log.info("renewed %s", wanted.file.name)
                changed()
            else:
                self._clock.wait(self._stopped, _RETRY)
