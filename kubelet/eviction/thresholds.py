"""Eviction thresholds: what the flags say, which are crossed, and which conditions of the node follow. Pure.

Who calls it: `options` parses flags with it, `eviction.manager` asks it once per round, `node_status` what to keep free.
Invariants: a soft threshold counts only when it was crossed for its whole grace period; a condition stays true until nothing
crossed its thresholds for the transition period, so that it does not flap; a threshold that led to an eviction stays crossed
until its minimum reclaim is free again.
Upstream: pkg/kubelet/eviction/helpers.go, pkg/kubelet/eviction/api/types.go.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minikube_py.api import quantity

MEMORY, NODEFS, NODEFS_INODES = "memory.available", "nodefs.available", "nodefs.inodesFree"
IMAGEFS, IMAGEFS_INODES, PIDS = "imagefs.available", "imagefs.inodesFree", "pid.available"
MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE = "MemoryPressure", "DiskPressure", "PIDPressure"
SIGNALS = {
    # signal: (condition of the node, resource as messages name it)
    MEMORY: (MEMORY_PRESSURE, "memory"),
    NODEFS: (DISK_PRESSURE, "ephemeral-storage"),
    NODEFS_INODES: (DISK_PRESSURE, "inodes"),
    IMAGEFS: (DISK_PRESSURE, "ephemeral-storage"),
    IMAGEFS_INODES: (DISK_PRESSURE, "inodes"),
    PIDS: (PID_PRESSURE, "pids"),
}
DEFAULT_HARD = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Amount:
    """A quantity, or a part of the capacity (0…1)."""

    quantity: str = ""
    part: float = 0.0

    def of(self, capacity: int) -> int:
        return quantity.value(self.quantity) if self.quantity else int(capacity * self.part)


@dataclass(frozen=True)
class Threshold:
    """Crossed when less than `value` is available. `grace` 0 is a hard one."""

    signal: str
    value: Amount
    grace: float = 0.0
    reclaim: Amount = Amount()

    @property
    def condition(self) -> str:
        return SIGNALS[self.signal][0]

    @property
    def resource(self) -> str:
        return SIGNALS[self.signal][1]


@dataclass(frozen=True)
class Observed:
    """How much of something is left, and how much there is at all (bytes, inodes, processes)."""

    available: int
    capacity: int


def parse(hard: str, soft: str = "", grace: str = "", reclaim: str = "") -> tuple[Threshold, ...]:
    """The thresholds upstream's four flags describe. Raises ValueError with one sentence."""
    graces = {signal: seconds(text) for signal, text in _pairs(grace, "=")}
    amounts = {signal: _amount(text) for signal, text in _pairs(reclaim, "=")}
    found = [Threshold(signal, _amount(text), 0.0, amounts.get(signal, Amount())) for signal, text in _pairs(hard, "<")]
    for signal, text in _pairs(soft, "<"):
        if graces.get(signal, 0) <= 0:
            raise ValueError(f"soft eviction threshold {signal} needs a grace period")
        found.append(Threshold(signal, _amount(text), graces[signal], amounts.get(signal, Amount())))
    return tuple(found)


def _pairs(text: str, separator: str) -> list[tuple[str, str]]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        signal, middle, value = part.partition(separator)
        if not middle or signal not in SIGNALS:
            raise ValueError(f"{part!r} is not SIGNAL{separator}VALUE with one of the signals {', '.join(SIGNALS)}")
        found.append((signal, value))
    return found


def _amount(text: str) -> Amount:
    if text.endswith("%"):
        part = float(text[:-1]) / 100
        if not 0 <= part <= 1:
            raise ValueError(f"eviction threshold {text} is not between 0% and 100%")
        return Amount(part=part)
    if quantity.value(text) < 0:
        raise ValueError(f"eviction threshold {text} is negative")
    return Amount(quantity=text)


def seconds(text: str) -> float:
    """A duration as Go writes it: "90s", "1m30s", "1h". Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration like 90s or 1m30s")
    hours, minutes, rest = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)


def kept_free(thresholds: Iterable[Threshold], capacity: Mapping[str, str]) -> dict[str, int]:
    """Bytes of memory and disk that pods cannot be promised, because less than that left means eviction."""
    kept: dict[str, int] = {}
    for threshold in thresholds:
        name = {MEMORY: "memory", NODEFS: "ephemeral-storage"}.get(threshold.signal, "")
        if name in capacity and not threshold.grace:
            kept[name] = max(kept.get(name, 0), threshold.value.of(quantity.value(capacity[name])))
    return kept


@dataclass
class Pressure:
    """What has been seen so far. Times are monotonic seconds."""

    thresholds: tuple[Threshold, ...]
    transition: float
    _since: dict[Threshold, float] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)
    _acted_on: tuple[Threshold, ...] = ()

    def update(self, observed: Mapping[str, Observed], now: float) -> tuple[Threshold, ...]:
        """Take note of an observation. Out: the thresholds to act on, most urgent first (memory before everything else)."""
        crossed = [t for t in self.thresholds if t in self._acted_on and _below(t, observed, reclaimed=True)]
        crossed += [t for t in self.thresholds if t not in crossed and _below(t, observed)]
        self._since = {threshold: self._since.get(threshold, now) for threshold in crossed}
        for threshold in crossed:
            self._seen[threshold.condition] = now
        self._acted_on = tuple(t for t in crossed if now - self._since[t] >= t.grace)
        return tuple(sorted(self._acted_on, key=lambda t: (t.signal != MEMORY, t.grace)))

    def conditions(self, now: float) -> frozenset[str]:
        """The node's conditions that are true."""
        return frozenset(kind for kind, seen in self._seen.items() if now - seen < self.transition or seen == now)


def _below(threshold: Threshold, observed: Mapping[str, Observed], *, reclaimed: bool = False) -> bool:
    found = observed.get(threshold.signal)
    if found is None:
        return False
    wanted = threshold.value.of(found.capacity) + (threshold.reclaim.of(found.capacity) if reclaimed else 0)
    return found.available < wanted
