"""What a node's conditions mean: its taints, and the conditions of a node that fell silent. Pure functions.

Who calls it: `controllers.nodelifecycle`. Invariant: only taints that this table names are ever added or taken away.
Upstream: pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION: dict[str, dict[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
}
_NO_SCHEDULE_KEYS = {key for keys in _BY_CONDITION.values() for key in keys.values()} | {UNSCHEDULABLE}
_SILENT = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def ready_status(node: Obj) -> str:
    """ "True", "False", "Unknown", or "" when the node never said."""
    return str((condition_of(node, "Ready") or {}).get("status", ""))


def taints_of(node: Obj) -> list[Obj]:
    return node["spec"].get("taints") or [] if node.get("spec") else []


def is_emptied(node: Obj) -> bool:
    """Whether its pods are on their way out: that was decided once, and only the reason may change."""
    return any(t["key"] in (NOT_READY, UNREACHABLE) and t["effect"] == "NoExecute" for t in taints_of(node))


def wanted_taints(node: Obj, now: str, *, may_evict: bool) -> list[Obj]:
    """All taints the node shall have: those of others as they are, ours according to its conditions.

    In: `may_evict` false keeps NoExecute off: its zone has to wait, or nobody is ready and we may be the ones cut off.
    """
    ready = ready_status(node)
    no_schedule = {
        by_status[c["status"]]
        for c in (node.get("status") or {}).get("conditions") or []
        if (by_status := _BY_CONDITION.get(c["type"])) and c["status"] in by_status
    }
    if (node.get("spec") or {}).get("unschedulable"):
        no_schedule.add(UNSCHEDULABLE)
    if not ready:
        no_schedule |= {t["key"] for t in taints_of(node) if t["key"] == NOT_READY and t["effect"] == "NoSchedule"}
    no_execute = {_BY_CONDITION["Ready"][ready]} if may_evict and ready in ("False", "Unknown") else set()
    kept = []
    for taint in taints_of(node):
        key, effect = taint["key"], taint["effect"]
        if effect == "NoSchedule" and key in _NO_SCHEDULE_KEYS and key not in no_schedule:
            continue
        if effect == "NoExecute" and key in (NOT_READY, UNREACHABLE) and key not in no_execute:
            continue
        kept.append(taint)
    have = {(t["key"], t["effect"]) for t in kept}
    kept += [{"key": k, "effect": "NoSchedule"} for k in sorted(no_schedule) if (k, "NoSchedule") not in have]
    for key in no_execute:
        if (key, "NoExecute") not in have:
            kept.append({"key": key, "effect": "NoExecute", "timeAdded": now})
    return kept


def silent_conditions(node: Obj, now: str) -> list[Obj]:
    """The conditions of a node nobody hears from: what the kubelet reports becomes Unknown."""
    conditions: list[Obj] = list((node.get("status") or {}).get("conditions") or [])
    for kind in _SILENT:
        old = condition_of({"status": {"conditions": conditions}}, kind)
        if old is None:
            conditions.append({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.", "lastHeartbeatTime": now, "lastTransitionTime": now,
            })  # fmt: skip
        elif old["status"] != "Unknown":
            conditions[conditions.index(old)] = {
                **old, "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.", "lastTransitionTime": now,
            }  # fmt: skip
    return conditions
