"""EndpointSlices of Services with a selector: where their pods are, and which of them are ready.

Who calls it: `controllers.main`; the service proxies and DNS read what it writes. Invariants: every pod behind a Service is
in exactly one of its slices; a slice holds at most 100 endpoints, all with the same ports; endpoints stay in the slice they
are in, so that a change rewrites as few slices as possible. Stop 9 of the data path.
Upstream: pkg/controller/endpointslice, staging/src/k8s.io/endpointslice/reconciler.go.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable

from controllers.children import Expectations, create_once
from controllers.context import Context
from controllers.pod import node_of, random_name
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
from minikube_py.api.gvr import ENDPOINTSLICES, NODES, new_object
from minikube_py.api.meta import (
    controller_reference,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
_ZONE = "topology.kubernetes.io/zone"
_MOST = 100
_BY_SERVICE = "service"
_UNSEEN_RETRY = 1.0


def build(context: Context) -> Controller:
    """Watches Services, pods, slices (a deleted or edited one is restored) and nodes; keys are Services."""
    reconciler = EndpointSlice(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.behind.services).watch(reconciler.behind.pods, reconciler.behind.keys_of_pod)
    return controller.watch(reconciler.slices, _service_of).watch(reconciler.nodes, lambda node: ())


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
        changed, created, superfluous = plan(service, self._endpoints(service), existing)
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
        return wanted

    def _endpoint(self, service: Obj, pod: Obj) -> Obj:
        endpoint: Obj = {"addresses": [pod_ip(pod)], "conditions": conditions(service, pod), "targetRef": target(pod)}
        if node_name := node_of(pod):
            endpoint["nodeName"] = node_name
            node = self.nodes.get("", node_name)
            if node is not None and (zone := labels_of(node).get(_ZONE)):
                endpoint["zone"] = zone
        if name := hostname(service, pod):
            endpoint["hostname"] = name
        return endpoint


def plan(
    service: Obj, wanted: dict[tuple[Port, ...], list[Obj]], existing: list[Obj]
) -> tuple[list[Obj], list[Obj], list[Obj]]:
    """What to write: (slices to update, to create, to delete). A Service without pods keeps one empty slice."""
    by_ports: dict[tuple[Port, ...], list[Obj]] = defaultdict(list)
    for slice_ in sorted(existing, key=name_of):
        by_ports[_ports_of(slice_)].append(slice_)
    changed: list[Obj] = []
    created: list[Obj] = []
    superfluous: list[Obj] = []
    for group in wanted.keys() | by_ports.keys():
        updates, fresh, empty = _fill(service, group, wanted.get(group, []), by_ports.get(group, []))
        changed, created, superfluous = changed + updates, created + fresh, superfluous + empty
    if not wanted:
        _keep_placeholder(service, existing, changed, created, superfluous)
    return changed, created, superfluous


def _keep_placeholder(service: Obj, existing: list[Obj], changed: list[Obj], created: list[Obj], empty: list[Obj]) -> None:
    placeholder = next((s for s in existing if not s.get("ports") and s in empty), None)
    if placeholder is None:
        created.append(_new(service, (), []))
        return
    empty.remove(placeholder)
    updated = _dressed(service, placeholder, [])
    if updated != placeholder:
        changed.append(updated)


def _fill(
    service: Obj, group: tuple[Port, ...], wanted: list[Obj], slices: list[Obj]
) -> tuple[list[Obj], list[Obj], list[Obj]]:
    """Place the endpoints of one port group: each where it is already, new ones in the fullest slice with room."""
    missing = {_identity(endpoint): endpoint for endpoint in wanted}
    kept: list[tuple[Obj, list[Obj]]] = []
    for slice_ in slices:
        stay = [missing.pop(i) for e in slice_.get("endpoints") or [] if (i := _identity(e)) in missing]
        kept.append((slice_, stay))
    rest = list(missing.values())
    for _, endpoints in sorted(kept, key=lambda pair: -len(pair[1])):
        room = _MOST - len(endpoints)
        endpoints += rest[:room]
        rest = rest[room:]
    created = [_new(service, group, rest[start : start + _MOST]) for start in range(0, len(rest), _MOST)]
    dressed = [(slice_, _dressed(service, slice_, endpoints)) for slice_, endpoints in kept if endpoints]
    changed = [after for before, after in dressed if after != before]
    return changed, created, [slice_ for slice_, endpoints in kept if not endpoints]


def _identity(endpoint: Obj) -> tuple[str, str]:
    return (endpoint.get("targetRef") or {}).get("uid", ""), (endpoint.get("addresses") or [""])[0]


def _ports_of(slice_: Obj) -> tuple[Port, ...]:
    found = slice_.get("ports") or []
    return tuple(sorted(
        Port(p.get("name") or "", p.get("port") or 0, p.get("protocol", "TCP"), p.get("appProtocol") or "") for p in found
    ))  # fmt: skip


def _labels(service: Obj) -> dict[str, str]:
    labels = {**labels_of(service), SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    return {**labels, HEADLESS_LABEL: ""} if is_headless(service) else labels


def _dressed(service: Obj, slice_: Obj, endpoints: list[Obj]) -> Obj:
    """The slice with these endpoints and the Service's labels."""
    after = copy.copy(slice_)
    if (slice_.get("endpoints") or []) != endpoints:
        after["endpoints"] = endpoints
    if labels_of(slice_) != (labels := _labels(service)):
        after["metadata"] = {**slice_["metadata"], "labels": labels}
    return after


def _new(service: Obj, group: tuple[Port, ...], endpoints: list[Obj]) -> Obj:
    base = f"{name_of(service)}-"
    slice_ = new_object(ENDPOINTSLICES, random_name(base), namespace_of(service), addressType="IPv4")
    owners = [controller_reference(service)]
    slice_["metadata"] |= {"generateName": base, "labels": _labels(service), "ownerReferences": owners}
    return {**slice_, "endpoints": endpoints, "ports": [port.as_obj() for port in group]}
