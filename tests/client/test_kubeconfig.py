"""Kubeconfig files: merged as upstream merges them, relative paths resolved, mistakes told in one sentence."""

import base64
import ssl
from pathlib import Path

import pytest
import yaml

from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.config import Config, Credentials, ssl_context
from minikube_py.cluster import pki
from minikube_py.cluster.kubeconfig import build


def _write(path: Path, config: Obj) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def _config(name: str, server: str, **user: str) -> Obj:
    return {
        "current-context": name, "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "there"}}],
    }  # fmt: skip


def test_embedded_certificates_make_a_working_context(tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=[])
    file = _write(tmp_path / "config", build("p", "https://127.0.0.1:1", tmp_path, "admin"))
    config = kubeconfig.load(file)
    assert config.server == "https://127.0.0.1:1" and config.namespace == "default"
    assert config.cert_data == (tmp_path / "admin.crt").read_bytes()
    assert ssl_context(config).verify_mode == ssl.CERT_REQUIRED


def test_files_merge_and_the_first_that_says_a_thing_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _write(tmp_path / "one", _config("a", "https://one", token="t1"))
    two = _write(tmp_path / "two", _config("b", "https://two", tokenFile="secret"))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{tmp_path / 'absent'}:{two}")
    assert kubeconfig.load() == Config("https://one", token="t1", namespace="there")
    assert kubeconfig.load(context="b").token_file == str(tmp_path / "secret")


def test_a_token_file_is_read_and_kept_while_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    credentials = Credentials(Config("https://x", token_file=str(tmp_path / "token")))
    assert credentials.headers() == {"Authorization": "Bearer abc"}
    (tmp_path / "token").unlink()
    assert credentials.headers() == {"Authorization": "Bearer abc"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("clusters: [", "cannot be read"), ("- 1", "not a mapping"), ("{}", "no current context"),
        ("current-context: x", '"x" does not exist'),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c}}]}", 'cluster "c" of context "x"'),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c}]}", "has no server"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(kubeconfig.KubeconfigError, match=says):
        kubeconfig.load(tmp_path / "config")


def test_bad_base64_and_absent_file(tmp_path: Path) -> None:
    config = _config("a", "https://one")
    config["users"][0]["user"]["client-key-data"] = base64.b64encode(b"x").decode() + "!"
    with pytest.raises(kubeconfig.KubeconfigError, match="not base64"):
        kubeconfig.load(_write(tmp_path / "config", config))
    with pytest.raises(kubeconfig.KubeconfigError, match="does not exist"):
        kubeconfig.load(tmp_path / "none")
