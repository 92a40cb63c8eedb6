"""`/scale`: the replicas of a workload as an autoscaling/v1 Scale.

Who calls it: `subresources.py`; the REST edge applies patches to what `of` returns. Invariant: writing a Scale changes
`spec.replicas` of its parent and nothing else.
Upstream: pkg/registry/apps/*/storage/storage.go (ScaleREST).
"""

from apiserver.strategies.base import Context
from apiserver.strategies.checks import invalid
from minikube_py.api import errors
from minikube_py.api.types import Obj

_CARRIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def of(ctx: Context, parent: Obj) -> Obj:
    """The Scale of a workload."""
    spec, meta = parent.get("spec") or {}, parent["metadata"]
    status: Obj = {"replicas": (parent.get("status") or {}).get("replicas") or 0}
    if selector := _text(spec.get("selector") or {}):
        status["selector"] = selector
    replicas = spec.get("replicas")
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in _CARRIED if name in meta},
        "spec": {"replicas": replicas} if replicas else {}, "status": status,
    }  # fmt: skip


def apply(ctx: Context, parent: Obj, scale: Obj) -> Obj:
    """The parent as this Scale wants it (the argument, changed). Raises Invalid, BadRequest for another object's Scale."""
    replicas = wanted(parent, scale, "must be greater than or equal to 0")
    parent.setdefault("spec", {})["replicas"] = replicas
    return parent


def wanted(parent: Obj, scale: Obj, refusal: str) -> int:
    """The replicas a Scale asks for; its uid and resourceVersion become the parent's preconditions (the parent is changed).

    In: `refusal` says what is wrong with a negative number. Raises Invalid, BadRequest for another object's Scale.
    """
    replicas = int((scale.get("spec") or {}).get("replicas") or 0)
    meta, name = scale.get("metadata") or {}, parent["metadata"]["name"]
    if replicas < 0:
        raise errors.invalid("Scale", name, [invalid("spec.replicas", replicas, refusal)], "autoscaling")
    if meta.get("name") not in (None, "", name):
        raise errors.BadRequest(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    for field in ("uid", "resourceVersion"):
        if meta.get(field):
            parent["metadata"][field] = meta[field]
        elif field == "resourceVersion":
            parent["metadata"].pop(field, None)
    return replicas


def _text(selector: Obj) -> str:
    """A selector as text: "a=b,c in (d,e),!f"; plain maps (ReplicationController) too."""
    expressions = selector.get("matchExpressions") or []
    plain = selector.get("matchLabels") or (
        {} if "matchExpressions" in selector or "matchLabels" in selector else selector
    )
    parts = [(key, f"{key}={value}") for key, value in plain.items()]
    for item in expressions:
        key, operator, values = item["key"], item["operator"], ",".join(sorted(item.get("values") or ()))
        text = {"Exists": key, "DoesNotExist": f"!{key}"}.get(operator) or f"{key} {operator.lower()} ({values})"
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts))
