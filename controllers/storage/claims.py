"""The persistent volume binder, seen from the claim: each claim gets the volume that serves it best, or waits and says why.

Who calls it: `controllers.main`; `volumes.py` is its other half. Invariants: a binding is written in four steps (the volume's
claimRef, its phase, the claim's volumeName, its phase), each guarded by the revision it was decided on, and each repeated by
whoever finds the next one missing: killed between any two, the same two objects find each other again. A claim that was bound
once is never bound to another volume; when its volume is gone it is Lost.
Upstream: pkg/controller/volume/persistentvolume/pv_controller.go (syncClaim).
"""

import copy
from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from minikube_py.api.meta import annotations_of, is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_UNBOUND = "unbound"


def build(context: Context) -> Controller:
    """Watches claims, volumes (for the claims they may serve) and storage classes; keys are claims."""
    reconciler = ClaimBinder(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.claims)
    controller.watch(reconciler.volumes, reconciler.claims_served_by)
    controller.watch(reconciler.pods, reconciler.claims_awaiting)
    return controller.watch(reconciler.classes, reconciler.claims_of_class)


def claim_key(volume: Obj) -> str:
    """The key of the claim a volume is reserved for, "" for none."""
    ref = volume["spec"].get("claimRef")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


class ClaimBinder:
    """The reconciler."""

    name = "persistentvolume-binder"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder("persistentvolume-controller")
        informers = context.informers
        self.claims, self.volumes = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(PERSISTENTVOLUMES)
        self.classes, self.pods = informers.of(STORAGECLASSES), informers.of(PODS)
        self.claims.add_index(_UNBOUND, lambda c: () if v.is_fully_bound(c) else (v.class_of(c),))

    def claims_served_by(self, volume: Obj) -> Iterable[str]:
        """The claim the volume is reserved for; a free one may serve every waiting claim of its class."""
        if reserved := claim_key(volume):
            return (reserved,)
        return [key_of(claim) for claim in self.claims.by_index(_UNBOUND, v.class_of(volume))]

    def claims_of_class(self, storage_class: Obj) -> Iterable[str]:
        names = {name_of(storage_class), ""}  # "": it may be the default now
        return [key_of(claim) for name in names for claim in self.claims.by_index(_UNBOUND, name)]

    def claims_awaiting(self, pod: Obj) -> Iterable[str]:
        """Waiting claims of a pod without a node: their event names the pod."""
        if pod["spec"].get("nodeName"):
            return ()
        keys = [f"{namespace_of(pod)}/{claim.name}" for claim in v.claims_of(pod)]
        return [key for key in keys if (held := self.claims.get_key(key)) is not None and not v.is_fully_bound(held)]

    def reconcile(self, key: str) -> float | None:
        claim = self.claims.get_key(key)
        if claim is None:
            return None
        claim = copy.deepcopy(claim)
        if v.BIND_COMPLETED in annotations_of(claim):
            self._bound(claim)
        elif claim["spec"].get("volumeName"):
            self._asked_for(claim, claim["spec"]["volumeName"])
        else:
            self._search(claim)
        return None

    # -- not bound yet ------------------------------------------------------------------------------------------------

    def _search(self, claim: Obj) -> None:
        storage_class = self.classes.get("", v.class_of(claim))
        delayed = v.waits_for_consumer(storage_class)
        found = v.best_match(claim, self.volumes.list(), reserved_only=delayed)
        if found is not None:
            self._bind(copy.deepcopy(found), claim)
            return
        if claim["spec"].get("storageClassName") is None and v.BETA_CLASS not in annotations_of(claim):
            default = v.default_class(self.classes.list())
            if default is not None:
                claim["spec"]["storageClassName"] = name_of(default)
                self._client.update(PERSISTENTVOLUMECLAIMS, claim)
                return
        if is_terminating(claim):
            return
        if delayed and v.SELECTED_NODE not in annotations_of(claim):
            self._tell_waiting(claim)
        elif v.class_of(claim):
            self._provision(claim, storage_class)
        else:
            why = "no persistent volumes available for this claim and no storage class is set"
            self._recorder.event(claim, "Normal", "FailedBinding", why)
        self._pending(claim)

    def _tell_waiting(self, claim: Obj) -> None:
        users = [
            name_of(pod) for pod in self.pods.list(namespace_of(claim))
            if not pod["spec"].get("nodeName") and any(c.name == name_of(claim) for c in v.claims_of(pod))
        ]  # fmt: skip
        if users:
            text = f"waiting for {'pod' if len(users) == 1 else 'pods'} {','.join(sorted(users))} to be scheduled"
            self._recorder.event(claim, "Normal", "WaitForPodScheduled", text)
        else:
            text = "waiting for first consumer to be created before binding"
            self._recorder.event(claim, "Normal", "WaitForFirstConsumer", text)

    def _provision(self, claim: Obj, storage_class: Obj | None) -> None:
        """Name the provisioner that shall make a volume; it watches for that."""
        if storage_class is None:
            text = f'storageclass.storage.k8s.io "{v.class_of(claim)}" not found'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        provisioner = storage_class["provisioner"]
        if provisioner == v.NO_PROVISIONER:
            text = "no volume plugin matched name: kubernetes.io/no-provisioner"
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        if annotations_of(claim).get(v.PROVISIONER) != provisioner:
            marks = {v.PROVISIONER: provisioner, v.BETA_PROVISIONER: provisioner}
            claim["metadata"]["annotations"] = {**annotations_of(claim), **marks}
            claim.update(self._client.update(PERSISTENTVOLUMECLAIMS, claim))
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        self._recorder.event(claim, "Normal", "ExternalProvisioning", text)

    def _asked_for(self, claim: Obj, wanted: str) -> None:
        """The user chose the volume, or a former attempt stopped half-way."""
        volume = self.volumes.get("", wanted)
        if volume is None:
            self._pending(claim)
        elif not volume["spec"].get("claimRef"):
            if why := v.misfit(volume, claim):
                text = f'Cannot bind to requested volume "{wanted}": {why}'
                self._recorder.event(claim, "Warning", "VolumeMismatch", text)
                self._pending(claim)
            else:
                self._bind(copy.deepcopy(volume), claim)
        elif v.belongs_to(volume, claim):
            self._bind(copy.deepcopy(volume), claim)
        else:
            text = f'volume "{wanted}" already bound to a different claim.'
            self._recorder.event(claim, "Warning", "FailedBinding", text)
            self._pending(claim)

    def _pending(self, claim: Obj) -> None:
        if v.phase_of(claim) != "Pending":
            self._set_status(claim, {"phase": "Pending"})

    # -- bound --------------------------------------------------------------------------------------------------------

    def _bound(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            text = "Bound claim has lost reference to PersistentVolume. Any data on the volume is lost!"
            return self._lost(claim, "ClaimLost", text)
        volume = self.volumes.get("", name)
        if volume is None:
            text = "Bound claim has lost its PersistentVolume. Any data on the volume is lost!"
            return self._lost(claim, "ClaimLost", text)
        if not volume["spec"].get("claimRef") or v.belongs_to(volume, claim):
            return self._bind(copy.deepcopy(volume), claim)
        text = "Two claims are bound to the same volume, this one is bound incorrectly"
        return self._lost(claim, "ClaimMisbound", text)

    def _lost(self, claim: Obj, reason: str, message: str) -> None:
        if v.phase_of(claim) != "Lost":
            self._set_status(claim, {"phase": "Lost"})
            self._recorder.event(claim, "Warning", reason, message)

    # -- the four writes ----------------------------------------------------------------------------------------------

    def _bind(self, volume: Obj, claim: Obj) -> None:
        """Raises Conflict when somebody was faster with either object: everything is then looked at anew."""
        if not (volume["spec"].get("claimRef") or {}).get("uid"):
            if not volume["spec"].get("claimRef"):
                volume["metadata"]["annotations"] = {**annotations_of(volume), v.BOUND_BY_CONTROLLER: "yes"}
            volume["spec"]["claimRef"] = {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace_of(claim), "name": name_of(claim),
                "uid": uid_of(claim), "resourceVersion": claim["metadata"]["resourceVersion"],
            }  # fmt: skip
            volume = self._client.update(PERSISTENTVOLUMES, volume)
        if v.phase_of(volume) != "Bound":
            volume["status"] = {**(volume.get("status") or {}), "phase": "Bound"}
            volume = self._client.update(PERSISTENTVOLUMES, volume, subresource="status")
        marks = {v.BIND_COMPLETED: "yes"}
        if claim["spec"].get("volumeName") != name_of(volume):
            claim["spec"]["volumeName"] = name_of(volume)
            marks[v.BOUND_BY_CONTROLLER] = "yes"
        if marks.keys() - annotations_of(claim).keys():
            claim["metadata"]["annotations"] = {**annotations_of(claim), **marks}
            claim = self._client.update(PERSISTENTVOLUMECLAIMS, claim)
        status = {"phase": "Bound", "accessModes": volume["spec"].get("accessModes")}
        if v.phase_of(claim) != "Bound":  # later it grows by being expanded
            status["capacity"] = {"storage": volume["spec"]["capacity"]["storage"]}
        if attributes := volume["spec"].get("volumeAttributesClassName"):
            status["currentVolumeAttributesClassName"] = attributes
        self._set_status(claim, status)

    def _set_status(self, claim: Obj, changes: Obj) -> None:
        status = {**(claim.get("status") or {}), **changes}
        if status != claim.get("status"):
            self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")
