"""EndpointSlices of Services with a selector: where their pods are, and which of them are ready.

Who calls it: `controllers.main`; the service proxies and DNS read what it writes. Invariant: every pod with an address behind a
Service is in exactly one of its slices (`controllers.endpointslice_plan` decides in which), with its readiness.
Stop of the data path: the way back.
Upstream: pkg/controller/endpointslice, staging/src/k8s.io/endpointslice/reconciler.go.
"""

from collections import defaultdict
from collections.abc import Iterable

from controllers import topology_hints
from controllers.children import Expectations, create_once
from controllers.context import Context
from controllers.endpointslice_plan import MANAGED_BY, SERVICE_NAME, plan
from controllers.pod import node_of
from controllers.service_pods import (
    HEADLESS_LABEL,
    Port,
    ServicePods,
    conditions,
    has_selector,
    hostname,
    is_headless,
    pod_ip,
    ports,
    target,
)
from minikube_py.api import errors
from minikube_py.api.gvr import ENDPOINTSLICES, NODES
from minikube_py.api.meta import (
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

MANAGER = "endpointslice-controller.k8s.io"
_ZONE = "topology.kubernetes.io/zone"
_BY_SERVICE = "service"
_UNSEEN_RETRY = 1.0


def build(context: Context) -> Controller:
    """Watches Services, pods, slices (a deleted or edited one is restored) and nodes; keys are Services."""
    reconciler = EndpointSlice(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.behind.services).watch(reconciler.behind.pods, reconciler.behind.keys_of_pod)
    return controller.watch(reconciler.slices, _service_of).watch(reconciler.nodes, reconciler.keys_of_node)


def _service_of(slice_: Obj) -> Iterable[str]:
    labels = labels_of(slice_)
    ours = labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME)
    return (f"{namespace_of(slice_)}/{labels[SERVICE_NAME]}",) if ours else ()


class EndpointSlice:
    """The reconciler."""

    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.behind = ServicePods(context)
        self.slices, self.nodes = context.informers.of(ENDPOINTSLICES), context.informers.of(NODES)
        self.slices.add_index(_BY_SERVICE, _service_of)
        self._expectations = Expectations(self.slices, context.clock)

    def reconcile(self, key: str) -> float | None:
        service = self.behind.services.get_key(key)
        if service is None or not has_selector(service) or is_terminating(service):
            self._expectations.forget(key)
            return None  # the garbage collector takes the slices of a Service that is gone
        if not self._expectations.met(key):
            return _UNSEEN_RETRY
        existing = [s for s in self.slices.by_index(_BY_SERVICE, key) if not is_terminating(s)]
        changed, created, superfluous = plan(service, _labels(service), self._endpoints(service), existing)
        for slice_ in changed:
            self._expectations.wrote(key, self._client.update(ENDPOINTSLICES, slice_))
        for slice_ in created:
            self._expectations.wrote(key, create_once(self._client, ENDPOINTSLICES, slice_, service))
        for slice_ in superfluous:
            self._delete(key, slice_)
        return None

    def _delete(self, key: str, slice_: Obj) -> None:
        try:
            self._client.delete(ENDPOINTSLICES, name_of(slice_), split_key(key)[0], uid=uid_of(slice_))
        except errors.NotFound:
            return
        self._expectations.deleted(key, slice_)

    def _endpoints(self, service: Obj) -> dict[tuple[Port, ...], list[Obj]]:
        """The endpoints the Service shall have, by the ports they answer on."""
        wanted: dict[tuple[Port, ...], list[Obj]] = defaultdict(list)
        for pod in self.behind.of(service):
            wanted[ports(service, pod)].append(self._endpoint(service, pod))
        if topology_hints.is_wanted(service):
            self._spread([e for group in wanted.values() for e in group])
        return wanted

    def _spread(self, endpoints: list[Obj]) -> None:
        """Hints by the zones' parts of the CPUs, in place of any others."""
        ready = sorted((e for e in endpoints if e["conditions"]["ready"]), key=lambda e: str(e["addresses"]))
        meant = topology_hints.zones([e.get("zone", "") for e in ready], topology_hints.shares(self.nodes.list()))
        for endpoint, zone in zip(ready, meant or [""] * len(ready), strict=True):
            endpoint.pop("hints", None)
            if zone:
                endpoint["hints"] = {"forZones": [{"name": zone}]}

    def keys_of_node(self, _node: Obj) -> Iterable[str]:
        """The Services whose hints follow the nodes."""
        return [key_of(service) for service in self.behind.services.list() if topology_hints.is_wanted(service)]

    def _endpoint(self, service: Obj, pod: Obj) -> Obj:
        endpoint: Obj = {"addresses": [pod_ip(pod)], "conditions": conditions(service, pod), "targetRef": target(pod)}
        if node_name := node_of(pod):
            endpoint["nodeName"] = node_name
            node = self.nodes.get("", node_name)
            if node is not None and (zone := labels_of(node).get(_ZONE)):
                endpoint["zone"] = zone
        if name := hostname(service, pod):
            endpoint["hostname"] = name
        if hints := _hints(service["spec"].get("trafficDistribution") or "", endpoint):
            endpoint["hints"] = hints
        return endpoint


def _hints(distribution: str, endpoint: Obj) -> Obj:
    """For whom a ready endpoint is meant; the proxies heed hints only if all ready endpoints of a Service have them."""
    if not endpoint["conditions"]["ready"] or not distribution.startswith("Prefer"):
        return {}
    hints: Obj = {}
    if "zone" in endpoint:
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if distribution == "PreferSameNode" and "nodeName" in endpoint:
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def _labels(service: Obj) -> dict[str, str]:
    labels = {**labels_of(service), SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    return {**labels, HEADLESS_LABEL: ""} if is_headless(service) else labels
