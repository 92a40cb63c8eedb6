"""PodTopologySpread: keeps the pods a selector means evenly over zones, nodes, or any other label's values.

Who calls it: the framework. DoNotSchedule constraints filter; ScheduleAnyway ones score, as do the default constraints that
pods of a Service, ReplicaSet, ReplicationController or StatefulSet get when they state none of their own.
Invariant: after a placement by the filter, the pod's domain holds at most maxSkew pods more than the emptiest eligible one.
Pods are counted per group of equal labels (snapshot.groups), so the cost does not grow with replicas.
Upstream: pkg/scheduler/framework/plugins/podtopologyspread/{filtering,scoring,common}.go.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from controllers.scheduler.framework import (
    MAX_SCORE,
    NODE_ADD,
    NODE_DELETE,
    NODE_LABEL,
    NODE_TAINT,
    POD_ADD,
    POD_DELETE,
    POD_LABEL,
    SKIP,
    Cycle,
    Handle,
    Lister,
    Plugin,
    PreFilter,
    Verdict,
    only,
)  # fmt: skip
from controllers.scheduler.nodematch import matching_rows
from controllers.scheduler.plugins.owner_selector import default_selector
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api.selectors import Requirement, Selector, from_label_selector
from minikube_py.api.tolerations import first_untolerated, tolerations_of
from minikube_py.api.types import Obj

_HOSTNAME, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_DEFAULTS: tuple[Obj, ...] = tuple(
    {"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "ScheduleAnyway"}
    for key, skew in ((_HOSTNAME, 3), (_ZONE, 5))
)


class Constraint(NamedTuple):
    """One entry of topologySpreadConstraints, read."""

    key: str
    max_skew: int
    min_domains: int
    selector: Selector
    honor_affinity: bool = True
    honor_taints: bool = False


def constraints_of(
    pod: PodInfo, when: str, entries: Sequence[Obj] | None = None, selecting: Selector | None = None
) -> list[Constraint]:
    """The constraints with this whenUnsatisfiable; matchLabelKeys become part of the selector.

    In: `entries`: not the pod's own but these, all `selecting` the same.
    """
    found = []
    for entry in (pod.spec.get("topologySpreadConstraints") if entries is None else entries) or ():
        if entry.get("whenUnsatisfiable") != when:
            continue
        selector = selecting or from_label_selector(entry.get("labelSelector"))
        keys = [key for key in entry.get("matchLabelKeys") or () if key in pod.labels]
        if keys and not selector.nothing:
            extra = tuple(Requirement(key, "In", frozenset([pod.labels[key]])) for key in keys)
            selector = Selector(selector.requirements + extra)
        found.append(Constraint(
            entry.get("topologyKey", ""), entry.get("maxSkew", 1), entry.get("minDomains") or 1, selector,
            (entry.get("nodeAffinityPolicy") or "Honor") == "Honor", entry.get("nodeTaintsPolicy") == "Honor",
        ))  # fmt: skip
    return found


def _eligible(cycle: Cycle, constraint: Constraint) -> list[bool] | None:
    """Per row, whether its pods count for the constraint; None = all do."""
    affine = matching_rows(cycle) if constraint.honor_affinity else None
    if not constraint.honor_taints:
        return affine
    tolerations = tolerations_of(cycle.pod.pod)
    clean = [first_untolerated(taints, tolerations) is None for taints in cycle.snapshot.taint_sets]
    tolerated = [clean[number] for number in cycle.snapshot.taints]
    return tolerated if affine is None else [a and b for a, b in zip(affine, tolerated, strict=True)]


def _per_node(cycle: Cycle, selector: Selector) -> Counter[str]:
    """How many matching pods of the pod's namespace, not counting terminating ones, each node holds."""
    counts: Counter[str] = Counter()
    for group, nodes in cycle.snapshot.groups_meant(selector):
        if group.namespace == cycle.pod.namespace and not group.terminating:
            counts.update(nodes)
    return counts


def _per_domain(
    cycle: Cycle, constraint: Constraint, rows: Sequence[int], labelled: Sequence[bool] | None
) -> dict[str, int]:
    """Matching pods per value of the topology key; domains are those of the eligible `rows` that carry all keys."""
    eligible = _eligible(cycle, constraint)
    column = cycle.snapshot.label_column(constraint.key)
    domains: dict[str, int] = {}
    for row in rows:
        value = column[row]
        if value is not None and (labelled is None or labelled[row]) and (eligible is None or eligible[row]):
            domains[value] = 0
    for name, number in _per_node(cycle, constraint.selector).items():
        row = cycle.snapshot.rows[name]
        value = column[row]
        if value not in domains or (labelled is not None and not labelled[row]):
            continue
        if eligible is None or eligible[row]:
            domains[value] += number
    return domains


