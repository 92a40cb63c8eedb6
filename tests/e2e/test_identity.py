"""Who belongs to the cluster: machines that join with a token, keys that are rotated. On the simulated runtime."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube_py.api.gvr import NODES, SECRETS, new_object
from minikube_py.api.meta import condition_is
from tests import harness
from tests.clusters import Cluster, running_cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    flags = ("--runtime", "simulated", "--nodes", "1", "--listen", "127.0.0.3")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_cluster("joining", tmp_path_factory.mktemp("join"), patch, *flags) as one,
    ):
        yield one


pytestmark = pytest.mark.cluster


def test_a_machine_joins_with_the_command_it_is_given(place: Cluster, tmp_path: Path) -> None:
    server = f"https://127.0.0.3:{place.profile.port}"
    done = place.minikube("token", "create", "--bootstrap-kubeconfig", f"{tmp_path}/boot.conf", "--server", server)
    token = done.stdout.strip()
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token)
    assert "python -m kubelet.main --bootstrap-kubeconfig=boot.conf" in done.stderr
    assert token[:6] in place.minikube("token", "list").stdout
    process = harness.python_component(
        "kubelet.main", f"--bootstrap-kubeconfig={tmp_path}/boot.conf", f"--kubeconfig={tmp_path}/kubelet.conf",
        "--node-name=elsewhere", f"--root-dir={tmp_path}/root", "--runtime=simulated", "--network=none", "--no-service-proxy",
        f"--port={harness.free_port()}", "--rotate-server-certificates", log=tmp_path / "kubelet.log",
    )  # fmt: skip
    try:
        harness.eventually(lambda: condition_is(place.client.get(NODES, "elsewhere"), "Ready"), what="the node")
        listed = place.kubectl("get", "csr")
        assert "kubernetes.io/kube-apiserver-client-kubelet" in listed and "Approved,Issued" in listed
        pending = harness.eventually(
            lambda: re.search(r"^(\S+).*kubelet-serving.*Pending", place.kubectl("get", "csr"), re.M)
        )
        place.kubectl("certificate", "approve", pending[1])
        harness.eventually(lambda: "Pending" not in place.kubectl("get", "csr"), what="it to be signed")
        place.minikube("token", "delete", token)
        assert token[:6] not in place.minikube("token", "list").stdout
    finally:
        harness.stop(process)
    refused = place.minikube("token", "delete", token, check=False)
    assert refused.returncode == 1 and "no bootstrap token" in refused.stderr


def test_the_encryption_key_is_rotated(place: Cluster) -> None:
    for number in range(5):
        place.client.create(SECRETS, new_object(SECRETS, f"kept-{number}", "default", stringData={"n": str(number)}))
    file = place.profile.pki / "encryption.key"
    before = file.read_text()
    said = place.minikube("encryption", "rotate").stdout
    assert "sealed with key2" in said
    after = file.read_text()
    assert after.startswith("key2:") and len(after.splitlines()) == 1 and before not in after
    kept = [s for s in place.client.list(SECRETS, "default")["items"] if s["metadata"]["name"].startswith("kept-")]
    assert len(kept) == 5
    file.write_text(
        after + before
    )  # as if the command had been interrupted: the next one goes on, and adds no third key
    place.minikube("encryption", "rotate")
    assert file.read_text() == after
