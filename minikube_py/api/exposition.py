"""Prometheus' text format: families, samples, histograms, and what every process says of itself.

Who uses it: the metrics of the API server and of the kubelet. Invariant: a label's value may hold anything; numbers are
written whole where they are whole.
Upstream: prometheus/common/expfmt, client_golang/prometheus/process_collector.go.
"""

import bisect
import os
import resource
from collections.abc import Sequence

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Lines:
    """A document being written."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str) -> None:
        """What the samples that follow are."""
        self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, labels: Labels, value: float, at: float = 0.0) -> None:
        """One number; `at` epoch seconds when it is not of this very moment."""
        shown = "{" + ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels) + "}" if labels else ""
        number = int(value) if value == int(value) else repr(value)
        self._lines.append(f"{name}{shown} {number}" + (f" {round(at * 1000)}" if at else ""))

    def single(self, name: str, kind: str, text: str, value: float) -> None:
        """A family of one sample without labels."""
        self.family(name, kind, text)
        self.sample(name, (), value)

    def histogram(self, name: str, labels: Labels, buckets: Sequence[float], histogram: Sequence[float]) -> None:
        """In: `histogram` as `observe` fills it."""
        total = 0.0
        for limit, count in zip((*map(str, buckets), "+Inf"), histogram, strict=False):
            total += count
            self.sample(f"{name}_bucket", (*labels, ("le", limit)), total)
        self.sample(f"{name}_sum", labels, histogram[-1])
        self.sample(f"{name}_count", labels, total)

    def process(self, started: float) -> None:
        """What this process uses. In: its start, epoch seconds."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/self/statm") as file:
            size, resident = (int(pages) * resource.getpagesize() for pages in file.read().split()[:2])
        for name, kind, value, text in (
            ("process_cpu_seconds_total", "counter", usage.ru_utime + usage.ru_stime, "User and system CPU time."),
            ("process_resident_memory_bytes", "gauge", resident, "Resident memory."),
            ("process_virtual_memory_bytes", "gauge", size, "Virtual memory."),
            ("process_open_fds", "gauge", len(os.listdir("/proc/self/fd")), "Open file descriptors."),
            ("process_start_time_seconds", "gauge", started, "Start of the process, epoch seconds."),
        ):
            self.single(name, kind, text, value)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def empty(buckets: Sequence[float]) -> list[float]:
    """A histogram: a count per bucket, one for what is above them all, and the sum."""
    return [0.0] * (len(buckets) + 2)


def observe(histogram: list[float], buckets: Sequence[float], value: float) -> None:
    histogram[bisect.bisect_left(buckets, value)] += 1
    histogram[-1] += value
