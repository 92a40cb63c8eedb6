"""DefaultPreemption: makes room for a pod that fits nowhere by choosing pods of lower priority that have to go.

Who calls it: the framework's post_filter, inside the attempt; main.py then writes the outcome (victims deleted,
nominatedNodeName set) outside the lock. Invariants: only pods of lower priority are victims; on the chosen node no victim
could have been spared (each is put back in turn and stays if the newcomer still fits), the most important and those a
PodDisruptionBudget protects first; nobody is preempted for a pod whose victims are still terminating.
Upstream: pkg/scheduler/framework/plugins/defaultpreemption and framework/preemption.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from controllers.scheduler.cycle import fits
from controllers.scheduler.diagnosis import no_fit_message
from controllers.scheduler.framework import Cycle, Handle, Lister, Plugin, PostFilter, Profile, Verdict, only
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import meta
from minikube_py.api.gvr import PODDISRUPTIONBUDGETS
from minikube_py.api.selectors import Selector, from_label_selector
from minikube_py.api.types import Obj

_UNHELPFUL = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"
_LOWEST = -(2**31)


class Budget(NamedTuple):
    """What one PodDisruptionBudget still allows."""

    namespace: str
    selector: Selector
    allowed: int
    disrupted: frozenset[str]

    def covers(self, pod: PodInfo) -> bool:
        protected = self.namespace == pod.namespace and self.selector.matches(pod.labels)
        return protected and meta.name_of(pod.pod) not in self.disrupted


class Candidate(NamedTuple):
    """One node and the pods that would have to go, most important first; `violations` of them break a budget."""

    row: int
    victims: tuple[PodInfo, ...]
    violations: int


def _importance(pod: PodInfo) -> tuple[int, str]:
    """Sort key: higher priority first, then the one that has run longer."""
    started = (pod.pod.get("status") or {}).get("startTime") or pod.created
    return (-pod.priority, started)


def _split_by_budget(pods: Sequence[PodInfo], budgets: Sequence[Budget]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose loss would break a budget, and the others; every pod uses up one disruption of its budgets."""
    left = [budget.allowed for budget in budgets]
    breaking: list[PodInfo] = []
    harmless: list[PodInfo] = []
    for pod in pods:
        breaks = False
        for number, budget in enumerate(budgets):
            if pod.labels and budget.covers(pod):
                left[number] -= 1
                breaks = breaks or left[number] < 0
        (breaking if breaks else harmless).append(pod)
    return breaking, harmless


def _preference(candidate: Candidate) -> tuple[int, int, int, int]:
    """Smaller is better: budget violations, highest victim priority, sum of priorities, number of victims."""
    first = candidate.victims[0].priority
    total = sum(victim.priority - _LOWEST for victim in candidate.victims)
    return (candidate.violations, first, total, len(candidate.victims))


def _latest_start(candidate: Candidate) -> str:
    """When the longest-running of its most important victims started; the later the better."""
    highest = candidate.victims[0].priority
    return min(_importance(victim)[1] for victim in candidate.victims if victim.priority == highest)


class DefaultPreemption(Plugin):
    name = "DefaultPreemption"

    def __init__(self, lister: Lister, percent: int = 10, least: int = 100) -> None:
        """In: how many nodes are tried at most: `percent` of those that could help, and `least`."""
        self._lister, self._percent, self._least = lister, percent, least

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args, "minCandidateNodesPercentage", "minCandidateNodesAbsolute")
        percent, least = args.get("minCandidateNodesPercentage", 10), args.get("minCandidateNodesAbsolute", 100)
        return cls(handle.lister, percent, least)

    def post_filter(self, cycle: Cycle, profile: Profile, rejected: Mapping[int, Verdict]) -> PostFilter | None:
        reason = self._ineligible(cycle, rejected)
        if reason is not None:
            return PostFilter(f"preemption: {reason}")
        snapshot, pod = cycle.snapshot, cycle.pod
        hopeful = [row for row, verdict in rejected.items() if not verdict.unresolvable]
        reasons = Counter({_UNHELPFUL: len(rejected) - len(hopeful)})
        budgets = self._budgets() if hopeful else []
        wanted = max(len(hopeful) * self._percent // 100, self._least)
        candidates: list[Candidate] = []
        for row in hopeful:
            found = self._victims(cycle, profile, row, budgets)
            if isinstance(found, Candidate):
                candidates.append(found)
                if len(candidates) >= wanted and not all(c.violations for c in candidates):
                    break
            else:
                reasons.update(found)
        if not candidates:
            return PostFilter(f"preemption: {no_fit_message(len(snapshot.nodes), reasons)}", nominated="")
        least = min(map(_preference, candidates))
        best = max((c for c in candidates if _preference(c) == least), key=_latest_start)
        node = snapshot.nodes[best.row].name
        return PostFilter("", nominated=node, victims=tuple(v for v in best.victims if v.key != pod.key))

    def _ineligible(self, cycle: Cycle, rejected: Mapping[int, Verdict]) -> str | None:
        pod, snapshot = cycle.pod, cycle.snapshot
        if pod.spec.get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        nominated = snapshot.nominated.get(pod.key)
        row = snapshot.rows.get(nominated.node) if nominated else None
        if row is None or (row in rejected and rejected[row].unresolvable):
            return None
        if any(other.terminating and other.priority < pod.priority for other in snapshot.nodes[row].pods.values()):
            return "not eligible due to a terminating pod on the nominated node."
        return None

    def _budgets(self) -> list[Budget]:
        return [
            Budget(
                meta.namespace_of(pdb), from_label_selector(pdb["spec"].get("selector")),
                (pdb.get("status") or {}).get("disruptionsAllowed", 0),
                frozenset((pdb.get("status") or {}).get("disruptedPods") or ()),
            )
            for pdb in self._lister(PODDISRUPTIONBUDGETS)
        ]  # fmt: skip

    def _victims(
        self, cycle: Cycle, profile: Profile, row: int, budgets: Sequence[Budget]
    ) -> Candidate | tuple[str, ...]:
        """The smallest set of pods whose removal lets the pod fit on this row, or the reasons why there is none."""
        snapshot, pod = cycle.snapshot, cycle.pod
        lower = sorted((p for p in snapshot.nodes[row].pods.values() if p.priority < pod.priority), key=_importance)
        if not lower:
            return (_NO_VICTIMS,)
        breaking, harmless = _split_by_budget(lower, budgets)
        with ExitStack() as undo:
            undo.enter_context(snapshot.pretend(remove=lower))
            verdict = fits(profile, snapshot, pod, row)
            if verdict is not None:
                return verdict.reasons
            spared = [p for p in (*breaking, *harmless) if self._can_stay(p, cycle, profile, row, undo)]
        victims = tuple(p for p in lower if p not in spared)
        if not victims:
            return (_NO_VICTIMS,)
        return Candidate(row, victims, sum(victim in breaking for victim in victims))

    @staticmethod
    def _can_stay(one: PodInfo, cycle: Cycle, profile: Profile, row: int, undo: ExitStack) -> bool:
        """Put a pod back; leave it there (until `undo`) if the newcomer still fits beside it."""
        with ExitStack() as back:
            back.enter_context(cycle.snapshot.pretend(add=[one]))
            if fits(profile, cycle.snapshot, cycle.pod, row) is None:
                undo.push(back.pop_all())
                return True
        return False
