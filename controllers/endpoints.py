"""Endpoints: the older, flat view of what is behind a Service, still read by many clients.

Who calls it: `controllers.main`. Invariant: ready pods are in `addresses`, others in `notReadyAddresses`, pods that are being
deleted in neither; the object goes with its Service.
Upstream: pkg/controller/endpoint/endpoints_controller.go.
"""

from collections import defaultdict
from typing import NamedTuple

from controllers.context import Context
from controllers.pod import is_ready, node_of
from controllers.service_pods import (
    HEADLESS_LABEL,
    Port,
    ServicePods,
    has_selector,
    hostname,
    is_headless,
    pod_ip,
    ports,
    publishes_not_ready,
    target,
)
from minikube_py.api import errors
from minikube_py.api.gvr import ENDPOINTS, new_object
from minikube_py.api.meta import is_terminating, labels_of, name_of, namespace_of, split_key
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_MANAGED_BY, _MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
_MOST = 1000
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


class Address(NamedTuple):
    """One pod's address and what is said with it."""

    ip: str
    obj: Obj


def build(context: Context) -> Controller:
    """Watches Services, pods and Endpoints; keys are Services, whose names Endpoints share."""
    reconciler = Endpoints(context)
    controller = Controller(reconciler, clock=context.clock)
    controller.watch(reconciler.behind.services).watch(reconciler.behind.pods, reconciler.behind.keys_of_pod)
    return controller.watch(reconciler.endpoints)


class Endpoints:
    """The reconciler."""

    name = "endpoints"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.behind = ServicePods(context)
        self.endpoints = context.informers.of(ENDPOINTS)

    def reconcile(self, key: str) -> float | None:
        service, found = self.behind.services.get_key(key), self.endpoints.get_key(key)
        if service is None or is_terminating(service):
            if service is None and found is not None and labels_of(found).get(_MANAGED_BY) == _MANAGER:
                self._delete(key)
            return None
        if not has_selector(service):
            return None
        wanted = new_object(ENDPOINTS, name_of(service), namespace_of(service))
        wanted["metadata"]["labels"] = _labels(service)
        subsets, cut = subsets_of(service, self.behind.of(service))
        if subsets:
            wanted["subsets"] = subsets
        self._write(found, wanted, cut=cut)
        return None

    def _write(self, found: Obj | None, wanted: Obj, *, cut: bool) -> None:
        if found is None:
            if cut:
                wanted["metadata"]["annotations"] = {_OVER_CAPACITY: "truncated"}
            self._client.create(ENDPOINTS, wanted)
            return
        annotations = {k: v for k, v in (found["metadata"].get("annotations") or {}).items() if k != _OVER_CAPACITY}
        if cut:
            annotations[_OVER_CAPACITY] = "truncated"
        before = (labels_of(found), found["metadata"].get("annotations") or {}, found.get("subsets") or [])
        if before == (wanted["metadata"]["labels"], annotations, wanted.get("subsets") or []):
            return
        metadata = {**found["metadata"], "labels": wanted["metadata"]["labels"], "annotations": annotations}
        self._client.update(ENDPOINTS, {**wanted, "metadata": metadata})

    def _delete(self, key: str) -> None:
        namespace, name = split_key(key)
        try:
            self._client.delete(ENDPOINTS, name, namespace)
        except errors.NotFound:
            return


def _labels(service: Obj) -> dict[str, str]:
    labels = {**labels_of(service), _MANAGED_BY: _MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    return {**labels, HEADLESS_LABEL: ""} if is_headless(service) else labels


def subsets_of(service: Obj, pods: list[Obj]) -> tuple[list[Obj], bool]:
    """(subsets: addresses that share the same ports, whether some of more than 1000 addresses were left out)."""
    by_ports: dict[tuple[Port, ...], tuple[list[Address], list[Address]]] = defaultdict(lambda: ([], []))
    count = 0
    for pod in sorted(pods, key=lambda p: not is_ready(p)):
        tolerated = publishes_not_ready(service)
        if is_terminating(pod) and not tolerated:
            continue
        group = ports(service, pod)
        if not group and not is_headless(service):
            continue
        count += 1
        if count <= _MOST:
            ready = tolerated or is_ready(pod)
            by_ports[group][0 if ready else 1].append(_address(service, pod))
    subsets = []
    for group, (ready_ones, others) in sorted(by_ports.items(), key=lambda item: item[0]):
        subset: Obj = {}
        for field, addresses in (("addresses", ready_ones), ("notReadyAddresses", others)):
            if addresses:
                subset[field] = [address.obj for address in sorted(addresses, key=lambda a: a.ip)]
        if group:
            subset["ports"] = [{k: v for k, v in port.as_obj().items() if v} for port in group]
        subsets.append(subset)
    return subsets, count > _MOST


def _address(service: Obj, pod: Obj) -> Address:
    obj: Obj = {"ip": pod_ip(pod)}
    if name := hostname(service, pod):
        obj["hostname"] = name
    if node := node_of(pod):
        obj["nodeName"] = node
    return Address(obj["ip"], {**obj, "targetRef": target(pod)})
