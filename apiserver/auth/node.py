"""What a node's own agent may do: a fixed table of rules for users `system:node:NAME` in group `system:nodes`.

Who calls it: the authoriser chain. Invariant: objects that belong to a node (its Node, Lease, CSINode) may be written by
that node alone; which pods it may touch is narrowed further by the NodeRestriction admission plugin.
Upstream: plugin/pkg/auth/authorizer/node and bootstrappolicy.NodeRules. Differs: upstream follows a graph from node to pod
to Secret; here a node may read every Secret and ConfigMap, as every node agent of this cluster runs on one machine.
"""

from apiserver.auth.rbac import Asked, Rule
from apiserver.auth.user import NODE_PREFIX, NODES, UserInfo

_READ = "get list watch"
_OWN = frozenset((("", "nodes"), ("coordination.k8s.io", "leases"), ("storage.k8s.io", "csinodes")))


def _rule(group: str, resources: str, verbs: str) -> Rule:
    return Rule(frozenset(verbs.split()), frozenset((group,)), frozenset(resources.split()), frozenset(), ())


RULES: tuple[Rule, ...] = (
    _rule("", "services endpoints nodes namespaces secrets configmaps persistentvolumeclaims persistentvolumes", _READ),
    _rule("", "serviceaccounts", _READ),
    _rule("", "nodes", "create update patch"),
    _rule("", "nodes/status", "get update patch"),
    _rule("", "events", "create update patch"),
    _rule("events.k8s.io", "events", "create update patch"),
    _rule("", "pods", _READ + " create delete"),
    _rule("", "pods/status", "get update patch"),
    _rule("", "pods/eviction serviceaccounts/token", "create"),
    _rule("", "persistentvolumeclaims/status", "get update patch"),
    _rule("authentication.k8s.io", "tokenreviews", "create"),
    _rule("authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews", "create"),
    _rule("certificates.k8s.io", "certificatesigningrequests", _READ + " create"),
    _rule("coordination.k8s.io", "leases", _READ + " create update patch delete"),
    _rule("discovery.k8s.io", "endpointslices", _READ),
    _rule("node.k8s.io", "runtimeclasses", _READ),
    _rule("resource.k8s.io", "resourceclaims deviceclasses", _READ),
    _rule("resource.k8s.io", "resourceslices", _READ + " create update patch delete deletecollection"),
    _rule("storage.k8s.io", "csidrivers volumeattachments storageclasses", _READ),
    _rule("storage.k8s.io", "csinodes", _READ + " create update patch delete"),
    _rule("networking.k8s.io", "servicecidrs ingresses networkpolicies", _READ),
)
_WRITES = frozenset(("update", "patch", "delete"))


def node_of(who: UserInfo) -> str:
    """The node this user is, "" for everybody else."""
    return who.name.removeprefix(NODE_PREFIX) if NODES in who.groups and who.name.startswith(NODE_PREFIX) else ""


def allowed(who: UserInfo, asked: Asked) -> bool:
    """True when the table lets this node do that."""
    node = node_of(who)
    if not node or asked.path:
        return False
    if (asked.group, asked.resource) in _OWN and asked.verb in _WRITES and asked.name != node:
        return False
    return any(rule.allows(asked) for rule in RULES)
