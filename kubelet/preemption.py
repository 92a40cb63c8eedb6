"""Making room for a critical pod: which pods have to go so that its requests fit. Pure.

Who calls it: `pod_manager` when a critical pod is refused for want of resources only. Invariants: as little as possible dies,
best effort before burstable before guaranteed, fewest pods first; nothing dies when it would not be enough.
Upstream: pkg/kubelet/preemption/preemption.go.
"""

from collections.abc import Mapping, Sequence

from kubelet.qos import qos_class
from kubelet.status import Disruption, Verdict
from minikube_py.api.podresources import BEST_EFFORT, BURSTABLE, GUARANTEED, is_critical, pod_requests
from minikube_py.api.types import Obj

VERDICT = Verdict(
    "Preempting", "Preempted in order to admit critical pod",
    disruption=Disruption("TerminationByKubelet", "Pod was preempted by Kubelet to accommodate a critical pod."),
)  # fmt: skip


def victims(pod: Obj, others: Sequence[Obj], missing: Mapping[str, int]) -> list[Obj] | None:
    """The pods to end, None when not even all of them would do. In: `missing` is how much of each resource is short."""
    groups = {
        quality: [other for other in others if preemptable(pod, other) and qos_class(other) == quality]
        for quality in (BEST_EFFORT, BURSTABLE, GUARANTEED)
    }  # fmt: skip
    if _left(missing, [other for group in groups.values() for other in group]):
        return None
    guaranteed = _fewest(groups[GUARANTEED], _left(missing, groups[BEST_EFFORT] + groups[BURSTABLE]))
    burstable = _fewest(groups[BURSTABLE], _left(missing, groups[BEST_EFFORT] + guaranteed))
    best_effort = _fewest(groups[BEST_EFFORT], _left(missing, burstable + guaranteed))
    return best_effort + burstable + guaranteed


def preemptable(pod: Obj, other: Obj) -> bool:
    if is_critical(pod) and not is_critical(other):
        return True
    mine, others = pod["spec"].get("priority"), other["spec"].get("priority")
    return mine is not None and others is not None and mine > others


def _asked(pod: Obj, resource: str) -> int:
    return 1 if resource == "pods" else pod_requests(pod).get(resource, 0)


def _left(missing: Mapping[str, int], gone: Sequence[Obj]) -> dict[str, int]:
    """What is still missing once these pods are gone."""
    left = {name: number - sum(_asked(pod, name) for pod in gone) for name, number in missing.items()}
    return {name: number for name, number in left.items() if number > 0}


def _fewest(candidates: Sequence[Obj], missing: Mapping[str, int]) -> list[Obj]:
    """Again and again the pod that covers most of what is missing; of two alike the smaller."""

    def distance(pod: Obj) -> tuple[float, int, int]:
        parts = [max(0, number - _asked(pod, name)) / number for name, number in left.items()]
        return sum(part * part for part in parts), _asked(pod, "memory"), _asked(pod, "cpu")

    left, chosen, remaining = dict(missing), [], list(candidates)
    while left and remaining:
        best = min(remaining, key=distance)
        remaining.remove(best)
        chosen.append(best)
        left = _left(left, [best])
    return chosen
