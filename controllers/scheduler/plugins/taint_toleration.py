"""TaintToleration: NoSchedule and NoExecute taints keep pods away, PreferNoSchedule makes a node less liked.

Who calls it: the framework. Invariant: each distinct set of taints is judged once per pod, however many nodes carry it.
Upstream: pkg/scheduler/framework/plugins/tainttoleration.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import (
    NODE_ADD,
    NODE_TAINT,
    SKIP,
    Cycle,
    Plugin,
    PreFilter,
    Verdict,
    normalise_by_max,
)  # fmt: skip
from minikube_py.api.tolerations import BLOCKING, first_untolerated, tolerates, tolerations_of


class TaintToleration(Plugin):
    name = "TaintToleration"
    events = frozenset([NODE_ADD, NODE_TAINT])

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        tolerations = tolerations_of(cycle.pod.pod)
        refused: dict[int, Verdict] = {}
        for number, taints in enumerate(cycle.snapshot.taint_sets):
            taint = first_untolerated(taints, tolerations, BLOCKING)
            if taint is not None:
                reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
                refused[number] = Verdict(self.name, (reason,), unresolvable=True)
        cycle.state[self.name] = refused
        return None if refused else SKIP

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        refused, taints = cycle.state[self.name], cycle.snapshot.taints
        return {row: refused[taints[row]] for row in rows if taints[row] in refused}

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        tolerations = tolerations_of(cycle.pod.pod)
        disliked = [
            sum(t.effect == "PreferNoSchedule" and not any(tolerates(x, t) for x in tolerations) for t in taints)
            for taints in cycle.snapshot.taint_sets
        ]
        if not any(disliked):
            return None
        return [disliked[number] for number in map(cycle.snapshot.taints.__getitem__, rows)]

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        return normalise_by_max(scores, reverse=True)
