"""DefaultStorageClass and DefaultIngressClass: a claim or Ingress that names no class gets the one marked as default.

Who calls it: `chain.py`, at creation. Invariant: an explicit class, the empty one included, is left alone.
Upstream: plugin/pkg/admission/storage/storageclass/setdefault, plugin/pkg/admission/network/defaultingressclass.
"""

from apiserver.admission.attributes import CREATE, Attributes
from minikube_py.api.meta import annotations_of, name_of
from minikube_py.api.volumes import default_class

_INGRESS = "ingressclass.kubernetes.io/is-default-class"
_OLD_INGRESS = "kubernetes.io/ingress.class"


def storage(attributes: Attributes) -> None:
    """Fill in a claim's storageClassName; of several defaults the newest wins."""
    if not attributes.is_("persistentvolumeclaims", CREATE) or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    if spec.get("storageClassName") is not None:
        return
    default = default_class(attributes.ctx.lister("storageclasses.storage.k8s.io", ""))
    if default is not None:
        spec["storageClassName"] = name_of(default)


def ingress(attributes: Attributes) -> None:
    """Fill in an Ingress's class. Raises Forbidden when two are marked as default."""
    if not attributes.is_("ingresses.networking.k8s.io", CREATE) or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    if spec.get("ingressClassName") is not None or _OLD_INGRESS in annotations_of(attributes.obj):
        return
    classes = attributes.ctx.lister("ingressclasses.networking.k8s.io", "")
    defaults = [item for item in classes if annotations_of(item).get(_INGRESS) == "true"]
    if len(defaults) > 1:
        raise attributes.forbidden(f"{len(defaults)} default IngressClasses were found, only 1 allowed")
    if defaults:
        spec["ingressClassName"] = name_of(defaults[0])
