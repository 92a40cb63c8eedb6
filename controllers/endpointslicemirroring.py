"""Mirroring: hand-written Endpoints of Services without a selector, as EndpointSlices, which is all that proxies read.

Who calls it: `controllers.main`. Invariant: only Endpoints nobody else turns into slices are mirrored: those of a Service
without a selector that do not ask to be left alone.
Upstream: pkg/controller/endpointslicemirroring.
"""

from collections import defaultdict
from collections.abc import Iterable

from controllers.children import Expectations, create_once
from controllers.context import Context
from controllers.endpointslice_plan import MANAGED_BY, SERVICE_NAME, Wanted, plan
from controllers.service_pods import Port
from minikube_py.api import errors
from minikube_py.api.gvr import ENDPOINTS, ENDPOINTSLICES, SERVICES
from minikube_py.api.meta import annotations_of, is_terminating, labels_of, name_of, namespace_of, split_key, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP, _LEADER = "endpointslice.kubernetes.io/skip-mirror", "control-plane.alpha.kubernetes.io/leader"
_BY_MIRRORED = "mirrored"
_UNSEEN_RETRY = 1.0


def build(context: Context) -> Controller:
    """Watches Endpoints, Services and mirrored slices; keys are Endpoints, which share their Service's name."""
    reconciler = Mirroring(context)
    controller = Controller(reconciler, clock=context.clock)
    return controller.watch(reconciler.endpoints).watch(reconciler.services).watch(reconciler.slices, _mirrored_from)


def _mirrored_from(slice_: Obj) -> Iterable[str]:
    labels = labels_of(slice_)
    ours = labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME)
    return (f"{namespace_of(slice_)}/{labels[SERVICE_NAME]}",) if ours else ()


class Mirroring:
    """The reconciler."""

    name = "endpointslicemirroring"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.endpoints, self.services = context.informers.of(ENDPOINTS), context.informers.of(SERVICES)
        self.slices = context.informers.of(ENDPOINTSLICES)
        self.slices.add_index(_BY_MIRRORED, _mirrored_from)
        self._expectations = Expectations(self.slices, context.clock)

    def reconcile(self, key: str) -> float | None:
        if not self._expectations.met(key):
            return _UNSEEN_RETRY
        source, service = self.endpoints.get_key(key), self.services.get_key(key)
        existing = [s for s in self.slices.by_index(_BY_MIRRORED, key) if not is_terminating(s)]
        if source is None or service is None or not _mirrors(source, service):
            for slice_ in existing:
                self._delete(key, slice_)
            return None
        labels = {**labels_of(source), SERVICE_NAME: name_of(source), MANAGED_BY: MANAGER}
        changed, created, superfluous = plan(source, labels, _wanted(source), existing, placeholder=False)
        for slice_ in changed:
            self._expectations.wrote(key, self._client.update(ENDPOINTSLICES, slice_))
        for slice_ in created:
            self._expectations.wrote(key, create_once(self._client, ENDPOINTSLICES, slice_, source))
        for slice_ in superfluous:
            self._delete(key, slice_)
        return None

    def _delete(self, key: str, slice_: Obj) -> None:
        try:
            self._client.delete(ENDPOINTSLICES, name_of(slice_), split_key(key)[0], uid=uid_of(slice_))
        except errors.NotFound:
            return
        self._expectations.deleted(key, slice_)


def _mirrors(source: Obj, service: Obj) -> bool:
    if service["spec"].get("selector") or is_terminating(source):
        return False
    return labels_of(source).get(_SKIP) != "true" and _LEADER not in annotations_of(source)


def _wanted(source: Obj) -> Wanted:
    wanted: Wanted = defaultdict(list)
    for subset in source.get("subsets") or []:
        ports = tuple(sorted(
            Port(p.get("name") or "", p["port"], p.get("protocol", "TCP"), p.get("appProtocol") or "")
            for p in subset.get("ports") or []
        ))  # fmt: skip
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or []:
                if ":" not in address["ip"]:  # IPv6 is not served here
                    wanted[ports].append(_endpoint(address, ready))
    return wanted


def _endpoint(address: Obj, ready: bool) -> Obj:
    endpoint: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    return endpoint | {field: address[field] for field in ("hostname", "nodeName", "targetRef") if address.get(field)}
