"""How important a group and a version are, for the order in which discovery lists them: as upstream registers its own.

Who uses it: the registration of local APIServices. Invariant: pure data; what is not listed is a custom resource's.
Upstream: cmd/kube-apiserver/app/aggregator.go, pkg/controlplane/apiserver/aggregator.go, controller/crdregistration.
"""

_GROUPS = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
    "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
    "discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
}  # fmt: skip
_VERSIONS = {
    ("", "v1"): 1, ("autoscaling", "v2"): 30, ("resource.k8s.io", "v1"): 21, ("flowcontrol.apiserver.k8s.io", "v1"): 21,
}  # fmt: skip
CUSTOM = (1000, 100)


def of(group: str, version: str) -> tuple[int, int]:
    """(groupPriorityMinimum, versionPriority)."""
    if group not in _GROUPS:
        return CUSTOM
    return _GROUPS[group], _VERSIONS.get((group, version), 15)
