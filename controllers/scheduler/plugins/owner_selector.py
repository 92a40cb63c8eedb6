"""The selector that means "pods like this one": those of its Services and of its controller together.

Who calls it: PodTopologySpread, for pods that state no constraints. Invariant: None when nothing selects the pod.
Upstream: pkg/scheduler/framework/plugins/helper/spread.go (DefaultSelector).
"""

from controllers.scheduler.framework import Lister
from minikube_py.api import meta
from minikube_py.api.gvr import GVR, REPLICASETS, REPLICATIONCONTROLLERS, SERVICES, STATEFULSETS
from minikube_py.api.selectors import Selector, from_label_selector, from_map
from minikube_py.api.types import Obj

_OWNERS: dict[str, GVR] = {gvr.kind: gvr for gvr in (REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS)}


def default_selector(pod: Obj, lister: Lister) -> Selector | None:
    labels, namespace = meta.labels_of(pod), meta.namespace_of(pod)
    wanted: dict[str, str] = {}
    for service in lister(SERVICES, namespace):
        selector = service["spec"].get("selector")
        if selector and selector.items() <= labels.items():
            wanted.update(selector)
    requirements = from_map(wanted).requirements
    reference = meta.controller_of(pod)
    owner = _OWNERS.get(reference["kind"]) if reference else None
    if reference and owner and reference["apiVersion"] == owner.api_version:
        for controller in lister(owner, namespace, reference["name"]):
            if meta.uid_of(controller) == reference["uid"]:
                selector = controller["spec"].get("selector")
                mapped = from_map(selector) if owner is REPLICATIONCONTROLLERS else from_label_selector(selector)
                requirements += mapped.requirements
    return Selector(requirements) if requirements else None
