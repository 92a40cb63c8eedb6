"""Where a DaemonSet's pods belong: which nodes, and how its pods are tied to them. Pure functions.

Who calls it: `controllers.daemonset`. Invariant: a node that may run the pod (`should_run`) may also keep it.
Upstream: pkg/controller/daemon/daemon_controller.go, pkg/controller/daemon/util/daemonset_util.go.
"""

import copy
from typing import NamedTuple

from controllers.pod import node_of
from minikube_py.api.meta import labels_of, name_of
from minikube_py.api.nodeselector import pod_matches_node, required_terms
from minikube_py.api.tolerations import first_untolerated, taints_of
from minikube_py.api.types import Obj

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"), ("node.kubernetes.io/unschedulable", "NoSchedule"),
)  # fmt: skip


class Fit(NamedTuple):
    """Whether a node shall get the pod, and whether it may keep one it has."""

    should_run: bool
    should_continue: bool


def with_tolerations(spec: Obj) -> Obj:
    """A pod spec that also stays on nodes in trouble: daemons are there for the node itself."""
    spec = copy.deepcopy(spec)
    extra = [
        *_TOLERATED,
        *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
    ]
    have = spec.get("tolerations") or []
    wanted = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in extra]
    spec["tolerations"] = [*have, *(toleration for toleration in wanted if toleration not in have)]
    return spec


def bound_to(spec: Obj, node: str) -> Obj:
    """A pod spec that only this node can satisfy, whatever else it asks for; the scheduler still does the binding."""
    spec = copy.deepcopy(spec)
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    here = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": here} for term in terms]
    return spec


def node_for(pod: Obj) -> str:
    """The node a daemon pod is on, or is meant for."""
    if node := node_of(pod):
        return node
    for term in required_terms(pod) or []:
        for requirement in term.get("matchFields") or []:
            if requirement.get("key") == "metadata.name" and len(requirement.get("values") or []) == 1:
                return str(requirement["values"][0])
    return ""


def fits(spec: Obj, node: Obj) -> Fit:
    """In: the template's spec with the daemon tolerations."""
    if spec.get("nodeName") not in (None, "", name_of(node)):
        return Fit(False, False)
    if not pod_matches_node({"spec": spec}, labels_of(node), name_of(node)):
        return Fit(False, False)
    taints, tolerations = taints_of(node), spec.get("tolerations") or []
    may_stay = first_untolerated(taints, tolerations, ("NoExecute",)) is None
    return Fit(may_stay and first_untolerated(taints, tolerations) is None, may_stay)
