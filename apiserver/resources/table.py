"""Every kind this server serves, one row each: built in, the generally available versions of release 1.36; and custom ones.

Who uses it: routing (`apiserver/request.py`), discovery, OpenAPI, tables, the registry, strategies, authorisation.
Invariant: ROWS is pure data. Adding a resource is one row here, plus a strategy only if the kind has quirks. Groups come in
the order in which upstream lists them, preferred version first; resources within a group in alphabetical order. Custom rows
are a snapshot that is replaced as a whole; a lookup of a built-in kind never gets as far as asking for it.
Upstream: api/discovery/*.json (names, short names, categories, verbs, subresources).
"""

from collections.abc import Callable, Iterable, Sequence

from apiserver.resources.row import ALL_VERBS, Row, Subresource

_NO_COLLECTION_DELETE = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")
_READ_WRITE = ("get", "patch", "update")
_PROXY = ("create", "delete", "get", "patch", "update")
_CONNECT = ("create", "get")

# Subresources that are not simply another view of their own kind.
_SPECIAL: dict[str, Subresource] = {
    "nodes/proxy": Subresource("proxy", _PROXY, "NodeProxyOptions"),
    "namespaces/finalize": Subresource("finalize", ("update",), "Namespace"),
    "pods/attach": Subresource("attach", _CONNECT, "PodAttachOptions"),
    "pods/binding": Subresource("binding", ("create",), "Binding"),
    "pods/eviction": Subresource("eviction", ("create",), "Eviction", "policy", "v1"),
    "pods/exec": Subresource("exec", _CONNECT, "PodExecOptions"),
    "pods/log": Subresource("log", ("get",), "Pod"),
    "pods/portforward": Subresource("portforward", _CONNECT, "PodPortForwardOptions"),
    "pods/proxy": Subresource("proxy", _PROXY, "PodProxyOptions"),
    "serviceaccounts/token": Subresource("token", ("create",), "TokenRequest", "authentication.k8s.io", "v1"),
    "services/proxy": Subresource("proxy", _PROXY, "ServiceProxyOptions"),
}

_DEFINITIONS = {
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}


_NS, _CLUSTER = True, False
_CREATE = ("create",)
_EXT = "api-extensions"
_ADMISSION, _FLOW = "admissionregistration.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1"


def _row(
    group_version: str, plural: str, kind: str, namespaced: bool, *, short: str = "", categories: str = "",
    subs: str = "", verbs: tuple[str, ...] = ALL_VERBS, stored_as: tuple[str, str] | None = None,
) -> Row:  # fmt: skip
    group, _, version = group_version.rpartition("/")
    package = _DEFINITIONS.get(group) or "io.k8s.api." + (group.removesuffix(".k8s.io").split(".")[0] or "core")
    return Row(
        group, version, plural, kind, namespaced, kind.lower(), tuple(short.split()), tuple(categories.split()), verbs,
        tuple(_subresource(plural, kind, name) for name in subs.split()), f"{package}.{version}.{kind}", stored_as,
    )  # fmt: skip


def _subresource(plural: str, kind: str, name: str) -> Subresource:
    if name == "scale":
        return Subresource("scale", _READ_WRITE, "Scale", "autoscaling", "v1")
    return _SPECIAL.get(f"{plural}/{name}") or Subresource(name, _READ_WRITE, kind)


