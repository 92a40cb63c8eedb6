"""JSON values as CEL sees them, typed by their schema: numbers, times, bytes, sets; names that CEL cannot say are escaped.

Who calls it: whoever evaluates a program. Invariant: pure; without a schema a value keeps its JSON type.
Upstream: apiserver/pkg/cel/common/values.go, apiserver/pkg/cel/escaping.go.
"""

import binascii
import re
from typing import Any

from minikube_py.api.types import Obj

_RESERVED = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_UNSAFE = re.compile(r"__|[./-]")
_IDENT = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def escape(name: str) -> str:
    """A field's name as an expression writes it; "" when it cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    escaped = _UNSAFE.sub(lambda found: _ESCAPES[found[0]], name)
    return escaped if _IDENT.fullmatch(escaped) else ""


def to_cel(value: Any, schema: Obj | None = None) -> Any:
    """The CEL value of a JSON value."""
    from celpy import celtypes

    schema = schema or {}
    match value:
        case None:
            return None
        case bool():
            return celtypes.BoolType(value)
        case int() | float():
            return _number(value, schema)
        case str():
            return _text(value, schema.get("format"))
        case list():
            items = schema.get("items") if isinstance(schema.get("items"), dict) else None
            return celtypes.ListType([to_cel(item, items) for item in value])
    return celtypes.MapType(_entries(value, schema))


def _number(value: float, schema: Obj) -> Any:
    from celpy import celtypes

    whole = isinstance(value, int) and schema.get("type") != "number"
    return celtypes.IntType(int(value)) if whole else celtypes.DoubleType(value)


def _text(value: str, kind: str | None) -> Any:
    from celpy import celtypes

    try:
        if kind in ("date-time", "datetime"):
            return celtypes.TimestampType(value)
        if kind == "date":
            return celtypes.TimestampType(f"{value}T00:00:00Z")
        if kind == "duration":
            return celtypes.DurationType(value)
        if kind == "byte":
            return celtypes.BytesType(binascii.a2b_base64(value.encode()))
    except (ValueError, TypeError):
        pass  # a value that is not of its format is a string, and validation has said so
    return celtypes.StringType(value)


def _entries(value: Obj, schema: Obj) -> list[tuple[Any, Any]]:
    from celpy import celtypes

    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    found = []
    for key, item in value.items():
        inner = properties.get(key)
        if inner is not None:
            if item is not None and (name := escape(key)):
                found.append((celtypes.StringType(name), to_cel(item, inner)))
            continue
        found.append((celtypes.StringType(key), to_cel(item, additional if isinstance(additional, dict) else None)))
    return found


def from_cel(value: Any) -> Any:
    """The JSON value of a CEL value, typed literals included. Raises ValueError for what JSON cannot say."""
    from celpy import celtypes

    from minikube_py.api.cel.objects import ObjectValue

    match value:
        case None:
            return None
        case celtypes.BoolType():
            return bool(value)
        case ObjectValue():
            return {name: from_cel(one) for name, one in value.fields.items()}
        case celtypes.TimestampType() | celtypes.DurationType():
            return str(value)
        case int():
            return int(value)
        case float():
            return int(value) if value == int(value) else float(value)
        case bytes():
            return binascii.b2a_base64(value, newline=False).decode()
        case str():
            return str(value)
        case list():
            return [from_cel(item) for item in value]
        case dict():
            return {str(key): from_cel(item) for key, item in value.items()}
    raise ValueError(f"no JSON value can be made of a {type(value).__name__}")
