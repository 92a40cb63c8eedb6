"""How fast an autoscaler may act on what it would like: stabilisation windows and scaling policies.

Who calls it: `controllers.hpa`. Invariants: within its window a target follows the most cautious of the recent
recommendations; the change within a policy's period stays within the policy. What it remembers is lost with the process,
as upstream's is: a new one starts from the size it finds. Times are seconds of the clock's `monotonic`.
Upstream: pkg/controller/podautoscaler/horizontal.go (normalizeDesiredReplicas…).
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from minikube_py.api.types import Obj

_NO_LIMIT = 2**31
_HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
_LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"


class Note(NamedTuple):
    """A condition to be set."""

    kind: str
    status: str
    reason: str
    message: str


@dataclass
class Memory:
    """Of one autoscaler: (when, what was recommended), (when, by how much it was scaled up, or down)."""

    recommended: list[tuple[float, int]] = field(default_factory=list)
    ups: list[tuple[float, int]] = field(default_factory=list)
    downs: list[tuple[float, int]] = field(default_factory=list)

    def scaled(self, now: float, change: int, behavior: Obj) -> None:
        """The target was scaled by `change` replicas."""
        for events, side, by in ((self.ups, "scaleUp", change), (self.downs, "scaleDown", -change)):
            longest = max((p["periodSeconds"] for p in (behavior.get(side) or {}).get("policies") or []), default=0)
            events[:] = [event for event in events if event[0] >= now - longest]
            if by > 0:
                events.append((now, by))


class Bounds(NamedTuple):
    """What the autoscaler allows, and where the target is."""

    current: int
    least: int
    most: int


def normalise(
    memory: Memory, spec: Obj, bounds: Bounds, desired: int, now: float, stabilisation: float
) -> tuple[int, list[Note]]:
    """(the size to scale to now, conditions). In: `stabilisation`: seconds for scaling down where the spec says nothing."""
    behavior = spec.get("behavior")
    up, down = (behavior or {}).get("scaleUp") or {}, (behavior or {}).get("scaleDown") or {}
    down_window = float(down.get("stabilizationWindowSeconds", stabilisation))
    up_window = float(up.get("stabilizationWindowSeconds") or 0)
    stable = _stabilise(memory, bounds.current if behavior else _NO_LIMIT, desired, now, up_window, down_window)
    if stable == desired:
        notes = [Note("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")]
    elif behavior and desired >= bounds.current:
        notes = [Note("AbleToScale", "True", "ScaleUpStabilized", _LOWER)]
    else:
        notes = [Note("AbleToScale", "True", "ScaleDownStabilized", _HIGHER)]
    if behavior:
        limited, reason, message = _by_policies(memory, up, down, bounds, stable, now)
    else:
        limited, reason, message = _by_default(bounds, stable)
    notes.append(Note("ScalingLimited", str(limited != stable), reason, message))
    return limited, notes


def _stabilise(memory: Memory, current: int, desired: int, now: float, up_window: float, down_window: float) -> int:
    """The size nearest to `current` between the lowest and the highest recommendation of their windows."""
    lowest = min([n for at, n in memory.recommended if at > now - up_window], default=desired)
    highest = max([n for at, n in memory.recommended if at > now - down_window], default=desired)
    kept = now - max(up_window, down_window)
    memory.recommended[:] = [entry for entry in memory.recommended if entry[0] >= kept]
    memory.recommended.append((now, desired))
    return min(max(current, min(lowest, desired)), max(highest, desired))


def _by_default(bounds: Bounds, desired: int) -> tuple[int, str, str]:
    """Without a behaviour: doubling at most (or to four), and the autoscaler's bounds."""
    limit = max(2 * bounds.current, 4)
    if desired < bounds.least:
        return bounds.least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
    if desired > min(limit, bounds.most):
        return min(limit, bounds.most), *_too_many(bounds.most > limit)
    return desired, "DesiredWithinRange", "the desired count is within the acceptable range"


def _by_policies(memory: Memory, up: Obj, down: Obj, bounds: Bounds, desired: int, now: float) -> tuple[int, str, str]:
    if desired > bounds.current:
        limit = max(bounds.current, _limit(memory, up, bounds.current, now, 1))
        if desired > min(limit, bounds.most):
            return min(limit, bounds.most), *_too_many(bounds.most > limit)
    elif desired < bounds.current:
        limit = min(bounds.current, _limit(memory, down, bounds.current, now, -1))
        if desired < max(limit, bounds.least):
            if bounds.least < limit:
                why = "the desired replica count is decreasing faster than the maximum scale rate"
                return limit, "ScaleDownLimit", why
            return bounds.least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
    return desired, "DesiredWithinRange", "the desired count is within the acceptable range"


def _too_many(by_rate: bool) -> tuple[str, str]:
    if by_rate:
        return "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
    return "TooManyReplicas", "the desired replica count is more than the maximum replica count"


def _limit(memory: Memory, rules: Obj, current: int, now: float, direction: int) -> int:
    """How far the rules let the target go. In: `direction` 1 up, -1 down."""
    select = rules.get("selectPolicy") or "Max"
    if select == "Disabled":
        return current
    reach = []
    for policy in rules.get("policies") or []:
        since = now - policy["periodSeconds"]
        added = sum(by for at, by in memory.ups if at > since)
        removed = sum(by for at, by in memory.downs if at > since)
        start = current - added + removed
        if policy["type"] == "Pods":
            reach.append(start + direction * policy["value"])
        elif direction > 0:  # rounded up, or a small target would never grow
            reach.append(math.ceil(start * (100 + policy["value"]) / 100))
        else:
            reach.append(int(start * (100 - policy["value"]) / 100))
    widest = max if (select == "Max") == (direction > 0) else min
    return widest(reach, default=current)
