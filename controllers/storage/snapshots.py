"""Volume snapshots: each VolumeSnapshot gets the VolumeSnapshotContent that stands for its data, and tells of its state.

Who calls it: `controllers.main`; whoever makes the volumes of a driver makes the data (`local_snapshots.py` for our own
provisioner, a sidecar elsewhere). Invariants: a content made for a snapshot is called after its uid, so it is made once; both
name each other before either is believed; a snapshot that had data is never quietly given other data; data is only given up
when the snapshot itself is deleted, not when it is merely not there.
Upstream: github.com/kubernetes-csi/external-snapshotter pkg/common-controller (volume groups are not built).
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from controllers.context import Context
from controllers.customkinds import CustomKinds
from minikube_py.api import errors, quantity
from minikube_py.api import volumes as v
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    VOLUMESNAPSHOTCLASSES,
    VOLUMESNAPSHOTCONTENTS,
    VOLUMESNAPSHOTS,
    new_object,
)
from minikube_py.api.meta import annotations_of, is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client import finalizers
from minikube_py.client.controller import Controller

BEING_DELETED = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
CONTENT_FINALIZER = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
_FINALIZERS = (
    "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection",
    "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection",
)
_CLAIM_FINALIZER = "snapshot.storage.kubernetes.io/pvc-as-source-protection"
_DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
_SOON = 0.5


class Refused(Exception):
    """Why a snapshot is not ready: the event's reason, and a sentence for its status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def build(context: Context) -> Controller:
    """Watches snapshots, contents, their classes and claims; keys are snapshots."""
    reconciler = Snapshots(context)
    controller = Controller(reconciler, clock=context.clock)
    reconciler.kinds = kinds = CustomKinds(context, controller)
    kinds.watch(VOLUMESNAPSHOTS, lambda snapshot: (key_of(snapshot),))
    kinds.watch(VOLUMESNAPSHOTCONTENTS, lambda content: (snapshot_of(content),))
    kinds.watch(VOLUMESNAPSHOTCLASSES, reconciler.waiting)
    return controller.watch(reconciler.claims, reconciler.concerned_by).needs(reconciler.volumes)


def snapshot_of(content: Obj) -> str:
    """The key of the snapshot a content is for."""
    ref = content["spec"]["volumeSnapshotRef"]
    return f"{ref['namespace']}/{ref['name']}"


