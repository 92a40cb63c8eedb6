"""Reading kubeconfig files into a `Config`.

Who calls it: every component at start (`--kubeconfig`), kctl, tests. Writing them is `minikube_py.cluster.kubeconfig`.
Invariant: embedded certificates stay in memory. A file that is missing or wrong is one clear sentence (`KubeconfigError`).
Upstream: staging/src/k8s.io/client-go/tools/clientcmd (loading order, merging: the first file that says a thing wins).
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from minikube_py.api.types import Obj
from minikube_py.client.config import Config

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


class KubeconfigError(ValueError):
    """The configuration cannot be used; the message says which file and why."""


def load(path: str | Path | None = None, context: str = "") -> Config:
    """The config of a context (the current one by default).

    In: `path`, or $KUBECONFIG (several files, merged), or ~/.kube/config, or the service account of the pod we are in.
    Raises KubeconfigError.
    """
    merged = read(path)
    if merged is None:
        return _in_cluster()
    chosen = context or merged["current-context"]
    if not chosen:
        raise KubeconfigError("the kubeconfig has no current context; choose one with --context")
    if chosen not in merged["contexts"]:
        raise KubeconfigError(f'context "{chosen}" does not exist')
    at = merged["contexts"][chosen]
    cluster, user = merged["clusters"].get(at.get("cluster", "")), merged["users"].get(at.get("user", ""), {})
    if cluster is None:
        raise KubeconfigError(f'cluster "{at.get("cluster", "")}" of context "{chosen}" does not exist')
    if not cluster.get("server"):
        raise KubeconfigError(f'cluster "{at["cluster"]}" has no server')
    return Config(
        server=cluster["server"].rstrip("/"),
        ca_file=cluster.get("certificate-authority", ""), ca_data=_data(cluster, "certificate-authority-data"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")), tls_server_name=cluster.get("tls-server-name", ""),
        cert_file=user.get("client-certificate", ""), cert_data=_data(user, "client-certificate-data"),
        key_file=user.get("client-key", ""), key_data=_data(user, "client-key-data"),
        token=user.get("token", ""), token_file=user.get("tokenFile", ""),
        namespace=at.get("namespace") or "default",
    )  # fmt: skip


def read(path: str | Path | None = None) -> Obj | None:
    """All files merged: {"current-context": name, "clusters": {name: …}, "users": …, "contexts": …}; None if there is none.

    Raises KubeconfigError, also when a `path` given explicitly does not exist.
    """
    files = [Path(path)] if path else _default_files()
    merged: Obj = {"current-context": "", **{section: {} for section in _SECTIONS}}
    found = False
    for file in files:
        try:
            loaded = _parse(file)
        except FileNotFoundError:
            if path:
                raise KubeconfigError(f"kubeconfig {file} does not exist") from None
            continue
        found = True
        merged["current-context"] = merged["current-context"] or loaded.get("current-context") or ""
        for section, field in _SECTIONS.items():
            for entry in loaded.get(section) or []:
                merged[section].setdefault(entry.get("name", ""), _absolute(entry.get(field) or {}, file.parent))
    return merged if found else None


def _default_files() -> list[Path]:
    listed = os.environ.get("KUBECONFIG", "")
    return [Path(p) for p in listed.split(os.pathsep) if p] if listed else [Path.home() / ".kube" / "config"]


def _parse(file: Path) -> dict[str, Any]:
    import yaml  # costs 20 ms: only when a kubeconfig is read

    try:
        loaded = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise KubeconfigError(f"kubeconfig {file} cannot be read: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise KubeconfigError(f"kubeconfig {file} is not a mapping")
    return loaded


def _absolute(entry: Obj, directory: Path) -> Obj:
    """File names in a kubeconfig are relative to the kubeconfig."""
    files = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return entry | {key: str(directory / entry[key]) for key in files if entry.get(key)}


def _data(entry: Obj, key: str) -> bytes:
    try:
        return base64.b64decode(entry.get(key) or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise KubeconfigError(f"{key} in the kubeconfig is not base64: {error}") from error


def _in_cluster() -> Config:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not (_IN_CLUSTER / "token").exists():
        raise KubeconfigError("no kubeconfig found: set $KUBECONFIG, or start a cluster with `minikube-py up`")
    namespace_file = _IN_CLUSTER / "namespace"
    return Config(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port or 443}",
        ca_file=str(_IN_CLUSTER / "ca.crt"), token_file=str(_IN_CLUSTER / "token"),
        namespace=namespace_file.read_text().strip() if namespace_file.exists() else "default",
    )  # fmt: skip
