"""InterPodAffinity: pods that want to be near, or away from, other pods, "near" meaning the same value of a node label.

Who calls it: the framework. Required terms filter, in both directions for anti-affinity (pods that are there may refuse the
newcomer); preferred terms of both sides score. Invariant: terms and pods are matched once per distinct term and once per
group of equal labels; what remains per node is a look-up of its label value.
Upstream: pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from controllers.scheduler.framework import (
    MAX_SCORE,
    NAMESPACE_LABEL,
    NODE_ADD,
    NODE_LABEL,
    POD_ADD,
    POD_DELETE,
    POD_LABEL,
    SKIP,
    Cycle,
    Handle,
    Plugin,
    PreFilter,
    Verdict,
    only,
)  # fmt: skip
from controllers.scheduler.podinfo import AffinityTerm
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api.types import Obj

Domains = Counter[tuple[str, str]]
"""(topology key, value) → a number of pods, or a score."""


def _add(domains: Domains, snapshot: Snapshot, key: str, nodes: Mapping[str, int], weight: int = 1) -> None:
    """Count pods on nodes (name → how many) into the domains those nodes are in."""
    column = snapshot.label_column(key)
    for name, number in nodes.items():
        value = column[snapshot.rows[name]]
        if value is not None:
            domains[key, value] += weight * number


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"
    events = frozenset([NODE_ADD, NODE_LABEL, POD_ADD, POD_DELETE, POD_LABEL, NAMESPACE_LABEL])
    _AFFINITY = Verdict(name, ("node(s) didn't match pod affinity rules",), unresolvable=True)
    _ANTI_AFFINITY = Verdict(name, ("node(s) didn't match pod anti-affinity rules",))
    _REFUSED_BY_OTHERS = Verdict(name, ("node(s) didn't satisfy existing pods anti-affinity rules",))

    def __init__(
        self, namespace_labels: Callable[[str], Mapping[str, str]], hard_weight: int = 1, only_own: bool = False
    ) -> None:
        """In: what a required term of a pod that is there counts in scores; `only_own`: preferences of those do not count."""
        self._namespace_labels, self._hard_weight, self._only_own = namespace_labels, hard_weight, only_own

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args, "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods")
        weight, only_own = args.get("hardPodAffinityWeight", 1), args.get("ignorePreferredTermsOfExistingPods", False)
        return cls(handle.namespace_labels, weight, only_own)

    def _meant_by(self, term: AffinityTerm, cycle: Cycle) -> bool:
        """Whether the incoming pod is one the term is about."""
        namespace = cycle.pod.namespace
        return term.matches(namespace, cycle.pod.labels, self._namespace_labels(namespace))

    def _matching(self, terms: Iterable[AffinityTerm], cycle: Cycle) -> Counter[str]:
        """Per node, how many of its pods all of the terms mean."""
        terms, nodes = list(terms), Counter[str]()
        for group, held in cycle.snapshot.groups_meant(terms[0].selector):
            labels, around = dict(group.labels), self._namespace_labels(group.namespace)
            if all(term.matches(group.namespace, labels, around) for term in terms):
                nodes.update(held)
        return nodes

    # -- required -----------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        pod, snapshot = cycle.pod, cycle.snapshot
        refusing, wanted, unwanted = Domains(), Domains(), Domains()
        for term, nodes in snapshot.anti_affinity_terms.items():
            if self._meant_by(term, cycle):
                _add(refusing, snapshot, term.topology_key, nodes)
        if pod.affinity:
            together = self._matching(pod.affinity, cycle)
            for term in pod.affinity:
                _add(wanted, snapshot, term.topology_key, together)
        for term in pod.anti_affinity:
            _add(unwanted, snapshot, term.topology_key, self._matching([term], cycle))
        if not refusing and not pod.affinity and not unwanted:
            return SKIP
        # The first pod of a set that wants to be together finds nobody yet: it may start anywhere.
        first = bool(pod.affinity) and not wanted and all(self._meant_by(term, cycle) for term in pod.affinity)
        cycle.state[self.name] = (refusing, wanted, unwanted, first)
        return None

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        refusing, wanted, unwanted, first = cycle.state[self.name]
        snapshot = cycle.snapshot
        rejected: dict[int, Verdict] = {}
        for term in cycle.pod.affinity:
            column = snapshot.label_column(term.topology_key)
            for row in rows:
                value = column[row]
                if value is None or not (first or wanted[term.topology_key, value] > 0):
                    rejected[row] = self._AFFINITY
        for domains, verdict in ((unwanted, self._ANTI_AFFINITY), (refusing, self._REFUSED_BY_OTHERS)):
            for key in {key for key, _ in domains}:
                column = snapshot.label_column(key)
                for row in rows:
                    if column[row] is not None and domains[key, column[row]] > 0:
                        rejected.setdefault(row, verdict)
        return rejected

    # -- preferred ----------------------------------------------------------------------------------------------------

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        snapshot, domains = cycle.snapshot, Domains()
        for term, weight in cycle.pod.preferred:
            _add(domains, snapshot, term.topology_key, self._matching([term], cycle), weight)
        for term, nodes in snapshot.affinity_terms.items():
            if self._meant_by(term, cycle):
                _add(domains, snapshot, term.topology_key, nodes, self._hard_weight)
        for (term, weight), nodes in () if self._only_own else snapshot.preferred_terms.items():
            if self._meant_by(term, cycle):
                _add(domains, snapshot, term.topology_key, nodes, weight)
        if not domains:
            return None
        scores = [0.0] * len(rows)
        for key in {key for key, _ in domains}:
            column = snapshot.label_column(key)
            values = [column[row] for row in rows]
            scores = [s + (domains[key, v] if v is not None else 0) for s, v in zip(scores, values, strict=True)]
        return scores

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        most, least = max(scores), min(scores)
        if most == least:
            return [0.0] * len(scores)
        return [float(int(MAX_SCORE * (score - least) / (most - least))) for score in scores]
