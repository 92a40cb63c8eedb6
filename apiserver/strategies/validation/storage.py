"""Persistent volumes and claims, storage classes, attachments, CSI objects.

Who calls it: the strategy table. Invariant: pure.
Upstream: pkg/apis/core/validation (PersistentVolume, PersistentVolumeClaim), pkg/apis/storage/validation.
"""

from apiserver.strategies.checks import (
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    optional_one_of,
    required,
    required_syntax,
    syntax,
)
from apiserver.strategies.validation.resources import amount
from apiserver.strategies.validation.selectors import label_selector, node_selector
from apiserver.strategies.validation.volumes import source
from minikube_py.api import names, quantity
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj
from minikube_py.api.volumes import NOT_SOURCES

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_CLAIM_FIXED = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _access_modes(spec: Obj) -> list[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [required("spec.accessModes")]
    causes = [cause for mode in modes for cause in one_of("spec.accessModes", mode, ACCESS_MODES)]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        causes.append(forbidden("spec.accessModes", why))
    return causes


def persistentvolume(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _access_modes(spec)
    storage = (spec.get("capacity") or {}).get("storage")
    if storage is None:
        causes.append(required("spec.capacity"))
    else:
        causes += amount("spec.capacity[storage]", storage) or _positive("spec.capacity[storage]", storage)
    policies = ("Delete", "Recycle", "Retain")
    causes += optional_one_of("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), policies)
    causes += optional_one_of("spec.volumeMode", spec.get("volumeMode"), VOLUME_MODES)
    causes += source(spec, "spec", NOT_SOURCES)
    if spec.get("storageClassName"):
        causes += syntax("spec.storageClassName", spec["storageClassName"], names.subdomain)
    chosen = (spec.get("nodeAffinity") or {}).get("required")
    if chosen is not None:
        causes += node_selector("spec.nodeAffinity.required", chosen)
    elif spec.get("local") is not None:
        causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    return causes


def persistentvolume_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = []
    kinds = {name for name in {*spec, *before} if name not in NOT_SOURCES}
    if any(spec.get(name) != before.get(name) for name in kinds):
        causes.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    causes += immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity"):
        causes += immutable("spec.nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])
    return causes


def persistentvolumeclaim(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _access_modes(spec) + label_selector("spec.selector", spec.get("selector"))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        causes.append(required("spec.resources[storage]"))
    else:
        causes += amount("spec.resources[storage]", storage) or _positive("spec.resources[storage]", storage)
    if spec.get("storageClassName"):
        causes += syntax("spec.storageClassName", spec["storageClassName"], names.subdomain)
    return causes + optional_one_of("spec.volumeMode", spec.get("volumeMode"), VOLUME_MODES)


def persistentvolumeclaim_update(new: Obj, old: Obj) -> list[Cause]:
    """A bound claim may only grow; before that the volume's name may be filled in, and a missing class."""
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    causes: list[Cause] = []
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None:
        before["storageClassName"] = spec.get("storageClassName")
    if bound:
        wanted, had = (((s.get("resources") or {}).get("requests") or {}).get("storage", "0") for s in (spec, before))
        if quantity.compare(wanted, had) < 0:
            status = ((old.get("status") or {}).get("capacity") or {}).get("storage", had)
            if quantity.compare(wanted, status) < 0:
                why = "field can not be less than status.capacity"
                causes.append(forbidden("spec.resources.requests.storage", why))
        before["resources"] = spec.get("resources")
        before["volumeAttributesClassName"] = spec.get("volumeAttributesClassName")
    fixed = {name for name in {*spec, *before} if spec.get(name) != before.get(name)}
    return [*causes, forbidden("spec", _CLAIM_FIXED)] if fixed else causes


def _positive(path: str, value: str) -> list[Cause]:
    return [] if quantity.parse(value) > 0 else [invalid(path, str(value), "must be greater than zero")]


def storageclass(obj: Obj) -> list[Cause]:
    causes = required_syntax("provisioner", (obj.get("provisioner") or "").lower(), names.qualified)
    causes += optional_one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    causes += one_of("volumeBindingMode", obj.get("volumeBindingMode"), modes)
    for index, term in enumerate(obj.get("allowedTopologies") or ()):
        at = f"allowedTopologies[{index}].matchLabelExpressions"
        causes += each(at, term.get("matchLabelExpressions"), _topology)
    return causes


def _topology(item: Obj, path: str) -> list[Cause]:
    causes = syntax(f"{path}.key", item.get("key") or "", names.qualified)
    return causes if item.get("values") else [*causes, required(f"{path}.values")]


def storageclass_update(new: Obj, old: Obj) -> list[Cause]:
    changed = [
        n for n in ("parameters", "provisioner", "reclaimPolicy") if (new.get(n) or None) != (old.get(n) or None)
    ]
    causes = [forbidden(name, f"updates to {name} are forbidden.") for name in changed]
    return causes + immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


def volumeattachment(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = required_syntax("spec.attacher", spec.get("attacher"), names.qualified)
    causes += required_syntax("spec.nodeName", spec.get("nodeName"), names.subdomain)
    given = [name for name in ("persistentVolumeName", "inlineVolumeSpec") if (spec.get("source") or {}).get(name)]
    if len(given) != 1:
        why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        causes.append(required("spec.source", why))
    return causes


def spec_kept(new: Obj, old: Obj) -> list[Cause]:
    """Kinds whose spec is settled at creation."""
    return immutable("spec", new.get("spec"), old.get("spec"))


def csidriver(obj: Obj) -> list[Cause]:
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    return optional_one_of("spec.fsGroupPolicy", (obj.get("spec") or {}).get("fsGroupPolicy"), policies)


def csidriver_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return immutable("spec.attachRequired", spec.get("attachRequired"), before.get("attachRequired"))


def parameters_kept(new: Obj, old: Obj) -> list[Cause]:
    """VolumeAttributesClass: driver and parameters are settled at creation."""
    return [c for name in ("driverName", "parameters") for c in immutable(name, new.get(name), old.get(name))]
