"""A kubelet from elsewhere: joins with a token, is killed on the way, renews its certificates, has its server name signed."""

import base64
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controllers.options import Options as ControllerOptions
from kubelet import certificates
from kubelet.options import Options
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS as CSRS
from minikube_py.api.gvr import NODES, PODS, SECRETS, new_object
from minikube_py.api.meta import condition_is
from minikube_py.client import kubeconfig
from minikube_py.client.rest import Client
from minikube_py.cluster import kubeconfig as written
from minikube_py.cluster import tokens
from tests import harness
from tests.conftest import APIServer
from tests.controllers.play import running

KEY, SECRET = "joinme", "0123456789abcdef"


@pytest.fixture
def controllers(apiserver: APIServer, client: Client) -> Iterator[None]:
    ca = f"{apiserver.pki}/ca"
    options = ControllerOptions(cluster_signing_cert=f"{ca}.crt", cluster_signing_key=f"{ca}.key")
    with running(client, "csrsigning", "csrapproving", options=options):
        yield


@pytest.fixture
def bootstrap(apiserver: APIServer, client: Client, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig with a token and nothing else."""
    data = {
        "token-id": KEY,
        "token-secret": SECRET,
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": tokens.GROUP,
    }
    name = f"bootstrap-token-{KEY}"
    client.create(
        SECRETS, new_object(SECRETS, name, "kube-system", type="bootstrap.kubernetes.io/token", stringData=data)
    )
    config = written.build("bootstrap", apiserver.url, apiserver.pki, "admin")
    config["users"][0]["user"] = {"token": f"{KEY}.{SECRET}"}
    written.write(tmp_path / "bootstrap.conf", config)
    yield tmp_path / "bootstrap.conf"
    client.delete(SECRETS, name, "kube-system")


def start(directory: Path, node: str, *flags: str) -> subprocess.Popen[bytes]:
    return harness.python_component(
        "kubelet.main", f"--bootstrap-kubeconfig={directory}/bootstrap.conf", f"--kubeconfig={directory}/kubelet.conf",
        f"--node-name={node}", f"--root-dir={directory}/root", "--runtime=simulated", "--network=none", "--no-service-proxy",
        f"--port={harness.free_port()}", *flags, log=directory / "kubelet.log",
    )  # fmt: skip


def requests_of(client: Client, node: str) -> list[str]:
    def of(csr: dict[str, dict[str, str]]) -> str:
        asked = x509.load_pem_x509_csr(base64.b64decode(csr["spec"]["request"]))
        return str(asked.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)

    return [csr["metadata"]["name"] for csr in client.list(CSRS)["items"] if of(csr) == f"system:node:{node}"]


def test_a_machine_joins_with_a_token_and_stays(
    apiserver: APIServer, client: Client, controllers: None, bootstrap: Path, tmp_path: Path, namespace: str
) -> None:
    node = "joined-1"
    process = start(tmp_path, node, "--rotate-server-certificates", f"--client-ca={apiserver.ca_file}")
    try:
        harness.eventually(lambda: condition_is(client.get(NODES, node), "Ready"), what="the node to be Ready")
        assert client.config.server == kubeconfig.load(tmp_path / "kubelet.conf").server
        serving = harness.eventually(
            lambda: next((n for n in requests_of(client, node) if _signer(client, n).endswith("kubelet-serving")), None)
        )
        assert not client.get(CSRS, serving).get("status", {}).get("conditions"), "people approve server names"
        condition = {"type": "Approved", "status": "True", "reason": "Test"}
        client.patch(CSRS, serving, {"status": {"conditions": [condition]}}, subresource="approval")
        port = client.get(NODES, node)["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        harness.eventually(
            lambda: harness.url_answers(f"https://127.0.0.1:{port}/healthz", apiserver.ca_file), what="its TLS"
        )
        pod = new_object(PODS, "p", namespace, spec={"nodeName": node, "containers": [{"name": "c", "image": "a:1"}]})
        client.create(PODS, pod)
        harness.eventually(
            lambda: client.get(PODS, "p", namespace)["status"]["phase"] == "Running", what="a running pod"
        )
    finally:
        harness.stop(process)
    asked = requests_of(client, node)
    again = start(tmp_path, node, "--rotate-server-certificates")
    try:
        harness.eventually(lambda: "runs its pods" in (tmp_path / "kubelet.log").read_text().split("asks to join")[-1])
        assert requests_of(client, node) == asked, "what it has is good: nothing is asked for again"
    finally:
        harness.stop(again)


def _signer(client: Client, name: str) -> str:
    return str(client.get(CSRS, name)["spec"]["signerName"])


def test_killed_while_it_waits_it_goes_on_with_the_same_request(
    apiserver: APIServer, client: Client, bootstrap: Path, tmp_path: Path
) -> None:
    node = "joined-2"
    for _ in range(2):  # nobody approves: no controllers run
        process = start(tmp_path, node)
        harness.eventually(lambda: requests_of(client, node), what="a request")
        process.kill()
        process.wait()
    (name,) = requests_of(client, node)
    ca = f"{apiserver.pki}/ca"
    options = ControllerOptions(cluster_signing_cert=f"{ca}.crt", cluster_signing_key=f"{ca}.key")
    with running(client, "csrsigning", "csrapproving", options=options):
        harness.eventually(lambda: client.get(CSRS, name)["status"].get("certificate"))
    process = start(tmp_path, node)
    try:
        harness.eventually(lambda: client.get(NODES, node), what="the node")
        assert requests_of(client, node) == [name]
    finally:
        harness.stop(process)
    assert not list((tmp_path / "root" / "pki").glob("*pending*"))


def test_a_certificate_is_renewed_and_shown_from_then_on(
    apiserver: APIServer, client: Client, controllers: None, bootstrap: Path, tmp_path: Path
) -> None:
    options = Options(
        kubeconfig=f"{tmp_path}/kubelet.conf", node_name="joined-3", root_dir=str(tmp_path),
        bootstrap_kubeconfig=str(bootstrap),
    )  # fmt: skip
    certificates.join(options, REAL, threading.Event())
    own = Client(kubeconfig.load(options.kubeconfig))
    wanted = certificates.client_certificate(options)
    first = x509.load_pem_x509_certificate(wanted.file.read_bytes())
    old = wanted.file.read_bytes()
    _expire(apiserver, wanted.file)
    renewed = threading.Event()
    renewals = certificates.Renewals(own, "joined-3", REAL)
    renewals.start(wanted, renewed.set)
    try:
        assert renewed.wait(20), "the old one has nearly ended: a new one is asked for at once"
    finally:
        renewals.stop()
    now = x509.load_pem_x509_certificate(wanted.file.read_bytes())
    assert now.serial_number != first.serial_number and now.not_valid_after_utc > datetime.now(UTC)
    wanted.file.write_bytes(b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    assert own.list(CSRS)["items"], "a broken file is no reason to forget what works"
    wanted.file.write_bytes(old)
    assert own.list(CSRS)["items"], "the file is read again when it changes"


def _expire(apiserver: APIServer, file: Path) -> None:
    """Put a certificate into the file that has seconds to live, for the same key."""
    held = x509.load_pem_x509_certificate(file.read_bytes())
    ca = x509.load_pem_x509_certificate((apiserver.pki / "ca.crt").read_bytes())
    key = serialization.load_pem_private_key((apiserver.pki / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(held.subject).issuer_name(ca.subject).public_key(held.public_key())
    builder = (
        builder.serial_number(1234)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(seconds=60))
    )
    signed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = file.read_bytes().split(b"-----END CERTIFICATE-----\n", 1)[1]
    file.write_bytes(signed + private)


def test_a_bootstrap_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.conf").write_text("[]")
    process = start(tmp_path, "nobody")
    assert process.wait(30) == 1
    said = (tmp_path / "kubelet.log").read_text()
    assert "is not a mapping" in said and "Traceback" not in said
