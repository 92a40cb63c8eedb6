"""NodeAffinity: nodeSelector, required node affinity (also by metadata.name), and preferred node affinity.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/nodeaffinity.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import (
    NODE_ADD,
    NODE_LABEL,
    SKIP,
    Cycle,
    Handle,
    Plugin,
    PreFilter,
    Verdict,
    normalise_by_max,
    only,
)  # fmt: skip
from controllers.scheduler.nodematch import matching_rows, term_rows
from minikube_py.api.nodeselector import preferred_terms, required_terms
from minikube_py.api.types import Obj


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    events = frozenset([NODE_ADD, NODE_LABEL])
    _REFUSED = Verdict(name, ("node(s) didn't match Pod's node affinity/selector",), unresolvable=True)
    _REFUSED_BY_ADDED = Verdict(name, ("node(s) didn't match scheduler-enforced node affinity",), unresolvable=True)

    def __init__(self, added: Obj | None = None) -> None:
        """In: `added`: a node affinity that holds for every pod of the profile besides its own."""
        self._added = {"spec": {"affinity": {"nodeAffinity": added or {}}}}

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args, "addedAffinity")
        return cls(args.get("addedAffinity"))

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        added = required_terms(self._added)
        accepted = None if added is None else [term_rows(cycle.snapshot, term) for term in added]
        cycle.state[self.name] = None if accepted is None else [any(row) for row in zip(*accepted, strict=True)]
        return SKIP if accepted is None and matching_rows(cycle) is None else None

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        refused: dict[int, Verdict] = {}
        for matching, verdict in (
            (cycle.state[self.name], self._REFUSED_BY_ADDED), (matching_rows(cycle), self._REFUSED),
        ):  # fmt: skip
            if matching is not None:
                refused = {row: verdict for row in rows if not matching[row]} | refused
        return refused

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        terms = [t for pod in (cycle.pod.pod, self._added) for t in preferred_terms(pod) if t.get("weight")]
        if not terms:
            return None
        scores = [0.0] * len(rows)
        for term in terms:
            matching, weight = term_rows(cycle.snapshot, term.get("preference") or {}), term["weight"]
            scores = [score + weight * matching[row] for score, row in zip(scores, rows, strict=True)]
        return scores

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        return normalise_by_max(scores)
