"""NodeResourcesFit: what the pod requests must be free on the node; emptier nodes are liked more, or fuller ones.

Who calls it: the framework. How much a node is liked follows the `scoringStrategy` of its args (LeastAllocated unless said):
LeastAllocated, MostAllocated (fills nodes up), RequestedToCapacityRatio (any curve over the utilisation).
Invariant: with this filter and the snapshot's exact sums, no node's allocatable is ever exceeded, in any resource, the number
of pods and devices included.
Upstream: pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated,most_allocated,requested_to_capacity_ratio}.go.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from controllers.scheduler.framework import (
    MAX_SCORE,
    NODE_ADD,
    NODE_ALLOCATABLE,
    POD_DELETE,
    POD_SCALE_DOWN,
    Cycle,
    Handle,
    Plugin,
    Verdict,
    only,
)  # fmt: skip
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api.types import Obj

_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")
Strategy = Callable[[Sequence[int], Sequence[int], int, Sequence[int]], list[int]]
"""(allocatable column, used column, what the pod adds, rows) → 0..MAX_SCORE per row. One call per column, none per node."""


def _reason(resource: str) -> str:
    return "Too many pods" if resource == "pods" else f"Insufficient {resource}"


def _least(has: Sequence[int], used: Sequence[int], more: int, rows: Sequence[int]) -> list[int]:
    return [(free * MAX_SCORE // has[r]) if (free := has[r] - used[r] - more) > 0 else 0 for r in rows]


def _most(has: Sequence[int], used: Sequence[int], more: int, rows: Sequence[int]) -> list[int]:
    return [(taken * MAX_SCORE // has[r]) if 0 < (taken := used[r] + more) <= has[r] else 0 for r in rows]


def _ratio(shape: Sequence[Obj]) -> Strategy:
    """A broken line through the points (utilisation in percent, score 0..10), as a table of 101 values."""
    points = [(point["utilization"], point["score"] * MAX_SCORE // 10) for point in shape]
    if not points or points != sorted(points, key=lambda p: p[0]) or not all(0 <= u <= 100 for u, _ in points):
        raise ValueError("requestedToCapacityRatio.shape needs points of growing utilization from 0 to 100")
    table = [_interpolate(points, percent) for percent in range(101)]

    def ratio(has: Sequence[int], used: Sequence[int], more: int, rows: Sequence[int]) -> list[int]:
        return [table[taken * 100 // has[r]] if (taken := used[r] + more) <= has[r] > 0 else table[100] for r in rows]

    return ratio


def _interpolate(points: Sequence[tuple[int, int]], percent: int) -> int:
    if percent <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if percent <= right:
            return low + int((high - low) * (percent - left) / (right - left))
    return points[-1][1]


def _transposed(scored: Sequence[tuple[int, list[int]]]) -> Iterable[tuple[int, ...]]:
    return zip(*(column for _, column in scored), strict=True)


def _mean(weighted: Sequence[tuple[int, int]]) -> float:
    return round(sum(w * n for w, n in weighted) / sum(w for w, _ in weighted)) if weighted else 0


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"
    events = frozenset([NODE_ADD, NODE_ALLOCATABLE, POD_DELETE, POD_SCALE_DOWN])

    def __init__(
        self, strategy: Strategy = _least, weights: Mapping[str, int] | None = None, ignored: Sequence[str] = ()
    ) -> None:
        """In: `weights` per resource that scores; `ignored`: extended resources that the filter leaves to others."""
        self._strategy, self._ignored = strategy, tuple(ignored)
        self._weights = dict(weights or {"cpu": 1, "memory": 1})

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args, "scoringStrategy", "ignoredResources", "ignoredResourceGroups")
        wanted = args.get("scoringStrategy") or {}
        kind = wanted.get("type", "LeastAllocated")
        strategies: dict[str, Callable[[], Strategy]] = {
            "LeastAllocated": lambda: _least, "MostAllocated": lambda: _most,
            "RequestedToCapacityRatio": lambda: _ratio((wanted.get("requestedToCapacityRatio") or {}).get("shape") or ()),
        }  # fmt: skip
        if kind not in strategies:
            raise ValueError(f"scoringStrategy.type {kind!r} is not one of {', '.join(strategies)}")
        groups = [f"{group}/" for group in args.get("ignoredResourceGroups") or ()]
        weights = {entry["name"]: entry.get("weight", 1) for entry in wanted.get("resources") or ()}
        return cls(strategies[kind](), weights, [*(args.get("ignoredResources") or ()), *groups])

    def _wanted(self, pod: PodInfo) -> list[tuple[str, int]]:
        """What it asks for, in the order upstream reports it."""
        ordered = sorted(pod.requests, key=lambda r: (_FIRST.index(r) if r in _FIRST else len(_FIRST), r))
        return [(r, pod.requests[r]) for r in ordered if pod.requests[r] > 0 and not self._left_to_others(r)]

    def _left_to_others(self, resource: str) -> bool:
        return any(resource == one or (one.endswith("/") and resource.startswith(one)) for one in self._ignored)

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        snapshot = cycle.snapshot
        lacking: dict[int, list[str]] = {}
        never: set[int] = set()
        for resource, wanted in self._wanted(cycle.pod):
            has = snapshot.column(snapshot.allocatable, resource)
            used = snapshot.column(snapshot.requested, resource)
            for row in [row for row in rows if has[row] - used[row] < wanted]:
                lacking.setdefault(row, []).append(_reason(resource))
                if wanted > has[row]:
                    never.add(row)
        verdicts: dict[tuple[str, ...], Verdict] = {}
        result = {}
        for row, found in lacking.items():
            reasons = tuple(found)
            verdict = verdicts.get(reasons)
            if verdict is None or verdict.unresolvable != (row in never):
                verdict = verdicts[reasons] = Verdict(self.name, reasons, unresolvable=row in never)
            result[row] = verdict
        return result

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        scored = []
        for resource, weight in self._weights.items():
            used, more = self._use(cycle, resource)
            if more or resource in ("cpu", "memory"):  # a device that the pod does not ask for says nothing about it
                has = cycle.snapshot.column(cycle.snapshot.allocatable, resource)
                scored.append((weight, self._strategy(has, used, more, rows)))
        if not scored:
            return None
        if self._strategy not in (_least, _most):  # a curve's zeros say nothing: the other resources decide
            return [_mean([(w, n) for (w, _), n in zip(scored, row, strict=True) if n]) for row in _transposed(scored)]
        total = sum(weight for weight, _ in scored)
        if total == len(scored) == 2:  # cpu and memory alike: what nearly every cluster uses
            return [(a + b) // 2 for a, b in zip(scored[0][1], scored[1][1], strict=True)]
        sums = [0] * len(rows)
        for weight, column in scored:
            sums = [a + weight * b for a, b in zip(sums, column, strict=True)]
        return [number // total for number in sums]

    @staticmethod
    def _use(cycle: Cycle, resource: str) -> tuple[Sequence[int], int]:
        """What is used of it per row and what the pod adds; pods that request no cpu or memory count as small, not as none."""
        snapshot, pod = cycle.snapshot, cycle.pod
        if resource == "cpu":
            return snapshot.nonzero_cpu, pod.nonzero_cpu
        if resource == "memory":
            return snapshot.nonzero_memory, pod.nonzero_memory
        return snapshot.column(snapshot.requested, resource), pod.requests.get(resource, 0)
