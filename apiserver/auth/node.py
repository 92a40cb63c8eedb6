"""What a node's own agent may do: for users `system:node:NAME` in group `system:nodes`.

Who calls it: the authoriser chain. Invariant: a node reads the Secrets, ConfigMaps, claims, volumes and service accounts of the
pods bound to it and no others, one at a time and by name; its Node, Lease and CSINode are its own alone. What it may write
is narrowed further by the NodeRestriction admission plugin, which sees the objects.
Upstream: plugin/pkg/auth/authorizer/node/node_authorizer.go and bootstrappolicy.NodeRules.
"""

from collections.abc import Callable
from functools import partial

from apiserver.auth.node_graph import NodeGraph
from apiserver.auth.rbac import Asked, Rule
from apiserver.auth.user import NODE_PREFIX, NODES, UserInfo
from minikube_py.api.volumes import NODE_LABEL

_READ = frozenset(("get", "list", "watch"))
_OWN = frozenset(("get", "create", "update", "patch", "delete"))
_LEASES = "kube-node-lease"


def _rule(group: str, resources: str, verbs: str) -> Rule:
    return Rule(frozenset(verbs.split()), frozenset((group,)), frozenset(resources.split()), frozenset(), ())


RULES: tuple[Rule, ...] = (
    _rule("", "services", "get list watch"),
    _rule("", "endpoints", "get"),
    _rule("", "events", "create update patch"),
    _rule("events.k8s.io", "events", "create update patch"),
    _rule("authentication.k8s.io", "tokenreviews", "create"),
    _rule("authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews", "create"),
    _rule("certificates.k8s.io", "certificatesigningrequests", "get list watch create"),
    _rule("node.k8s.io", "runtimeclasses", "get list watch"),
    _rule("storage.k8s.io", "csidrivers", "get list watch"),
)
"""For what is the same for every node."""


def node_of(who: UserInfo) -> str:
    """The node this user is, "" for everybody else."""
    return who.name.removeprefix(NODE_PREFIX) if NODES in who.groups and who.name.startswith(NODE_PREFIX) else ""


def allowed(graph: NodeGraph, who: UserInfo, asked: Asked) -> tuple[bool, str]:
    """Whether this node may do that, and if not, why not; (False, "") when there is nothing to say about it."""
    node = node_of(who)
    if not node or asked.path:
        return False, ""
    special = _SPECIAL.get((asked.group, asked.resource))
    if special is not None:
        why = special(graph, node, asked)
        return not why, why
    return any(rule.allows(asked) for rule in RULES), ""


def _related(plural: str, graph: NodeGraph, node: str, asked: Asked) -> str:
    if not asked.name:
        return "No Object name found"
    if graph.is_related(node, plural, asked.namespace, asked.name):
        return ""
    return f"no relationship found between node '{node}' and this object"


def _readable(plural: str, graph: NodeGraph, node: str, asked: Asked) -> str:
    """A list or watch of exactly one object, by its name, is a read of that object."""
    if asked.verb not in _READ:
        return "can only read resources of this type"
    if asked.subresource:
        return "cannot read subresource"
    if not asked.namespace:
        return "can only read namespaced object of this type"
    return _related(plural, graph, node, asked)


