"""LimitRanger: the namespace's LimitRanges give containers their defaults and hold pods and claims to their bounds.

Who calls it: `chain.py`, for pods (creation) and claims (creation, update). Invariant: defaults go only where a container
says nothing; everything that breaks a bound is named in one refusal.
Upstream: plugin/pkg/admission/limitranger/admission.go.
"""

from collections.abc import Iterator

from apiserver.admission.attributes import CREATE, Attributes
from minikube_py.api import quantity, quota
from minikube_py.api.types import Obj

_ANNOTATION = "kubernetes.io/limit-ranger"


def _limits(attributes: Attributes, kind: str) -> Iterator[Obj]:
    for item in attributes.ctx.lister("limitranges", attributes.namespace):
        for limit in (item.get("spec") or {}).get("limits") or ():
            if limit.get("type") == kind:
                yield limit


def admit(attributes: Attributes) -> None:
    """Give containers the defaults they did not ask for, and say so in an annotation."""
    if not attributes.is_("pods", CREATE) or attributes.obj is None:
        return
    spec, notes = attributes.obj.get("spec") or {}, []
    for limit in _limits(attributes, "Container"):
        defaults = (("requests", limit.get("defaultRequest") or {}), ("limits", limit.get("default") or {}))
        for kind, word in (("containers", "container"), ("initContainers", "init container")):
            for container in spec.get(kind) or ():
                for side, amounts in defaults:
                    if added := _fill(container, side, amounts):
                        what = "request" if side == "requests" else "limit"
                        notes.append(f"{', '.join(added)} {what} for {word} {container.get('name')}")
    if notes:
        meta = attributes.obj["metadata"]
        text = "LimitRanger plugin set: " + "; ".join(notes)
        meta["annotations"] = {**(meta.get("annotations") or {}), _ANNOTATION: text}


def _fill(container: Obj, side: str, amounts: Obj) -> list[str]:
    resources = container.setdefault("resources", {})
    have = resources.get(side) or {}
    added = sorted(name for name in amounts if name not in have)
    if added:
        resources[side] = {**have, **{name: amounts[name] for name in added}}
    return added


def check(attributes: Attributes) -> None:
    """Raises Forbidden naming every bound that is broken."""
    obj = attributes.obj
    if obj is None or attributes.subresource:
        return
    broken: list[str] = []
    if attributes.is_("pods", CREATE):
        spec = obj.get("spec") or {}
        for limit in _limits(attributes, "Container"):
            for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
                broken += _bounds(limit, container.get("resources") or {}, "Container")
        for limit in _limits(attributes, "Pod"):
            broken += _bounds(limit, _pod_totals(obj), "Pod")
    elif attributes.is_("persistentvolumeclaims"):
        for limit in _limits(attributes, "PersistentVolumeClaim"):
            broken += _bounds(limit, (obj.get("spec") or {}).get("resources") or {}, "PersistentVolumeClaim")
    if broken:
        raise attributes.forbidden(broken[0] if len(broken) == 1 else "[" + ", ".join(broken) + "]")


def _pod_totals(pod: Obj) -> Obj:
    """Requests and limits of the pod as a whole, in quantities."""
    sides = ("requests", "limits")
    return {side: {name: quota.text(name, v) for name, v in quota.pod_amounts(pod, side).items()} for side in sides}


def _bounds(limit: Obj, resources: Obj, kind: str) -> list[str]:
    broken = []
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, least in (limit.get("min") or {}).items():
        if name not in requests:
            broken.append(f"minimum {name} usage per {kind} is {least}.  No request is specified")
        elif quantity.compare(requests[name], least) < 0:
            broken.append(
                f"minimum {name} usage per {kind} is {least}, but request is {quantity.canonical(requests[name])}"
            )
    for name, most in (limit.get("max") or {}).items():
        given, word = (requests, "request") if kind == "PersistentVolumeClaim" else (limits, "limit")
        if name not in given:
            broken.append(f"maximum {name} usage per {kind} is {most}.  No {word} is specified")
        elif quantity.compare(given[name], most) > 0:
            broken.append(f"maximum {name} usage per {kind} is {most}, but {word} is {quantity.canonical(given[name])}")
    for name, ratio in (limit.get("maxLimitRequestRatio") or {}).items():
        if name not in requests or name not in limits:
            broken.append(
                f"{name} max limit to request ratio per {kind} is {ratio}, but no limit or request is specified"
            )
        elif quantity.parse(limits[name]) > quantity.parse(requests[name]) * quantity.parse(ratio):
            has = quantity.parse(limits[name]) / quantity.parse(requests[name])
            broken.append(f"{name} max limit to request ratio per {kind} is {ratio}, but provided ratio is {has:f}")
    return broken
