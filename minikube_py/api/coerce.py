"""Brings an object into the form upstream stores: walked along its schema, every value checked and made canonical.

Who uses it: the API server's decoder on every body, server-side apply. What else is said along a schema is in `validate`.
Invariant: `coerce` returns a new object, never touches its argument, and what it returns it would return unchanged.
Stop of the data path: 3 (decode).
Upstream: what decoding JSON into the Go types and encoding them again does to an object (apimachinery
pkg/runtime/serializer/json, sigs.k8s.io/json), with the same error texts.
"""

import binascii
import re
from collections.abc import Callable
from typing import Any

from minikube_py.api import quantity
from minikube_py.api.clock import parse_rfc3339, rfc3339, rfc3339_micro
from minikube_py.api.schema_node import ANY, Node
from minikube_py.api.types import Obj

_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_CANONICAL_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII
)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)", re.ASCII)
_GO_NAMES = {"boolean": "bool", "number": "float64", "bytes": "[]uint8", "map": "map[string]", "array": "[]"}
_DROP = object()


class DecodeError(ValueError):
    """The object cannot be of its kind at all; `str()` is what upstream's decoder says."""


class _Walk:
    """One pass: where it is (field names and list positions) and the unknown fields met so far."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.stack: list[str | int] = []
        self.unknown: list[str] = []

    def path(self) -> str:
        return dotted(self.stack)

    def mismatch(self, node: Node, value: Any) -> DecodeError:
        """Go names the innermost struct and the path without list positions."""
        fields = [step for step in self.stack if isinstance(step, str)]
        here, struct = self.root, self.root.struct
        names: list[str] = []
        for step in self.stack:
            if here.type == "object" and isinstance(step, str):
                struct = here.struct or struct
                names.append(step)
            here = child_of(here, step)
        if not fields:
            return DecodeError(f"json: cannot unmarshal {_json_name(value)} into Go value of type {_go_name(node)}")
        where = f"{struct}.{'.'.join(names)}"
        return DecodeError(
            f"json: cannot unmarshal {_json_name(value)} into Go struct field {where} of type {_go_name(node)}"
        )


def dotted(stack: list[str | int]) -> str:
    """Field path text: ["spec", "containers", 0, "name"] → "spec.containers[0].name"."""
    text = ""
    for step in stack:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def child_of(node: Node, step: str | int) -> Node:
    if isinstance(step, int):
        return node.items or FREE
    return node.properties.get(step) or node.additional or FREE


FREE = Node()


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"


def _go_name(node: Node) -> str:
    match node.type:
        case "integer":
            return node.format or "int32"
        case "object":
            return node.name or "map[string]interface {}"
        case "map":
            return f"map[string]{_go_name(node.additional or FREE)}"
        case "array":
            return f"[]{_go_name(node.items or FREE)}"
        case "any":
            return node.name or "interface {}"
    return _GO_NAMES.get(node.type, node.type)


def coerce(node: Node, obj: Obj) -> tuple[Obj, list[str]]:
    """The object as upstream would hold it after decoding, and the paths of its unknown fields (which are left out).

    Nulls and empty optional lists and maps are dropped, quantities and times become canonical.
    Raises DecodeError at the first value of the wrong type.
    """
    if node.decoder is not None:
        return node.decoder(obj)
    walk = _Walk(node)
    made = _coerce(walk, node, obj)
    return (made if isinstance(made, dict) else {}), walk.unknown


def _coerce(walk: _Walk, node: Node, value: Any) -> Any:
    kind = node.type
    if kind == "string":
        if value.__class__ is str:
            return value
        raise walk.mismatch(node, value)
    if kind == "object":
        return _coerce_object(walk, node, value)
    if kind == "array":
        return _coerce_array(walk, node, value)
    if kind == "map":
        return _coerce_map(walk, node, value)
    return _LEAVES[kind](walk, node, value)


def _coerce_object(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not dict:
        raise walk.mismatch(node, value)
    properties, stack, made = node.properties, walk.stack, {}
    for key, item in value.items():
        child = properties.get(key)
        if child is None:
            stack.append(key)
            walk.unknown.append(walk.path())
            stack.pop()
            continue
        if item is None:
            if key in node.required and child.type in OMITTED_WHEN_EMPTY:
                made[key] = _zero(child)
            continue
        if child.type == "string" and item.__class__ is str:
            made[key] = item
            continue
        stack.append(key)
        item = _coerce(walk, child, item)
        stack.pop()
        if item or item.__class__ not in _CONTAINERS or child.type not in OMITTED_WHEN_EMPTY or key in node.required:
            made[key] = item
    return made


_CONTAINERS = (dict, list)
OMITTED_WHEN_EMPTY = frozenset(("map", "array"))


def _coerce_array(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not list:
        raise walk.mismatch(node, value)
    items, stack, made = node.items or FREE, walk.stack, []
    for index, item in enumerate(value):
        if item is None:
            item = _zero(items)
        stack.append(index)
        made.append(_coerce(walk, items, item))
        stack.pop()
    return made


def _coerce_map(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not dict:
        raise walk.mismatch(node, value)
    inner, stack, made = node.additional or FREE, walk.stack, {}
    for key, item in value.items():
        if item is None:
            item = _zero(inner)
        stack.append(key)
        made[key] = _coerce(walk, inner, item)
        stack.pop()
    return made


def _zero(node: Node) -> Any:
    """What a null in a list or map becomes: the Go type's zero value."""
    match node.type:
        case "string" | "bytes":
            return ""
        case "object" | "map":
            return {}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number" | "int-or-string":
            return 0
        case "quantity":
            return "0"
    return None


