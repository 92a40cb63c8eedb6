"""`metadata.managedFields`: who set which field, kept up to date by every write.

Who uses it: the registry on every create and update (`update_managed_fields`); `apply` for its own entries.
Invariant: entries are never changed in place, and their sets are in order; a write that changes nothing leaves them as they
are; at most ten writers by update are remembered, older ones are summed up. Entries of another apiVersion than the object's
are left alone.
Upstream: apimachinery/pkg/util/managedfields/internal (structuredmerge, managedfieldsupdater, capmanagers, buildmanagerinfo).
"""

from typing import Any

from minikube_py.api.fieldset import Set, canonical, contains, difference, intersection, union
from minikube_py.api.schema_node import Node
from minikube_py.api.typed import compare, strip
from minikube_py.api.types import Obj

UPDATE, APPLY = "Update", "Apply"
_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"
MAX_MANAGER = 128


def manager_name(field_manager: str, user_agent: str) -> str:
    """Who manages the fields of a write: the `fieldManager` parameter, else the program's name from the User-Agent."""
    prefix = user_agent.partition("/")[0]
    printable = "".join(char for char in prefix if char.isprintable())
    return field_manager or printable[:MAX_MANAGER] or "unknown"


def same_writer(entry: Obj, manager: str, operation: str, api_version: str, subresource: str) -> bool:
    """Whether an entry is this writer's. Appliers are the same whatever version they apply in."""
    if entry.get("manager") != manager or entry.get("operation") != operation:
        return False
    return entry.get("subresource", "") == subresource and (
        operation == APPLY or entry.get("apiVersion") == api_version
    )


def make_entry(manager: str, operation: str, api_version: str, now: str, fields: Set, subresource: str) -> Obj:
    made: Obj = {
        "manager": manager, "operation": operation, "apiVersion": api_version, "time": now, "fieldsType": "FieldsV1",
        "fieldsV1": canonical(fields),
    }  # fmt: skip
    if subresource:
        made["subresource"] = subresource
    return made


def update_managed_fields(
    old: Obj | None, new: Obj, manager: str, *, node: Node | None, now: str, subresource: str = ""
) -> None:
    """Set `new`'s managedFields (the only thing that is changed) to what they are after `manager` wrote it over `old`.

    In: `old` None for a create; `now` RFC 3339; `node` the kind's schema. What `new` brings along is taken when it has
    well-formed entries; [{}] forgets all of them, as upstream allows. An object without entries stays so until it is applied.
    """
    meta = new["metadata"]
    brought: list[Obj] | None = meta.pop("managedFields", None)
    if brought == [{}] or node is None:
        return
    entries = (
        [entry for entry in brought or () if entry] or (old["metadata"].get("managedFields") if old else None) or []
    )
    if old is not None and not entries:
        return
    changed, removed = compare(strip(old) if old else {}, strip(new), node)
    made = _written(entries, changed, removed, manager, now, new["apiVersion"], subresource)
    if made:
        meta["managedFields"] = made


def _well_formed(entry: Obj) -> bool:
    fields = entry.get("fieldsV1")
    return entry.get("operation") in (UPDATE, APPLY) and isinstance(fields, dict) and _branching(fields)


def _branching(fields: Set) -> bool:
    """Whether this is a set at all: maps of path elements all the way down."""
    named = all(key == "." or key[1:2] == ":" for key in fields)
    return named and all(isinstance(inner, dict) and _branching(inner) for inner in fields.values())


def _written(
    entries: list[Obj], changed: Set, removed: Set, manager: str, now: str, api_version: str, subresource: str
) -> list[Obj]:
    if not changed and not removed:
        return entries
    made: list[Obj] = []
    mine: Obj | None = None
    for entry in entries:
        if changed and same_writer(entry, manager, UPDATE, api_version, subresource):
            fields = entry["fieldsV1"]
            if not contains(fields, changed):
                fields = union(fields, changed)
            mine = {**entry, "time": now, "fieldsV1": canonical(difference(fields, removed))}
            made.append(mine)
        else:
            left = lose(entry, union(changed, removed) if changed else removed, api_version)
            if left is not None:
                made.append(left)
    if changed and mine is None:
        made.append(make_entry(manager, UPDATE, api_version, now, changed, subresource))
        return ordered(_capped(made))
    return made


def lose(entry: Obj, fields: Set, api_version: str) -> Obj | None:
    """The entry without these fields; the same one when it has none of them, None when nothing is left."""
    if entry.get("apiVersion") != api_version or not intersection(entry.get("fieldsV1") or {}, fields):
        return entry
    left = difference(entry["fieldsV1"], fields)
    return {**entry, "fieldsV1": canonical(left)} if left else None


def _capped(entries: list[Obj]) -> list[Obj]:
    """Sum up the oldest updaters when there are too many."""
    updaters = sorted(
        (entry for entry in entries if entry.get("operation") == UPDATE), key=lambda e: str(e.get("time", ""))
    )
    surplus = len(updaters) - _MOST_UPDATERS
    if surplus <= 0:
        return entries
    oldest = updaters[: surplus + 1]
    buckets: dict[Any, Obj] = {}
    for entry in oldest:
        version = entry.get("apiVersion")
        fields = union(buckets[version]["fieldsV1"], entry["fieldsV1"]) if version in buckets else entry["fieldsV1"]
        buckets[version] = make_entry(_ANCIENT, UPDATE, str(version), str(entry.get("time", "")), fields, "")
    dropped = {id(entry) for entry in oldest}
    return [entry for entry in entries if id(entry) not in dropped] + list(buckets.values())


def ordered(entries: list[Obj]) -> list[Obj]:
    """Appliers first, then by time and name."""
    keys = ("operation", "time", "manager", "apiVersion", "subresource")
    return sorted(entries, key=lambda entry: tuple(str(entry.get(key, "")) for key in keys))


def same_but_times(new: Obj, old: Obj) -> bool:
    """Equal but for bookkeeping: when only the times of managedFields differ nothing was changed."""
    if new == old:
        return True
    meta, before = new["metadata"], old["metadata"]
    if "managedFields" not in meta and "managedFields" not in before:
        return False
    plain, was = ({k: v for k, v in m.items() if k != "managedFields"} for m in (meta, before))
    return plain == was and {**new, "metadata": 0} == {**old, "metadata": 0} and _timeless(meta) == _timeless(before)


def _timeless(meta: Obj) -> list[Obj]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in meta.get("managedFields") or ()]
