"""Adding a built-in kind is one row: a copy of the server with one more line in its table serves the kind, whole.

CONTRIBUTING.md, "Adding a resource", shows this line.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import harness
from tests.conftest import APIServer

ROW = """    _row("coordination.k8s.io/v1beta1", "leasecandidates", "LeaseCandidate", _NS, short="lc"),"""
BEFORE = """    _row("node.k8s.io/v1", "runtimeclasses","""
CANDIDATE = {
    "apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "metadata": {"name": "one"},
    "spec": {"leaseName": "scheduler", "binaryVersion": "1.36.0", "strategy": "OldestEmulationVersion"},
}  # fmt: skip


@pytest.fixture
def extended(apiserver_marker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[APIServer]:
    """An API server from a checkout with the row added."""
    tree = tmp_path / "checkout"
    shutil.copytree(harness.ROOT / "apiserver", tree / "apiserver", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "minikube_py").symlink_to(harness.ROOT / "minikube_py")
    table = tree / "apiserver" / "resources" / "table.py"
    text = table.read_text()
    assert text.count(BEFORE) == 1
    table.write_text(text.replace(BEFORE, f"{ROW}\n{BEFORE}"))
    monkeypatch.setattr(harness, "ROOT", tree)
    server = APIServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_one_row_is_a_kind(extended: APIServer, tmp_path: Path) -> None:
    def kubectl(*arguments: str, stdin: str = "", fails: bool = False) -> str:
        command = ["kubectl", "--kubeconfig", extended.kubeconfig, "--cache-dir", str(tmp_path / "cache"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    assert "LeaseCandidate" in kubectl("api-resources", "--api-group=coordination.k8s.io")
    assert "FIELD: strategy <string>" in kubectl("explain", "lc.spec.strategy")
    assert "created" in kubectl("apply", "-f", "-", stdin=json.dumps(CANDIDATE))
    unknown = {**CANDIDATE, "spec": {**CANDIDATE["spec"], "colour": "red"}}  # type: ignore[dict-item]
    assert 'unknown field "spec.colour"' in kubectl("apply", "-f", "-", stdin=json.dumps(unknown), fails=True)
    assert kubectl("get", "lc").split()[:2] == ["NAME", "AGE"]
    kubectl("patch", "lc", "one", "--type=merge", "-p", '{"spec": {"leaseName": "other"}}')
    assert "conflict" in kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(CANDIDATE), fails=True)
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(CANDIDATE)
    )
    assert kubectl("get", "lc", "one", "-o", "jsonpath={.spec.leaseName}") == "scheduler"
    assert "deleted" in kubectl("delete", "lc", "one")
