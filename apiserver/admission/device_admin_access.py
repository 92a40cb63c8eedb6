"""Admin access to devices: only claims in namespaces that an administrator has labelled for it may have any.

Who calls it: `chain.py`. Invariant: a claim or template that asks for it, and an allocation that grants it, are refused
elsewhere. Upstream: pkg/registry/resource/utils.go, where the strategies ask; as ours are pure, admission does.
"""

from apiserver.admission.attributes import CREATE, Attributes
from apiserver.strategies import checks
from minikube_py.api import errors
from minikube_py.api import resourceclaims as rc
from minikube_py.api.meta import labels_of
from minikube_py.api.types import Obj

LABEL = "resource.kubernetes.io/admin-access"
_KINDS = ("resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io")


def check(attributes: Attributes) -> None:
    """Raises Invalid."""
    if attributes.resource not in _KINDS or attributes.obj is None:
        return
    path = _granted(attributes.obj, attributes.old) if attributes.subresource == "status" else ""
    if attributes.verb == CREATE and not attributes.subresource:
        path = _asked(attributes.obj)
    namespace = (attributes.ctx.lookup("namespaces", "", attributes.namespace) or {}) if path else {}
    if path and labels_of(namespace).get(LABEL) != "true":
        why = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        row = attributes.row
        raise errors.invalid(row.kind, attributes.shown_name, [checks.forbidden(path, why)], row.group)


def _asked(obj: Obj) -> str:
    """The place in a claim or template that asks for admin access."""
    spec = obj.get("spec") or {}
    spec = spec.get("spec") or spec  # a template's
    for number, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            return f"spec.devices.requests[{number}].adminAccess"
    return ""


def _granted(new: Obj, old: Obj | None) -> str:
    """The place in a claim's status that grants it, unless it was granted before."""
    if old is not None and rc.allocation_of(old):
        return ""
    results = ((rc.allocation_of(new) or {}).get("devices") or {}).get("results") or ()
    found = next((number for number, one in enumerate(results) if one.get("adminAccess")), None)
    return "" if found is None else f"status.allocation.devices.results[{found}].adminAccess"
