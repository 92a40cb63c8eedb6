"""Priority: a pod's class becomes a number and a preemption policy; classes marked as global default are unique.

Who calls it: `chain.py`: pods at creation and update, PriorityClasses at creation and update. Invariant: a client cannot set
spec.priority itself, only agree with what its class says.
Upstream: plugin/pkg/admission/priority/admission.go.
"""

from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from apiserver.strategies.validation.access import SYSTEM_PRIORITIES
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj

CLASSES = "priorityclasses.scheduling.k8s.io"
_DEFAULT_POLICY = "PreemptLowerPriority"


def admit(attributes: Attributes) -> None:
    """Fill in spec.priority, spec.preemptionPolicy and a missing priorityClassName."""
    if not attributes.is_("pods", CREATE, UPDATE) or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    if attributes.verb == UPDATE:
        before = (attributes.old or {}).get("spec") or {}
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and before.get(field) is not None:
                spec[field] = before[field]
        return
    name = spec.get("priorityClassName") or ""
    found = _class(attributes, name) if name else _global_default(attributes)
    priority, policy = 0, _DEFAULT_POLICY
    if found is not None:
        spec["priorityClassName"] = name_of(found)
        priority, policy = found.get("value") or 0, found.get("preemptionPolicy") or _DEFAULT_POLICY
    if spec.get("priority") not in (None, priority):
        asked = spec["priority"]
        raise attributes.forbidden(
            f"the integer value of priority ({asked}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
    if spec.get("preemptionPolicy") not in (None, "", policy):
        asked = spec["preemptionPolicy"]
        raise attributes.forbidden(
            f"the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
    spec["priority"], spec["preemptionPolicy"] = priority, policy


def _class(attributes: Attributes, name: str) -> Obj:
    found = attributes.ctx.lookup(CLASSES, "", name)
    if found is not None:
        return found
    if name in SYSTEM_PRIORITIES:  # they are always there, even before bootstrap has stored them
        return {"metadata": {"name": name}, "value": SYSTEM_PRIORITIES[name]}
    raise attributes.forbidden(f"no PriorityClass with name {name} was found")


def _global_default(attributes: Attributes) -> Obj | None:
    """The default class; of several the one with the lowest value."""
    defaults = [item for item in attributes.ctx.lister(CLASSES, "") if item.get("globalDefault")]
    return min(defaults, key=lambda item: item.get("value") or 0, default=None)


def check(attributes: Attributes) -> None:
    """Only one PriorityClass may be the global default."""
    obj = attributes.obj
    if not attributes.is_(CLASSES, CREATE, UPDATE) or obj is None or not obj.get("globalDefault"):
        return
    for other in attributes.ctx.lister(CLASSES, ""):
        if other.get("globalDefault") and name_of(other) != name_of(obj):
            why = f"PriorityClass {name_of(other)} is already marked as default. Only one default can exist"
            raise attributes.forbidden(why)
