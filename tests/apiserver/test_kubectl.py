"""Stock kubectl against the real server: what a user types, and what comes back."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import APIServer
from tests.harness import eventually

KUBECTL = shutil.which("kubectl")
Kubectl = Callable[..., str]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: busybox:1, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
"""


@pytest.fixture
def kubectl(apiserver: APIServer, ns: str, tmp_path: Path) -> Kubectl:
    """Run kubectl in the test's namespace; `fails=True` returns what it prints on stderr."""

    def run(*arguments: str, stdin: str = "", fails: bool = False) -> str:
        assert KUBECTL, "kubectl is not installed (make test installs it)"
        command = [
            KUBECTL,
            "--kubeconfig",
            apiserver.kubeconfig,
            "--cache-dir",
            str(tmp_path / "cache"),
            "-n",
            ns,
            *arguments,
        ]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return (done.stderr if fails else done.stdout).strip()

    return run


def test_create_get_edit_delete(kubectl: Kubectl) -> None:
    assert kubectl("create", "configmap", "a", "--from-literal=k=v") == "configmap/a created"
    assert kubectl("get", "cm", "a", "-o", "jsonpath={.data.k}") == "v"
    lines = kubectl("get", "configmaps").splitlines()
    assert lines[0].split() == ["NAME", "DATA", "AGE"]
    assert lines[1].split()[:2] == ["a", "1"]
    assert kubectl("label", "cm", "a", "color=red") == "configmap/a labeled"
    assert kubectl("get", "cm", "-l", "color=red", "-o", "name") == "configmap/a"
    assert kubectl("annotate", "cm", "a", "note=x") == "configmap/a annotated"
    assert kubectl("patch", "cm", "a", "-p", '{"data":{"k":"w"}}') == "configmap/a patched"
    assert "already exists" in kubectl("create", "cm", "a", fails=True)
    assert kubectl("delete", "cm", "a") == 'configmap "a" deleted'
    assert kubectl("get", "cm", "a", fails=True) == 'Error from server (NotFound): configmaps "a" not found'


def test_apply_is_idempotent(kubectl: Kubectl) -> None:
    for outcome in ("created", "unchanged"):
        printed = kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines()
        assert printed == [f"deployment.apps/web {outcome}", f"service/web {outcome}"]
    changed = MANIFEST.replace("replicas: 2", "replicas: 3").replace("busybox:1", "busybox:2")
    assert kubectl("apply", "-f", "-", stdin=changed).splitlines()[0] == "deployment.apps/web configured"
    web = json.loads(kubectl("get", "deploy", "web", "-o", "json"))
    assert web["spec"]["replicas"] == 3
    assert web["metadata"]["generation"] == 2
    assert web["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert kubectl("scale", "deploy", "web", "--replicas=5") == "deployment.apps/web scaled"
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "5"
    assert kubectl("get", "svc", "web", "-o", "jsonpath={.spec.type} {.spec.ports[0].targetPort}") == "ClusterIP 80"


def test_server_side_apply_and_diff(kubectl: Kubectl) -> None:
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("replicas: 2", "replicas: 7")
    assert kubectl("diff", "-f", "-", stdin=MANIFEST) == ""
    conflict = kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=changed, fails=True)
    assert "conflict" in conflict
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=changed
    )
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "7"


def test_bad_manifests_are_refused_with_the_field(kubectl: Kubectl) -> None:
    typo = MANIFEST.replace("replicas:", "replics:")
    assert 'unknown field "spec.replics"' in kubectl("apply", "-f", "-", stdin=typo, fails=True)
    wrong = MANIFEST.replace("replicas: 2", "replicas: -1")
    assert "spec.replicas: Invalid value: -1" in kubectl("apply", "-f", "-", stdin=wrong, fails=True)
    kind = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"
    unvalidated = kubectl("apply", "--validate=false", "-f", "-", stdin=kind, fails=True)
    assert 'no matches for kind "Widget" in version "example.com/v1"' in unvalidated


def test_typed_creates(kubectl: Kubectl) -> None:
    """These send protobuf."""
    assert kubectl("create", "deployment", "d", "--image=busybox", "--replicas=2") == "deployment.apps/d created"
    assert kubectl("create", "secret", "generic", "s", "--from-literal=k=v") == "secret/s created"
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="
    assert kubectl("create", "serviceaccount", "robot") == "serviceaccount/robot created"
    assert kubectl("create", "token", "robot").count(".") == 2
    assert kubectl("create", "role", "r", "--verb=get", "--resource=pods") == "role.rbac.authorization.k8s.io/r created"
    assert "created" in kubectl("create", "rolebinding", "b", "--role=r", "--user=ann")
    assert kubectl("auth", "can-i", "get", "pods", "--as=ann") == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", "--as=ann", fails=True) == ""
    assert kubectl("run", "p", "--image=busybox") == "pod/p created"
    assert kubectl("create", "job", "j", "--image=busybox") == "job.batch/j created"
    assert kubectl("expose", "deployment", "d", "--port=80") == "service/d exposed"


def test_discovery_and_explain(kubectl: Kubectl) -> None:
    resources = kubectl("api-resources", "--no-headers")
    assert len(resources.splitlines()) >= 60
    assert "apps/v1" in kubectl("api-versions").splitlines()
    explained = kubectl("explain", "pod.spec.containers.image")
    assert "FIELD: image <string>" in explained
    assert 'field "nope" does not exist' in kubectl("explain", "pod.spec.nope", fails=True)
    assert "Server Version: v1.36" in kubectl("version")
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert "Kubernetes control plane" in kubectl("cluster-info")


def test_describe_and_wide(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    described = kubectl("describe", "deployment", "web")
    assert "Replicas:               2 desired" in described
    assert "busybox:1" in kubectl("get", "deploy", "-o", "wide")
    assert kubectl("get", "deploy,svc", "-o", "name").splitlines() == ["deployment.apps/web", "service/web"]
    assert kubectl("get", "deploy", "--sort-by=.metadata.name", "-o", "custom-columns=N:.metadata.name") == "N\nweb"
    assert "kubernetes" in kubectl("get", "all", "-A")


def test_watch_and_wait(kubectl: Kubectl, apiserver: APIServer, ns: str) -> None:
    kubectl("create", "cm", "a")
    assert KUBECTL, "kubectl is not installed (make test installs it)"
    command = [KUBECTL, "--kubeconfig", apiserver.kubeconfig, "-n", ns, "get", "cm", "-w", "-o", "name"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        kubectl("create", "cm", "b")
        seen: list[str] = []

        def b_is_seen() -> bool:
            assert watching.stdout is not None
            seen.append(watching.stdout.readline())
            return any("configmap/b" in line for line in seen)

        eventually(b_is_seen, timeout=10)
    finally:
        watching.terminate()
        watching.wait()
    assert kubectl("wait", "--for=delete", "cm/never", "--timeout=5s") == ""
    assert kubectl("replace", "--force", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")


CSR = """
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: %s}
spec: {request: %s, signerName: example.com/s, usages: [client auth]}
"""


def test_certificate_approve_and_deny(kubectl: Kubectl, ns: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    for verb, shown in (("approve", "Approved"), ("deny", "Denied")):
        name = f"{ns}-{verb}"
        kubectl("apply", "-f", "-", stdin=CSR % (name, text))
        assert "Pending" in kubectl("get", "csr", name)
        assert f"certificatesigningrequest.certificates.k8s.io/{name}" in kubectl("certificate", verb, name)
        assert shown in kubectl("get", "csr", name)
