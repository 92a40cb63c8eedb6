"""StorageObjectInUseProtection and PersistentVolumeClaimResize.

Who calls it: `chain.py`. Invariants: every claim and volume has its protection finalizer from the first moment; only a bound
claim of a class that allows it may ask for more.
Upstream: plugin/pkg/admission/storage/storageobjectinuseprotection, plugin/pkg/admission/storage/persistentvolume/resize.
"""

from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from minikube_py.api import volumes as v
from minikube_py.api.meta import name_of

_FINALIZERS = {"persistentvolumeclaims": v.CLAIM_PROTECTION, "persistentvolumes": v.VOLUME_PROTECTION}


def protect(attributes: Attributes) -> None:
    """Put the finalizer on."""
    finalizer = _FINALIZERS.get(attributes.resource)
    if finalizer is None or attributes.subresource or attributes.verb != CREATE or attributes.obj is None:
        return
    held = attributes.obj["metadata"].get("finalizers") or []
    if finalizer not in held:
        attributes.obj["metadata"]["finalizers"] = [*held, finalizer]


def resize(attributes: Attributes) -> None:
    """Raises Forbidden for a claim that may not grow."""
    new, old = attributes.obj, attributes.old
    if not attributes.is_("persistentvolumeclaims", UPDATE) or new is None or old is None:
        return
    if v.requested(new) <= v.requested(old):
        return
    if v.phase_of(old) != "Bound":
        raise attributes.forbidden("Only bound persistent volume claims can be expanded")
    classes = attributes.ctx.lister("storageclasses.storage.k8s.io", "") if v.class_of(new) == v.class_of(old) else []
    if not any(name_of(item) == v.class_of(new) and item.get("allowVolumeExpansion") for item in classes):
        raise attributes.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        )
