"""Pods on their way to the store: phase and QoS class at birth, what an update may change, grace at the end.

Who calls it: the strategy table. Invariant: a Pod's spec is settled at creation, but for the few fields named here;
`status.qosClass` never changes. A pod nobody runs (unscheduled, finished) is deleted at once.
Upstream: pkg/registry/core/pod/strategy.go, pkg/apis/core/validation (ValidatePodUpdate).
"""

import copy
from typing import Any

from apiserver.strategies.base import Context, View
from apiserver.strategies.checks import forbidden, invalid, missing, one_of, unique
from apiserver.strategies.validation import pod as validation
from apiserver.strategies.validation import resources
from minikube_py.api.errors import Cause
from minikube_py.api.meta import set_condition
from minikube_py.api.podresources import qos_class
from minikube_py.api.types import Obj

_FINISHED = ("Succeeded", "Failed")
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_ONLY_EPHEMERAL = "existing ephemeral containers may not be changed or removed"
_RESIZABLE = ("cpu", "memory")
_PHASES = ("Failed", "Pending", "Running", "Succeeded", "Unknown")


def containers_of(spec: Obj) -> list[Obj]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def on_create(obj: Obj, ctx: Context) -> None:
    """Pending, with its QoS class; gated pods say so from the start."""
    status: Obj = {"phase": "Pending", "qosClass": _qos_or_empty(obj)}
    if (obj.get("spec") or {}).get("schedulingGates"):
        why = "Scheduling is blocked due to non-empty scheduling gates"
        set_condition(status, "PodScheduled", "False", ctx.now(), "SchedulingGated", why)
    obj["status"] = status


def _qos_or_empty(obj: Obj) -> str:
    try:
        return qos_class(obj)
    except ValueError:
        return "BestEffort"  # the spec is malformed, and validation is about to say so


def on_status_update(new: Obj, old: Obj) -> None:
    """The QoS class stays what it was at admission; restart policy cannot turn back a finished pod."""
    status, before = new.setdefault("status", {}), old.get("status") or {}
    if before.get("qosClass"):
        status["qosClass"] = before["qosClass"]


def grace(obj: Obj, options: Obj) -> int | None:
    """Seconds until the kubelet must have ended it: the caller's wish, else the spec's; none when nobody runs it."""
    spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
    seconds = options.get("gracePeriodSeconds")
    if seconds is None:
        seconds = spec.get("terminationGracePeriodSeconds")
    if not spec.get("nodeName") or phase in _FINISHED:
        return None
    seconds = 30 if seconds is None else int(seconds)
    return 1 if seconds < 0 else seconds


def selectable(obj: Obj) -> dict[str, str]:
    """Fields a field selector may name."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.restartPolicy": spec.get("restartPolicy") or "",
        "spec.schedulerName": spec.get("schedulerName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "",
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase") or "",
        "status.podIP": status.get("podIP") or "",
        "status.nominatedNodeName": status.get("nominatedNodeName") or "",
    }


def checks_on_create(obj: Obj) -> list[Cause]:
    """A new pod: its spec, and no ephemeral containers yet."""
    causes = validation.pod(obj)
    if (obj.get("spec") or {}).get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return causes


def update_checks(new: Obj, old: Obj) -> list[Cause]:
    """Of the spec only images, a shorter deadline and more tolerations; gated pods may also narrow where they run."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return []
    causes = (
        _deadline(spec, before) + _containers_kept(spec, before) + _tolerations(spec, before) + _gates(spec, before)
    )
    if causes:
        return causes
    allowed = _with_allowed(copy.deepcopy(spec), before)
    if allowed != before:
        causes.append(forbidden("spec", _MAY_CHANGE))
    for kind in ("containers", "initContainers"):
        for index, item in enumerate(spec.get(kind) or ()):
            if not (item.get("image") or "").strip():
                causes.append(Cause("FieldValueRequired", "Required value", f"spec.{kind}[{index}].image"))
    return causes


def _with_allowed(spec: Obj, before: Obj) -> Obj:
    """The new spec with everything that may differ taken back to the old; what still differs is forbidden."""
    for kind in ("containers", "initContainers"):
        for item, was in zip(spec.get(kind) or (), before.get(kind) or (), strict=False):
            item["image"] = was.get("image")
    gated = bool(before.get("schedulingGates"))
    names = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        names.append("terminationGracePeriodSeconds")
    if gated:
        names += ["nodeSelector", "affinity"]
    for name in names:
        if name in before:
            spec[name] = before[name]
        else:
            spec.pop(name, None)
    return spec


