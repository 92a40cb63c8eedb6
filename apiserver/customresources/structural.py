"""A CustomResourceDefinition's schema compiled into a tree, and what is done along it to every object: prune, default.

Who uses it: `served.py` on every decoded and every stored object; `values.py` walks the same tree to validate.
Invariant: a compiled tree is never changed; `prune` and `default` change only the object they are given; both are idempotent.
Stop of the data path: 3 (decode, default), for custom resources.
Upstream: apiextensions-apiserver/pkg/apiserver/schema/{structural,pruning,defaulting}.
"""

from typing import Any

from minikube_py.api import schema
from minikube_py.api.clone import clone
from minikube_py.api.schema_node import ANY, Node
from minikube_py.api.types import Obj

_META = frozenset(("apiVersion", "kind", "metadata"))
_MISSING = object()


class Structural:
    """One schema. `json` is its text; the rest is what pruning and defaulting look at on every object.

    `additional` is None (no other fields), True (any) or the schema of the other fields.
    """

    __slots__ = (
        "additional", "default", "embedded", "int_or_string", "items", "json", "list_type", "map_keys", "map_type",
        "nullable", "preserve", "properties", "type",
    )  # fmt: skip

    def __init__(self, json: Obj) -> None:
        self.json = json
        self.type: str = json.get("type") or ""
        self.properties = {name: Structural(inner) for name, inner in (json.get("properties") or {}).items()}
        items, additional = json.get("items"), json.get("additionalProperties")
        self.items: Structural | None = Structural(items) if isinstance(items, dict) else None
        self.additional: Structural | bool | None = additional or None if isinstance(additional, bool) else None
        if isinstance(additional, dict):
            self.additional = Structural(additional)
        self.preserve = bool(json.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(json.get("x-kubernetes-embedded-resource"))
        self.int_or_string = bool(json.get("x-kubernetes-int-or-string"))
        self.nullable = bool(json.get("nullable"))
        self.default: Any = json.get("default", _MISSING)
        self.list_type: str = json.get("x-kubernetes-list-type") or "atomic"
        self.map_keys: tuple[str, ...] = tuple(json.get("x-kubernetes-list-map-keys") or ())
        self.map_type: str = json.get("x-kubernetes-map-type") or ""

    @property
    def has_default(self) -> bool:
        return self.default is not _MISSING

    def child(self, key: str) -> "Structural | None":
        """The schema of a field, None when nothing is known about it."""
        found = self.properties.get(key)
        if found is None and isinstance(self.additional, Structural):
            return self.additional
        return found


# ---- pruning ---------------------------------------------------------------------------------------------------------


def prune(root: Structural, obj: Obj) -> list[str]:
    """Take away every field that the schema does not have. Out: their paths, sorted. Mutates `obj`."""
    gone: list[str] = []
    _prune(root, obj, [], gone, resource=True)
    return sorted(gone)


def _prune(at: Structural | None, value: Any, stack: list[str | int], gone: list[str], resource: bool = False) -> None:
    """`at` None knows no field at all."""
    if value.__class__ is list:
        for index, item in enumerate(value):
            if item.__class__ in _CONTAINERS:
                stack.append(index)
                _prune(at.items if at else None, item, stack, gone)
                stack.pop()
        return
    if value.__class__ is not dict:
        return
    keeps = at is not None and at.preserve
    resource = resource or (at is not None and at.embedded)
    for key in list(value):
        if resource and key in _META:
            continue
        child = at.child(key) if at is not None else None
        known = at is not None and (child is not None or at.additional is True)
        if not known and not keeps:
            gone.append(schema.dotted([*stack, key]))
            del value[key]
        elif value[key].__class__ in _CONTAINERS and (known or not keeps):
            stack.append(key)
            _prune(child, value[key], stack, gone)
            stack.pop()


_CONTAINERS = (dict, list)


# ---- defaulting ------------------------------------------------------------------------------------------------------


def default(at: Structural, value: Any) -> None:
    """Fill in the schema's defaults, and drop nulls where null is no value. Mutates `value`."""
    if value.__class__ is dict:
        for key, child in at.properties.items():
            if child.has_default and (key not in value or (value[key] is None and not child.nullable)):
                value[key] = clone(child.default)
        for key in list(value):
            known = at.child(key)
            if known is None:
                continue
            if value[key] is None and not known.nullable:
                if known.has_default:
                    value[key] = clone(known.default)
                else:
                    del value[key]
                    continue
            if value[key].__class__ in _CONTAINERS:
                default(known, value[key])
    elif value.__class__ is list and at.items is not None:
        for index, item in enumerate(value):
            if item is None and not at.items.nullable and at.items.has_default:
                value[index] = clone(at.items.default)
            default(at.items, value[index])


def embedded_metadata(at: Structural, value: Any, path: list[str | int], root: bool = True) -> list[str]:
    """Bring the metadata of objects inside the object into form, as the root's already is. Out: unknown fields.

    Raises schema.DecodeError for metadata that is none.
    """
    unknown: list[str] = []
    if value.__class__ is dict:
        if at.embedded and not root and "metadata" in value:
            made, inner = schema.coerce(metadata_node(), {"metadata": value["metadata"]})
            value["metadata"] = made.get("metadata") or {}
            unknown += [f"{schema.dotted(path)}.{name}" for name in inner]
        for key, item in value.items():
            known = at.child(key)
            if known is not None and item.__class__ in _CONTAINERS:
                unknown += embedded_metadata(known, item, [*path, key], root=False)
    elif value.__class__ is list and at.items is not None:
        for index, item in enumerate(value):
            unknown += embedded_metadata(at.items, item, [*path, index], root=False)
    return unknown


def has_embedded(at: Structural) -> bool:
    """Whether any object inside an object of this schema is a resource itself."""
    inner = [*at.properties.values(), *(one for one in (at.items, at.additional) if isinstance(one, Structural))]
    return any(child.embedded or has_embedded(child) for child in inner)


# ---- the tree that server-side apply walks ---------------------------------------------------------------------------


def metadata_node() -> Node:
    """A node of an object that has nothing but metadata."""
    node = Node("object")
    node.properties = {"metadata": schema.load().definition(schema.META + "ObjectMeta")}
    return node


def _deduced() -> Node:
    """Free-form content: maps are looked into however deep, lists are one value."""
    node = Node("map")
    node.additional = node
    return node


_DEDUCED = _deduced()


def node_of(at: Structural, *, resource: bool = False) -> Node:
    """The schema as the node that merging and field ownership walk. `resource` adds type and metadata."""
    if at.int_or_string:
        return Node("int-or-string")
    if at.type == "array":
        node = Node("array")
        node.items = node_of(at.items) if at.items else Node(ANY)
        node.list_type, node.map_keys = at.list_type, at.map_keys
        return node
    if at.type and at.type != "object":
        return Node(at.type)
    if not at.type and not at.properties:
        return _DEDUCED if at.preserve else Node(ANY)
    if at.preserve and not at.properties and not at.additional and not resource:
        return _DEDUCED
    node = Node("object")
    node.map_type = at.map_type
    node.properties = {name: node_of(child) for name, child in at.properties.items()}
    if isinstance(at.additional, Structural):
        node.type, node.additional = "map", node_of(at.additional)
    elif at.additional or at.preserve:
        node.type, node.additional = "map", _DEDUCED
    if resource or at.embedded:
        node.properties |= {"apiVersion": Node("string"), "kind": Node("string"), **metadata_node().properties}
    return node
