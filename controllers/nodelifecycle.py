"""Node lifecycle: notices nodes that fell silent, says so in their conditions and taints, and marks their pods not ready.

Who calls it: `controllers.main`. Invariants: a node is silent only after the grace period in which neither its Lease nor its
status changed while we ourselves were connected; silence is measured on our own clock, never by comparing clocks.
Evicting pods is `controllers.tainteviction`.
Upstream: pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from collections.abc import Iterable
from typing import NamedTuple

from controllers.context import Context
from controllers.node_health import is_emptied, ready_status, silent_conditions, taints_of, wanted_taints
from controllers.node_zones import Limiter, count, rate, zone_of
from controllers.pod import is_ready, node_of
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import GVR, LEASES, NODES, PODS
from minikube_py.api.meta import condition_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

LEASE_NAMESPACE = "kube-node-lease"
BY_NODE = "node"
_STARTUP_GRACE = 60.0


class Sign(NamedTuple):
    """The last sign of life of a node: what it looked like, and when we saw it (monotonic seconds)."""

    lease: str
    status: str
    at: float


def build(context: Context) -> Controller:
    """Watches nodes and pods. Lease renewals only move a node's last sign of life; no key is queued for them."""
    reconciler = NodeLifecycle(context)
    controller = Controller(reconciler, clock=context.clock)
    controller.watch(reconciler.nodes).watch(reconciler.nodes, reconciler.keys_of_unready, when=_readiness_changed)
    return controller.watch(reconciler.leases, _nothing).watch(reconciler.pods, _nothing)


def _readiness_changed(old: Obj | None, new: Obj | None) -> bool:
    return old is None or new is None or ready_status(old) != ready_status(new)


def _nothing(obj: Obj) -> Iterable[str]:
    return ()


def index_by_node(pods_of: Context) -> None:
    """Make pods findable by the node they are bound to."""
    pods_of.informers.of(PODS).add_index(BY_NODE, lambda pod: (node_of(pod),) if node_of(pod) else ())


class NodeLifecycle:
    """The reconciler; keys are node names."""

    name = "node-lifecycle"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self._options, self._limiter = context.options, Limiter()
        self._period = context.options.node_monitor_period
        self._grace = context.options.node_monitor_grace_period
        self.nodes = context.informers.of(NODES)
        self.leases = context.informers.of(LEASES, namespace=LEASE_NAMESPACE)
        self.pods = context.informers.of(PODS)
        index_by_node(context)
        self._events = context.recorder("node-controller")
        self._signs: dict[str, Sign] = {}
        self.leases.add_handler(self._lease_changed)

    def _lease_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            self._note_life(name_of(new))

    def keys_of_unready(self, node: Obj) -> Iterable[str]:
        """Whether a node that is not ready may be emptied depends on the others."""
        return [name_of(n) for n in self.nodes.list() if ready_status(n) in ("False", "Unknown")]

    def reconcile(self, key: str) -> float | None:
        node = self.nodes.get_key(key)
        if node is None:
            self._signs.pop(key, None)
            return None
        self._note_life(key)
        left = self._time_left(node)
        if left <= 0 and ready_status(node) != "Unknown":
            node = self._declare_silent(node)
        again = self._taint(node)
        if ready_status(node) in ("False", "Unknown"):
            self._mark_pods(node)
        # A silent node speaks up by itself, which is an event; a lively one is looked at when its time would be over.
        return again or (max(left, self._period) if left > 0 else None)

    # -- silence ------------------------------------------------------------------------------------------------------

    def _note_life(self, name: str) -> None:
        """Remember the moment when the lease or the reported status last changed."""
        lease = ((self.leases.get(LEASE_NAMESPACE, name) or {}).get("spec") or {}).get("renewTime", "")
        ready = condition_of(self.nodes.get_key(name) or {}, "Ready") or {}
        status = "" if ready.get("reason") == "NodeStatusUnknown" else str(ready.get("lastHeartbeatTime", ""))
        known = self._signs.get(name)
        if known is None or lease != known.lease or (status and status != known.status):
            self._signs[name] = Sign(lease, status or (known.status if known else ""), self._clock.monotonic())

    def _time_left(self, node: Obj) -> float:
        """Seconds the node may still be silent. While we are cut off ourselves nobody's silence counts."""
        connected = [self.nodes.connected_since, self.leases.connected_since]
        if any(since is None for since in connected):
            return self._period
        heard = max(self._signs[name_of(node)].at, *(since for since in connected if since is not None))
        grace = self._grace if ready_status(node) else max(self._grace, _STARTUP_GRACE)
        return heard + grace - self._clock.monotonic()

    def _declare_silent(self, node: Obj) -> Obj:
        conditions = silent_conditions(node, rfc3339(self._clock.now()))
        written = self._patch_status(NODES, node, conditions)
        name = name_of(node)
        self._events.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return written

    # -- what follows from it -----------------------------------------------------------------------------------------

    def _taint(self, node: Obj) -> float | None:
        """Bring the taints up to date. Out: seconds until its zone may lose the next node, if it has to wait for that."""
        wait, may_evict = None, False
        if ready_status(node) in ("False", "Unknown"):
            zones = count(self.nodes.list())
            per_second = rate(zones, zone_of(node), self._options)
            may_evict = per_second is not None
            if per_second is not None and not is_emptied(node):
                now = self._clock.monotonic()
                wait = self._limiter.wait(zone_of(node), per_second, now) if per_second else self._period
                may_evict = not wait
        wanted = wanted_taints(node, rfc3339(self._clock.now()), may_evict=may_evict)
        if wanted != taints_of(node):
            guard = {"uid": node["metadata"]["uid"], "resourceVersion": node["metadata"]["resourceVersion"]}
            self._client.patch(NODES, name_of(node), {"metadata": guard, "spec": {"taints": wanted or None}})
        return wait

    def _mark_pods(self, node: Obj) -> None:
        """Pods of a node that is not ready are not ready either, so that Services stop sending to them."""
        for pod in self.pods.by_index(BY_NODE, name_of(node)):
            if not is_ready(pod):
                continue
            now = rfc3339(self._clock.now())
            conditions = [
                {**c, "status": "False", "lastTransitionTime": now} if c["type"] == "Ready" else c
                for c in pod["status"]["conditions"]
            ]
            try:
                self._patch_status(PODS, pod, conditions)
            except errors.NotFound:
                continue
            self._events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _patch_status(self, res: GVR, obj: Obj, conditions: list[Obj]) -> Obj:
        guard = {"uid": obj["metadata"]["uid"], "resourceVersion": obj["metadata"]["resourceVersion"]}
        body = {"metadata": guard, "status": {"conditions": conditions}}
        return self._client.patch(res, name_of(obj), body, namespace_of(obj), subresource="status")