ROWS: tuple[Row, ...] = (
    _row("v1", "bindings", "Binding", _NS, verbs=_CREATE),
    _row("v1", "componentstatuses", "ComponentStatus", _CLUSTER, short="cs", verbs=("get", "list")),
    _row("v1", "configmaps", "ConfigMap", _NS, short="cm"),
    _row("v1", "endpoints", "Endpoints", _NS, short="ep"),
    _row("v1", "events", "Event", _NS, short="ev"),
    _row("v1", "limitranges", "LimitRange", _NS, short="limits"),
    _row("v1", "namespaces", "Namespace", _CLUSTER, short="ns", subs="finalize status", verbs=_NO_COLLECTION_DELETE),
    _row("v1", "nodes", "Node", _CLUSTER, short="no", subs="proxy status"),
    _row("v1", "persistentvolumeclaims", "PersistentVolumeClaim", _NS, short="pvc", subs="status"),
    _row("v1", "persistentvolumes", "PersistentVolume", _CLUSTER, short="pv", subs="status"),
    _row("v1", "pods", "Pod", _NS, short="po", categories="all",
         subs="attach binding ephemeralcontainers eviction exec log portforward proxy resize status"),
    _row("v1", "podtemplates", "PodTemplate", _NS),
    _row("v1", "replicationcontrollers", "ReplicationController", _NS, short="rc", categories="all", subs="scale status"),
    _row("v1", "resourcequotas", "ResourceQuota", _NS, short="quota", subs="status"),
    _row("v1", "secrets", "Secret", _NS),
    _row("v1", "serviceaccounts", "ServiceAccount", _NS, short="sa", subs="token"),
    _row("v1", "services", "Service", _NS, short="svc", categories="all", subs="proxy status"),
    _row("apiregistration.k8s.io/v1", "apiservices", "APIService", _CLUSTER, categories=_EXT, subs="status"),
    _row("apps/v1", "controllerrevisions", "ControllerRevision", _NS),
    _row("apps/v1", "daemonsets", "DaemonSet", _NS, short="ds", categories="all", subs="status"),
    _row("apps/v1", "deployments", "Deployment", _NS, short="deploy", categories="all", subs="scale status"),
    _row("apps/v1", "replicasets", "ReplicaSet", _NS, short="rs", categories="all", subs="scale status"),
    _row("apps/v1", "statefulsets", "StatefulSet", _NS, short="sts", categories="all", subs="scale status"),
    _row("events.k8s.io/v1", "events", "Event", _NS, short="ev", stored_as=("", "v1")),
    _row("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", _CLUSTER, verbs=_CREATE),
    _row("authentication.k8s.io/v1", "tokenreviews", "TokenReview", _CLUSTER, verbs=_CREATE),
    _row("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", _NS, verbs=_CREATE),
    _row("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", _CLUSTER, verbs=_CREATE),
    _row("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", _CLUSTER, verbs=_CREATE),
    _row("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", _CLUSTER, verbs=_CREATE),
    _row("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", _NS, short="hpa", categories="all",
         subs="status"),
    _row("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", _NS, short="hpa", categories="all",
         subs="status", stored_as=("autoscaling", "v2")),
    _row("batch/v1", "cronjobs", "CronJob", _NS, short="cj", categories="all", subs="status"),
    _row("batch/v1", "jobs", "Job", _NS, categories="all", subs="status"),
    _row("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", _CLUSTER,
         short="csr", subs="approval status"),
    _row("networking.k8s.io/v1", "ingressclasses", "IngressClass", _CLUSTER),
    _row("networking.k8s.io/v1", "ingresses", "Ingress", _NS, short="ing", subs="status"),
    _row("networking.k8s.io/v1", "ipaddresses", "IPAddress", _CLUSTER, short="ip"),
    _row("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", _NS, short="netpol"),
    _row("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", _CLUSTER, subs="status"),
    _row("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", _NS, short="pdb", subs="status"),
    _row("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", _CLUSTER),
    _row("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", _CLUSTER),
    _row("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", _NS),
    _row("rbac.authorization.k8s.io/v1", "roles", "Role", _NS),
    _row("storage.k8s.io/v1", "csidrivers", "CSIDriver", _CLUSTER),
    _row("storage.k8s.io/v1", "csinodes", "CSINode", _CLUSTER),
    _row("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", _NS),
    _row("storage.k8s.io/v1", "storageclasses", "StorageClass", _CLUSTER, short="sc"),
    _row("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", _CLUSTER, subs="status"),
    _row("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", _CLUSTER, short="vac"),
    _row(_ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", _CLUSTER, categories=_EXT),
    _row(_ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", _CLUSTER, categories=_EXT),
    _row(_ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", _CLUSTER, categories=_EXT),
    _row(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", _CLUSTER, categories=_EXT, subs="status"),
    _row(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", _CLUSTER, categories=_EXT),
    _row(_ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", _CLUSTER, categories=_EXT),
    _row("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", _CLUSTER,
         short="crd crds", categories=_EXT, subs="status"),
    _row("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", _CLUSTER, short="pc"),
    _row("coordination.k8s.io/v1", "leases", "Lease", _NS),
    _row("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", _CLUSTER),
    _row("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", _NS),
    _row(_FLOW, "flowschemas", "FlowSchema", _CLUSTER, subs="status"),
    _row(_FLOW, "prioritylevelconfigurations", "PriorityLevelConfiguration", _CLUSTER, subs="status"),
    _row("resource.k8s.io/v1", "deviceclasses", "DeviceClass", _CLUSTER),
    _row("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", _NS, subs="status"),
    _row("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", _NS),
    _row("resource.k8s.io/v1", "resourceslices", "ResourceSlice", _CLUSTER),
)  # fmt: skip

_BY_PATH = {(row.group, row.version, row.plural): row for row in ROWS}
_BY_KIND = {(row.group, row.version, row.kind): row for row in ROWS}
_BY_KEY = {row.plural_key: row for row in ROWS if row.stored_as is None}


class Custom:
    """The custom rows of one moment. `served` are those with a path, `stored` those in whose version objects are kept.

    `blocking` are the groups in which even a read may have to wait for somebody (conversion webhooks).
    """

    def __init__(self, served: Iterable[Row] = (), stored: Iterable[Row] = (), blocking: Iterable[str] = ()) -> None:
        self.blocking = frozenset(blocking)
        self.rows = tuple(served)
        self.by_path = {(row.group, row.version, row.plural): row for row in self.rows}
        self.by_kind = {(row.group, row.version, row.kind): row for row in self.rows}
        self.by_key = {row.plural_key: row for row in stored}


_NONE = Custom()
_custom: Callable[[], Custom] = lambda: _NONE  # noqa: E731


def extend(custom: Callable[[], Custom]) -> None:
    """Look for what is not built in in what `custom` answers; called once, at start-up."""
    global _custom
    _custom = custom


def rows() -> Sequence[Row]:
    """Everything that is served right now, custom kinds last."""
    return (*ROWS, *_custom().rows)


def may_block(path: str) -> bool:
    """Whether a request for this path may have to wait for a webhook, so that it must not run on the event loop."""
    if not path.startswith("/apis/") or not (groups := _custom().blocking):
        return False
    return path.split("/", 3)[2] in groups


def by_path(group: str, version: str, plural: str) -> Row | None:
    """The row served at /apis/GROUP/VERSION/…/PLURAL ("" is the core group)."""
    return _BY_PATH.get((group, version, plural)) or _custom().by_path.get((group, version, plural))


def by_kind(group: str, version: str, kind: str) -> Row | None:
    """The row whose objects say this apiVersion and kind."""
    return _BY_KIND.get((group, version, kind)) or _custom().by_kind.get((group, version, kind))


def by_plural_key(plural_key: str) -> Row | None:
    """The row in whose form a store collection ("pods", "deployments.apps") is kept."""
    return _BY_KEY.get(plural_key) or _custom().by_key.get(plural_key)


def get(group: str, plural: str) -> Row:
    """The row of a built-in resource, in its preferred version. Raises KeyError."""
    return next(row for row in ROWS if row.group == group and row.plural == plural)
