"""The APIServices of what this server serves itself, and how important its groups and versions are in discovery.

Who uses it: bootstrap makes those of the built-in groups, the controller those of custom ones. Invariant: pure; a group that
is not listed is a custom resource's.
Upstream: cmd/kube-apiserver/app/aggregator.go, pkg/controlplane/apiserver/aggregator.go, controller/crdregistration.
"""

from apiserver.resources.row import Row
from minikube_py.api.types import Obj

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
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
_CUSTOM = (1000, 100)


def priority(group: str, version: str) -> tuple[int, int]:
    """(groupPriorityMinimum, versionPriority)."""
    if group not in _GROUPS:
        return _CUSTOM
    return _GROUPS[group], _VERSIONS.get((group, version), 15)


def name_of(row: Row) -> str:
    """What the APIService of a row's group and version is called."""
    return f"{row.version}.{row.group}"


def service(row: Row) -> Obj:
    """The APIService of a row's group and version."""
    minimum, version = priority(row.group, row.version)
    spec: Obj = {"version": row.version, "groupPriorityMinimum": minimum, "versionPriority": version}
    if row.group:
        spec["group"] = row.group
    labels = {MANAGED: "true" if row.custom is not None else "onstart"}
    metadata = {"name": name_of(row), "labels": labels}
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}
