"""The core group's plain kinds: Secret, ConfigMap, Namespace, Node, ResourceQuota, LimitRange, Event, ServiceAccount.

Who calls it: the strategy table. Invariant: pure.
Upstream: pkg/apis/core/validation/validation.go, events.go.
"""

import base64

import orjson

from apiserver.strategies.checks import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    required,
    required_syntax,
    syntax,
    too_long,
    unique,
)
from apiserver.strategies.metadata import finalizer
from apiserver.strategies.validation.resources import quantities
from apiserver.strategies.validation.scheduling import taint
from minikube_py.api import names, quantity
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_LIMIT = 1024 * 1024
_IMMUTABLE = "field is immutable when `immutable` is set"
_TYPED: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip


def _keys(path: str, data: Obj | None) -> list[Cause]:
    return [cause for key in data or () for cause in syntax(f"{path}[{key}]", key, names.config_key)]


def secret(obj: Obj) -> list[Cause]:
    """Keys, size, and what the well-known types must hold."""
    data, kind = obj.get("data") or {}, obj.get("type") or ""
    causes = _keys("data", data)
    if sum(len(str(value)) * 3 // 4 for value in data.values()) > _LIMIT:
        causes.append(too_long("data", _LIMIT))
    for key in _TYPED.get(kind, ()):
        if key not in data:
            causes.append(required(f"data[{key}]"))
        elif key.startswith(".docker") and not _is_json(data[key]):
            causes.append(invalid(f"data[{key}]", "<secret contents redacted>", "invalid character"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        causes += [required("data[username]"), required("data[password]")]
    account = (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
    if kind == "kubernetes.io/service-account-token" and not account:
        causes.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    return causes


def _is_json(encoded: str) -> bool:
    try:
        orjson.loads(base64.b64decode(encoded))
    except ValueError:
        return False
    return True


def secret_update(new: Obj, old: Obj) -> list[Cause]:
    causes = immutable("type", new.get("type"), old.get("type"))
    return causes + _frozen(new, old, "data")


def configmap(obj: Obj) -> list[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    causes = _keys("data", data) + _keys("binaryData", binary)
    causes += [invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary]
    size = sum(len(str(v).encode()) for v in data.values()) + sum(len(str(v)) * 3 // 4 for v in binary.values())
    return [*causes, too_long("", _LIMIT)] if size > _LIMIT else causes


def configmap_update(new: Obj, old: Obj) -> list[Cause]:
    return _frozen(new, old, "data", "binaryData")


def _frozen(new: Obj, old: Obj, *fields: str) -> list[Cause]:
    """An object marked immutable keeps its data, and the mark."""
    if not old.get("immutable"):
        return []
    causes = [] if new.get("immutable") else [forbidden("immutable", _IMMUTABLE)]
    return causes + [forbidden(name, _IMMUTABLE) for name in fields if (new.get(name) or {}) != (old.get(name) or {})]


def namespace(obj: Obj) -> list[Cause]:
    return [c for name in (obj.get("spec") or {}).get("finalizers") or () for c in finalizer("spec.finalizers", name)]


def node(obj: Obj) -> list[Cause]:
    """Taints, pod CIDRs and what the node says it has."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    taints = spec.get("taints") or []
    causes = each("spec.taints", taints, taint)
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(taints):
        key = (item.get("key", ""), item.get("effect", ""))
        if key in seen:
            causes.append(duplicate(f"spec.taints[{index}]", item))
        seen.add(key)
    for index, block in enumerate(spec.get("podCIDRs") or ()):
        causes += syntax(f"spec.podCIDRs[{index}]", block, names.cidr)
    for name in ("capacity", "allocatable"):
        causes += quantities(f"status.{name}", status.get(name))
    return causes


def node_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes: list[Cause] = []
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        causes.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        causes.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    return causes


def node_status(new: Obj, old: Obj) -> list[Cause]:
    return [c for n in ("capacity", "allocatable") for c in quantities(f"status.{n}", (new.get("status") or {}).get(n))]


def resourcequota(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = quantities("spec.hard", spec.get("hard"))
    for scope in spec.get("scopes") or ():
        causes += one_of("spec.scopes", scope, _SCOPES)
    scopes = set(spec.get("scopes") or ())
    for one, other in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if {one, other} <= scopes:
            causes.append(invalid("spec.scopes", sorted(scopes), "conflicting scopes"))
    for index, term in enumerate((spec.get("scopeSelector") or {}).get("matchExpressions") or ()):
        at = f"spec.scopeSelector.matchExpressions[{index}]"
        causes += one_of(f"{at}.scopeName", term.get("scopeName"), _SCOPES)
        causes += one_of(f"{at}.operator", term.get("operator"), ("DoesNotExist", "Exists", "In", "NotIn"))
    return causes


def resourcequota_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return immutable("spec.scopes", sorted(spec.get("scopes") or ()), sorted(before.get("scopes") or ()))


def resourcequota_status(new: Obj, old: Obj) -> list[Cause]:
    return [c for n in ("hard", "used") for c in quantities(f"status.{n}", (new.get("status") or {}).get(n))]


def limitrange(obj: Obj) -> list[Cause]:
    """min ≤ defaultRequest ≤ default ≤ max, for every resource of every entry."""
    items = (obj.get("spec") or {}).get("limits") or []
    causes = unique("spec.limits", items, "type", leaf="type")
    for index, item in enumerate(items):
        at, kind = f"spec.limits[{index}]", item.get("type") or ""
        causes += syntax(f"{at}.type", kind, names.qualified)
        for name in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            causes += quantities(f"{at}.{name}", item.get(name))
        if kind == "Pod":
            why = "may not be specified when `type` is 'Pod'"
            causes += [forbidden(f"{at}.{name}", why) for name in ("default", "defaultRequest") if item.get(name)]
        if not causes:
            causes += _ordered(at, item)
        if kind == "PersistentVolumeClaim" and not {"storage"} & {*(item.get("min") or {}), *(item.get("max") or {})}:
            causes.append(
                required(
                    f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided"
                )
            )
    return causes


def _ordered(path: str, item: Obj) -> list[Cause]:
    causes = []
    order = (("min", "defaultRequest"), ("min", "default"), ("defaultRequest", "default"), ("default", "max"))
    for low, high in (*order, ("min", "max"), ("defaultRequest", "max")):
        lows, highs = item.get(low) or {}, item.get(high) or {}
        for name in lows:
            if name in highs and quantity.compare(lows[name], highs[name]) > 0:
                why = f"{_WORDS[low]} value {lows[name]} is greater than {_WORDS[high]} value {highs[name]}"
                causes.append(invalid(f"{path}.{low}[{name}]", lows[name], why))
    return causes


_WORDS = {"min": "min", "max": "max", "default": "default", "defaultRequest": "default request"}


def event(obj: Obj) -> list[Cause]:
    """An Event stands in the namespace of what it is about; about cluster-scoped objects in `default`."""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    own = obj["metadata"].get("namespace") or ""
    if about and about != own:
        return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    if not about and own not in ("default", "kube-system"):
        return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def lease(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes, seconds, transitions = [], spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        causes.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return causes


def runtimeclass(obj: Obj) -> list[Cause]:
    causes = required_syntax("handler", obj.get("handler"), names.label)
    return causes + quantities("overhead.podFixed", (obj.get("overhead") or {}).get("podFixed"))


def runtimeclass_update(new: Obj, old: Obj) -> list[Cause]:
    return immutable("handler", new.get("handler"), old.get("handler"))