def _deadline(spec: Obj, before: Obj) -> list[Cause]:
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if old is None or new == old:
        return []
    if new is None:
        return [invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")]
    if new > old:
        return [invalid("spec.activeDeadlineSeconds", new, "must be less than or equal to previous value")]
    return []


def _containers_kept(spec: Obj, before: Obj) -> list[Cause]:
    kinds = [k for k in ("containers", "initContainers") if len(spec.get(k) or ()) != len(before.get(k) or ())]
    return [forbidden(f"spec.{kind}", "pod updates may not add or remove containers") for kind in kinds]


def _tolerations(spec: Obj, before: Obj) -> list[Cause]:
    """Every old toleration must still be there; tolerationSeconds may change."""

    def kept(item: Obj) -> tuple[Any, ...]:
        return tuple(item.get(name) for name in ("key", "operator", "value", "effect"))

    have = {kept(item) for item in spec.get("tolerations") or ()}
    if all(kept(item) in have for item in before.get("tolerations") or ()):
        return []
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gates(spec: Obj, before: Obj) -> list[Cause]:
    had = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    added = sorted({gate.get("name") or "" for gate in spec.get("schedulingGates") or ()} - had)
    if not added:
        return []
    return [forbidden("spec.schedulingGates", f"only deletion is allowed, but found new scheduling gates {added}")]


def status_checks(new: Obj, old: Obj) -> list[Cause]:
    """A finished container stays finished under restartPolicy Never; nodeName of the nomination is a name."""
    status = new.get("status") or {}
    causes = one_of("status.phase", status["phase"], _PHASES) if status.get("phase") else []
    return causes + unique("status.conditions", status.get("conditions") or [], "type", leaf="type")


# ---- views: the subresources that update the pod itself --------------------------------------------------------------


def _prepare_ephemeral(new: Obj, old: Obj, ctx: Context) -> None:
    """`pods/ephemeralcontainers` takes the ephemeral containers and nothing else."""
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    _as_old(new, old)
    if wanted:
        new.setdefault("spec", {})["ephemeralContainers"] = wanted


def _validate_ephemeral(new: Obj, old: Obj) -> list[Cause]:
    mine = [c for c in validation.pod(new) if c.field.startswith("spec.ephemeralContainers")]
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    items = spec.get("ephemeralContainers") or []
    now = {item.get("name"): item for item in items}
    touched = [c.get("name") for c in before.get("ephemeralContainers") or () if now.get(c.get("name")) != c]
    mine += [forbidden("spec.ephemeralContainers", f"{_ONLY_EPHEMERAL}\n{name}") for name in touched]
    targets = {item.get("name") for item in containers_of(before)}
    for index, item in enumerate(items):
        target = item.get("targetContainerName")
        if target and target not in targets:
            mine.append(missing(f"spec.ephemeralContainers[{index}].targetContainerName", target))
    return mine


def _prepare_resize(new: Obj, old: Obj, ctx: Context) -> None:
    """`pods/resize` takes cpu and memory of pod and containers; their resizePolicy's consequence is the kubelet's."""
    spec = new.get("spec") or {}
    whole = spec.get("resources")
    wanted = {
        (k, c.get("name")): c.get("resources") for k in ("containers", "initContainers") for c in spec.get(k) or ()
    }
    _as_old(new, old)
    if whole:
        new.setdefault("spec", {})["resources"] = whole
    for kind in ("containers", "initContainers"):
        for item in (new.get("spec") or {}).get(kind) or ():
            if (kind, item.get("name")) in wanted:
                item["resources"] = wanted[kind, item.get("name")] or {}


def _validate_resize(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = _resized("spec.resources", spec.get("resources") or {}, before.get("resources") or {})
    for kind in ("containers", "initContainers"):
        pairs = zip(spec.get(kind) or (), before.get(kind) or (), strict=False)
        for index, (item, was) in enumerate(pairs):
            at = f"spec.{kind}[{index}].resources"
            causes += _resized(at, item.get("resources") or {}, was.get("resources") or {})
    if not causes and (quality := qos_class(new)) != qos_class(old):
        causes.append(invalid("spec", quality, "Pod QOS Class may not change as a result of resizing"))
    return causes


def _resized(path: str, wanted: Obj, before: Obj) -> list[Cause]:
    """Only cpu and memory, and what was stated stays stated."""
    causes = resources.requirements(path, wanted)
    for side in ("requests", "limits"):
        now, had = wanted.get(side) or {}, before.get(side) or {}
        if any(now.get(name) != had.get(name) for name in {*now, *had} if name not in _RESIZABLE):
            causes.append(forbidden("spec", "only cpu and memory resources are mutable"))
        if any(name not in now for name in had if name in _RESIZABLE):
            causes.append(forbidden(f"{path}.{side}", f"resource {side} cannot be removed"))
    return causes


def _as_old(new: Obj, old: Obj) -> None:
    """Take everything but resourceVersion and managedFields back to the stored pod."""
    meta = new["metadata"]
    kept = {name: meta[name] for name in ("resourceVersion", "managedFields") if name in meta}
    fresh = copy.deepcopy(old)
    for name in ("resourceVersion", "managedFields"):
        fresh["metadata"].pop(name, None)
    new.clear()
    new.update(fresh)
    new["metadata"].update(kept)


VIEWS = {
    "ephemeralcontainers": View(_prepare_ephemeral, _validate_ephemeral),
    "resize": View(_prepare_resize, _validate_resize),
}
