"""Taints and tolerations: which pod may be on which node.

Who uses it: the scheduler's TaintToleration and PodTopologySpread plugins, taint eviction, the DaemonSet controller.
Invariant: pure functions; a toleration with no effect covers all effects, one with no key (operator Exists) all keys.
Upstream: component-helpers/scheduling/corev1/helpers.go and api/core/v1/toleration.go.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from minikube_py.api.types import Obj

BLOCKING = ("NoSchedule", "NoExecute")


class Taint(NamedTuple):
    """One entry of `spec.taints`, hashable."""

    key: str
    value: str
    effect: str


def taints_of(node: Obj) -> tuple[Taint, ...]:
    taints: list[Obj] = (node.get("spec") or {}).get("taints") or []
    return tuple(Taint(t.get("key", ""), t.get("value") or "", t.get("effect", "")) for t in taints)


def tolerations_of(pod: Obj) -> list[Obj]:
    return (pod.get("spec") or {}).get("tolerations") or []


def tolerates(toleration: Obj, taint: Taint) -> bool:
    """Whether this one toleration covers this taint (tolerationSeconds is not looked at)."""
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    if toleration.get("key") and toleration["key"] != taint.key:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and (toleration.get("value") or "") == taint.value


def first_untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Obj], effects: Collection[str] = BLOCKING
) -> Taint | None:
    """The first taint with one of these effects that no toleration covers; None when the pod may be there."""
    tolerations = list(tolerations)
    for taint in taints:
        if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None
