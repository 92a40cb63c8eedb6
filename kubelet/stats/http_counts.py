"""How often the kubelet's API was asked, how long answers took, and how many are being given.

Who calls it: `server` around every request; `handlers` renders. Invariant: labels come from the server's own routes, never
from what a client typed.
Upstream: pkg/kubelet/server/metrics/metrics.go.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from minikube_py.api import exposition
from minikube_py.api.clock import Clock
from minikube_py.api.exposition import Labels, Lines

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = frozenset(("attach", "containerLogs", "exec", "portForward"))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))


class HttpCounts:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._durations: dict[Labels, list[float]] = {}
        self._inflight: dict[Labels, int] = {}

    @contextmanager
    def served(self, method: str, path: str) -> Iterator[None]:
        """For as long as a request is served. In: `path` is the first part, "" when there is no such route."""
        method = method if method in _METHODS else "other"
        labels: Labels = (
            ("long_running", str(path in _LONG).lower()), ("method", method), ("path", path), ("server_type", "readwrite"),
        )  # fmt: skip
        started = self._clock.monotonic()
        with self._lock:
            self._inflight[labels] = self._inflight.get(labels, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._inflight[labels] -= 1
                histogram = self._durations.setdefault(labels, exposition.empty(_BUCKETS))
                exposition.observe(histogram, _BUCKETS, self._clock.monotonic() - started)

    def render(self, lines: Lines) -> None:
        with self._lock:
            durations, inflight = dict(self._durations), dict(self._inflight)
        lines.family("kubelet_http_requests_total", "counter", "Number of the http requests received")
        for labels, histogram in durations.items():
            lines.sample("kubelet_http_requests_total", labels, sum(histogram[:-1]))
        lines.family(
            "kubelet_http_requests_duration_seconds", "histogram", "Duration in seconds to serve http requests"
        )
        for labels, histogram in durations.items():
            lines.histogram("kubelet_http_requests_duration_seconds", labels, _BUCKETS, histogram)
        lines.family("kubelet_http_inflight_requests", "gauge", "Number of the inflight http requests")
        for labels, count in inflight.items():
            lines.sample("kubelet_http_inflight_requests", labels, count)
