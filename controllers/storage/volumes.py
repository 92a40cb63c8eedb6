"""The persistent volume binder, seen from the volume: available, bound, released, reclaimed.

Who calls it: `controllers.main`; `claims.py` is its other half. Invariant: a volume is only released after the API server, not
a cache, said that its claim is gone; data is only given up by whoever made the volume, never here.
Upstream: pkg/controller/volume/persistentvolume/pv_controller.go (syncVolume). Differs: hostPath volumes with the policy Delete
fail to be deleted, as a controller does not reach a node's disk.
"""

import copy
from collections.abc import Iterable

from controllers.context import Context
from controllers.storage.claims import claim_key
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from minikube_py.api.meta import annotations_of, is_terminating, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_BY_CLAIM = "claim"


def build(context: Context) -> Controller:
    """Watches volumes, and claims for the volumes reserved for them or chosen by them; keys are volumes."""
    reconciler = VolumeBinder(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.volumes)
    return controller.watch(reconciler.claims, reconciler.volumes_of)


class VolumeBinder:
    """The reconciler."""

    name = "persistentvolume-reclaimer"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder("persistentvolume-controller")
        self.claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self.volumes = context.informers.of(PERSISTENTVOLUMES)
        self.volumes.add_index(_BY_CLAIM, lambda volume: filter(None, (claim_key(volume),)))

    def volumes_of(self, claim: Obj) -> Iterable[str]:
        metadata, chosen = claim["metadata"], claim["spec"].get("volumeName")
        held = self.volumes.by_index(_BY_CLAIM, f"{metadata['namespace']}/{metadata['name']}")
        return dict.fromkeys([*map(name_of, held), *([chosen] if chosen else [])])

    def reconcile(self, key: str) -> float | None:
        volume = self.volumes.get("", key)
        if volume is None:
            return None
        ref = volume["spec"].get("claimRef")
        if not ref or not ref.get("uid"):
            self._set_phase(volume, "Available")
            return None
        claim = self._claim(ref)
        if claim is None:
            self._release(volume)
        elif not claim["spec"].get("volumeName"):
            self._check_mode(volume, claim)  # else the claim's own loop goes on from here
        elif claim["spec"]["volumeName"] == name_of(volume):
            self._set_phase(volume, "Bound")
        elif v.PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
            self._release(volume)
        else:
            self._unbind(copy.deepcopy(volume))
        return None

    def _claim(self, ref: Obj) -> Obj | None:
        """The claim a volume is reserved for, None when it is gone for certain."""
        held = self.claims.get(ref["namespace"], ref["name"])
        if held is not None and uid_of(held) == ref["uid"]:
            return held
        try:
            held = self._client.get(PERSISTENTVOLUMECLAIMS, ref["name"], ref["namespace"])
        except errors.NotFound:
            return None
        return held if uid_of(held) == ref["uid"] else None

    def _check_mode(self, volume: Obj, claim: Obj) -> None:
        if v.mode_of(volume) == v.mode_of(claim):
            return
        end = "due to incompatible volumeMode."
        text = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name_of(claim)}" {end}'
        self._recorder.event(volume, "Warning", "VolumeMismatch", text)
        text = f'Cannot bind PersistentVolume "{name_of(volume)}" to requested PersistentVolumeClaim {end}'
        self._recorder.event(claim, "Warning", "VolumeMismatch", text)

    def _release(self, volume: Obj) -> None:
        if v.phase_of(volume) not in ("Released", "Failed"):
            volume = self._set_phase(volume, "Released")
        if is_terminating(volume) or _policy(volume) == "Retain":
            return
        kind, _ = v.source_of(volume)
        if _policy(volume) == "Recycle":
            self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        elif v.PROVISIONED_BY not in annotations_of(volume) and kind != "csi":
            text = f'Error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
            self._fail(volume, "VolumeFailedDelete", text)

    def _fail(self, volume: Obj, reason: str, message: str) -> None:
        if v.phase_of(volume) != "Failed":
            self._set_phase(volume, "Failed", message)
            self._recorder.event(volume, "Warning", reason, message)

    def _unbind(self, volume: Obj) -> None:
        """The claim found another volume. What a user reserved stays reserved; only its uid goes."""
        if v.BOUND_BY_CONTROLLER in annotations_of(volume):
            del volume["metadata"]["annotations"][v.BOUND_BY_CONTROLLER]
            volume["spec"]["claimRef"] = None
        else:
            for field in ("uid", "resourceVersion"):
                volume["spec"]["claimRef"].pop(field, None)
        self._set_phase(self._client.update(PERSISTENTVOLUMES, volume), "Available")

    def _set_phase(self, volume: Obj, phase: str, message: str = "") -> Obj:
        status = volume.get("status") or {}
        if status.get("phase") == phase:
            return volume
        kept = {key: value for key, value in status.items() if key not in ("message", "reason")}
        kept |= {"phase": phase, **({"message": message} if message else {})}
        return self._client.update(PERSISTENTVOLUMES, {**volume, "status": kept}, subresource="status")


def _policy(volume: Obj) -> str:
    return volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