def _with_all_keys(cycle: Cycle, constraints: Sequence[Constraint]) -> list[bool]:
    columns = [cycle.snapshot.label_column(c.key) for c in constraints]
    return [None not in values for values in zip(*columns, strict=True)]


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"
    events = frozenset([NODE_ADD, NODE_DELETE, NODE_LABEL, NODE_TAINT, POD_ADD, POD_DELETE, POD_LABEL])
    _UNEVEN = Verdict(name, ("node(s) didn't match pod topology spread constraints",))
    _UNLABELLED = Verdict(
        name, ("node(s) didn't match pod topology spread constraints (missing required label)",), unresolvable=True
    )

    def __init__(self, lister: Lister, defaults: Sequence[Obj] = _DEFAULTS) -> None:
        """In: `defaults`: constraints without selector, for pods that state none."""
        self._lister, self._defaults = lister, tuple(defaults)

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args, "defaultConstraints", "defaultingType")
        own, system = args.get("defaultConstraints"), args.get("defaultingType") == "System"
        if own and system:
            raise ValueError("defaultConstraints must be empty when defaultingType is System")
        return cls(handle.lister) if own is None or system else cls(handle.lister, own)

    def _constraints(self, pod: PodInfo, when: str) -> tuple[list[Constraint], bool]:
        """The constraints with this whenUnsatisfiable, and whether every node must carry all their keys to count.

        A pod that states none gets the defaults, about the pods that its Services or its controller mean.
        """
        if pod.spec.get("topologySpreadConstraints"):
            return constraints_of(pod, when), True
        if not any(entry["whenUnsatisfiable"] == when for entry in self._defaults):
            return [], False
        selector = default_selector(pod.pod, self._lister)
        if selector is None:
            return [], False
        return constraints_of(pod, when, self._defaults, selector), self._defaults is not _DEFAULTS

    # -- DoNotSchedule ------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        constraints, _ = self._constraints(cycle.pod, "DoNotSchedule")
        if not constraints:
            return SKIP
        labelled = _with_all_keys(cycle, constraints)
        room: list[dict[str | None, Verdict | None]] = []
        for constraint in constraints:
            counts = _per_domain(cycle, constraint, range(len(labelled)), labelled)
            least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
            itself = constraint.selector.matches(cycle.pod.labels)
            most = least + constraint.max_skew - itself
            # A domain of ineligible nodes only counts as empty: it has no pods that matter.
            verdicts: dict[str | None, Verdict | None] = {
                value: None if counts.get(value, 0) <= most else self._UNEVEN
                for value in set(cycle.snapshot.label_column(constraint.key))
                if value is not None
            }
            room.append({**verdicts, None: self._UNLABELLED})
        cycle.state[self.name] = (constraints, room)
        return None

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        rejected: dict[int, Verdict] = {}
        constraints, room = cycle.state[self.name]
        for constraint, verdicts in zip(constraints, room, strict=True):
            column = cycle.snapshot.label_column(constraint.key)
            for row in rows:
                verdict = verdicts[column[row]]
                if verdict is not None:
                    rejected.setdefault(row, verdict)
        return rejected

    # -- ScheduleAnyway -----------------------------------------------------------------------------------------------

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        constraints, own = self._constraints(cycle.pod, "ScheduleAnyway")
        if not constraints:
            return None
        labelled = _with_all_keys(cycle, constraints) if own else None
        ignored = {row for row in rows if labelled is not None and not labelled[row]}
        cycle.state[self.name + "/ignored"] = ignored
        scores = [0.0] * len(rows)
        for constraint in constraints:
            column = cycle.snapshot.label_column(constraint.key)
            if constraint.key == _HOSTNAME:
                by_node, nodes = _per_node(cycle, constraint.selector), cycle.snapshot.nodes
                counts: list[int] = [by_node[nodes[row].name] if column[row] is not None else 0 for row in rows]
                size = len(rows) - len(ignored)
            else:
                domains = self._domains(cycle, constraint, rows, labelled)
                counts = [domains.get(value, 0) if (value := column[row]) is not None else 0 for row in rows]
                size = len(domains)
            weight = math.log(size + 2)
            scores = [
                score + (count * weight + constraint.max_skew - 1 if column[row] is not None else 0)
                for score, count, row in zip(scores, counts, rows, strict=True)
            ]
        return [0.0 if row in ignored else float(round(score)) for row, score in zip(rows, scores, strict=True)]

    @staticmethod
    def _domains(
        cycle: Cycle, constraint: Constraint, rows: Sequence[int], labelled: Sequence[bool] | None
    ) -> dict[str, int]:
        """Counts over all eligible nodes, but only of the domains that the feasible rows are in."""
        column = cycle.snapshot.label_column(constraint.key)
        candidates = {column[row] for row in rows}
        everywhere = _per_domain(cycle, constraint, range(len(column)), labelled)
        return {value: count for value, count in everywhere.items() if value in candidates}

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        ignored = cycle.state[self.name + "/ignored"]
        counted = [score for row, score in zip(rows, scores, strict=True) if row not in ignored]
        most, least = max(counted, default=0), min(counted, default=0)
        if most == 0:
            return [0.0 if row in ignored else float(MAX_SCORE) for row in rows]
        return [
            0.0 if row in ignored else float(MAX_SCORE * (most + least - score) // most)
            for row, score in zip(rows, scores, strict=True)
        ]
