"""Node IPAM: a node that registers without a pod range gets one, out of the cluster's.

Who calls it: `controllers.main`, when --cluster-cidr says what there is to give. Invariants: no two nodes are given overlapping
ranges, and a node that has one keeps it. Ranges are taken from the end of the cluster's: nodes that the launcher starts bring
their own, from its beginning.
Upstream: pkg/controller/nodeipam/ipam/range_allocator.go.
"""

import ipaddress

from controllers.children import Expectations
from controllers.context import Context
from controllers.owned_pods import UNSEEN_RETRY
from minikube_py.api import errors
from minikube_py.api.gvr import NODES
from minikube_py.api.meta import is_terminating, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_NONE_LEFT = 30.0


def build(context: Context) -> Controller:
    """Watches nodes; keys are their names. One worker: two could give the same range away."""
    reconciler = NodeIPAM(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.nodes)


class NodeIPAM:
    """The reconciler."""

    name = "node-ipam"

    def __init__(self, context: Context) -> None:
        options = context.options
        self._client, self._mask = context.client, options.node_cidr_mask_size
        self._range = ipaddress.ip_network(options.cluster_cidr) if options.cluster_cidr else None
        self.nodes = context.informers.of(NODES)
        self._own_writes = Expectations(self.nodes, context.clock)
        self._events = context.recorder("cidrAllocator")

    def reconcile(self, key: str) -> float | None:
        node = self.nodes.get_key(key)
        if self._range is None or node is None or is_terminating(node) or _ranges(node):
            return None
        if not self._own_writes.met(self.name):
            return UNSEEN_RETRY
        free = self._free()
        if free is None:
            self._events.event(node, "Normal", "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
            return _NONE_LEFT
        guard = {"uid": uid_of(node), "resourceVersion": node["metadata"]["resourceVersion"]}
        body = {"metadata": guard, "spec": {"podCIDR": free, "podCIDRs": [free]}}
        try:
            written = self._client.patch(NODES, name_of(node), body)
        except errors.NotFound:
            return None
        self._own_writes.wrote(self.name, written)
        return None

    def _free(self) -> str | None:
        """The last range that no node's overlaps."""
        assert self._range is not None
        taken = [ipaddress.ip_network(text, strict=False) for n in self.nodes.list() for text in _ranges(n)]
        size = 1 << (self._range.max_prefixlen - self._mask)
        start = int(self._range.broadcast_address) + 1 - size
        while start >= int(self._range.network_address):
            candidate = ipaddress.ip_network((start, self._mask))
            if not any(candidate.version == other.version and _overlap(candidate, other) for other in taken):
                return str(candidate)
            start -= size
        return None


def _overlap(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return int(one[0]) <= int(other[-1]) and int(other[0]) <= int(one[-1])


def _ranges(node: Obj) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
