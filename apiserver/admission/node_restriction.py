"""NodeRestriction: a kubelet writes its own Node, its own Lease, and pods that run on it; nothing else.

Who calls it: `chain.py`, for users in the group system:nodes. Invariant: a stolen kubelet credential harms one node.
Upstream: plugin/pkg/admission/noderestriction/admission.go.
"""

from collections.abc import Callable

from apiserver.admission.attributes import CREATE, DELETE, UPDATE, Attributes
from minikube_py.api.types import Obj

_USER, _GROUP = "system:node:", "system:nodes"
_MIRROR = "kubernetes.io/config.mirror"
_PROTECTED = "node-restriction.kubernetes.io"
_LEASES = "kube-node-lease"


def check(attributes: Attributes) -> None:
    """Raises Forbidden when a node oversteps."""
    user = attributes.user
    if _GROUP not in user.groups or not user.name.startswith(_USER):
        return
    node = user.name.removeprefix(_USER)
    rule = _RULES.get(attributes.resource)
    if rule is not None:
        rule(attributes, node)


def _pods(attributes: Attributes, node: str) -> None:
    verb, sub = attributes.verb, attributes.subresource
    if sub == "" and verb == CREATE:
        pod = attributes.obj or {}
        if _MIRROR not in ((pod.get("metadata") or {}).get("annotations") or {}):
            raise attributes.forbidden(
                f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
            )
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise attributes.forbidden(f'node "{node}" can only create pods with spec.nodeName set to itself')
    elif (sub == "" and verb == DELETE) or (sub == "status" and verb == UPDATE):
        bound = ((attributes.old or {}).get("spec") or {}).get("nodeName")
        if bound != node:
            action = "delete pods" if verb == DELETE else "update pod status for pods"
            raise attributes.forbidden(f'node "{node}" can only {action} with spec.nodeName set to itself')
    elif sub == "eviction" and verb == CREATE:
        pod = attributes.ctx.lookup("pods", attributes.namespace, attributes.name) or {}
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise attributes.forbidden(f"node {node} can only evict pods with spec.nodeName set to itself")
    else:
        raise attributes.forbidden(f'unexpected operation "{verb}" on pods/{sub} by node "{node}"')


def _nodes(attributes: Attributes, node: str) -> None:
    name = attributes.name or ((attributes.obj or {}).get("metadata") or {}).get("name")
    if name != node:
        raise attributes.forbidden(f'node "{node}" is not allowed to modify node "{name}"')
    if attributes.verb == DELETE:
        raise attributes.forbidden(f'node "{node}" is not allowed to delete itself')
    if attributes.verb not in (CREATE, UPDATE) or attributes.obj is None:
        return
    new, old = attributes.obj, attributes.old or {}
    if attributes.verb == UPDATE and attributes.subresource == "" and _taints(new) != _taints(old):
        raise attributes.forbidden(f'node "{node}" is not allowed to modify taints')
    labels, had = ((obj.get("metadata") or {}).get("labels") or {} for obj in (new, old))
    changed = {key for key in {*labels, *had} if labels.get(key) != had.get(key)}
    protected = sorted(key for key in changed if key.partition("/")[0].endswith(_PROTECTED))
    if protected:
        raise attributes.forbidden(f"is not allowed to modify labels: {', '.join(protected)}")


def _taints(node: Obj) -> list[Obj]:
    taints: list[Obj] = (node.get("spec") or {}).get("taints") or []
    return taints


def _leases(attributes: Attributes, node: str) -> None:
    if attributes.namespace != _LEASES:
        raise attributes.forbidden(f'can only access leases in the "{_LEASES}" system namespace')
    name = attributes.name or ((attributes.obj or {}).get("metadata") or {}).get("name")
    if name != node:
        raise attributes.forbidden("can only access node lease with the same name as the requesting node")


def _tokens(attributes: Attributes, node: str) -> None:
    """A node asks for tokens only on behalf of pods that run on it."""
    if attributes.subresource != "token":
        return
    ref = ((attributes.obj or {}).get("spec") or {}).get("boundObjectRef") or {}
    if ref.get("kind") != "Pod" or not ref.get("name") or not ref.get("uid"):
        raise attributes.forbidden("node requested token not bound to a pod")
    pod = attributes.ctx.lookup("pods", attributes.namespace, ref["name"]) or {}
    if (pod.get("metadata") or {}).get("uid") != ref["uid"]:
        raise attributes.forbidden("the UID in the bound object reference does not match the UID in record")
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise attributes.forbidden("node requested token bound to a pod scheduled on a different node")


_RULES: dict[str, Callable[[Attributes, str], None]] = {
    "pods": _pods,
    "nodes": _nodes,
    "leases.coordination.k8s.io": _leases,
    "serviceaccounts": _tokens,
}
