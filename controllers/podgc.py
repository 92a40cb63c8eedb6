"""Pod garbage collection: pods nobody else would ever remove.

Who calls it: `controllers.main`. Invariant: only three sorts are removed: pods bound to a node that is gone for a while (asked
live), pods being deleted that never had a node, and the oldest finished pods beyond the threshold.
Upstream: pkg/controller/podgc/gc_controller.go.
"""

from controllers.context import Context
from controllers.nodelifecycle import BY_NODE, index_by_node
from controllers.pod import disrupted, is_finished, node_of
from minikube_py.api import errors
from minikube_py.api.gvr import NODES, PODS
from minikube_py.api.meta import is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_THRESHOLD_KEY = "(finished pods)"
_QUARANTINE = 5.0  # a node may be deleted and registered again; upstream waits 40 s between two polls of 20 s
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def build(context: Context) -> Controller:
    """Watches pods, and nodes for the pods left behind; keys are pods, and one for the threshold."""
    reconciler = PodGC(context)
    controller = Controller(reconciler, clock=context.clock)
    controller.watch(reconciler.pods, reconciler.keys_of_pod)
    return controller.watch(reconciler.nodes, reconciler.keys_on_node)


class PodGC:
    """The reconciler."""

    name = "pod-garbage-collector"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self._threshold = context.options.terminated_pod_gc_threshold
        self.pods, self.nodes = context.informers.of(PODS), context.informers.of(NODES)
        index_by_node(context)
        self.pods.add_index("finished", lambda pod: ("yes",) if is_finished(pod) else ())
        self._missing: dict[str, float] = {}  # node -> when we first missed it

    def keys_of_pod(self, pod: Obj) -> list[str]:
        """Only pods that may be one of the three sorts are looked at."""
        keys = [_THRESHOLD_KEY] if is_finished(pod) and self._threshold > 0 else []
        node = node_of(pod)
        if (node and self._leaves_behind(node)) or (not node and is_terminating(pod)):
            keys.append(key_of(pod))
        return keys

    def keys_on_node(self, node: Obj) -> list[str]:
        if self.nodes.get("", name_of(node)) is not None:
            self._missing.pop(name_of(node), None)
        return (
            [key_of(p) for p in self.pods.by_index(BY_NODE, name_of(node))]
            if self._leaves_behind(name_of(node))
            else []
        )

    def _leaves_behind(self, name: str) -> bool:
        """Whether a node is gone, or declared out of service by its administrator."""
        node = self.nodes.get("", name)
        return node is None or _is_out_of_service(node)

    def reconcile(self, key: str) -> float | None:
        if key == _THRESHOLD_KEY:
            return self._collect_finished()
        pod = self.pods.get_key(key)
        if pod is None:
            return None
        name = node_of(pod)
        if not name:
            if is_terminating(pod):
                self._remove(pod)
            return None
        node = self.nodes.get("", name)
        if node is not None:
            if _is_out_of_service(node) and is_terminating(pod):
                self._remove(pod, "DeletionByPodGC", "PodGC: node is out of service")
            return None
        since = self._missing.setdefault(name, self._clock.monotonic())
        left = since + _QUARANTINE - self._clock.monotonic()
        if left > 0:
            return left
        try:
            self._client.get(NODES, name)
        except errors.NotFound:
            self._remove(pod, "DeletionByPodGC", "PodGC: node no longer exists")
            return None
        return 1.0  # it exists: our copy is behind

    def _collect_finished(self) -> float | None:
        finished = [p for p in self.pods.by_index("finished", "yes") if not is_terminating(p)]
        surplus = len(finished) - self._threshold
        if surplus > 0:
            for pod in sorted(finished, key=lambda p: (p["metadata"]["creationTimestamp"], key_of(p)))[:surplus]:
                self._remove(pod)
        return None

    def _remove(self, pod: Obj, reason: str = "", message: str = "") -> None:
        """Delete at once: there is no kubelet to end it gently. One that had not finished is marked Failed first."""
        try:
            if not is_finished(pod) and reason:
                self._mark_failed(pod, reason, message)
            self._client.delete(PODS, name_of(pod), namespace_of(pod), grace_period_seconds=0, uid=uid_of(pod))
        except errors.NotFound:
            return

    def _mark_failed(self, pod: Obj, reason: str, message: str) -> None:
        conditions = disrupted(pod, reason, message, self._clock.now())
        status: Obj = {"phase": "Failed"} | ({} if conditions is None else {"conditions": conditions})
        body = {"metadata": {"uid": uid_of(pod)}, "status": status}
        self._client.patch(PODS, name_of(pod), body, namespace_of(pod), subresource="status")


def _is_out_of_service(node: Obj) -> bool:
    return any(taint["key"] == _OUT_OF_SERVICE for taint in (node.get("spec") or {}).get("taints") or [])
