"""NodeResourcesBalancedAllocation: likes nodes on which cpu and memory would be used to the same fraction.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go.
"""

from collections.abc import Sequence

from controllers.scheduler.framework import MAX_SCORE, Cycle, Plugin

_HALF = MAX_SCORE / 2


class NodeResourcesBalancedAllocation(Plugin):
    name = "NodeResourcesBalancedAllocation"

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        snapshot, requests = cycle.snapshot, cycle.pod.requests
        cpu, memory = requests.get("cpu", 0), requests.get("memory", 0)
        if not cpu and not memory:
            return None  # it would use nothing, so no node becomes more or less balanced by it
        has_cpu, used_cpu = (snapshot.column(t, "cpu") for t in (snapshot.allocatable, snapshot.requested))
        has_memory, used_memory = (snapshot.column(t, "memory") for t in (snapshot.allocatable, snapshot.requested))
        scores: list[float] = []
        for row in rows:
            if not has_cpu[row] or not has_memory[row]:
                scores.append(MAX_SCORE)
                continue
            a, b = (used_cpu[row] + cpu) / has_cpu[row], (used_memory[row] + memory) / has_memory[row]
            if a > 1 or b > 1:  # only where it asks for just one of the two and the other is overcommitted already
                a, b = min(a, 1.0), min(b, 1.0)
            scores.append(int((2 - (a - b if a > b else b - a)) * _HALF))
        return scores
