"""The control plane against a real API server and signer: who gets which certificate, and who is told what."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from controllers.options import Options as ControllerOptions
from minikube_py.api import errors
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import CUSTOMRESOURCEDEFINITIONS, PODS, SERVICEACCOUNTS, new_object
from minikube_py.client.rest import Client
from minikube_py.cluster import addons
from minikube_py.ingress.haproxy import Configuration
from minikube_py.mesh import certificates, control
from minikube_py.mesh.agent import Agent
from minikube_py.mesh.kinds import AUDIENCE, MESHPOLICIES, identity
from minikube_py.mesh.server import Server
from tests import harness
from tests.conftest import APIServer
from tests.controllers.play import running


class Place(NamedTuple):
    control: control.Control
    namespace: str
    client: Client
    authority: str

    def token(self, pod: str = "web", audience: str = AUDIENCE) -> str:
        uid = self.client.get(PODS, pod, self.namespace)["metadata"]["uid"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        spec = {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = self.client.create(SERVICEACCOUNTS, asked, self.namespace, name="web", subresource="token")
        return str(made["status"]["token"])


@pytest.fixture
def place(apiserver: APIServer, client: Client, namespace: str) -> Iterator[Place]:
    for text in (addons.DIRECTORY / "mesh" / "10-kinds.yaml").read_text().split("\n---\n"):
        with contextlib.suppress(errors.AlreadyExists):
            client.create(CUSTOMRESOURCEDEFINITIONS, yaml.safe_load(text))
    harness.eventually(lambda: client.list(MESHPOLICIES), what="the kinds")
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "web", namespace))
    spec = {"serviceAccountName": "web", "containers": [{"name": "main", "image": "busybox"}]}
    client.create(PODS, new_object(PODS, "web", namespace, spec=spec))
    signing = ControllerOptions(cluster_signing_cert=apiserver.ca_file, cluster_signing_key=f"{apiserver.pki}/ca.key")
    one = control.Control(client, control.Options(seconds=600))
    one.informers.start()
    assert one.informers.wait_synced(20)
    with running(client, "csrsigning", options=signing):
        yield Place(one, namespace, client, Path(apiserver.ca_file).read_text())
    one.informers.stop()


def test_a_pod_gets_the_certificate_of_its_account_and_no_other(place: Place) -> None:
    mine, token = identity(place.namespace, "web"), place.token()
    request = certificates.request(certificates.new_key(), mine)
    pem = place.control.certificate(token, request)["certificate"]
    made = x509.load_pem_x509_certificate(pem.encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [mine]
    assert made.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value == mine
    key = certificates.new_key()
    for other in (
        certificates.request(key, identity(place.namespace, "admin")),
        certificates.request(key, mine, "kubernetes.default.svc"), "nonsense",
    ):  # fmt: skip
        with pytest.raises(errors.BadRequest):
            place.control.certificate(token, other)


def test_only_living_pods_with_a_token_for_the_mesh(place: Place) -> None:
    token = place.token()
    for bad in ("", "nonsense", place.token(audience="https://kubernetes.default.svc")):
        with pytest.raises(errors.Unauthorized):
            place.control.configuration(bad, "")
    place.client.delete(PODS, "web", place.namespace, grace_period_seconds=0)
    with pytest.raises(errors.Unauthorized):
        place.control.configuration(token, "")


def test_a_sidecar_hears_of_changes_at_once_and_of_nothing_else(place: Place) -> None:
    token = place.token()
    first = place.control.configuration(token, "")
    assert "frontend inbound" in first["text"] and "content reject\n" not in first["text"]
    heard: list[Any] = []
    asking = threading.Thread(target=lambda: heard.append(place.control.configuration(token, first["digest"])))
    asking.start()
    policy = new_object(MESHPOLICIES, "strict", place.namespace, spec={"mode": "Strict"})
    place.client.create(MESHPOLICIES, policy)
    asking.join(15)
    assert heard and heard[0]["digest"] != first["digest"] and "content reject\n" in heard[0]["text"]


class _Recorder:
    def __init__(self) -> None:
        self.served: list[Configuration] = []

    def apply(self, wanted: Configuration) -> bool:
        if wanted not in self.served[-1:]:
            self.served.append(wanted)
        return True


def test_the_agent_renews_its_certificate_before_it_ends(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over real HTTPS, with the control plane's own certificate; only HAProxy is not started."""
    port = harness.free_port()
    certificate, key = place.control.own_certificate()
    Server(place.control, port).use(certificate, key)
    (tmp_path / "ca.crt").write_text(place.authority)
    (tmp_path / "token").write_text(place.token())
    dial = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda to, *more: dial(("127.0.0.1", port), *more))
    agent, recorder = Agent("mesh.mesh-system.svc:443", tmp_path, tmp_path), _Recorder()
    agent.proxy = recorder  # type: ignore[assignment]
    agent.step()
    [first] = recorder.served
    begins, ends = certificates.lifetime(first.files["own.pem"])
    assert begins.timestamp() < REAL.time() < agent._renew_at < ends.timestamp()
    assert "PRIVATE KEY" in first.files["own.pem"] and first.files["ca.pem"] == place.authority
    agent._renew_at = REAL.time()
    agent._known["digest"] = ""
    agent.step()
    second = recorder.served[-1]
    assert second.text == first.text and second.files["own.pem"] != first.files["own.pem"], "a new key, the same view"
    (tmp_path / "token").write_text("revoked")
    with pytest.raises(ValueError, match="401"):
        agent.step()
