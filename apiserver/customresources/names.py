"""Which names a definition gets: nobody else in its group may have them; and the status that says so.

Who calls it: the strategy of CustomResourceDefinitions, on every write, and the controller, when another definition came or
went. Invariant: a definition keeps the names it was once accepted with until it gets others; once established it stays so.
Upstream: apiextensions-apiserver/pkg/controller/{status/naming_controller.go,establish}.
"""

from collections.abc import Iterable

from apiserver.customresources import nested
from apiserver.resources import table
from apiserver.strategies.base import Context
from minikube_py.api.types import Obj

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_REASONS = {
    "plural": "PluralConflict", "singular": "SingularConflict", "shortNames": "ShortNamesConflict", "kind": "KindConflict",
    "listKind": "ListKindConflict",
}  # fmt: skip


def on_create(obj: Obj, ctx: Context) -> None:
    """The first status."""
    nested.decode(obj)
    obj["status"] = status(obj, ctx.lister(CRDS, ""), ctx.now())


def on_update(new: Obj, old: Obj, ctx: Context) -> None:
    """The status after a change of the spec."""
    nested.decode(new)
    new["status"] = status({**new, "status": old.get("status") or {}}, ctx.lister(CRDS, ""), ctx.now())


def on_delete(obj: Obj, now: str) -> None:
    """All objects of the kind go before it does. Mutates `obj`."""
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if CLEANUP not in finalizers:
        finalizers.append(CLEANUP)
    set_condition(
        obj.setdefault("status", {}), "Terminating", True, "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon", now,
    )  # fmt: skip


def status(crd: Obj, everyone: Iterable[Obj], now: str) -> Obj:
    """The status a definition should have beside the others; an equal one when nothing is to be changed."""
    spec, before = crd.get("spec") or {}, crd.get("status") or {}
    made: Obj = {**before, "conditions": [dict(one) for one in before.get("conditions") or ()]}
    wanted, accepted = spec.get("names") or {}, dict(before.get("acceptedNames") or {"plural": "", "kind": ""})
    taken, kinds = _taken(crd, everyone)
    conflict = ("NoConflicts", "no conflicts found")
    for key in ("plural", "singular", "shortNames", "kind", "listKind"):
        value = wanted.get(key)
        values = value if isinstance(value, list) else [value] if value else []
        in_use = [
            f'"{one}" is already in use' for one in values if one in (kinds if key in ("kind", "listKind") else taken)
        ]
        if in_use:
            conflict = (_REASONS[key], ", ".join(in_use))
        elif value:
            accepted[key] = value
        else:
            accepted.pop(key, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    fine = conflict[0] == "NoConflicts"
    set_condition(made, "NamesAccepted", fine, *conflict, now)
    if fine:
        set_condition(made, "Established", True, "InitialNamesAccepted", "the initial names have been accepted", now)
    elif not _has(made, "Established"):
        set_condition(made, "Established", False, "NotAccepted", "not all names are accepted", now)
    stored: list[str] = list(before.get("storedVersions") or ())
    storage = (one.get("name") or "" for one in spec.get("versions") or () if one.get("storage"))
    stored += [name for name in storage if name not in stored]
    return {**made, "acceptedNames": accepted, "storedVersions": stored}


def _taken(crd: Obj, everyone: Iterable[Obj]) -> tuple[set[str], set[str]]:
    """The resource names and the kinds that others of the group hold, built-in ones first of all."""
    group = (crd.get("spec") or {}).get("group")
    built_in = [row for row in table.ROWS if row.group == group]
    names = {name for row in built_in for name in (row.plural, row.singular, *row.short_names)}
    kinds = {name for row in built_in for name in (row.kind, f"{row.kind}List")}
    for other in everyone:
        if other["spec"]["group"] != group or other["metadata"]["name"] == crd["metadata"].get("name"):
            continue
        held = (other.get("status") or {}).get("acceptedNames") or {}
        names |= {held.get("plural", ""), held.get("singular", ""), *(held.get("shortNames") or ())}
        kinds |= {held.get("kind", ""), held.get("listKind", "")}
    return names - {""}, kinds - {""}


def _has(status_: Obj, kind: str) -> bool:
    return any(one.get("type") == kind for one in status_["conditions"])


def set_condition(status_: Obj, kind: str, holds: bool, reason: str, message: str, now: str) -> None:
    """Put a condition there, keeping its time while its status stays. Mutates `status_`."""
    conditions = status_.setdefault("conditions", [])
    value = "True" if holds else "False"
    for one in conditions:
        if one.get("type") == kind:
            if one.get("status") != value:
                one["lastTransitionTime"] = now
            one.update(status=value, reason=reason, message=message)
            return
    conditions.append(
        {"lastTransitionTime": now, "message": message, "reason": reason, "status": value, "type": kind}
    )  # fmt: skip
