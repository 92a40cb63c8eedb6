"""NodeAffinity: nodeSelector, required node affinity (also by metadata.name), and preferred node affinity.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/nodeaffinity.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import (
    NODE_ADD,
    NODE_LABEL,
    SKIP,
    Cycle,
    Plugin,
    PreFilter,
    Verdict,
    normalise_by_max,
)  # fmt: skip
from controllers.scheduler.nodematch import matching_rows, term_rows
from minikube_py.api.nodeselector import preferred_terms


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    events = frozenset([NODE_ADD, NODE_LABEL])
    _REFUSED = Verdict(name, ("node(s) didn't match Pod's node affinity/selector",), unresolvable=True)

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        return SKIP if matching_rows(cycle) is None else None

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        matching = matching_rows(cycle)
        assert matching is not None
        return {row: self._REFUSED for row in rows if not matching[row]}

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        terms = [t for t in preferred_terms(cycle.pod.pod) if t.get("weight")]
        if not terms:
            return None
        scores = [0.0] * len(rows)
        for term in terms:
            matching, weight = term_rows(cycle.snapshot, term.get("preference") or {}), term["weight"]
            scores = [score + weight * matching[row] for score, row in zip(scores, rows, strict=True)]
        return scores

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        return normalise_by_max(scores)