def _gettable(plural: str, graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.verb != "get":
        return "can only get individual resources of this type"
    if asked.subresource:
        return "cannot get subresource"
    return _related(plural, graph, node, asked)


def _claims(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.name and graph.is_on_disk(node, asked.namespace, asked.name) and asked.verb in ("get", "update", "patch"):
        return ""
    if asked.subresource != "status":
        return _gettable("persistentvolumeclaims", graph, node, asked)
    if asked.verb not in ("update", "patch"):
        return "can only get/update/patch this type"
    return _related("persistentvolumeclaims", graph, node, asked)


def _accounts(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.verb == "get" and not asked.subresource:
        return _related("serviceaccounts", graph, node, asked)
    if asked.verb != "create" or not asked.name:
        return "can only create tokens for individual service accounts"
    if asked.subresource != "token":
        return "can only create token subresource of serviceaccount"
    return _related("serviceaccounts", graph, node, asked)


def _lease(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.verb not in _OWN:
        return "can only get, create, update, patch, or delete a node lease"
    if asked.namespace != _LEASES:
        return f'can only access leases in the "{_LEASES}" system namespace'
    if asked.verb != "create" and asked.name != node:  # a create names nothing yet: admission looks at the object
        return "can only access node lease with the same name as the requesting node"
    return ""


def _csi_node(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.verb not in _OWN:
        return "can only get, create, update, patch, or delete a CSINode"
    if asked.subresource:
        return "cannot authorize CSINode subresources"
    if asked.verb != "create" and asked.name != node:
        return "can only access CSINode with the same name as the requesting node"
    return ""


def _slices(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.subresource:
        return "cannot authorize ResourceSlice subresources"
    if asked.verb == "create":
        return ""
    if asked.verb in ("get", "update", "patch", "delete"):
        return _related("resourceslices.resource.k8s.io", graph, node, asked)
    if ("spec.nodeName", node) in asked.fields:
        return ""
    return "can only list/watch/deletecollection resourceslices with nodeName field selector"


def _node(graph: NodeGraph, node: str, asked: Asked) -> str:
    if asked.subresource == "status" and asked.verb in ("update", "patch"):
        return ""
    if not asked.subresource and asked.verb in ("create", "update", "patch"):
        return ""
    if not asked.subresource and asked.verb in _READ:
        if asked.name == node:
            return ""
        if not asked.name:
            return f"node '{node}' cannot read all nodes, only its own Node object"
        return f"node '{node}' cannot read '{asked.name}', only its own Node object"
    return "not something a node may do with nodes"


def _pods(graph: NodeGraph, node: str, asked: Asked) -> str:
    what = (asked.subresource, asked.verb)
    if what in (("", "create"), ("", "delete"), ("status", "update"), ("status", "patch"), ("eviction", "create")):
        return ""
    if what == ("", "get"):
        return _related("pods", graph, node, asked)
    if not asked.subresource and asked.verb in ("list", "watch"):
        if ("spec.nodeName", node) in asked.fields:
            return ""
        if asked.name:
            return _related("pods", graph, node, asked)
        return "can only list/watch pods with spec.nodeName field selector"
    return "not something a node may do with pods"


def _volumes(graph: NodeGraph, node: str, asked: Asked) -> str:
    """Volumes of its pods it may read; those made on its own disk it looks after."""
    if asked.verb in ("list", "watch"):
        if (NODE_LABEL, node) in asked.labels:
            return ""
        return "can only list/watch persistentvolumes that are labelled with the node"
    if asked.verb in ("update", "patch") and not asked.subresource:
        return "" if graph.is_local(node, asked.name) else "can only change volumes on its own disk"
    return _gettable("persistentvolumes", graph, node, asked)


_Special = Callable[[NodeGraph, str, Asked], str]
_SPECIAL: dict[tuple[str, str], _Special] = {
    ("", "secrets"): partial(_readable, "secrets"),
    ("", "configmaps"): partial(_readable, "configmaps"),
    ("", "persistentvolumeclaims"): _claims,
    ("", "persistentvolumes"): _volumes,
    ("", "serviceaccounts"): _accounts,
    ("", "nodes"): _node,
    ("", "pods"): _pods,
    ("coordination.k8s.io", "leases"): _lease,
    ("storage.k8s.io", "csinodes"): _csi_node,
    ("storage.k8s.io", "volumeattachments"): partial(_gettable, "volumeattachments.storage.k8s.io"),
    ("resource.k8s.io", "resourceclaims"): partial(_gettable, "resourceclaims.resource.k8s.io"),
    ("resource.k8s.io", "resourceslices"): _slices,
}
"""What a node may do only with what is its own: each answers "" for yes, or why not, in upstream's words."""