class Snapshots:
    """The reconciler."""

    name = "volume-snapshot"
    kinds: CustomKinds

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self._recorder = context.recorder("snapshot-controller")
        self.claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self.volumes = context.informers.of(PERSISTENTVOLUMES)

    def waiting(self, changed: Obj) -> Iterable[str]:
        return [key_of(snapshot) for snapshot in self.kinds.list(VOLUMESNAPSHOTS) if not _is_ready(snapshot)]

    def concerned_by(self, claim: Obj) -> Iterable[str]:
        """Snapshots that wait for the claim they are of, or for the claim that is made from them."""
        source = claim["spec"].get("dataSource") or {}
        for snapshot in self.kinds.list(VOLUMESNAPSHOTS, namespace_of(claim)):
            of_it = snapshot["spec"]["source"].get("persistentVolumeClaimName") == name_of(claim)
            if (of_it and not _is_ready(snapshot)) or (
                is_terminating(snapshot) and source.get("name") == name_of(snapshot)
            ):
                yield key_of(snapshot)

    def reconcile(self, key: str) -> float | None:
        if not self.kinds.ready():
            return _SOON
        snapshot = self.kinds.get(VOLUMESNAPSHOTS, key)
        if snapshot is None:
            return None
        if is_terminating(snapshot):
            self._end(snapshot)
            return None
        snapshot = finalizers.put(self._client, VOLUMESNAPSHOTS, snapshot, *_FINALIZERS)
        try:
            content = self._content(snapshot)
        except Refused as refusal:
            self._recorder.event(snapshot, "Warning", refusal.reason, str(refusal))
            self._show(snapshot, {"readyToUse": False, "error": self._error(snapshot, str(refusal))})
        else:
            self._mirror(snapshot, content)
        return None

    # -- its content --------------------------------------------------------------------------------------------------

    def _content(self, snapshot: Obj) -> Obj:
        """The content that stands for the snapshot, made or bound if need be. Raises Refused."""
        wanted = snapshot["spec"]["source"].get("volumeSnapshotContentName")
        content = self.kinds.get(VOLUMESNAPSHOTCONTENTS, wanted or content_name(snapshot))
        if content is None:
            if wanted or (snapshot.get("status") or {}).get("creationTime"):
                raise Refused("SnapshotContentMissing", "VolumeSnapshotContent is missing")
            return self._make(self._with_class(snapshot))
        ref = content["spec"]["volumeSnapshotRef"]
        if snapshot_of(content) != key_of(snapshot) or ref.get("uid", uid_of(snapshot)) != uid_of(snapshot):
            text = f"VolumeSnapshotContent {name_of(content)} is bound to a different snapshot"
            raise Refused("SnapshotContentMisbound", text)
        if wanted and not content["spec"]["source"].get("snapshotHandle"):
            text = "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one"
            raise Refused("SnapshotContentMismatch", text)
        if is_terminating(content):
            return content
        if not ref.get("uid"):
            content = {**content, "spec": {**content["spec"], "volumeSnapshotRef": {**ref, "uid": uid_of(snapshot)}}}
            content = self._client.update(VOLUMESNAPSHOTCONTENTS, content)
        return finalizers.put(self._client, VOLUMESNAPSHOTCONTENTS, content, CONTENT_FINALIZER)

    def _with_class(self, snapshot: Obj) -> Obj:
        """A snapshot without a class gets the default one of its volume's driver. Raises Refused."""
        if snapshot["spec"].get("volumeSnapshotClassName"):
            return snapshot
        driver, _, _ = self._source(snapshot)
        defaults = [
            name_of(found) for found in self.kinds.list(VOLUMESNAPSHOTCLASSES)
            if annotations_of(found).get(_DEFAULT_CLASS) == "true" and found["driver"] == driver
        ]  # fmt: skip
        if len(defaults) != 1:
            text = f"{len(defaults)} default VolumeSnapshotClasses found for driver {driver}, one is needed"
            raise Refused("SetDefaultSnapshotClassFailed", text)
        spec = {**snapshot["spec"], "volumeSnapshotClassName": defaults[0]}
        return self._client.update(VOLUMESNAPSHOTS, {**snapshot, "spec": spec})

    def _source(self, snapshot: Obj) -> tuple[str, str, Obj]:
        """(driver, its handle of the volume, the claim) a snapshot is taken of. Raises Refused."""
        name = snapshot["spec"]["source"]["persistentVolumeClaimName"]
        claim = self.claims.get(namespace_of(snapshot), name)
        if claim is None or is_terminating(claim):
            raise Refused("SnapshotContentCreationFailed", f"the claim {name} is not there, or is being deleted")
        volume = self.volumes.get("", claim["spec"].get("volumeName") or "")
        if volume is None or v.phase_of(claim) != "Bound":
            raise Refused("SnapshotContentCreationFailed", f"the claim {name} is not yet bound to a PersistentVolume")
        if csi := volume["spec"].get("csi"):
            return csi["driver"], csi["volumeHandle"], claim
        if annotations_of(volume).get(v.PROVISIONED_BY) == v.LOCAL_PATH:
            return v.LOCAL_PATH, name_of(volume), claim
        raise Refused("SnapshotContentCreationFailed", f"no driver takes snapshots of the volume {name_of(volume)}")

    def _make(self, snapshot: Obj) -> Obj:
        driver, handle, claim = self._source(snapshot)
        chosen = snapshot["spec"]["volumeSnapshotClassName"]
        found = self.kinds.get(VOLUMESNAPSHOTCLASSES, chosen)
        if found is None or found["driver"] != driver:
            why = "is not there" if found is None else f"is of driver {found['driver']}, the volume of {driver}"
            raise Refused("GetSnapshotClassFailed", f"VolumeSnapshotClass {chosen} {why}")
        finalizers.put(self._client, PERSISTENTVOLUMECLAIMS, claim, _CLAIM_FINALIZER)
        ref = {
            "apiVersion": VOLUMESNAPSHOTS.api_version, "kind": VOLUMESNAPSHOTS.kind, "namespace": namespace_of(snapshot),
            "name": name_of(snapshot), "uid": uid_of(snapshot), "resourceVersion": snapshot["metadata"]["resourceVersion"],
        }  # fmt: skip
        spec = {
            "deletionPolicy": found["deletionPolicy"], "driver": driver, "source": {"volumeHandle": handle},
            "sourceVolumeMode": v.mode_of(claim), "volumeSnapshotClassName": chosen, "volumeSnapshotRef": ref,
        }  # fmt: skip
        content = new_object(VOLUMESNAPSHOTCONTENTS, content_name(snapshot), spec=spec)
        content["metadata"]["finalizers"] = [CONTENT_FINALIZER]
        made = self._client.create(VOLUMESNAPSHOTCONTENTS, content)
        text = f"Waiting for a snapshot {key_of(snapshot)} to be created by the driver {driver}."
        self._recorder.event(snapshot, "Normal", "CreatingSnapshot", text)
        return made

    # -- its state ----------------------------------------------------------------------------------------------------

    def _mirror(self, snapshot: Obj, content: Obj) -> None:
        told = content.get("status") or {}
        status = {"boundVolumeSnapshotContentName": name_of(content), "readyToUse": bool(told.get("readyToUse"))}
        if told.get("creationTime"):
            status["creationTime"] = rfc3339(datetime.fromtimestamp(told["creationTime"] / 1e9, UTC))
        if told.get("restoreSize") is not None:
            status["restoreSize"] = quantity.format(told["restoreSize"], binary=True)
        if told.get("error"):
            status["error"] = told["error"]
        before = snapshot.get("status") or {}
        self._show(snapshot, status)
        if status.get("creationTime") and not before.get("creationTime"):
            text = f"Snapshot {key_of(snapshot)} was successfully created by the driver."
            self._recorder.event(snapshot, "Normal", "SnapshotCreated", text)
        if status["readyToUse"]:
            if not before.get("readyToUse"):
                self._recorder.event(
                    snapshot, "Normal", "SnapshotReady", f"Snapshot {key_of(snapshot)} is ready to use."
                )
            self._let_claim_go(snapshot)

    def _show(self, snapshot: Obj, status: Obj) -> None:
        before = snapshot.get("status") or {}
        kept = {} if "boundVolumeSnapshotContentName" in status else {**before, **status}
        wanted = kept or status
        if wanted != before:
            self._client.update(VOLUMESNAPSHOTS, {**snapshot, "status": wanted}, subresource="status")

    def _error(self, snapshot: Obj, message: str) -> Obj:
        before: Obj = (snapshot.get("status") or {}).get("error") or {}
        return before if before.get("message") == message else {"message": message, "time": rfc3339(self._clock.now())}

    # -- its end ------------------------------------------------------------------------------------------------------

    def _end(self, snapshot: Obj) -> None:
        name = snapshot["spec"]["source"].get("volumeSnapshotContentName") or content_name(snapshot)
        content = self._fresh(name)
        if content is not None and content["spec"]["volumeSnapshotRef"].get("uid") == uid_of(snapshot):
            if self._is_being_restored(snapshot):
                text = "Snapshot is being used to restore a PVC"
                self._recorder.event(snapshot, "Warning", "SnapshotDeletePending", text)
                return
            if BEING_DELETED not in annotations_of(content):
                marks = {**annotations_of(content), BEING_DELETED: "yes"}
                metadata = {**content["metadata"], "annotations": marks}
                content = self._client.update(VOLUMESNAPSHOTCONTENTS, {**content, "metadata": metadata})
            if content["spec"]["deletionPolicy"] == "Delete":
                if not is_terminating(content):
                    self._client.delete(VOLUMESNAPSHOTCONTENTS, name, uid=uid_of(content))
                return  # its end brings us back
        self._let_claim_go(snapshot)
        finalizers.take(self._client, VOLUMESNAPSHOTS, snapshot, *_FINALIZERS)

    def _fresh(self, name: str) -> Obj | None:
        """Asked of the API server: one just made may not be in the cache yet."""
        try:
            return self._client.get(VOLUMESNAPSHOTCONTENTS, name)
        except errors.NotFound:
            return None

    def _is_being_restored(self, snapshot: Obj) -> bool:
        for claim in self.claims.list(namespace_of(snapshot)):
            source = claim["spec"].get("dataSource") or {}
            from_it = (source.get("kind"), source.get("name")) == (VOLUMESNAPSHOTS.kind, name_of(snapshot))
            if from_it and v.phase_of(claim) == "Pending" and not is_terminating(claim):
                return True
        return False

    def _let_claim_go(self, snapshot: Obj) -> None:
        """The claim may be deleted once no snapshot of it is still to be taken."""
        name = snapshot["spec"]["source"].get("persistentVolumeClaimName")
        claim = self.claims.get(namespace_of(snapshot), name or "")
        others = [
            other for other in self.kinds.list(VOLUMESNAPSHOTS, namespace_of(snapshot))
            if other["spec"]["source"].get("persistentVolumeClaimName") == name and uid_of(other) != uid_of(snapshot)
        ]  # fmt: skip
        if claim is not None and all(_is_ready(other) or is_terminating(other) for other in others):
            finalizers.take(self._client, PERSISTENTVOLUMECLAIMS, claim, _CLAIM_FINALIZER)


def content_name(snapshot: Obj) -> str:
    """The content that is made for a snapshot."""
    return f"snapcontent-{uid_of(snapshot)}"


def _is_ready(snapshot: Obj) -> bool:
    return bool((snapshot.get("status") or {}).get("readyToUse"))
