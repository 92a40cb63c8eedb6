"""What a cluster holds before anybody asks: system namespaces and the rest of the furniture.

Who calls it: `main.run`, before the first connection is accepted. Invariant: idempotent; what exists already is left as the
user made it; several servers may do it at once.
Upstream: pkg/controlplane/controller (systemnamespaces, kubernetesservice), post-start hooks of pkg/registry/*/rest.
"""

import contextlib

from apiserver.auth.user import SERVER
from apiserver.registry import Call
from apiserver.resources import table
from apiserver.server import Server
from minikube_py.api import errors
from minikube_py.api.types import Obj

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def ensure(server: Server) -> None:
    """Create what is missing."""
    for name in _NAMESPACES:
        _ensure(server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def _ensure(server: Server, obj: Obj) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    row = table.by_kind(group, version, obj["kind"])
    assert row is not None, f"{obj['apiVersion']} {obj['kind']} is not served"
    meta = obj["metadata"]
    if server.store.get(row.key(meta.get("namespace", ""), meta["name"])) is not None:
        return
    with contextlib.suppress(errors.AlreadyExists):
        server.registry.create(Call(row, meta.get("namespace", ""), meta["name"], SERVER), obj)
