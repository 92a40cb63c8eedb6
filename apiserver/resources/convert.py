"""Two served versions of one stored kind: from the stored form to the served one and back.

Who calls it: the REST edge (`apiserver/rest.py`) and the watch, for rows whose `stored_as` is set. Invariant: for every
object, to_stored(to_served(x)) keeps everything x says; functions return new objects and mutate nothing.
Upstream: pkg/apis/core/v1/conversion.go (events) and pkg/apis/autoscaling/v1/conversion.go.
"""

from collections.abc import Callable

import orjson

from apiserver.resources.row import Row
from minikube_py.api.types import Obj

_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_BACK = {served: stored for stored, served in _EVENT_FIELDS.items()}

# Field labels of events.k8s.io and the stored event's labels they mean.
FIELD_LABELS = {
    "events.events.k8s.io": {
        "regarding": "involvedObject", "reportingController": "reportingComponent", "deprecatedSource": "source",
    }
}  # fmt: skip

_ANNOTATION = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR = (
    _ANNOTATION + name for name in ("metrics", "current-metrics", "conditions", "behavior")
)


def to_served(row: Row, obj: Obj) -> Obj:
    """The stored object in the form of `row`."""
    if row.custom is not None:
        return read(row, obj)
    return _TO_SERVED[row.qualified](obj) if row.stored_as else obj


def to_stored(row: Row, obj: Obj) -> Obj:
    """An object in the form of `row` as it is kept in the store."""
    return _TO_STORED[row.qualified](obj) if row.stored_as else obj


def all_served(row: Row, objs: list[Obj]) -> list[Obj]:
    """The objects of a list in the form of `row`."""
    if row.custom is None:
        return [to_served(row, obj) for obj in objs]
    made: list[Obj] = row.custom.read_all(objs)
    return made


def read(row: Row, obj: Obj) -> Obj:
    """An object out of the store as the registry works on it: custom ones in the version of the request, with defaults."""
    if row.custom is None:
        return obj
    made: Obj = row.custom.read(obj)
    return made


def write(row: Row, obj: Obj) -> Obj:
    """What the registry made, as the store keeps it: custom objects in their storage version."""
    if row.custom is None:
        return obj
    made: Obj = row.custom.write(obj)
    return made


def _rename(obj: Obj, api_version: str, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()} | {"apiVersion": api_version}


def _event_to_served(obj: Obj) -> Obj:
    served = _rename(obj, "events.k8s.io/v1", _EVENT_FIELDS)
    if not served.get("reportingController"):
        component = (obj.get("source") or {}).get("component")
        if component:
            served["reportingController"] = component
    return served


def _event_to_stored(obj: Obj) -> Obj:
    stored = _rename(obj, "v1", _EVENT_BACK)
    stored.setdefault("involvedObject", {})
    return stored


def _is_cpu(metric: Obj, side: str) -> bool:
    resource = metric.get("resource") or {}
    return (
        metric.get("type") == "Resource"
        and resource.get("name") == "cpu"
        and (resource.get(side) or {}).get("averageUtilization") is not None
    )


def _scaler_to_served(obj: Obj) -> Obj:
    """autoscaling/v2 as v1: the CPU target is a field, everything else v1 cannot say goes into annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj["metadata"])
    notes = dict(metadata.get("annotations") or {})
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    target = next((m for m in metrics if _is_cpu(m, "target")), None)
    seen = next((m for m in current if _is_cpu(m, "current")), None)
    if target:
        spec["targetCPUUtilizationPercentage"] = target["resource"]["target"]["averageUtilization"]
    if seen:
        status["currentCPUUtilizationPercentage"] = seen["resource"]["current"]["averageUtilization"]
    kept = {
        _METRICS: [m for m in metrics if m is not target],
        _CURRENT: current,
        _CONDITIONS: status.pop("conditions", None),
        _BEHAVIOR: spec.pop("behavior", None),
    }
    notes |= {name: orjson.dumps(value).decode() for name, value in kept.items() if value}
    if notes:
        metadata["annotations"] = notes
    served: Obj = {"apiVersion": "autoscaling/v1", "kind": obj["kind"], "metadata": metadata, "spec": spec}
    return served | ({"status": status} if "status" in obj else {})


def _scaler_to_stored(obj: Obj) -> Obj:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj.get("metadata") or {})
    notes = dict(metadata.get("annotations") or {})
    kept = {name: notes.pop(name, None) for name in (_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR)}
    metrics, current, conditions, behavior = (_parsed(text) for text in kept.values())
    metrics = metrics or []
    target, seen = spec.pop("targetCPUUtilizationPercentage", None), status.pop("currentCPUUtilizationPercentage", None)
    if target is not None:
        metrics.insert(0, _cpu("target", {"type": "Utilization", "averageUtilization": target}))
    if not current and seen is not None:
        current = [_cpu("current", {"averageUtilization": seen})]
    spec |= {name: value for name, value in (("metrics", metrics), ("behavior", behavior)) if value}
    status |= {name: value for name, value in (("currentMetrics", current), ("conditions", conditions)) if value}
    if "annotations" in metadata:
        metadata["annotations"] = notes
        if not notes:
            del metadata["annotations"]
    stored: Obj = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
    }
    return stored | ({"status": status} if "status" in obj else {})


def _cpu(side: str, value: Obj) -> Obj:
    return {"type": "Resource", "resource": {"name": "cpu", side: value}}


def _parsed(text: str | None) -> list[Obj] | None:
    if not text:
        return None
    try:
        parsed: list[Obj] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # an annotation the client broke says nothing, as upstream treats it
    return parsed


_TO_SERVED: dict[str, Callable[[Obj], Obj]] = {
    "events.events.k8s.io": _event_to_served,
    "horizontalpodautoscalers.autoscaling": _scaler_to_served,
}
_TO_STORED: dict[str, Callable[[Obj], Obj]] = {
    "events.events.k8s.io": _event_to_stored,
    "horizontalpodautoscalers.autoscaling": _scaler_to_stored,
}
