"""How often each probe of a running container succeeded and failed, and how long it took: /metrics/probes.

Who calls it: `probes` after each action; `handlers` renders. Invariant: what is counted about a container goes with it.
Upstream: pkg/kubelet/prober/prober_manager.go (ProberResults, ProberDuration).
"""

import threading
from collections.abc import Iterable

from kubelet.runtime.base import PodRef
from minikube_py.api import exposition
from minikube_py.api.exposition import Labels, Lines

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TITLES = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}
_RESULTS = {"success": "successful", "failure": "failed", "unknown": "unknown"}


class ProbeCounts:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[str, dict[tuple[Labels, str], int]] = {}
        self._durations: dict[str, dict[Labels, list[float]]] = {}

    def note(self, container_id: str, pod: PodRef, container: str, kind: str, result: str, seconds: float) -> None:
        """One probe was carried out."""
        named = (("container", container), ("namespace", pod.namespace), ("pod", pod.name))
        labels: Labels = (*named, ("pod_uid", pod.uid), ("probe_type", _TITLES[kind]))
        with self._lock:
            results = self._results.setdefault(container_id, {})
            results[labels, _RESULTS[result]] = results.get((labels, _RESULTS[result]), 0) + 1
            durations = self._durations.setdefault(container_id, {})
            histogram = durations.setdefault((*named, ("probe_type", _TITLES[kind])), exposition.empty(_BUCKETS))
            exposition.observe(histogram, _BUCKETS, seconds)

    def forget(self, container_ids: Iterable[str]) -> None:
        with self._lock:
            for container_id in container_ids:
                self._results.pop(container_id, None)
                self._durations.pop(container_id, None)

    def text(self) -> str:
        lines = Lines()
        with self._lock:
            lines.family("prober_probe_total", "counter", "Cumulative number of probes of a container by result")
            for results in self._results.values():
                for (labels, result), count in results.items():
                    lines.sample("prober_probe_total", (*labels, ("result", result)), count)
            lines.family("prober_probe_duration_seconds", "histogram", "Duration in seconds of a probe's response")
            for durations in self._durations.values():
                for labels, histogram in durations.items():
                    lines.histogram("prober_probe_duration_seconds", labels, _BUCKETS, histogram)
        return lines.text()
