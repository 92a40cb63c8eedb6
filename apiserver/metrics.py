"""Prometheus metrics under upstream's names: request counts and latencies, requests in flight, objects, the process.

Who calls it: the pipeline records each request; GET /metrics renders. Invariant: recording is a few dictionary operations
under one lock and never fails; label values come from the resource table, never from what a client typed.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/metrics/metrics.go.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from apiserver.request import RequestInfo
from minikube_py.api import exposition
from minikube_py.api.exposition import Labels, Lines

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
            45.0, 60.0)  # fmt: skip
K = TypeVar("K")
_Names = tuple[str, str, str, str, str, str]
"""Verb, group, version, resource, subresource, scope."""


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str, str, str, str, str, int], int] = {}
        self._durations: dict[_Names, list[float]] = {}
        self.inflight = {"readOnly": 0, "mutating": 0}
        """Requests being worked on; counted by `overload`, on the event loop alone."""
        self._long: dict[_Names, int] = {}
        self._counters: dict[tuple[str, Labels], int] = {}
        self._histograms: dict[tuple[str, Labels], list[float]] = {}
        self._gauges: dict[str, float] = {}
        self.started = time.time()

    def answered(self, info: RequestInfo, code: int, seconds: float, *, dry_run: bool = False) -> None:
        """A request is over."""
        names = _names(info)
        with self._lock:
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

    @contextmanager
    def long_running(self, info: RequestInfo) -> Iterator[None]:
        """For as long as a watch or stream is served."""
        names = _names(info)
        with self._lock:
            self._long[names] = self._long.get(names, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._long[names] -= 1

    def render(self, objects: Iterable[tuple[str, int]]) -> str:
        """The exposition text. In: stored objects per qualified plural."""
        lines = Lines()
        with self._lock:
            requests, durations = dict(self._requests), {k: list(v) for k, v in self._durations.items()}
            inflight, long = dict(self.inflight), dict(self._long)
        lines.family("apiserver_request_total", "counter", "Requests by verb, resource and HTTP code.")
        for (*names, dry_run, code), count in requests.items():
            lines.sample("apiserver_request_total", (*_labels(names), ("dry_run", dry_run), ("code", str(code))), count)
        lines.family("apiserver_request_duration_seconds", "histogram", "Time from routed to answered.")
        for key, histogram in durations.items():
            lines.histogram("apiserver_request_duration_seconds", _labels(key), _BUCKETS, histogram)
        lines.family("apiserver_current_inflight_requests", "gauge", "Requests being worked on.")
        for kind, count in inflight.items():
            lines.sample("apiserver_current_inflight_requests", (("request_kind", kind),), count)
        lines.family("apiserver_longrunning_requests", "gauge", "Watches and streams being served.")
        for key, count in long.items():
            lines.sample("apiserver_longrunning_requests", _labels(key), count)
        lines.family("apiserver_storage_objects", "gauge", "Objects in the store.")
        for resource_name, count in objects:
            lines.sample("apiserver_storage_objects", (("resource", resource_name),), count)
        self._families(lines)
        lines.process(self.started)
        return lines.text()

    def _families(self, lines: Lines) -> None:
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
                    lines.histogram(name, labels, _BUCKETS, histogram)


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
        histogram = histograms[key] = exposition.empty(_BUCKETS)
    exposition.observe(histogram, _BUCKETS, seconds)


def _names(info: RequestInfo) -> _Names:
    if info.row is None:
        return info.method if info.method in _METHODS else "OTHER", "", "", "", "", ""
    verb = "DELETECOLLECTION" if info.verb == "deletecollection" else _VERBS.get(info.verb, info.method)
    if info.subresource in _CONNECTED:
        verb = "CONNECT"
    scope = "resource" if info.name else ("namespace" if info.namespace else "cluster")
    subresource = info.subresource if info.subresource in info.row.subresources else ""
    return verb, info.group, info.version, info.row.plural, subresource, scope


_COMPONENT = ("component", "apiserver")
_CONNECTED = frozenset(("attach", "exec", "portforward", "proxy"))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
          "delete": "DELETE"}  # fmt: skip


def _labels(names: Iterable[str]) -> Labels:
    return (*zip(("verb", "group", "version", "resource", "subresource", "scope"), names, strict=True), _COMPONENT)
