"""How many replicas a measurement asks for: ratios, tolerances, and what pods without a measurement are taken to use.

Who calls it: `controllers.hpa_sources`. Invariants: pure; a pod that says nothing never makes the target grow or shrink
further than if it had said the least favourable thing, and never turns the direction around.
Upstream: pkg/controller/podautoscaler/replica_calculator.go, metrics/utilization.go.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from controllers.hpa_metrics import MetricsError, Sample
from controllers.pod import is_ready, phase_of
from minikube_py.api import quantity
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.meta import condition_of, is_terminating, name_of
from minikube_py.api.podresources import pod_requests
from minikube_py.api.types import Obj

_MAX = 2**31 - 1


class Tolerances(NamedTuple):
    """How far usage may be from its target, as fractions, before anything is done."""

    down: float
    up: float

    def cover(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Settings(NamedTuple):
    """Seconds: how long a new pod's cpu may be left out of account, and how late it may first become ready."""

    cpu_initialization: float = 300.0
    initial_readiness: float = 30.0


class Usage(NamedTuple):
    """What a set of samples comes to: usage over target, per cent of requests (if that is asked), average thousandths."""

    ratio: float
    per_cent: int | None
    average: int


class Groups(NamedTuple):
    """Pods by what their samples are worth: `ready` counts, the others are names."""

    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def group(pods: list[Obj], samples: Mapping[str, Sample], resource: str, now: datetime, settings: Settings) -> Groups:
    """In: `resource` matters for "cpu" alone, which a starting program uses more of than later."""
    groups = Groups(0, set(), set(), set())
    ready = 0
    for pod in pods:
        name = name_of(pod)
        if is_terminating(pod) or phase_of(pod) == "Failed":
            groups.ignored.add(name)
        elif phase_of(pod) == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif resource == "cpu" and _starting(pod, samples[name], now, settings):
            groups.unready.add(name)
        else:
            ready += 1
    return groups._replace(ready=ready)


def _starting(pod: Obj, sample: Sample, now: datetime, settings: Settings) -> bool:
    condition, started = condition_of(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if condition is None or not started or not condition.get("lastTransitionTime"):
        return True
    since, changed = parse_rfc3339(started), parse_rfc3339(condition["lastTransitionTime"])
    unready = condition.get("status") == "False"
    if since + timedelta(seconds=settings.cpu_initialization) > now:
        return unready or sample.at < changed + timedelta(seconds=sample.window)
    return unready and since + timedelta(seconds=settings.initial_readiness) > changed


def by_usage(
    pods: list[Obj], samples: Mapping[str, Sample], resource: str, current: int, tolerances: Tolerances, now: datetime,
    settings: Settings, measure: Callable[[Mapping[str, int]], Usage], fallback: Callable[[str], int],
) -> tuple[int, Usage]:  # fmt: skip
    """(replicas, usage) from samples of pods.

    In: `measure` says what values by pod name come to; `fallback` what a pod without a sample is taken to use when that
    would otherwise mean fewer replicas. Raises MetricsError.
    """
    if not pods:
        raise MetricsError("no pods returned by selector while calculating replica count")
    groups = group(pods, samples, resource, now, settings)
    values = {name: s.value for name, s in samples.items() if name not in groups.ignored | groups.unready}
    if not values:
        raise MetricsError("did not receive metrics for targeted pods (pods might be unready)")
    usage = measure(values)
    grows_past_unready = bool(groups.unready) and usage.ratio > 1.0
    if not grows_past_unready and not groups.missing:
        return (current if tolerances.cover(usage.ratio) else _whole(usage.ratio * groups.ready)), usage
    if usage.ratio != 1.0:
        values |= {name: fallback(name) if usage.ratio < 1.0 else 0 for name in groups.missing}
    if grows_past_unready:
        values |= dict.fromkeys(groups.unready, 0)
    ratio = measure(values).ratio
    turned = (usage.ratio < 1.0 < ratio) or (ratio < 1.0 < usage.ratio)
    wanted = _whole(ratio * len(values))
    if tolerances.cover(ratio) or turned or (ratio < 1.0 and wanted > current) or (ratio > 1.0 and wanted < current):
        return current, usage
    return wanted, usage


def utilization(requests: Mapping[str, int], target: int) -> Callable[[Mapping[str, int]], Usage]:
    """Measure values as per cent of what the pods request. Raises MetricsError when none of them is known."""

    def measure(values: Mapping[str, int]) -> Usage:
        known = [name for name in values if name in requests]
        used, asked = sum(values[name] for name in known), sum(requests[name] for name in known)
        if not asked:
            raise MetricsError("no metrics returned matched known pods")
        per_cent = used * 100 // asked
        return Usage(per_cent / target, per_cent, used // len(known))

    return measure


def average(target: int) -> Callable[[Mapping[str, int]], Usage]:
    """Measure values by their average against a target, both in thousandths."""

    def measure(values: Mapping[str, int]) -> Usage:
        mean = sum(values.values()) // len(values)
        return Usage(mean / target, None, mean)

    return measure


def by_ratio(pods: list[Obj], ratio: float, current: int, tolerances: Tolerances) -> int:
    """Replicas when one value stands for the whole target: in proportion to the pods that are ready; from zero, the ratio."""
    if current == 0:
        return _whole(ratio)
    if tolerances.cover(ratio):
        return current
    if not pods:
        raise MetricsError(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    return _whole(ratio * sum(phase_of(pod) == "Running" and is_ready(pod) for pod in pods))


def by_share(value: int, target: int, current: int, tolerances: Tolerances) -> tuple[int, int]:
    """(replicas, value per pod) when one value is to be shared by all pods, `target` each; all in thousandths."""
    within = current > 0 and tolerances.cover(value / (target * current))
    each = -(-value // current) if current else value
    return (current if within else _whole(value / target)), each


def requests_of(pods: list[Obj], resource: str, container: str) -> dict[str, int]:
    """Thousandths each pod (or one container of each) requests, by pod name. Raises MetricsError when one states nothing."""
    requests = {}
    for pod in pods:
        if not container and (pod["spec"].get("resources") or {}).get("requests"):
            if (total := pod_requests(pod).get(resource)) is None:
                raise MetricsError(f"missing pod-level request for {resource} in Pod {name_of(pod)}")
            requests[name_of(pod)] = total if resource == "cpu" else total * 1000
            continue
        sidecars = [c for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"]
        concerned = [c for c in [*pod["spec"]["containers"], *sidecars] if container in ("", c["name"])]
        if not concerned:
            raise MetricsError(f"container {container} not found in Pod {name_of(pod)}")
        requests[name_of(pod)] = sum(_request(pod, c, resource) for c in concerned)
    return requests


def _request(pod: Obj, container: Obj, resource: str) -> int:
    text = ((container.get("resources") or {}).get("requests") or {}).get(resource)
    if text is None:
        where = f"container {container['name']} of Pod {name_of(pod)}"
        raise MetricsError(f"missing request for {resource} in {where}")
    return quantity.milli(text)


def _whole(replicas: float) -> int:
    return min(_MAX, math.ceil(replicas))
