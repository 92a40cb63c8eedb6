"""Kubeconfig files: merging and unmerging touch only our own entries."""

import stat
from pathlib import Path

import yaml

from minikube_py.cluster import kubeconfig, pki

FOREIGN = {
    "apiVersion": "v1", "kind": "Config", "current-context": "work", "preferences": {"colors": True},
    "clusters": [{"name": "work", "cluster": {"server": "https://example.test"}}],
    "users": [{"name": "me", "user": {"token": "x"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
}  # fmt: skip


def _ours(tmp_path: Path) -> dict[str, object]:
    pki.ensure(tmp_path / "pki", api_addresses=["10.96.0.1"])
    return kubeconfig.build("minikube-py", "https://127.0.0.1:6443", tmp_path / "pki", "admin")


def test_merge_then_unmerge_gives_the_users_file_back(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(FOREIGN))
    kubeconfig.merge(path, _ours(tmp_path))
    merged = yaml.safe_load(path.read_text())
    assert merged["current-context"] == "minikube-py"
    assert [c["name"] for c in merged["contexts"]] == ["work", "minikube-py"]
    kubeconfig.merge(path, _ours(tmp_path))
    assert yaml.safe_load(path.read_text()) == merged
    kubeconfig.unmerge(path, "minikube-py")
    assert yaml.safe_load(path.read_text()) == {**FOREIGN, "current-context": ""}


def test_a_file_we_made_goes_when_we_leave(tmp_path: Path) -> None:
    path = tmp_path / "kube" / "config"
    kubeconfig.merge(path, _ours(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kubeconfig.unmerge(path, "minikube-py")
    assert not path.exists()
