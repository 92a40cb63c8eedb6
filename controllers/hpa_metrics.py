"""What an autoscaler measures: samples from the three metrics APIs, all in thousandths.

Who calls it: `controllers.hpa_sources`. Invariants: metrics are read through the API server like any other resource, whoever
serves them; a missing API, an empty answer and a malformed one are `MetricsError`s with one sentence.
Upstream: pkg/controller/podautoscaler/metrics/client.go, staging/src/k8s.io/metrics/pkg/client.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import orjson

from minikube_py.api import errors, quantity
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_CUSTOM, _EXTERNAL, _RESOURCE = "custom.metrics.k8s.io", "external.metrics.k8s.io", "metrics.k8s.io"
_VERSIONS = {_CUSTOM: "v1beta2", _EXTERNAL: "v1beta1", _RESOURCE: "v1beta1"}
_DEFAULT_WINDOW = 60.0


class MetricsError(Exception):
    """A metric that cannot be had, or not be made sense of: one sentence."""


class Sample(NamedTuple):
    """One measurement of a pod: thousandths of the metric, when it was taken, over how many seconds."""

    value: int
    at: datetime
    window: float


def of_resource(client: Client, namespace: str, selector: str, resource: str, container: str = "") -> dict[str, Sample]:
    """What each selected pod (or one container of it) uses, by pod name. Raises MetricsError."""
    items = _items(client, "resource", _RESOURCE, f"namespaces/{quote(namespace)}/pods", {"labelSelector": selector})
    samples = {}
    for item in items:
        parts = [c for c in item.get("containers") or [] if container in ("", c["name"])]
        uses = [part["usage"][resource] for part in parts if resource in (part.get("usage") or {})]
        if parts and len(uses) == len(parts):
            total = sum(quantity.milli(use) for use in uses)
            window = _seconds(str(item.get("window") or ""))
            samples[item["metadata"]["name"]] = Sample(total, parse_rfc3339(item["timestamp"]), window)
    return samples


def of_pods(client: Client, namespace: str, selector: str, metric: str, metric_selector: str) -> dict[str, Sample]:
    """A custom metric of each selected pod, by pod name. Raises MetricsError."""
    query = {"labelSelector": selector, "metricLabelSelector": metric_selector}
    items = _items(client, "custom", _CUSTOM, f"namespaces/{quote(namespace)}/pods/*/{quote(metric)}", query)
    return {
        item["describedObject"]["name"]: Sample(
            quantity.milli(item["value"]), parse_rfc3339(item["timestamp"]),
            float(item["windowSeconds"]) if item.get("windowSeconds") is not None else _DEFAULT_WINDOW,
        )
        for item in items
    }  # fmt: skip


def of_object(client: Client, namespace: str, resource: str, name: str, metric: str, metric_selector: str) -> int:
    """A custom metric of one object; `resource` as "deployments.apps" or "pods", "namespaces" for the namespace itself."""
    path = f"namespaces/{quote(namespace)}/{quote(resource)}/{quote(name)}/{quote(metric)}"
    if resource == "namespaces":
        path = f"namespaces/{quote(namespace)}/metrics/{quote(metric)}"
    items = _items(client, "custom", _CUSTOM, path, {"metricLabelSelector": metric_selector})
    if len(items) != 1:
        raise MetricsError(f"the custom metrics API server returned {len(items)} results when we asked for exactly one")
    return quantity.milli(items[0]["value"])


def of_external(client: Client, namespace: str, metric: str, metric_selector: str) -> int:
    """The sum of an external metric's matching series. Raises MetricsError."""
    path = f"namespaces/{quote(namespace)}/{quote(metric)}"
    items = _items(client, "external", _EXTERNAL, path, {"labelSelector": metric_selector})
    return sum(quantity.milli(item["value"]) for item in items)


def _items(client: Client, what: str, group: str, path: str, query: Mapping[str, str]) -> list[Obj]:
    try:
        _, _, data = client.request("GET", f"/apis/{group}/{_version(client, group)}/{path}", query=query)
        items: list[Obj] = orjson.loads(data).get("items") or []
    except (errors.APIError, ValueError, AttributeError) as error:
        raise MetricsError(f"unable to fetch metrics from {what} metrics API: {error}") from error
    if not items:
        raise MetricsError(f"no metrics returned from {what} metrics API")
    return items


def _version(client: Client, group: str) -> str:
    """The version the provider prefers: custom metrics exist in two, which differ in nothing that is read here."""
    if group != _CUSTOM:
        return _VERSIONS[group]
    _, _, data = client.request("GET", f"/apis/{group}")
    return str((orjson.loads(data).get("preferredVersion") or {}).get("version") or _VERSIONS[group])


def _seconds(text: str) -> float:
    """Go's "30s", "1m0s" and "1h0m0.5s"."""
    total, number = 0.0, ""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    for char in text:
        if char in units and number:
            total, number = total + float(number) * units[char], ""
        else:
            number += char
    return total
