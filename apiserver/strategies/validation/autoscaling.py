"""HorizontalPodAutoscaler: bounds, metrics and behaviour.

Who calls it: the strategy table. Invariant: pure. Scaling to zero is allowed, with a metric that can be read without pods.
Upstream: pkg/apis/autoscaling/validation/validation.go.
"""

from typing import Any

from apiserver.strategies.checks import each, forbidden, invalid, required, required_syntax, unsupported
from minikube_py.api import names, quantity
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_MOST_PERIOD, _MOST_WINDOW = 1800, 3600
_SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
    "Resource": "resource",
}  # fmt: skip


def horizontalpodautoscaler(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most, causes = spec.get("minReplicas"), spec.get("maxReplicas") or 0, []
    if least is not None and least < 0:
        causes.append(invalid("spec.minReplicas", least, "must be greater than or equal to 0"))
    if most == 0:
        causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    metrics = spec.get("metrics") or []
    causes += _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {}) + each(
        "spec.metrics", metrics, _metric
    )
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        causes.append(forbidden("spec.metrics", why))
    for side in ("scaleUp", "scaleDown"):
        causes += _rules((spec.get("behavior") or {}).get(side), f"spec.behavior.{side}")
    return causes


def _reference(path: str, target: Obj) -> list[Cause]:
    return [
        c for name in ("kind", "name") for c in required_syntax(f"{path}.{name}", target.get(name), names.path_segment)
    ]


def _metric(metric: Obj, path: str) -> list[Cause]:
    kind, causes = metric.get("type") or "", []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric source type"))
    elif kind not in _SOURCES:
        causes.append(unsupported(f"{path}.type", kind, _SOURCES))
    given = [field for field in _SOURCES.values() if metric.get(field) is not None]
    if kind in _SOURCES and _SOURCES[kind] not in given:
        why = "must populate information for the given metric source"
        causes.append(required(f"{path}.{_SOURCES[kind]}", why))
    for field in given:
        if field == _SOURCES.get(kind):
            causes += _source(kind, metric[field], f"{path}.{field}")
        else:
            causes.append(forbidden(f"{path}.{field}", "must populate the given metric source only"))
    return causes


def _source(kind: str, source: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if kind == "Object":
        causes += _reference(f"{path}.describedObject", source.get("describedObject") or {})
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            causes.append(required(f"{path}.name", "must specify a resource name"))
        if kind == "ContainerResource":
            causes += required_syntax(f"{path}.container", source.get("container"), names.label)
    elif name := (source.get("metric") or {}).get("name"):
        causes += required_syntax(f"{path}.metric.name", name, names.path_segment)
    else:
        causes.append(required(f"{path}.metric.name", "must specify a metric name"))
    return causes + _target(kind, source.get("target") or {}, f"{path}.target")


def _target(kind: str, target: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not target.get("type"):
        causes.append(required(f"{path}.type", "must specify a metric target type"))
    if target.get("type") not in ("Utilization", "Value", "AverageValue"):
        causes.append(
            invalid(f"{path}.type", target.get("type") or "", "must be either Utilization, Value, or AverageValue")
        )
    causes += [
        invalid(f"{path}.{field}", target[field], "must be positive")
        for field in ("value", "averageValue")
        if target.get(field) is not None and not _positive(target[field])
    ]
    per_cent = target.get("averageUtilization")
    if per_cent is not None and per_cent < 1:
        causes.append(invalid(f"{path}.averageUtilization", per_cent, "must be greater than 0"))
    value, each_pod = target.get("value") is not None, target.get("averageValue") is not None
    if kind in ("Resource", "ContainerResource"):
        if per_cent is None and not each_pod:
            why = "must set either a target raw value or a target utilization"
            causes.append(required(f"{path}.averageUtilization", why))
        elif per_cent is not None and each_pod:
            why = "may not set both a target raw value and a target utilization"
            causes.append(forbidden(f"{path}.averageValue", why))
    elif kind == "Pods":
        if not each_pod:
            causes.append(required(f"{path}.averageValue", "must specify a positive target averageValue"))
    elif not value and not each_pod:
        either = "value or averageValue" if kind == "Object" else "value for metric or a per-pod target"
        causes.append(required(f"{path}.averageValue", f"must set either a target {either}"))
    elif kind == "External" and value and each_pod:
        why = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{path}.value", why))
    return causes


def _positive(text: Any) -> bool:
    try:
        return quantity.parse(text) > 0
    except ValueError:
        return True  # the schema's own check says what is wrong


def _rules(rules: Obj | None, path: str) -> list[Cause]:
    if rules is None:
        return []
    causes, window = [], rules.get("stabilizationWindowSeconds")
    at = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        causes.append(invalid(at, window, "must be greater than or equal to zero"))
    if window is not None and window > _MOST_WINDOW:
        causes.append(invalid(at, window, f"must be less than or equal to {_MOST_WINDOW}"))
    if rules.get("selectPolicy") not in (None, "Disabled", "Max", "Min"):
        causes.append(unsupported(f"{path}.selectPolicy", rules["selectPolicy"], ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    if rules.get("tolerance") is not None and not _positive(rules["tolerance"]) and quantity.parse(rules["tolerance"]):
        causes.append(invalid(f"{path}.tolerance", rules["tolerance"], "must be greater than or equal to 0"))
    return causes + each(f"{path}.policies", rules.get("policies"), _policy)


def _policy(policy: Obj, path: str) -> list[Cause]:
    causes = []
    if policy.get("type") not in ("Pods", "Percent"):
        causes.append(unsupported(f"{path}.type", policy.get("type") or "", ("Pods", "Percent")))
    causes += [
        invalid(f"{path}.{field}", policy.get(field) or 0, "must be greater than zero")
        for field in ("value", "periodSeconds")
        if (policy.get(field) or 0) <= 0
    ]
    if (policy.get("periodSeconds") or 0) > _MOST_PERIOD:
        why = f"must be less than or equal to {_MOST_PERIOD}"
        causes.append(invalid(f"{path}.periodSeconds", policy["periodSeconds"], why))
    return causes
