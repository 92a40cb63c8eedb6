"""Columns of volumes, claims, classes and storage drivers.

Who uses it: `kinds.py`. Upstream: pkg/printers/internalversion/printers.go.
"""

from apiserver.printers.columns import (
    AGE,
    NAME,
    NONE,
    UNSET,
    column,
    dig,
    field,
    flag,
    size,
)  # fmt: skip
from minikube_py.api.types import Obj

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULTS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _modes(modes: list[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _class(obj: Obj) -> str:
    return str(
        (dig(obj, "metadata", "annotations") or {}).get(_OLD_CLASS) or dig(obj, "spec", "storageClassName") or ""
    )


def _volume_status(volume: Obj) -> str:
    return "Terminating" if dig(volume, "metadata", "deletionTimestamp") else str(dig(volume, "status", "phase") or "")


def _claim(volume: Obj) -> str:
    ref = dig(volume, "spec", "claimRef") or {}
    return "/".join(filter(None, (ref.get("namespace"), ref.get("name"))))


PERSISTENT_VOLUME = (
    NAME,
    column("Capacity", field("spec.capacity.storage")),
    column("Access Modes", lambda volume: _modes(dig(volume, "spec", "accessModes"))),
    column("Reclaim Policy", field("spec.persistentVolumeReclaimPolicy")),
    column("Status", _volume_status),
    column("Claim", _claim),
    column("StorageClass", _class),
    column("VolumeAttributesClass", field("spec.volumeAttributesClassName", UNSET)),
    column("Reason", field("status.reason")),
    AGE,
    column("VolumeMode", field("spec.volumeMode", UNSET), wide=True),
)


def _claim_capacity(claim: Obj) -> str:
    return str(dig(claim, "status", "capacity", "storage") or "") if dig(claim, "spec", "volumeName") else ""


def _claim_modes(claim: Obj) -> str:
    return _modes(dig(claim, "status", "accessModes")) if dig(claim, "spec", "volumeName") else ""


PERSISTENT_VOLUME_CLAIM = (
    NAME,
    column("Status", _volume_status),
    column("Volume", field("spec.volumeName")),
    column("Capacity", _claim_capacity),
    column("Access Modes", _claim_modes),
    column("StorageClass", _class),
    column("VolumeAttributesClass", field("status.currentVolumeAttributesClassName", UNSET)),
    AGE,
    column("VolumeMode", field("spec.volumeMode", UNSET), wide=True),
)


def _class_name(storage_class: Obj) -> str:
    annotations = dig(storage_class, "metadata", "annotations") or {}
    mark = " (default)" if any(annotations.get(key) == "true" for key in _DEFAULTS) else ""
    return f"{dig(storage_class, 'metadata', 'name') or ''}{mark}"


STORAGE_CLASS = (
    NAME._replace(cell=lambda obj, now: _class_name(obj)),
    column("Provisioner", field("provisioner")),
    column("ReclaimPolicy", field("reclaimPolicy", "Delete")),
    column("VolumeBindingMode", field("volumeBindingMode", "Immediate")),
    column("AllowVolumeExpansion", flag("allowVolumeExpansion"), "boolean"),
    AGE,
)
VOLUME_ATTRIBUTES_CLASS = (NAME, column("DriverName", field("driverName")), AGE)
VOLUME_ATTACHMENT = (
    NAME,
    column("Attacher", field("spec.attacher")),
    column("PV", field("spec.source.persistentVolumeName")),
    column("Node", field("spec.nodeName")),
    column("Attached", flag("status.attached"), "boolean"),
    AGE,
)


def _token_requests(driver: Obj) -> str:
    return ",".join(one.get("audience", "") for one in dig(driver, "spec", "tokenRequests") or ()) or UNSET


CSI_DRIVER = (
    NAME,
    column("AttachRequired", flag("spec.attachRequired", missing=True), "boolean"),
    column("PodInfoOnMount", flag("spec.podInfoOnMount"), "boolean"),
    column("StorageCapacity", flag("spec.storageCapacity"), "boolean"),
    column("TokenRequests", _token_requests),
    column("RequiresRepublish", flag("spec.requiresRepublish"), "boolean"),
    column("Modes", lambda driver: ",".join(dig(driver, "spec", "volumeLifecycleModes") or ()) or NONE),
    AGE,
)
CSI_NODE = (NAME, column("Drivers", size("spec.drivers"), "integer"), AGE)
CSI_STORAGE_CAPACITY = (
    NAME,
    column("StorageClassName", field("storageClassName")),
    column("Capacity", field("capacity", UNSET)),
)
