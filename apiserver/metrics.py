"""Prometheus metrics under upstream's names: request counts and latencies, requests in flight, objects, the process.

Who calls it: the pipeline records each request; GET /metrics renders. Invariant: recording is a few dictionary operations
under one lock and never fails; label values come from the resource table, never from what a client typed.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/metrics/metrics.go.
"""

import bisect
import os
import resource
import threading
import time
from collections.abc import Iterable
from typing import TypeVar

from apiserver.request import RequestInfo

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
            45.0, 60.0)  # fmt: skip
_READ_ONLY = frozenset(("get", "list", "watch"))
Labels = tuple[tuple[str, str], ...]
K = TypeVar("K")


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str, str, str, str, str, int], int] = {}
        self._durations: dict[tuple[str, str, str, str, str, str], list[float]] = {}
        self._inflight = {"readOnly": 0, "mutating": 0}
        self.watches: dict[tuple[str, str, str], int] = {}
        self._counters: dict[tuple[str, Labels], int] = {}
        self._histograms: dict[tuple[str, Labels], list[float]] = {}
        self._gauges: dict[str, float] = {}
        self.started = time.time()

    def begin(self, info: RequestInfo) -> None:
        """A request starts to be worked on."""
        with self._lock:
            self._inflight["readOnly" if info.verb in _READ_ONLY else "mutating"] += 1

    def end(self, info: RequestInfo, code: int, seconds: float, *, dry_run: bool = False) -> None:
        """A request that began is answered."""
        names = _names(info)
        with self._lock:
            self._inflight["readOnly" if info.verb in _READ_ONLY else "mutating"] -= 1
            counted = (*names, "All" if dry_run else "", code)
            self._requests[counted] = self._requests.get(counted, 0) + 1
            _put(self._durations, names, seconds)

    def count(self, metric: str, /, **labels: str) -> None:
        """One more of `FAMILIES`."""
        key = metric, tuple(labels.items())
        with self._lock:
            self._counters[key] = self._counters.get(key, 0) + 1

    def observe(self, metric: str, seconds: float, /, **labels: str) -> None:
        """A duration of `FAMILIES`."""
        with self._lock:
            _put(self._histograms, (metric, tuple(labels.items())), seconds)

    def gauge(self, metric: str, value: float) -> None:
        """The present value of one of `FAMILIES`."""
        self._gauges[metric] = value

    def watch(self, info: RequestInfo, change: int) -> None:
        """A watch begins (+1) or ends (-1)."""
        key = (info.group, info.version, info.row.kind if info.row else "")
        with self._lock:
            self.watches[key] = self.watches.get(key, 0) + change

    def render(self, objects: Iterable[tuple[str, int]]) -> str:
        """The exposition text. In: stored objects per qualified plural."""
        lines = _Lines()
        with self._lock:
            requests, durations = dict(self._requests), {k: list(v) for k, v in self._durations.items()}
            inflight, watches = dict(self._inflight), dict(self.watches)
        lines.family("apiserver_request_total", "counter", "Requests by verb, resource and HTTP code.")
        for (*names, dry_run, code), count in requests.items():
            lines.sample("apiserver_request_total", (*_labels(names), ("dry_run", dry_run), ("code", str(code))), count)
        lines.family("apiserver_request_duration_seconds", "histogram", "Time from routed to answered.")
        for key, histogram in durations.items():
            lines.histogram("apiserver_request_duration_seconds", _labels(list(key)), histogram)
        lines.family("apiserver_current_inflight_requests", "gauge", "Requests being worked on.")
        for kind, count in inflight.items():
            lines.sample("apiserver_current_inflight_requests", (("request_kind", kind),), count)
        lines.family("apiserver_longrunning_requests", "gauge", "Watches being served.")
        for (group, version, kind), count in watches.items():
            labels = (("verb", "WATCH"), ("group", group), ("version", version), ("kind", kind))
            lines.sample("apiserver_longrunning_requests", labels, count)
        lines.family("apiserver_storage_objects", "gauge", "Objects in the store.")
        for resource_name, count in objects:
            lines.sample("apiserver_storage_objects", (("resource", resource_name),), count)
        self._families(lines)
        self._process(lines)
        return lines.text()

    def _families(self, lines: "_Lines") -> None:
        with self._lock:
            counters, histograms = dict(self._counters), {key: list(one) for key, one in self._histograms.items()}
        for name, (kind, text) in FAMILIES.items():
            lines.family(name, kind, text)
            if name in self._gauges:
                lines.sample(name, (), self._gauges[name])
            for (of, labels), count in counters.items():
                if of == name:
                    lines.sample(name, labels, count)
            for (of, labels), histogram in histograms.items():
                if of == name:
                    lines.histogram(name, labels, histogram)

    def _process(self, lines: "_Lines") -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/self/statm") as file:
            size, resident = (int(pages) * resource.getpagesize() for pages in file.read().split()[:2])
        for name, kind, value, text in (
            ("process_cpu_seconds_total", "counter", usage.ru_utime + usage.ru_stime, "User and system CPU time."),
            ("process_resident_memory_bytes", "gauge", resident, "Resident memory."),
            ("process_virtual_memory_bytes", "gauge", size, "Virtual memory."),
            ("process_open_fds", "gauge", len(os.listdir("/proc/self/fd")), "Open file descriptors."),
            ("process_start_time_seconds", "gauge", self.started, "Start of the process, epoch seconds."),
        ):
            lines.family(name, kind, text)
            lines.sample(name, (), value)


