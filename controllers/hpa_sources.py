"""The five sources of an autoscaler's metrics: each gives a replica count, a name for it, and what the status shows.

Who calls it: `controllers.hpa`. Invariant: a source either proposes or raises `Unavailable` with the reason and the sentences
upstream's conditions and events carry.
Upstream: pkg/controller/podautoscaler/horizontal.go (computeStatusFor…).
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from controllers import hpa_metrics as metrics
from controllers import hpa_replicas as replicas
from controllers.hpa_metrics import MetricsError
from controllers.hpa_replicas import Settings, Tolerances
from minikube_py.api import quantity, selectors
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_FIELDS = {
    "Object": "object", "Pods": "pods", "Resource": "resource", "ContainerResource": "containerResource",
    "External": "external",
}  # fmt: skip


class Target(NamedTuple):
    """What is scaled: its namespace, its pods' selector and the pods, its replicas as asked for and as they are."""

    namespace: str
    selector: str
    pods: list[Obj]
    spec_replicas: int
    status_replicas: int


class Proposal(NamedTuple):
    """A replica count, the name of the metric that asks for it, and the metric's status."""

    replicas: int
    name: str
    status: Obj


class Unavailable(Exception):
    """A source has no answer. `reason` is for the condition, `cause` the sentence in it, str() the sentence of the whole."""

    def __init__(self, reason: str, cause: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.cause = reason, cause


class Sources:
    """Reads metrics as `client`; `qualified(apiVersion, kind)` names an object's resource ("deployments.apps")."""

    def __init__(self, client: Client, qualified: Callable[[str, str], str], settings: Settings) -> None:
        self._client, self._qualified, self._settings = client, qualified, settings

    def propose(self, metric: Obj, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
        """Raises Unavailable."""
        kind = str(metric.get("type"))
        source: Obj = metric.get(_FIELDS.get(kind, "")) or {}
        methods = {
            "Object": self._object, "Pods": self._pods, "Resource": self._resource, "External": self._external,
            "ContainerResource": self._resource,
        }  # fmt: skip
        if kind not in methods:
            why = f'unknown metric source type "{kind}"'
            raise Unavailable("InvalidMetricSourceType", why, why)
        try:
            count, name, status = methods[kind](source, target, tolerances, now)
        except (MetricsError, ValueError) as error:
            cause = _explained(kind, source, error)
            message = f"failed to get {_named(kind, source)} value: {cause}"
            raise Unavailable(f"FailedGet{kind}Metric", cause, message) from error
        return Proposal(count, name, {"type": kind, _FIELDS[kind]: status})

    def _resource(self, source: Obj, target: Target, tolerances: Tolerances, now: datetime) -> tuple[int, str, Obj]:
        resource, container, goal = source["name"], source.get("container") or "", source["target"]
        try:
            samples = metrics.of_resource(self._client, target.namespace, target.selector, resource, container)
        except MetricsError as error:
            raise MetricsError(f"unable to get metrics for resource {resource}: {error}") from error
        if goal.get("averageValue") is not None:
            wanted = quantity.milli(goal["averageValue"])
            measure, fallback = replicas.average(wanted), lambda name: wanted
            title = f"{resource} resource"
        elif goal.get("averageUtilization") is not None:
            per_cent = int(goal["averageUtilization"])
            requests = replicas.requests_of(target.pods, resource, container)
            measure = replicas.utilization(requests, per_cent)
            fallback = lambda name: requests[name] * max(100, per_cent) // 100  # noqa: E731
            title = f"{resource} {'container ' if container else ''}resource utilization (percentage of request)"
        else:
            why = "neither an average utilization target nor an average value (usage) target was set"
            raise MetricsError(f"invalid resource metric source: {why}")
        count, usage = replicas.by_usage(target.pods, samples, resource, target.spec_replicas, tolerances, now,
                                         self._settings, measure, fallback)  # fmt: skip
        current: Obj = {"averageValue": _quantity(usage.average, binary=resource == "memory")}
        if usage.per_cent is not None:
            current["averageUtilization"] = usage.per_cent
        return count, title, {k: source[k] for k in ("name", "container") if k in source} | {"current": current}

    def _pods(self, source: Obj, target: Target, tolerances: Tolerances, now: datetime) -> tuple[int, str, Obj]:
        name, wanted = source["metric"]["name"], quantity.milli(source["target"]["averageValue"])
        try:
            samples = metrics.of_pods(self._client, target.namespace, target.selector, name, _selector(source))
        except MetricsError as error:
            raise MetricsError(f"unable to get metric {name}: {error}") from error
        count, usage = replicas.by_usage(target.pods, samples, "", target.spec_replicas, tolerances, now,
                                         self._settings, replicas.average(wanted), lambda pod: wanted)  # fmt: skip
        return count, f"pods metric {name}", _status(source, {"averageValue": _quantity(usage.average)})

    def _object(self, source: Obj, target: Target, tolerances: Tolerances, now: datetime) -> tuple[int, str, Obj]:
        described, name = source["describedObject"], source["metric"]["name"]
        where = f"{described['kind']} {target.namespace}/{described['name']}"
        resource = self._qualified(described.get("apiVersion") or "", described["kind"])
        try:
            value = metrics.of_object(
                self._client, target.namespace, resource, described["name"], name, _selector(source)
            )
        except MetricsError as error:
            raise MetricsError(f"unable to get metric {name}: {error} on {where}") from error
        count, current = self._whole(source, value, target, tolerances)
        title = f"{described['kind']} metric {name}" if "value" in current else f"external metric {name}"
        return count, title, {"describedObject": described, **_status(source, current)}

    def _external(self, source: Obj, target: Target, tolerances: Tolerances, now: datetime) -> tuple[int, str, Obj]:
        name, selector = source["metric"]["name"], _selector(source)
        try:
            value = metrics.of_external(self._client, target.namespace, name, selector)
        except MetricsError as error:
            raise MetricsError(
                f"unable to get external metric {target.namespace}/{name}/{selector}: {error}"
            ) from error
        count, current = self._whole(source, value, target, tolerances)
        return count, f"external metric {name}", _status(source, current)

    @staticmethod
    def _whole(source: Obj, value: int, target: Target, tolerances: Tolerances) -> tuple[int, Obj]:
        """One value for the whole target: (replicas, the status's `current`)."""
        goal = source["target"]
        if goal.get("averageValue") is not None:
            wanted = quantity.milli(goal["averageValue"])
            count, each = replicas.by_share(value, wanted, target.status_replicas, tolerances)
            return count, {"averageValue": _quantity(each)}
        ratio = value / quantity.milli(goal["value"])
        return replicas.by_ratio(target.pods, ratio, target.spec_replicas, tolerances), {"value": _quantity(value)}


def _named(kind: str, source: Obj) -> str:
    """How the sentence about a failure calls the metric."""
    return {
        "Object": "object metric", "Pods": "pods metric", "Resource": f"{source.get('name')} resource metric",
        "ContainerResource": f"{source.get('container')} container metric",
        "External": f"{(source.get('metric') or {}).get('name')} external metric",
    }[kind]  # fmt: skip


def _explained(kind: str, source: Obj, error: Exception) -> str:
    """The sentence of a source's condition."""
    if kind in ("Resource", "ContainerResource"):
        what = "usage" if (source.get("target") or {}).get("averageValue") is not None else "utilization"
        return f"failed to get {source.get('name')} {what}: {error}"
    if kind == "External":
        return f"failed to get {(source.get('metric') or {}).get('name')} external metric: {error}"
    return str(error)


def _status(source: Obj, current: Obj) -> Obj:
    return {"metric": source["metric"], "current": current}


def _selector(source: Obj) -> str:
    """A metric's own selector; without one, everything."""
    selector = source["metric"].get("selector")
    return "" if selector is None else str(selectors.from_label_selector(selector))


def _quantity(thousandths: int, *, binary: bool = False) -> str:
    return quantity.format(Decimal(thousandths) / 1000, binary=binary)
