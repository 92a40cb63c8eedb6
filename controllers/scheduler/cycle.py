"""The scheduling cycle: from one pod and the snapshot to one node, or to the reasons why there is none.

Who calls it: main.py, holding the scheduler's lock; the preemption plugin asks `fits` what-if questions.
Invariants: pure with respect to the API and the clock; the snapshot is left as it was found; when no node fits, every row has
a verdict. Pods for which a preemption has made room count as being there already for everyone of lower or equal priority.
Upstream: pkg/scheduler/schedule_one.go (schedulePod, findNodesThatFitPod, selectHost).
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.framework import Cycle, Profile, Verdict
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.snapshot import Snapshot

_ALWAYS_ALL = 100
_LEAST_PERCENT, _PERCENT, _NODES_PER_PERCENT = 5, 50, 125
_CHUNK = 64


class Placement(NamedTuple):
    """The decision: `scores` are each plugin's weighted scores of the feasible `rows`; `judged` counts rows looked at."""

    node: str
    cycle: Cycle
    rows: Sequence[int]
    scores: dict[str, list[float]]
    rejected: dict[int, Verdict]
    judged: int


def enough_nodes(nodes: int, percentage: int = 0) -> int:
    """How many feasible nodes are worth scoring: `percentage` of them; with 0 a share that shrinks with the cluster."""
    if nodes < _ALWAYS_ALL:
        return nodes
    percent = percentage or max(_LEAST_PERCENT, _PERCENT - nodes // _NODES_PER_PERCENT)
    return max(_ALWAYS_ALL, nodes * percent // 100)


def fits(profile: Profile, snapshot: Snapshot, pod: PodInfo, row: int) -> Verdict | None:
    """The verdict on one row as the snapshot stands now, nominated pods included; None = it fits."""
    nominated = _nominated(snapshot, pod).get(row)
    if nominated:
        with snapshot.pretend(add=nominated):
            verdict = _judge_row(profile, snapshot, pod, row)
        if verdict is not None:
            return verdict
    return _judge_row(profile, snapshot, pod, row)


def _judge_row(profile: Profile, snapshot: Snapshot, pod: PodInfo, row: int) -> Verdict | None:
    cycle = Cycle(pod, snapshot)
    everywhere = profile.pre_filter(cycle)
    return everywhere or profile.filter(cycle, [row])[1].get(row)


def _nominated(snapshot: Snapshot, pod: PodInfo) -> dict[int, list[PodInfo]]:
    """By row, the pods that have been promised room there and that this pod may not push aside."""
    found: dict[int, list[PodInfo]] = {}
    for other in snapshot.nominated.values():
        row = snapshot.rows.get(other.node)
        if (
            row is not None
            and other.key != pod.key
            and other.priority >= pod.priority
            and other.key not in snapshot.pods
        ):
            found.setdefault(row, []).append(other)
    return found


def _feasible(profile: Profile, cycle: Cycle, rows: Sequence[int]) -> tuple[Sequence[int], dict[int, Verdict]]:
    """Filter these rows, then once more those with nominated pods, as if these were there."""
    rows, rejected = profile.filter(cycle, rows)
    promised = _nominated(cycle.snapshot, cycle.pod) if cycle.snapshot.nominated else {}
    for row in promised.keys() & set(rows):
        with cycle.snapshot.pretend(add=promised[row]):
            verdict = _judge_row(profile, cycle.snapshot, cycle.pod, row)
        if verdict is not None:
            rejected[row] = verdict
    if promised:
        rows = [row for row in rows if row not in rejected]
    return rows, rejected


class Search:
    """Finds nodes for pods. In a large cluster it remembers where it stopped, so that all nodes get their turn."""

    def __init__(self, profile: Profile, rng: random.Random | None = None, percentage: int = 0) -> None:
        self.profile, self._percentage = profile, percentage
        self._rng = rng or random.Random()
        self._next = 0

    def place(self, snapshot: Snapshot, pod: PodInfo) -> Placement:
        """Choose the node for a pod. Raises NoFit."""
        cycle, nodes = Cycle(pod, snapshot), len(snapshot.nodes)
        if not nodes:
            raise NoFit(0, {})
        everywhere = self.profile.pre_filter(cycle)
        if everywhere is not None:
            raise NoFit(nodes, dict.fromkeys(range(nodes), everywhere), everywhere)
        rows = self._promised_to(pod, cycle)
        rejected: dict[int, Verdict] = {}
        judged = 1
        if not rows:
            rows, rejected, judged = self._search(cycle)
        if not rows:
            raise NoFit(nodes, rejected)
        if len(rows) == 1:
            return Placement(snapshot.nodes[rows[0]].name, cycle, rows, {}, rejected, judged)
        total, scores = self.profile.score(cycle, rows)
        best = max(total)
        chosen = self._rng.choice([row for row, score in zip(rows, total, strict=True) if score == best])
        return Placement(snapshot.nodes[chosen].name, cycle, rows, scores, rejected, judged)

    def _promised_to(self, pod: PodInfo, cycle: Cycle) -> Sequence[int]:
        """The row a preemption has emptied for this pod, if it can go there now."""
        mine = cycle.snapshot.nominated.get(pod.key)
        row = cycle.snapshot.rows.get(mine.node) if mine else None
        return [] if row is None else _feasible(self.profile, cycle, [row])[0]

    def _search(self, cycle: Cycle) -> tuple[Sequence[int], dict[int, Verdict], int]:
        nodes = len(cycle.snapshot.nodes)
        wanted = enough_nodes(nodes, self._percentage)
        if wanted >= nodes:
            return *_feasible(self.profile, cycle, range(nodes)), nodes
        start = self._next % nodes
        order = [*range(start, nodes), *range(start)]
        found: list[int] = []
        rejected: dict[int, Verdict] = {}
        judged = 0
        while judged < nodes and len(found) < wanted:
            chunk = order[judged : judged + max(_CHUNK, wanted - len(found))]
            judged += len(chunk)
            rows, refused = _feasible(self.profile, cycle, chunk)
            found.extend(rows)
            rejected.update(refused)
        self._next = (start + judged) % nodes
        return found[:wanted], rejected, judged
