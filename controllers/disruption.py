"""PodDisruptionBudget status: how many of its pods may be evicted right now.

Who calls it: `controllers.main`; the eviction subresource spends what this allows. Invariants: an eviction the API server has
granted is counted as a lost pod at once (`disruptedPods`), until the pod is seen to go or two minutes have passed; when the
number of pods to expect cannot be told, nothing is allowed.
Upstream: pkg/controller/disruption/disruption.go.
"""

from collections.abc import Iterable
from datetime import timedelta

from controllers.context import Context
from controllers.pod import is_ready
from minikube_py.api import errors, selectors
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.gvr import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from minikube_py.api.meta import (
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    set_condition,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_GRANTED_FOR = timedelta(minutes=2)
_SCALED = {"ReplicaSet": REPLICASETS, "ReplicationController": REPLICATIONCONTROLLERS, "StatefulSet": STATEFULSETS}


class Uncountable(Exception):
    """It cannot be told how many pods there should be; the message says why."""


def build(context: Context) -> Controller:
    """Watches budgets and pods, and reads the controllers of pods; keys are budgets."""
    reconciler = Disruption(context)
    controller = Controller(reconciler, clock=context.clock)
    controller.watch(reconciler.budgets).watch(reconciler.pods, reconciler.keys_of_pod)
    for informer in (*reconciler.owners.values(), reconciler.deployments):
        controller.watch(informer, reconciler.keys_in_namespace)
    return controller


class Disruption:
    """The reconciler."""

    name = "disruption"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.budgets, self.pods = context.informers.of(PODDISRUPTIONBUDGETS), context.informers.of(PODS)
        self.owners = {kind: context.informers.of(res) for kind, res in _SCALED.items()}
        self.deployments = context.informers.of(DEPLOYMENTS)
        self._events = context.recorder("controllermanager")

    def keys_of_pod(self, pod: Obj) -> Iterable[str]:
        """The budgets that select the pod."""
        labels, budgets = labels_of(pod), self.budgets.list(namespace_of(pod))
        return [key_of(b) for b in budgets if selectors.from_label_selector(b["spec"].get("selector")).matches(labels)]

    def keys_in_namespace(self, obj: Obj) -> Iterable[str]:
        return [key_of(budget) for budget in self.budgets.list(namespace_of(obj))]

    def reconcile(self, key: str) -> float | None:
        budget = self.budgets.get_key(key)
        if budget is None:
            return None
        selector = selectors.from_label_selector(budget["spec"].get("selector"))
        pods = [p for p in self.pods.list(namespace_of(budget)) if selector.matches(labels_of(p))]
        try:
            expected, wanted = self._expected(budget, pods)
        except Uncountable as error:
            self._events.event(budget, "Warning", "CalculateExpectedPodCountFailed", f"Failed to calculate: {error}")
            self._write(budget, {"disruptionsAllowed": 0}, "False", "SyncFailed", str(error))
            return None
        granted, again = self._granted(budget, pods)
        healthy = sum(is_ready(p) and not is_terminating(p) and name_of(p) not in granted for p in pods)
        allowed = max(0, healthy - wanted) if expected > 0 else 0
        counts = {
            "currentHealthy": healthy, "desiredHealthy": wanted, "expectedPods": expected, "disruptionsAllowed": allowed,
            "disruptedPods": granted,
        }  # fmt: skip
        self._write(
            budget, counts, "True" if allowed else "False", "SufficientPods" if allowed else "InsufficientPods", ""
        )
        return again

    def _expected(self, budget: Obj, pods: list[Obj]) -> tuple[int, int]:
        """(how many pods there should be, how many of them healthy). Raises Uncountable."""
        least, most_gone = budget["spec"].get("minAvailable"), budget["spec"].get("maxUnavailable")
        if isinstance(least, int):
            return len(pods), max(0, least)
        expected = self._scale(pods)
        if most_gone is not None:
            return expected, max(0, expected - _resolve(most_gone, expected))
        return expected, max(0, _resolve(least, expected)) if least is not None else 0

    def _scale(self, pods: list[Obj]) -> int:
        """The sum of what the controllers of these pods are asked to keep."""
        scales: dict[str, int] = {}
        for pod in pods:
            ref, namespace = controller_of(pod), namespace_of(pod)
            if ref is None:
                raise Uncountable(f'pod "{name_of(pod)}" has no controller')
            if ref["kind"] not in self.owners:
                raise Uncountable(f'the {ref["kind"]} "{ref["name"]}" of pod "{name_of(pod)}" cannot be scaled')
            owner = self.owners[ref["kind"]].get(namespace, ref["name"])
            above = controller_of(owner) if owner is not None else None
            if above is not None and above["kind"] == "Deployment":
                owner = self.deployments.get(namespace, above["name"])
            if owner is not None:
                scales[str(owner["metadata"]["uid"])] = int(owner["spec"].get("replicas", 1))
        return sum(scales.values())

    def _granted(self, budget: Obj, pods: list[Obj]) -> tuple[dict[str, str], float | None]:
        """(evictions granted whose pods have not gone yet: name -> when, seconds until the next of them lapses)."""
        here, now = {name_of(p): p for p in pods}, self._clock.now()
        granted: dict[str, str] = {}
        lapses: list[float] = []
        for name, moment in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
            left = (parse_rfc3339(moment) + _GRANTED_FOR - now).total_seconds()
            if name in here and not is_terminating(here[name]) and left > 0:
                granted[name] = moment
                lapses.append(left)
        return granted, min(lapses) if lapses else None

    def _write(self, budget: Obj, counts: Obj, value: str, reason: str, message: str) -> None:
        old = budget.get("status") or {}
        status = {**old, **counts, "observedGeneration": budget["metadata"].get("generation", 0)}
        status["conditions"] = [dict(c) for c in old.get("conditions") or []]
        set_condition(status, "DisruptionAllowed", value, rfc3339(self._clock.now()), reason, message)
        for condition in status["conditions"]:
            condition.setdefault("message", "")
            condition["observedGeneration"] = status["observedGeneration"]
        if not status.get("disruptedPods"):
            status.pop("disruptedPods", None)
        if status == old:
            return
        try:
            self._client.update(PODDISRUPTIONBUDGETS, {**budget, "status": status}, subresource="status")
        except errors.NotFound:
            return


def _resolve(value: int | str, whole: int) -> int:
    """An int-or-percent as a number of pods, rounded up."""
    if isinstance(value, int):
        return value
    try:
        return -(-whole * int(value.removesuffix("%")) // 100)
    except ValueError:
        raise Uncountable(f"{value!r} is neither a number nor a percentage") from None
