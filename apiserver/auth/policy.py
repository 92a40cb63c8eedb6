"""The roles and bindings every cluster starts with, as a table.

Who calls it: `apiserver/bootstrap.py` stores them at every start where missing. Invariant: pure data; `admin`, `edit` and
`view` are unions of what is labelled for them, so an add-on extends them with a ClusterRole of its own.
Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/{policy,namespace_policy}.go. Left out: the roles of upstream's single
controllers (ours share one identity), and what names the group `extensions`, which is served no more.
"""

from collections.abc import Iterator

from apiserver.auth.user import NODES
from minikube_py.api.types import Obj

_RBAC = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"
BOOTSTRAPPERS = "system:bootstrappers:minikube-py:default-node-token"
"""The group of the tokens that `minikube-py token create` makes."""
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_UPDATED = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
_READ, _WRITE = "get list watch", "create delete deletecollection patch update"
_ALL = f"{_READ} {_WRITE}"

# role → (verbs, API group, resources or URLs, names); a group of None means non-resource URLs.
_Rules = tuple[tuple[str, str | None, str] | tuple[str, str | None, str, str], ...]

_ROLES: dict[str, _Rules] = {
    "cluster-admin": (("*", "*", "*"), ("*", None, "*")),
    "system:discovery": (
        ("get", None, "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"),
    ),
    "system:public-info-viewer": (("get", None, "/healthz /livez /readyz /version /version/"),),
    "system:monitoring": (
        ("get", None, "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz"),
        ("get", "", "nodes/metrics"),
    ),
    "system:basic-user": (
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:auth-delegator": (
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:service-account-issuer-discovery": (
        ("get", None, "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"),
    ),
    "system:kubelet-api-admin": (
        (_READ, "", "nodes"), ("proxy", "", "nodes"),
        ("*", "", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
    ),
    "system:node-proxier": (
        ("list watch", "", "endpoints services"), (_READ, "", "nodes"),
        ("create patch update", "", "events"), ("create patch update", "events.k8s.io", "events"),
        ("list watch", "discovery.k8s.io", "endpointslices"), ("list watch", "networking.k8s.io", "servicecidrs"),
    ),
    "system:node-bootstrapper": (("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        ("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        ("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (
            ("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{signer}"),
        )
        for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    },
    # What a network agent of its own would hold on every node; here it is part of the kubelet.
    "minikube-py:node-network": (
        ("list watch", "", "namespaces pods"), ("list watch", "discovery.k8s.io", "endpointslices"),
        ("list watch", "networking.k8s.io", "networkpolicies"),
    ),
    "system:kube-aggregator": ((_READ, "", "endpoints services"),),
    "system:kube-dns": (("list watch", "", "endpoints services"),),
    "system:node-problem-detector": (
        ("get", "", "nodes"), ("patch", "", "nodes/status"), ("create patch update", "", "events"),
        ("create patch update", "events.k8s.io", "events"),
    ),
    "system:volume-scheduler": (
        (_READ + " patch update", "", "persistentvolumes persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "storageclasses"),
    ),
    "system:persistent-volume-provisioner": (
        ("create delete get list watch", "", "persistentvolumes"), ("get list update watch", "", "persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "storageclasses"), ("watch", "", "events"), ("create patch update", "", "events"),
        ("create patch update", "events.k8s.io", "events"),
    ),
    "system:kube-scheduler": (
        ("create patch update", "", "events"), ("create patch update", "events.k8s.io", "events"),
        ("create", "coordination.k8s.io", "leases"), (_READ + " update", "coordination.k8s.io", "leases", "kube-scheduler"),
        (_ALL, "coordination.k8s.io", "leasecandidates"), (_READ, "", "nodes namespaces"),
        ("create", "authentication.k8s.io", "tokenreviews"), ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ("delete get list watch", "", "pods"), ("create", "", "bindings pods/binding"), ("patch update", "", "pods/status"),
        (_READ, "", "replicationcontrollers services persistentvolumes"), (_READ, "apps", "replicasets statefulsets"),
        (_READ, "policy", "poddisruptionbudgets"), (_READ, "", "persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "csinodes csidrivers csistoragecapacities volumeattachments"),
        (_READ, "resource.k8s.io", "deviceclasses resourceslices"), ("update", "", "pods/finalizers"),
        (_READ + " create delete patch update", "resource.k8s.io", "resourceclaims"),
        (_READ + " patch update", "resource.k8s.io", "resourceclaims/status"),
        ("patch update", "resource.k8s.io", "resourceclaims/binding"),
        # Beyond upstream's: our scheduler reads these through the same identity.
        (_READ, "scheduling.k8s.io", "priorityclasses"),
    ),
}  # fmt: skip

_VIEWED = (
    ("", "configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims "
         "persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale "
         "replicationcontrollers/status resourcequotas resourcequotas/status bindings serviceaccounts services "
         "services/status"),
    ("events.k8s.io", "events"), ("discovery.k8s.io", "endpointslices"),
    ("apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets "
             "replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    ("batch", "cronjobs cronjobs/status jobs jobs/status"),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
)  # fmt: skip
_EDITED = (
    ("events.k8s.io", "events"),
    ("", "configmaps events persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale secrets "
         "serviceaccounts services services/proxy pods/attach pods/exec pods/portforward pods/proxy"),
    ("apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
             "statefulsets/scale"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs jobs"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "ingresses networkpolicies"),
    ("resource.k8s.io", "resourceclaims resourceclaimtemplates"),
)  # fmt: skip

# aggregated role → the labelled role that holds its rules.
_AGGREGATED: dict[str, tuple[_Rules, str]] = {
    "view": (tuple((_READ, group, names) for group, names in _VIEWED), "aggregate-to-view"),
    "edit": (
        (
            *((_WRITE, group, names) for group, names in _EDITED),
            (_READ, "", "secrets pods/attach pods/exec pods/portforward pods/proxy services/proxy"),
            ("create", "", "pods/eviction serviceaccounts/token"), ("impersonate", "", "serviceaccounts"),
            (_ALL, "coordination.k8s.io", "leases"),
        ),
        "aggregate-to-edit",
    ),
    "admin": (
        (
            (_ALL, _GROUP, "roles rolebindings"), ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        ),
        "aggregate-to-admin",
    ),
}  # fmt: skip
# Which aggregated role is itself part of which larger one.
_INCLUDED: dict[str, tuple[str, ...]] = {"view": ("edit",), "edit": ("admin",), "admin": ()}

_BINDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:discovery": (("Group", "system:authenticated"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:public-info-viewer": (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
    "system:node-proxier": (("User", "system:kube-proxy"), ("Group", "system:node-proxier")),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:volume-scheduler": (("User", "system:kube-scheduler"),),
    # Joining nodes, as kubeadm binds them: who holds a token of ours asks and is approved, a node renews its own.
    "system:node-bootstrapper": (("Group", BOOTSTRAPPERS),),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (("Group", BOOTSTRAPPERS),),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (("Group", NODES),),
    "minikube-py:node-network": (("Group", NODES),),
}


def objects() -> Iterator[Obj]:
    """All of it, ready to be stored."""
    for name, rules in _ROLES.items():
        yield _cluster_role(name, rules)
    for name, (rules, label) in _AGGREGATED.items():
        yield _cluster_role(f"system:aggregate-to-{name}", rules, {f"{_GROUP}/{label}": "true"})
        more = {f"{_GROUP}/aggregate-to-{other}": "true" for other in _INCLUDED[name]}
        role = _cluster_role(name, (), more)
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_GROUP}/{label}": "true"}}]}
        yield role
    readers = {f"{_GROUP}/aggregate-to-{name}": "true" for name in _AGGREGATED}
    yield _cluster_role("system:aggregated-metrics-reader", ((_READ, "metrics.k8s.io", "nodes pods"),), readers)
    for name, subjects in _BINDINGS.items():
        yield _cluster_role_binding(name, subjects)
    yield from _extension_reader()


def _rule(verbs: str, group: str | None, resources: str, names: str = "") -> Obj:
    if group is None:
        return {"verbs": verbs.split(), "nonResourceURLs": resources.split()}
    rule: Obj = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return rule | ({"resourceNames": names.split()} if names else {})


def _cluster_role(name: str, rules: _Rules, labels: dict[str, str] | None = None) -> Obj:
    metadata = {"name": name, "labels": {**_LABELS, **(labels or {})}, "annotations": dict(_UPDATED)}
    return {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": metadata, "rules": [_rule(*rule) for rule in rules]}


def _cluster_role_binding(name: str, subjects: tuple[tuple[str, str], ...]) -> Obj:
    metadata = {"name": name, "labels": dict(_LABELS), "annotations": dict(_UPDATED)}
    return {
        "apiVersion": _RBAC, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": _GROUP, "kind": kind, "name": subject} for kind, subject in subjects],
    }  # fmt: skip


def _extension_reader() -> Iterator[Obj]:
    """Extension API servers read from one ConfigMap whom to believe."""
    name = "extension-apiserver-authentication-reader"
    metadata = {"name": name, "namespace": "kube-system", "labels": dict(_LABELS), "annotations": dict(_UPDATED)}
    rule = _rule(_READ, "", "configmaps", "extension-apiserver-authentication")
    yield {"apiVersion": _RBAC, "kind": "Role", "metadata": metadata, "rules": [rule]}
    yield {
        "apiVersion": _RBAC, "kind": "RoleBinding",
        "metadata": {**metadata, "name": f"system::{name}"},
        "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": name},
        "subjects": [
            {"apiGroup": _GROUP, "kind": "User", "name": f"system:{user}"}
            for user in ("kube-controller-manager", "kube-scheduler")
        ],
    }  # fmt: skip
