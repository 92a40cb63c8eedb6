"""One look at what a node's containers have used, and what two looks say about the time between. Pure.

Who uses it: `scrape`. Invariant: a counter that went back (a container began anew) is measured from its start; a container
seen once is measured over its life so far.
Upstream: kubernetes-sigs/metrics-server pkg/scraper/client/resource/decode.go, pkg/storage.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_LINE = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+)(?: (-?\d+))?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SHORTEST = 0.1

Place = tuple[str, str, str]
"""Namespace, pod, container; three times "" is the node itself."""
NODE: Place = ("", "", "")


@dataclass
class Sample:
    """Core-seconds used so far, bytes in use; the times are epoch seconds, `started` 0 when it is not known."""

    cpu: float = 0.0
    memory: int = 0
    at: float = 0.0
    started: float = 0.0


@dataclass
class Reading:
    """All of a node. `at` is when it was asked."""

    at: float
    samples: dict[Place, Sample] = field(default_factory=dict)


class Use(NamedTuple):
    """Cores and bytes over `window` seconds up to `at`."""

    cores: float
    memory: int
    at: float
    window: float


def parse(text: str, now: float) -> Reading:
    """A kubelet's answer to /metrics/resource. Raises ValueError for what is no exposition text."""
    reading = Reading(now)
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"no line of metrics: {line[:80]!r}")
        name, labels, value, at = found.groups()
        scope, _, what = name.partition("_")
        if scope not in ("node", "container") or what not in _KNOWN:
            continue
        named = dict(_LABEL.findall(labels or ""))
        place = (named.get("namespace", ""), named.get("pod", ""), named.get("container", ""))
        sample = reading.samples.setdefault(place, Sample())
        if what == "cpu_usage_seconds_total":
            sample.cpu, sample.at = float(value), int(at) / 1000 if at else now
        elif what == "memory_working_set_bytes":
            sample.memory = int(float(value))
        else:
            sample.started = float(value)
    return reading


_KNOWN = ("cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds")


def used(before: Reading | None, after: Reading, place: Place) -> Use | None:
    """What is used at a place, None when there is not enough to tell."""
    new = after.samples.get(place)
    if new is None or not new.at:
        return None
    old = before.samples.get(place) if before is not None else None
    if old is None or old.cpu > new.cpu or new.at - old.at < _SHORTEST or new.started > old.at:
        old = Sample(at=new.started)
    window = new.at - old.at
    if not old.at or window < _SHORTEST:
        return None
    return Use(max(0.0, new.cpu - old.cpu) / window, new.memory, new.at, window)
