"""Types of expressions, as far as they are known before anything is evaluated.

Who uses it: `typecheck.py`; admission says with them what its variables are. Invariant: `DYN` fits everything, so what is not
known raises no objection.
Upstream: apiserver/pkg/cel/types.go, apiserver/pkg/cel/common/schemas.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minikube_py.api.cel.values import escape
from minikube_py.api.schema_node import Node
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class List:
    items: "Type"

    def __str__(self) -> str:
        return f"list({self.items})"


@dataclass(frozen=True)
class Map:
    key: "Type"
    value: "Type"

    def __str__(self) -> str:
        return f"map({self.key}, {self.value})"


@dataclass(frozen=True)
class Struct:
    """`field` answers a field's type, None when there is no such field."""

    name: str
    field: Callable[[str], "Type | None"]

    def __str__(self) -> str:
        return self.name


Type = str | List | Map | Struct
DYN, INT, UINT, DOUBLE, STRING, BYTES, BOOL, NULL = "dyn", "int", "uint", "double", "string", "bytes", "bool", "null"
TIMESTAMP, DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"
_SIMPLE = {
    "string": STRING, "bytes": BYTES, "integer": INT, "number": DOUBLE, "boolean": BOOL, "time": TIMESTAMP,
    "micro-time": TIMESTAMP,
}  # fmt: skip


def struct(name: str, fields: Mapping[str, Type]) -> Struct:
    """A type with exactly these fields."""
    return Struct(name, fields.get)


def of_node(node: Node | None) -> Type:
    """The type of what a schema describes."""
    if node is None:
        return DYN
    if node.type == "object" and node.properties:
        return Struct(node.struct or "object", lambda name: _field(node, name))
    if node.type == "map" or (node.type == "object" and node.additional is not None):
        return Map(STRING, of_node(node.additional))
    if node.type == "array":
        return List(of_node(node.items))
    return _SIMPLE.get(node.type, DYN)


def _field(node: Node, name: str) -> Type | None:
    found = node.properties.get(name)
    if found is None:
        found = next((one for key, one in node.properties.items() if escape(key) == name), None)
    if found is not None:
        return of_node(found)
    return of_node(node.additional) if node.additional is not None else None


def fits(one: Type, other: Type) -> bool:
    """Whether values of the two may be compared."""
    if DYN in (one, other) or NULL in (one, other) or one == other:
        return True
    if isinstance(one, Struct) or isinstance(other, Struct):
        return not (isinstance(one, str) or isinstance(other, str))
    match one, other:
        case List(), List():
            return fits(one.items, other.items)
        case Map(), Map():
            return fits(one.key, other.key) and fits(one.value, other.value)
    return False


_FORMATS = {"date-time": TIMESTAMP, "datetime": TIMESTAMP, "date": TIMESTAMP, "duration": DURATION, "byte": BYTES}
_PLAIN = {"integer": INT, "number": DOUBLE, "boolean": BOOL}


def of_schema(schema: Obj) -> Type:
    """The type of what a structural schema (JSON) describes; field names are as expressions write them."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    match schema.get("type"):
        case "string":
            return _FORMATS.get(schema.get("format") or "", STRING)
        case "array":
            return List(of_schema(schema["items"])) if isinstance(schema.get("items"), dict) else DYN
        case "object":
            inner = schema.get("additionalProperties")
            if isinstance(inner, dict):
                return Map(STRING, of_schema(inner))
            if inner or (schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties")):
                return DYN
            return Struct("object", lambda name: _property(schema, name))
    return _PLAIN.get(schema.get("type") or "", DYN)


def _property(schema: Obj, name: str) -> Type | None:
    properties = schema.get("properties") or {}
    found = next((inner for key, inner in properties.items() if escape(key) == name or key == name), None)
    return of_schema(found) if found is not None else None
