"""Server-side apply: merge what a manager applies into the live object, and take away what it no longer applies.

Who uses it: the registry's patch verb for apply patches. Invariant: a field that another manager owns with another value is
only taken with force; a field is removed exactly when its last applier stops applying it and nobody else owns it.
Stop of the data path: 3, for apply patches.
Upstream: sigs.k8s.io/structured-merge-diff/merge (update.go), apimachinery/pkg/util/managedfields/internal (conflict.go).
"""

from collections.abc import Iterable

from minikube_py.api import schema
from minikube_py.api.errors import APIError, BadRequest, Conflict
from minikube_py.api.fieldset import Set, difference, intersection, paths, union, without
from minikube_py.api.managed_fields import (
    APPLY,
    UPDATE,
    lose,
    make_entry,
    ordered,
    same_writer,
    update_managed_fields,
)  # fmt: skip
from minikube_py.api.schema_node import Node
from minikube_py.api.typed import compare, fields_of, merge, remove, strip, with_parents
from minikube_py.api.types import Obj

__all__ = ["apply", "update_managed_fields"]


def apply(
    live: Obj | None, applied: Obj, manager: str, force: bool, node: Node, *, now: str, subresource: str = "",
    ignore: Iterable[str] = (),
) -> Obj:  # fmt: skip
    """The object after `manager` applied `applied`, managedFields included; `live` None creates.

    In: `applied` as the client sent it; `now` RFC 3339; `ignore` top-level fields this endpoint does not write ("status" on
    the main one). The result shares parts with `live` and `applied`, and equals `live` when nothing changes but times.
    Raises Conflict naming every other owner, BadRequest when managedFields are applied, and code 500 without a
    reason (as upstream answers) for fields the schema does not have.
    """
    config = _checked(applied, node)
    if config["metadata"].get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    before: Obj = live or {key: applied[key] for key in ("apiVersion", "kind") if key in applied} | {"metadata": {}}
    api_version = str(config.get("apiVersion") or before.get("apiVersion", ""))
    wanted = without(fields_of(strip(config), node, applied=True), {f"f:{name}": {} for name in ignore})
    entries: list[Obj] = before["metadata"].get("managedFields") or []
    if live is not None and not entries:
        entries = _unclaimed(live, node, api_version, now)
    mine = next((entry for entry in entries if same_writer(entry, manager, APPLY, api_version, subresource)), None)
    others = [entry for entry in entries if entry is not mine]
    config = {key: value for key, value in config.items() if key not in ignore}
    made: Obj = merge(before, config, node)
    if mine is not None:
        made = _prune(made, mine["fieldsV1"], [wanted, *(entry.get("fieldsV1") or {} for entry in others)], node)
    changed, removed = compare(strip(before), strip(made), node)
    if not force:
        _refuse_conflicts(others, changed)
    left = [kept for entry in others if (kept := lose(entry, union(changed, removed), api_version)) is not None]
    made = {**made, "metadata": {key: value for key, value in made["metadata"].items() if key != "managedFields"}}
    if wanted:
        same = mine is not None and mine["fieldsV1"] == wanted and not changed and not removed
        left.append(mine if same and mine else make_entry(manager, APPLY, api_version, now, wanted, subresource))
    if left:
        made["metadata"]["managedFields"] = ordered(left)
    return made


def _checked(applied: Obj, node: Node) -> Obj:
    meta = applied["metadata"] if isinstance(applied.get("metadata"), dict) else {}
    name = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}"
    failed = f"failed to create typed patch object ({name}; {applied.get('apiVersion')}, Kind={applied.get('kind')}): "
    if unknown := schema.unknown_fields(node, applied):
        listed = "\n".join(f".{path}: field not declared in schema" for path in unknown)
        error = APIError(failed + (f"errors:\n{listed}" if len(unknown) > 1 else listed))
        error.reason = ""  # upstream has no reason for this one, and kubectl shows the reason
        raise error
    try:
        return {"metadata": {}, **schema.coerce(node, applied)[0]}
    except schema.DecodeError as refused:
        raise BadRequest(f"{failed}{refused}") from None


def _unclaimed(live: Obj, node: Node, api_version: str, now: str) -> list[Obj]:
    """The entry that stands for everything set before anybody applied; none when there is nothing."""
    fields = fields_of(strip(live), node, applied=False)
    created = str(live["metadata"].get("creationTimestamp") or now)
    return [make_entry("before-first-apply", UPDATE, api_version, created, fields, "")] if fields else []


def _prune(merged: Obj, last: Set, owned: list[Set], node: Node) -> Obj:
    """Take away what was applied last time and is owned by nobody now."""
    last = with_parents(last, node)
    pruned = remove(merged, last, node) or {}
    claimed: Set = {}
    for fields in owned:
        claimed = union(claimed, fields)
    everything = with_parents(fields_of(strip(merged), node, applied=True), node)
    remaining = with_parents(fields_of(strip(pruned), node, applied=True), node)
    gone = difference(everything, union(remaining, with_parents(claimed, node)))
    kept: Obj = remove(merged, intersection(gone, last), node) or {}
    kept.setdefault("metadata", {})
    return kept


def _refuse_conflicts(others: list[Obj], changed: Set) -> None:
    found: list[tuple[Obj, str]] = []
    for entry in others:
        found += [(entry, path) for path in paths(intersection(entry.get("fieldsV1") or {}, changed))]
    if not found:
        return
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_owner(entry)}", "field": path}
        for entry, path in found
    ]
    if len(found) == 1:
        text = f"1 conflict: conflict with {_owner(found[0][0])}: {found[0][1]}"
    else:
        owners: dict[str, list[str]] = {}
        for entry, path in found:
            owners.setdefault(_owner(entry), []).append(path)
        lines = [
            line
            for owner in sorted(owners)
            for line in (f"conflicts with {owner}:", *(f"- {p}" for p in owners[owner]))
        ]
        text = f"{len(found)} conflicts: " + "\n".join(lines)
    raise Conflict(f"Apply failed with {text}", details={"causes": causes})


def _owner(entry: Obj) -> str:
    name = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    return f"{name} using {entry.get('apiVersion')}" if entry.get("operation") == UPDATE else name