def _coerce_integer(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not int:
        if value.__class__ is float:
            raise _wrong_number(walk, node, value)
        raise walk.mismatch(node, value)
    low, high = _RANGES.get(node.format, _RANGES["int64"])
    if not low <= value <= high:
        raise _wrong_number(walk, node, value)
    return value


def _wrong_number(walk: _Walk, node: Node, value: float) -> DecodeError:
    text = str(walk.mismatch(node, value)).replace("unmarshal number into", f"unmarshal number {value} into", 1)
    return DecodeError(text)


def _coerce_number(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ not in (int, float):
        raise walk.mismatch(node, value)
    return value


def _coerce_boolean(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not bool:
        raise walk.mismatch(node, value)
    return value


def _coerce_bytes(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not str:
        raise walk.mismatch(node, value)
    try:
        plain = value if value.isascii() and value.isprintable() else re.sub(r"[\r\n]", "", value)
        binascii.a2b_base64(plain.encode(), strict_mode=True)
    except (binascii.Error, ValueError):
        valid = re.match(r"(?:[A-Za-z0-9+/\r\n]{4})*", value)
        raise DecodeError(f"illegal base64 data at input byte {valid.end() if valid else 0}") from None
    return plain


def _coerce_quantity(walk: _Walk, node: Node, value: Any) -> Any:
    try:
        return quantity.canonical(value.strip() if isinstance(value, str) else value)
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _coerce_int_or_string(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is str or (value.__class__ is int and -(2**31) <= value < 2**31):
        return value
    number = f"number {value}" if isinstance(value, int | float) and not isinstance(value, bool) else _json_name(value)
    raise DecodeError(f"json: cannot unmarshal {number} into Go value of type int32")


def _coerce_time(walk: _Walk, node: Node, value: Any) -> Any:
    if value.__class__ is not str:
        raise DecodeError(f"json: cannot unmarshal {_json_name(value)} into Go value of type string")
    if node.type == "time" and _CANONICAL_TIME.fullmatch(value):
        return value
    try:
        if not _RFC3339.fullmatch(value):
            raise ValueError("Python would take more forms than RFC 3339 has")
        moment = parse_rfc3339(value)
    except ValueError:
        layout = "2006-01-02T15:04:05Z07:00" if node.type == "time" else "2006-01-02T15:04:05.000000Z07:00"
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"') from None
    return rfc3339(moment) if node.type == "time" else rfc3339_micro(moment)


def _coerce_any(walk: _Walk, node: Node, value: Any) -> Any:
    return value


_LEAVES: dict[str, Callable[[_Walk, Node, Any], Any]] = {
    "integer": _coerce_integer,
    "number": _coerce_number,
    "boolean": _coerce_boolean,
    "bytes": _coerce_bytes,
    "quantity": _coerce_quantity,
    "int-or-string": _coerce_int_or_string,
    "time": _coerce_time,
    "micro-time": _coerce_time,
    ANY: _coerce_any,
}
