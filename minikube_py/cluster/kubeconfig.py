"""Writing kubeconfig files: one per component, the administrator's, and our context inside the user's own file.

Who calls it: `minikube_py.cluster` on up and down; the tests' harness.
Invariant: a merge touches only entries carrying our name; the rest of the user's file keeps its content; every write is
atomic and the file stays readable by its owner only.
Upstream: staging/src/k8s.io/client-go/tools/clientcmd.
"""

import base64
import os
from pathlib import Path

import yaml

from minikube_py.api.types import Obj


def build(name: str, server: str, pki: Path, identity: str) -> Obj:
    """A kubeconfig with one cluster, user and context called `name`; `identity` names the certificate in `pki`."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{identity}.crt"), "client-key-data": data(f"{identity}.key")}
    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    return {
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }  # fmt: skip


def write(path: Path, config: Obj) -> None:
    """Write a kubeconfig atomically, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(config, file, sort_keys=False)
    temporary.replace(path)


def user_path() -> Path:
    """The user's own kubeconfig: the first file of $KUBECONFIG, or ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else Path.home() / ".kube" / "config"


def merge(path: Path, config: Obj) -> None:
    """Put the entries of `config` into the kubeconfig at `path` and make its context the current one."""
    merged = _without(_read(path), config["current-context"])
    for section in ("clusters", "users", "contexts"):
        merged[section] = [*(merged.get(section) or []), *config[section]]
    merged["current-context"] = config["current-context"]
    write(path, merged)


def unmerge(path: Path, name: str) -> None:
    """Take the entries called `name` out of the kubeconfig at `path`, if it exists; an empty file is removed."""
    if not path.exists():
        return
    rest = _without(_read(path), name)
    if not (rest.get("clusters") or rest.get("users") or rest.get("contexts")):
        path.unlink()
        return
    if rest.get("current-context") == name:
        rest["current-context"] = ""
    write(path, rest)


def _read(path: Path) -> Obj:
    if path.exists():
        loaded = yaml.safe_load(path.read_text())
        if isinstance(loaded, dict):
            return loaded
    return {"apiVersion": "v1", "kind": "Config", "preferences": {}}


def _without(config: Obj, name: str) -> Obj:
    kept = dict(config)
    for section in ("clusters", "users", "contexts"):
        kept[section] = [entry for entry in config.get(section) or [] if entry.get("name") != name]
    return kept
