"""Why a pod fits nowhere, in upstream's words, and what was decided about each node at the latest attempt of every pod.

Who calls it: cycle.py and the preemption plugin word their failures here; main.py records attempts and serves `explain`.
Invariant: bounded: at most `_PODS` attempts are kept, and of a large cluster only the first `EXPLAINED_NODES` refusals
each, no scores.
Upstream: framework.FitError (pkg/scheduler/framework/types.go). Keeping the attempts is ours.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controllers.scheduler.framework import Verdict
from minikube_py.api.types import Obj

EXPLAINED_NODES = 100
_PODS = 2000

NO_NODES = "no nodes available to schedule pods"


def no_fit_message(nodes: int, reasons: Mapping[str, int]) -> str:
    """ "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu." """
    listed = sorted(f"{number} {reason}" for reason, number in reasons.items() if number)
    return f"0/{nodes} nodes are available:" + (f" {', '.join(listed)}." if listed else "")


def count_reasons(verdicts: Iterable[Verdict]) -> Counter[str]:
    """How many nodes gave each reason; a node may give several."""
    return Counter(reason for verdict in verdicts for reason in verdict.reasons)


class NoFit(Exception):
    """No node can take the pod. `rejected` has a verdict for every row; `everywhere` is one plugin's verdict on all."""

    def __init__(self, nodes: int, rejected: Mapping[int, Verdict], everywhere: Verdict | None = None) -> None:
        self.nodes, self.rejected, self.everywhere = nodes, rejected, everywhere
        super().__init__(self._message())

    def _message(self) -> str:
        if not self.nodes:
            return NO_NODES
        if self.everywhere is not None:
            return f"0/{self.nodes} nodes are available: {', '.join(self.everywhere.reasons)}."
        return no_fit_message(self.nodes, count_reasons(self.rejected.values()))

    @property
    def plugins(self) -> frozenset[str]:
        """Who refused: an event that none of these cares about cannot help."""
        found = {verdict.plugin for verdict in self.rejected.values()}
        return frozenset(found | ({self.everywhere.plugin} if self.everywhere else set()))


@dataclass(slots=True)
class Attempt:
    """The outcome of one scheduling attempt. `rejected` and `scores` are by node name, scores weighted, by plugin."""

    uid: str
    time: str
    number: int
    node: str
    message: str
    nodes: int
    rejected: dict[str, Verdict] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_object(self) -> Obj:
        nodes: dict[str, Obj] = {
            name: {
                "verdict": "Rejected",
                "plugin": v.plugin,
                "reasons": list(v.reasons),
                "preemptible": not v.unresolvable,
            }
            for name, v in self.rejected.items()
        }
        for name, by_plugin in self.scores.items():
            nodes[name] = {"verdict": "Feasible", "score": sum(by_plugin.values()), "plugins": by_plugin}
        if self.node:
            nodes.setdefault(self.node, {"verdict": "Feasible"})["chosen"] = True
        return {
            "uid": self.uid, "time": self.time, "attempt": self.number, "node": self.node, "message": self.message,
            "nodeCount": self.nodes, "nodes": nodes,
        }  # fmt: skip


class Attempts:
    """The latest attempt of each pod. Not locked: used under the scheduler's lock."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()

    def record(self, key: str, attempt: Attempt) -> None:
        if len(attempt.rejected) > EXPLAINED_NODES:
            attempt.rejected = dict(list(attempt.rejected.items())[:EXPLAINED_NODES])
        self._attempts[key] = attempt
        self._attempts.move_to_end(key)
        while len(self._attempts) > _PODS:
            self._attempts.popitem(last=False)

    def forget(self, key: str) -> None:
        self._attempts.pop(key, None)

    def explain(self, namespace: str, name: str) -> Obj | None:
        """The verdict and the scores of every node at the pod's latest attempt; None when there was none."""
        attempt = self._attempts.get(f"{namespace}/{name}")
        return attempt.as_object() if attempt else None
