"""Taint eviction: pods that do not tolerate a NoExecute taint of their node leave it, after the time they asked for.

Who calls it: `controllers.main`. Invariants: the time runs from the moment the taint was added (or we first saw the pod under
it), so it goes on where it was after a restart; when the taint goes in time, the pod stays.
Upstream: pkg/controller/tainteviction/taint_eviction.go.
"""

from collections.abc import Iterable

from controllers.context import Context
from controllers.node_health import taints_of
from controllers.nodelifecycle import BY_NODE, index_by_node
from controllers.pod import disrupted, is_finished, node_of
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.gvr import NODES, PODS
from minikube_py.api.meta import is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.tolerations import Taint, tolerates, tolerations_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_FRESH = 2.0  # timestamps are whole seconds: a taint this young was added just now


def build(context: Context) -> Controller:
    """Watches pods, and nodes for the pods on them; keys are pods."""
    reconciler = TaintEviction(context)
    controller = Controller(reconciler, clock=context.clock)
    return controller.watch(reconciler.pods).watch(reconciler.nodes, reconciler.keys_on_node)


def _no_execute(node: Obj | None) -> list[Obj]:
    return [taint for taint in taints_of(node) if taint["effect"] == "NoExecute"] if node else []


def time_allowed(pod: Obj, taints: list[Obj]) -> float | None:
    """Seconds the pod may stay under these taints: 0.0 when one is not tolerated, None when for ever."""
    limits: list[float] = []
    for obj in taints:
        taint = Taint(obj["key"], obj.get("value") or "", obj["effect"])
        covering = [t for t in tolerations_of(pod) if tolerates(t, taint)]
        if not covering:
            return 0.0
        limits += [float(t["tolerationSeconds"]) for t in covering if t.get("tolerationSeconds") is not None]
    return max(0.0, min(limits)) if limits else None


class TaintEviction:
    """The reconciler."""

    name = "taint-eviction"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.pods, self.nodes = context.informers.of(PODS), context.informers.of(NODES)
        index_by_node(context)
        self._events = context.recorder("taint-eviction-controller")
        self._pending: dict[str, tuple[str, float]] = {}  # pods to be evicted: (uid, since when, monotonic seconds)

    def keys_on_node(self, node: Obj) -> Iterable[str]:
        """The pods of a tainted node, and those that were to leave it."""
        on_node = self.pods.by_index(BY_NODE, name_of(node))
        return [key_of(p) for p in on_node if _no_execute(node) or key_of(p) in self._pending]

    def reconcile(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None or is_terminating(pod) or is_finished(pod):
            self._pending.pop(key, None)
            return None
        taints = _no_execute(self.nodes.get("", node_of(pod)) if node_of(pod) else None)
        allowed = time_allowed(pod, taints) if taints else None
        if allowed is None:
            if self._pending.pop(key, None) is not None:
                self._events.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        left = self._began(key, pod, taints) + allowed - self._clock.monotonic()
        if left > 0:
            return left
        self._evict(key, pod)
        return None

    def _began(self, key: str, pod: Obj, taints: list[Obj]) -> float:
        """When the pod's time began: when we first saw it under such taints, or earlier, if we were not there to see it."""
        uid, began = self._pending.get(key, ("", 0.0))
        if uid == uid_of(pod):
            return began
        began = self._clock.monotonic()  # whatever the time of day does from here on
        if all(taint.get("timeAdded") for taint in taints):
            moments = [*(taint["timeAdded"] for taint in taints), pod["metadata"]["creationTimestamp"]]
            passed = self._clock.time() - max(parse_rfc3339(moment).timestamp() for moment in moments)
            began -= passed if passed > _FRESH else 0.0
        self._pending[key] = (uid_of(pod), began)
        return began

    def _evict(self, key: str, pod: Obj) -> None:
        self._events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        message = "Taint manager: deleting due to NoExecute taint"
        conditions = disrupted(pod, "DeletionByTaintManager", message, self._clock.now())
        guard = {"uid": uid_of(pod), "resourceVersion": pod["metadata"]["resourceVersion"]}
        body = {"metadata": guard, "status": {"conditions": conditions}}
        try:
            if conditions is not None:
                self._client.patch(PODS, name_of(pod), body, namespace_of(pod), subresource="status")
            self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except errors.NotFound:
            self._pending.pop(key, None)
