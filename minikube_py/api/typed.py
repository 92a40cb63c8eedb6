"""Objects walked along their schema, element by element: what two of them differ in, merging, removing paths.

Who uses it: `managed_fields` and `apply`. Invariant: pure; lists are taken as their schema says (map by keys, set by value,
everything else atomic), and atomic parts are never looked into.
Upstream: sigs.k8s.io/structured-merge-diff/typed (compare.go, merge.go, remove.go, tofieldset.go).
"""

from collections.abc import Callable
from typing import Any

from minikube_py.api.fieldset import Set, is_member, item_element, value_element
from minikube_py.api.schema_node import ANY, Node
from minikube_py.api.types import Obj

_FREE = Node(ANY)
_CONTAINERS = (dict, list)
# Fields of these names and of a named type are plain structs in upstream's types, always there, so nobody owns the struct
# itself.
_NEVER_OWNED = frozenset(("metadata", "spec", "status", "strategy", "template", "updateStrategy", "resources"))


def _element_of(node: Node) -> Callable[[Any], str] | None:
    """How entries of this list are told apart; None for atomic lists."""
    if node.type != "array":
        return None
    if node.list_type == "map":
        keys = node.map_keys
        return lambda item: item_element(item, keys)
    return value_element if node.list_type == "set" else None


def is_granular(node: Node, value: Any) -> bool:
    """Whether this value is looked into: a map or struct that is not atomic, or a list with keys or set values."""
    if isinstance(value, dict):
        return node.type in ("object", "map") and node.map_type != "atomic"
    return isinstance(value, list) and node.type == "array" and node.list_type in ("map", "set")


def _child(node: Node, key: str) -> Node:
    return node.properties.get(key) or node.additional or _FREE


def _items(node: Node, values: list[Any]) -> dict[str, Any]:
    element = _element_of(node)
    assert element
    return {element(value): value for value in values}


# ---- which fields a value has ------------------------------------------------------------------------------------------


def fields_of(value: Any, node: Node, *, applied: bool) -> Set:
    """All paths below `value`, as branches.

    In: `applied` for the set of an apply configuration, where maps and lists themselves are nobody's; else the set that
    creating the value takes, where they belong to their creator.
    """
    if isinstance(value, dict):
        return {
            f"f:{key}": _field(key, item, node, applied) if item.__class__ in _CONTAINERS else {}
            for key, item in value.items()
        }
    items, made = node.items or _FREE, {}
    for key, item in _items(node, value).items():
        below = _below(item, items, applied)
        made[key] = {".": {}, **below} if below else {}
    return made


def _field(key: str, item: Any, node: Node, applied: bool) -> Set:
    child = _child(node, key)
    below = _below(item, child, applied)
    in_map = node.type == "map"
    if not below:
        return {}
    if in_map or not (
        applied or (child.type == "object" and child.name and key in _NEVER_OWNED) or key in node.required
    ):
        return {".": {}, **below}
    return below


def _below(value: Any, node: Node, applied: bool) -> Set:
    return fields_of(value, node, applied=applied) if value and is_granular(node, value) else {}


# ---- comparing ---------------------------------------------------------------------------------------------------------


def compare(old: Any, new: Any, node: Node) -> tuple[Set, Set]:
    """(paths that were added or got another value, paths that are gone), of two maps, structs or keyed lists."""
    in_map = isinstance(new, dict)
    before, after = (old, new) if in_map else (_items(node, old), _items(node, new))
    changed: Set = {}
    removed = _taken(before, [key for key in before if key not in after], node, in_map)
    for key, value in after.items():
        known = before.get(key)
        if known is value or known == value:
            continue
        if known is None:
            changed |= _taken(after, [key], node, in_map)
            continue
        path, child = (f"f:{key}", _child(node, key)) if in_map else (key, node.items or _FREE)
        if (known or value) and is_granular(child, value) and is_granular(child, known):
            inner_changed, inner_removed = compare(known, value, child)
            if inner_changed:
                changed[path] = inner_changed
            if inner_removed:
                removed[path] = inner_removed
        else:
            changed[path] = {}
    return changed, removed


def _taken(entries: dict[str, Any], keys: list[str], node: Node, in_map: bool) -> Set:
    """The paths of these entries, as somebody who creates them owns them."""
    if not keys:
        return {}
    return fields_of(
        {key: entries[key] for key in keys} if in_map else [entries[key] for key in keys], node, applied=False
    )


# ---- merging -----------------------------------------------------------------------------------------------------------


def merge(live: Any, config: Any, node: Node) -> Any:
    """`live` with everything that `config` says; shares parts with both."""
    if isinstance(live, dict) and isinstance(config, dict) and is_granular(node, config):
        made = dict(live)
        for key, value in config.items():
            made[key] = merge(live[key], value, _child(node, key)) if key in live else value
        return made
    if isinstance(live, list) and isinstance(config, list) and is_granular(node, config):
        return _merge_list(live, config, node)
    return config


def _merge_list(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """Entries of `config` in their order, entries of `live` alone where they stood in relation to those of both."""
    element, items = _element_of(node), node.items or _FREE
    assert element
    before = _items(node, live)
    pending = [(element(item), item) for item in config]
    wanted = {key for key, _ in pending}
    made: list[Any] = []

    def emit() -> str:
        key, item = pending.pop(0)
        made.append(merge(before[key], item, items) if key in before else item)
        return key

    emitted: set[str] = set()
    for item in live:
        key = element(item)
        if key not in wanted:
            made.append(item)
            continue
        while key not in emitted:
            emitted.add(emit())
    while pending:
        emit()
    return made


# ---- removing ----------------------------------------------------------------------------------------------------------


def remove(value: Any, gone: Set, node: Node) -> Any:
    """`value` without the paths of `gone` (and all below them); None when nothing is left of it."""
    if not gone or not is_granular(node, value):
        return value
    kept: Any
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            subset = gone.get(f"f:{key}")
            if subset is None:
                kept[key] = item
            elif not is_member(subset) and (rest := remove(item, subset, _child(node, key))) is not None:
                kept[key] = rest
    else:
        kept = []
        element = _element_of(node)
        assert element
        for item in value:
            subset = gone.get(element(item))
            if subset is None:
                kept.append(item)
            elif not is_member(subset) and (rest := remove(item, subset, node.items or _FREE)) is not None:
                kept.append(rest)
    return kept or None


def with_parents(fields: Set, node: Node, *, top: bool = True) -> Set:
    """The set with every named field of a struct on the way to a member made a member too.

    But for `metadata`, `spec` and `status` themselves: taking one of them away whole would take identity and what the
    server allocated with it.
    """
    made: Set = {}
    for key, inner in fields.items():
        if key == "." or not inner:
            made[key] = inner
            continue
        child = _child(node, key[2:]) if key[0] == "f" else node.items or _FREE
        below = with_parents(inner, child, top=False)
        made[key] = {".": {}, **below} if key[0] == "f" and node.type == "object" and not top else below
    return made


def strip(obj: Obj) -> Obj:
    """The object without what nobody manages: its identity, what the server alone sets, a spec or status that is empty."""
    made = {key: value for key, value in obj.items() if key not in _TYPE and (value or key not in _NEVER_OWNED)}
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _UNMANAGED}
    if meta:
        made["metadata"] = meta
    return made


_TYPE = ("apiVersion", "kind", "metadata")
_UNMANAGED = frozenset((
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
))  # fmt: skip
