"""NodeResourcesFit: what the pod requests must be free on the node; emptier nodes are liked more (LeastAllocated).

Who calls it: the framework. Invariant: with this filter and the snapshot's exact sums, no node's allocatable is ever exceeded,
in any resource, the number of pods and devices included.
Upstream: pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated}.go.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import (
    MAX_SCORE,
    NODE_ADD,
    NODE_ALLOCATABLE,
    POD_DELETE,
    POD_SCALE_DOWN,
    Cycle,
    Plugin,
    Verdict,
)  # fmt: skip
from controllers.scheduler.podinfo import PodInfo

_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")


def _reason(resource: str) -> str:
    return "Too many pods" if resource == "pods" else f"Insufficient {resource}"


def _wanted(pod: PodInfo) -> list[tuple[str, int]]:
    """What it asks for, in the order upstream reports it."""
    ordered = sorted(pod.requests, key=lambda r: (_FIRST.index(r) if r in _FIRST else len(_FIRST), r))
    return [(resource, pod.requests[resource]) for resource in ordered if pod.requests[resource] > 0]


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"
    events = frozenset([NODE_ADD, NODE_ALLOCATABLE, POD_DELETE, POD_SCALE_DOWN])

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        snapshot = cycle.snapshot
        lacking: dict[int, list[str]] = {}
        never: set[int] = set()
        for resource, wanted in _wanted(cycle.pod):
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
        snapshot, pod = cycle.snapshot, cycle.pod
        halves = []
        for resource, used, more in (
            ("cpu", snapshot.nonzero_cpu, pod.nonzero_cpu), ("memory", snapshot.nonzero_memory, pod.nonzero_memory),
        ):  # fmt: skip
            has = snapshot.column(snapshot.allocatable, resource)
            halves.append([(free * MAX_SCORE // has[r]) if (free := has[r] - used[r] - more) > 0 else 0 for r in rows])
        return [(cpu + memory) // 2 for cpu, memory in zip(*halves, strict=True)]
