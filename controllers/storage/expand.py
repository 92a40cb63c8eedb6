"""Expansion: a bound claim that asks for more gets a larger volume, and says how far that is.

Who calls it: `controllers.main`. Invariants: a volume never shrinks; its size is raised here for volumes of our own provisioner
only (others have a resizer of their own); `status.capacity` of the claim is raised by the kubelet, when the node has done its
part, and until then the claim has the condition FileSystemResizePending.
Upstream: pkg/controller/volume/expand, and the external-resizer of CSI drivers.
"""

import copy
from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import quantity
from minikube_py.api import volumes as v
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from minikube_py.api.meta import annotations_of, is_terminating, set_condition
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_PENDING = "FileSystemResizePending"


def build(context: Context) -> Controller:
    """Watches claims, and the volumes bound to them; keys are claims."""
    reconciler = Expansion(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.claims)
    return controller.watch(reconciler.volumes, _claim_of)


def _claim_of(volume: Obj) -> Iterable[str]:
    ref = volume["spec"].get("claimRef")
    return (f"{ref['namespace']}/{ref['name']}",) if ref else ()


class Expansion:
    """The reconciler."""

    name = "volume-expand"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self._recorder = context.recorder("volume_expand")
        informers = context.informers
        self.claims, self.volumes = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(PERSISTENTVOLUMES)

    def reconcile(self, key: str) -> float | None:
        claim = self.claims.get_key(key)
        if claim is None or is_terminating(claim) or v.phase_of(claim) != "Bound":
            return None
        status = claim.get("status") or {}
        had = quantity.parse((status.get("capacity") or {}).get("storage", "0"))
        volume = self.volumes.get("", claim["spec"].get("volumeName") or "")
        if v.requested(claim) <= had or volume is None or not v.belongs_to(volume, claim):
            return None
        if annotations_of(volume).get(v.PROVISIONED_BY) != v.LOCAL_PATH:
            text = "waiting for an external controller to expand this PVC"
            self._recorder.event(claim, "Normal", "ExternalExpanding", text)
            return None
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        if v.capacity(volume) < v.requested(claim):
            self._client.update(PERSISTENTVOLUMES, _with_size(volume, wanted))
        self._wait_for_node(claim)
        return None

    def _wait_for_node(self, claim: Obj) -> None:
        status = copy.deepcopy(claim.get("status") or {})
        text = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
        if set_condition(status, _PENDING, "True", rfc3339(self._clock.now()), message=text):
            self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")
            text = "Require file system resize of volume on node"
            self._recorder.event(claim, "Normal", "FileSystemResizeRequired", text)


def _with_size(volume: Obj, size: str) -> Obj:
    changed = copy.deepcopy(volume)
    changed["spec"]["capacity"]["storage"] = size
    return changed
