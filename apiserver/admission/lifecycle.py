"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away; some namespaces stay.

Who calls it: `chain.py`, first of all plugins. Invariant: once a namespace is Terminating nothing new appears in it, so its
controller's clearing comes to an end.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle.
"""

from apiserver.admission.attributes import CREATE, DELETE, Attributes
from minikube_py.api import errors
from minikube_py.api.meta import is_terminating

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_REVIEWS = frozenset({"localsubjectaccessreviews.authorization.k8s.io"})


def check(attributes: Attributes) -> None:
    """Raises Forbidden for the deletion of a namespace the cluster needs."""
    if attributes.is_("namespaces", DELETE) and attributes.name in _IMMORTAL:
        raise attributes.forbidden("this namespace may not be deleted")


def admit(attributes: Attributes) -> None:
    """Raises NotFound for a missing namespace, Forbidden for a terminating one."""
    if attributes.verb != CREATE or not attributes.namespace or not attributes.row.namespaced:
        return
    if attributes.resource in _REVIEWS:
        return
    namespace = attributes.ctx.lookup("namespaces", "", attributes.namespace)
    if namespace is None:
        raise errors.not_found("namespaces", attributes.namespace)
    if attributes.subresource:
        return
    if is_terminating(namespace) or (namespace.get("status") or {}).get("phase") == "Terminating":
        error = attributes.forbidden(
            f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
        )
        cause = f"namespace {attributes.namespace} is being terminated"
        error.details["causes"] = [{"reason": "NamespaceTerminating", "message": cause, "field": "metadata.namespace"}]
        raise error
