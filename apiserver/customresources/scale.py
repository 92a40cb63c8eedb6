"""`/scale` of a custom kind: the replicas, wherever its definition says they are, as an autoscaling/v1 Scale.

Who calls it: `apiserver/subresources.py`, through the version's handlers. Invariant: writing a Scale changes the replicas of
its parent and nothing else.
Upstream: apiextensions-apiserver/pkg/registry/customresource/etcd.go (ScaleREST).
"""

from typing import Any

from apiserver.strategies.base import Context
from apiserver.strategies.scale import wanted
from minikube_py.api import errors
from minikube_py.api.types import Obj

_CARRIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def of(paths: Obj, ctx: Context, parent: Obj) -> Obj:
    """The Scale of an object. In: `paths` the definition's `subresources.scale`. Raises InternalError without replicas."""
    meta = parent["metadata"]
    replicas = _at(parent, paths["specReplicasPath"])
    if replicas is None:
        path = paths["specReplicasPath"]
        raise errors.InternalError(
            f'the spec replicas field "{path}" does not exist in {parent["kind"]} {meta["name"]}'
        )
    status: Obj = {"replicas": _at(parent, paths["statusReplicasPath"]) or 0}
    if paths.get("labelSelectorPath") and (selector := _at(parent, paths["labelSelectorPath"])):
        status["selector"] = selector
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in _CARRIED if name in meta},
        "spec": {"replicas": replicas} if replicas else {}, "status": status,
    }  # fmt: skip


def apply(paths: Obj, ctx: Context, parent: Obj, scale: Obj) -> Obj:
    """The parent as this Scale wants it (the argument, changed). Raises Invalid, BadRequest for another object's Scale."""
    replicas = wanted(parent, scale, "should be a non-negative integer")
    *steps, last = paths["specReplicasPath"].strip(".").split(".")
    at: Any = parent
    for step in steps:
        at = at.setdefault(step, {})
    at[last] = replicas
    return parent


def _at(obj: Any, path: str) -> Any:
    for step in path.strip(".").split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj
