"""RuntimeClass: the class a pod names must exist; its overhead and its nodes become the pod's.

Who calls it: `chain.py`, at pod creation. Invariant: spec.overhead always comes from the class.
Upstream: plugin/pkg/admission/runtimeclass/admission.go.
"""

from apiserver.admission.attributes import CREATE, Attributes
from minikube_py.api.types import Obj


def admit(attributes: Attributes) -> None:
    """Copy overhead, nodeSelector and tolerations of the class. Raises Forbidden for a class that does not exist."""
    if not attributes.is_("pods", CREATE) or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    name = spec.get("runtimeClassName")
    if not name:
        if spec.get("overhead"):
            raise attributes.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )
        return
    found = attributes.ctx.lookup("runtimeclasses.node.k8s.io", "", name)
    if found is None:
        why = f'pod rejected: RuntimeClass "{name}" not found'
        raise attributes.forbidden(why)
    overhead = (found.get("overhead") or {}).get("podFixed") or {}
    if spec.get("overhead") and spec["overhead"] != overhead:
        why = f"pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead {overhead}"
        raise attributes.forbidden(why)
    if overhead:
        spec["overhead"] = dict(overhead)
    _scheduling(attributes, spec, found.get("scheduling") or {})


def _scheduling(attributes: Attributes, spec: Obj, scheduling: Obj) -> None:
    wanted, own = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key, value in wanted.items():
        if own.get(key, value) != value:
            both = "runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector"
            raise attributes.forbidden(f"conflict: {both} have conflicting values")
    if wanted:
        spec["nodeSelector"] = {**own, **wanted}
    more = [item for item in scheduling.get("tolerations") or () if item not in (spec.get("tolerations") or ())]
    if more:
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *more]