STALE = "minikube_py_encryption_stale_objects"
FAMILIES = {
    STALE: ("gauge", "Objects not yet sealed with the first encryption key; 0 when no other key is needed any more."),
    "apiserver_admission_webhook_request_total": ("counter", "Calls of admission webhooks."),
    "apiserver_admission_webhook_rejection_count": ("counter", "Writes that admission webhooks refused."),
    "apiserver_admission_webhook_fail_open_count": ("counter", "Calls that failed without refusing the write."),
    "apiserver_admission_webhook_admission_duration_seconds": ("histogram", "Time that calls of webhooks took."),
    "apiserver_validating_admission_policy_check_total": ("counter", "Outcomes of ValidatingAdmissionPolicies."),
    "apiserver_mutating_admission_policy_check_total": ("counter", "Outcomes of MutatingAdmissionPolicies."),
}


def _put(histograms: dict[K, list[float]], key: K, seconds: float) -> None:
    histogram = histograms.get(key)
    if histogram is None:
        histogram = histograms[key] = [0.0] * (len(_BUCKETS) + 2)
    histogram[bisect.bisect_left(_BUCKETS, seconds)] += 1
    histogram[-1] += seconds


def _names(info: RequestInfo) -> tuple[str, str, str, str, str, str]:
    if info.row is None:
        return info.method if info.method in _METHODS else "OTHER", "", "", "", "", ""
    verb = "DELETECOLLECTION" if info.verb == "deletecollection" else _VERBS.get(info.verb, info.method)
    scope = "resource" if info.name else ("namespace" if info.namespace else "cluster")
    subresource = info.subresource if info.subresource in info.row.subresources else ""
    return verb, info.group, info.version, info.row.plural, subresource, scope


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
          "delete": "DELETE"}  # fmt: skip


def _labels(names: list[str] | tuple[str, ...]) -> Labels:
    return tuple(zip(("verb", "group", "version", "resource", "subresource", "scope"), names, strict=True))


class _Lines:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str) -> None:
        self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, labels: Labels, value: float) -> None:
        shown = "{" + ",".join(f'{key}="{text}"' for key, text in labels) + "}" if labels else ""
        self._lines.append(f"{name}{shown} {int(value) if value == int(value) else value!r}")

    def histogram(self, name: str, labels: Labels, histogram: list[float]) -> None:
        total = 0.0
        for limit, count in zip((*map(str, _BUCKETS), "+Inf"), histogram, strict=False):
            total += count
            self.sample(f"{name}_bucket", (*labels, ("le", limit)), total)
        self.sample(f"{name}_sum", labels, histogram[-1])
        self.sample(f"{name}_count", labels, total)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
