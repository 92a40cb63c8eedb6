"""Snapshots of local volumes: the data of each content is a copy of the volume on the same node, a PersistentVolume of its own.

Who calls it: `controllers.main`; `snapshots.py` makes the contents. The copy is made and removed by the node as any copy is
(`kubelet/volumes/local_path.py`); no claim asks for the class of these volumes. Invariants: the volume is called after the
snapshot, so it is made once; it is ready when the node says that the copy is complete; a content goes only after its data.
Upstream: github.com/kubernetes-csi/external-snapshotter pkg/sidecar-controller.
"""

import posixpath
from collections.abc import Iterable

from controllers.context import Context
from controllers.customkinds import CustomKinds
from controllers.storage.snapshots import BEING_DELETED, CONTENT_FINALIZER, snapshot_of
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.gvr import PERSISTENTVOLUMES, VOLUMESNAPSHOTCONTENTS, new_object
from minikube_py.api.meta import annotations_of, is_terminating, labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client import finalizers
from minikube_py.client.controller import Controller

_CLASS = "snapshots.minikube-py.io"


def build(context: Context) -> Controller:
    """Watches contents and volumes; keys are contents."""
    reconciler = LocalSnapshots(context)
    controller = Controller(reconciler, clock=context.clock)
    reconciler.kinds = CustomKinds(context, controller)
    reconciler.kinds.watch(VOLUMESNAPSHOTCONTENTS, _ours)
    return controller.watch(reconciler.volumes, reconciler.held_in)


def _ours(content: Obj) -> Iterable[str]:
    return (name_of(content),) if content["spec"]["driver"] == v.LOCAL_PATH else ()


def _handle(content: Obj) -> str:
    """The volume that holds a content's data."""
    given = content["spec"]["source"].get("snapshotHandle")
    return given or f"snapshot-{content['spec']['volumeSnapshotRef'].get('uid')}"


def _holding(volume: Obj | None) -> Obj | None:
    """The volume, if it holds a snapshot: whoever names a live one gets nothing of it, nor does it end with his content."""
    return volume if volume is not None and v.class_of(volume) == _CLASS else None


class LocalSnapshots:
    """The reconciler."""

    name = "local-path-snapshots"
    kinds: CustomKinds

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.volumes = context.informers.of(PERSISTENTVOLUMES)

    def held_in(self, volume: Obj) -> Iterable[str]:
        return [
            key for content in self.kinds.list(VOLUMESNAPSHOTCONTENTS) for key in _ours(content)
            if name_of(volume) in (_handle(content), content["spec"]["source"].get("volumeHandle"))
        ]  # fmt: skip

    def reconcile(self, key: str) -> float | None:
        content = self.kinds.get(VOLUMESNAPSHOTCONTENTS, key)
        if content is None or not list(_ours(content)):
            return None
        bound = content["spec"]["volumeSnapshotRef"].get("uid")
        if is_terminating(content) and (not bound or BEING_DELETED in annotations_of(content)):
            self._end(content)
            return None
        volume = _holding(self.volumes.get("", _handle(content)))
        if volume is None and bound and not (content.get("status") or {}).get("creationTime"):
            volume = self._take(content)
        if volume is not None and bound:
            self._name(volume, content, BEING_DELETED not in annotations_of(content))
        self._show(content, volume)
        return None

    def _take(self, content: Obj) -> Obj | None:
        """Have the node copy the volume: None when there is nothing to copy."""
        source = self.volumes.get("", content["spec"]["source"].get("volumeHandle") or "")
        if source is None:
            return None
        spec = {
            "accessModes": ["ReadOnlyMany"], "capacity": source["spec"]["capacity"], "volumeMode": v.mode_of(source),
            "local": {"path": posixpath.join(posixpath.dirname(source["spec"]["local"]["path"]), _handle(content))},
            "nodeAffinity": source["spec"]["nodeAffinity"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": _CLASS,
        }  # fmt: skip
        volume = new_object(PERSISTENTVOLUMES, _handle(content), spec=spec)
        volume["metadata"] |= {
            "annotations": {v.PROVISIONED_BY: v.LOCAL_PATH, v.COPY_OF: name_of(source), v.SNAPSHOT: snapshot_of(content)},
            "finalizers": [v.DATA_FINALIZER], "labels": {v.NODE_LABEL: labels_of(source)[v.NODE_LABEL]},
        }  # fmt: skip
        return self._client.create(PERSISTENTVOLUMES, volume)

    def _name(self, volume: Obj, content: Obj, usable: bool) -> None:
        """The volume names the snapshot that claims may be made from: the provisioner and the scheduler find it there."""
        named, own = annotations_of(volume).get(v.SNAPSHOT), snapshot_of(content)
        if (usable and not named) or (not usable and named == own):
            marks = {"metadata": {"annotations": {v.SNAPSHOT: own if usable else None}}}
            self._client.patch(PERSISTENTVOLUMES, name_of(volume), marks)

    def _show(self, content: Obj, volume: Obj | None) -> None:
        before = content.get("status") or {}
        if volume is None:
            message = f"there is no volume {content['spec']['source'].get('volumeHandle') or _handle(content)}"
            if (before.get("error") or {}).get("message") == message:
                return
            wanted = {**before, "readyToUse": False, "error": {"message": message, "time": rfc3339(self._clock.now())}}
        else:
            made = annotations_of(volume).get(v.MADE)
            wanted = {"snapshotHandle": name_of(volume), "readyToUse": bool(made)}
            wanted["restoreSize"] = int(v.capacity(volume))
            if made:
                wanted["creationTime"] = int(parse_rfc3339(made).timestamp()) * 10**9
        if wanted != before:
            self._client.update(VOLUMESNAPSHOTCONTENTS, {**content, "status": wanted}, subresource="status")

    def _end(self, content: Obj) -> None:
        volume = _holding(self._fresh(_handle(content)))
        if volume is not None and content["spec"]["deletionPolicy"] == "Delete":
            if not is_terminating(volume):
                self._client.delete(PERSISTENTVOLUMES, name_of(volume), uid=uid_of(volume))
            return  # its end brings us back
        if volume is not None:
            self._name(volume, content, False)
        finalizers.take(self._client, VOLUMESNAPSHOTCONTENTS, content, CONTENT_FINALIZER)

    def _fresh(self, name: str) -> Obj | None:
        """Asked of the API server: one just made may not be in the cache yet."""
        try:
            return self._client.get(PERSISTENTVOLUMES, name)
        except errors.NotFound:
            return None
