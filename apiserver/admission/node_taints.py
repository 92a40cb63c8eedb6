"""TaintNodesByCondition: a new node takes no pods until its kubelet has said that it is ready.

Who calls it: `chain.py`, at node creation. Invariant: the taint is there from the first moment; the node-lifecycle controller
takes it away.
Upstream: plugin/pkg/admission/nodetaint.
"""

from apiserver.admission.attributes import CREATE, Attributes

_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def admit(attributes: Attributes) -> None:
    """Add the not-ready taint to a new node."""
    if not attributes.is_("nodes", CREATE) or attributes.obj is None:
        return
    spec = attributes.obj.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(t.get("key") == _TAINT["key"] and t.get("effect") == _TAINT["effect"] for t in taints):
        spec["taints"] = [*taints, dict(_TAINT)]
