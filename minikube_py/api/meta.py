"""Small functions over `metadata`, owner references and conditions.

Who uses it: every component. Invariant: nothing here mutates its argument, except `set_condition`, which says so.
Upstream: apimachinery/pkg/apis/meta/v1 and pkg/api/meta/conditions.go.
"""

from minikube_py.api.types import Obj


def name_of(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def namespace_of(obj: Obj) -> str:
    """The namespace, "" for cluster-scoped objects."""
    return str(obj["metadata"].get("namespace", ""))


def uid_of(obj: Obj) -> str:
    return str(obj["metadata"].get("uid", ""))


def labels_of(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def key_of(obj: Obj) -> str:
    """The work-queue key: "namespace/name", or "name" when cluster-scoped."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def split_key(key: str) -> tuple[str, str]:
    """`key_of` backwards: (namespace, name)."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def is_terminating(obj: Obj) -> bool:
    """True once deletion was requested (deletionTimestamp is set)."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def owners_of(obj: Obj) -> list[Obj]:
    return obj["metadata"].get("ownerReferences") or []


def controller_of(obj: Obj) -> Obj | None:
    """The one owner reference with `controller: true`, if there is one."""
    return next((ref for ref in owners_of(obj) if ref.get("controller")), None)


def controller_reference(owner: Obj) -> Obj:
    """The owner reference a controller puts on the children it makes (needs apiVersion and kind on the owner)."""
    return {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name_of(owner), "uid": uid_of(owner),
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def condition_of(obj: Obj, kind: str) -> Obj | None:
    """The entry of `status.conditions` with this type."""
    conditions: list[Obj] = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), None)


def condition_is(obj: Obj, kind: str, status: str = "True") -> bool:
    found = condition_of(obj, kind)
    return found is not None and found.get("status") == status


def set_condition(status: Obj, kind: str, value: str, now: str, reason: str = "", message: str = "") -> bool:
    """Put a condition into `status` (mutated); lastTransitionTime moves only when its value changes.

    In: `value` "True", "False" or "Unknown"; `now` as RFC 3339. Out: True if anything changed.
    """
    conditions: list[Obj] = status.setdefault("conditions", [])
    wanted: Obj = {"type": kind, "status": value}
    if reason:
        wanted["reason"] = reason
    if message:
        wanted["message"] = message
    for index, old in enumerate(conditions):
        if old.get("type") != kind:
            continue
        same_value = old.get("status") == value
        if same_value and old.get("reason", "") == reason and old.get("message", "") == message:
            return False
        wanted["lastTransitionTime"] = old.get("lastTransitionTime", now) if same_value else now
        conditions[index] = {**old, **wanted}
        for field, text in (("reason", reason), ("message", message)):
            if not text:
                conditions[index].pop(field, None)
        return True
    conditions.append({**wanted, "lastTransitionTime": now})
    return True
