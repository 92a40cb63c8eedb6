"""Is this object what its definition's schema says? Types, ranges, formats, alternatives; with upstream's words.

Who calls it: the strategy of every custom kind (`served.py`), and the checks of a definition's own defaults. Invariant: pure;
a part that an update leaves as it was is not judged again, so that a schema may become stricter while objects exist.
Stop of the data path: 3 (validate), for custom resources.
Upstream: kube-openapi/pkg/validation/validate, apiextensions-apiserver/pkg/apiserver/{validation,schema/listtype}.
"""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from apiserver.customresources.structural import Structural
from apiserver.strategies.checks import duplicate, invalid, required, shown, too_long, too_many
from minikube_py.api import regex
from minikube_py.api.errors import Cause
from minikube_py.api.formats import FORMATS
from minikube_py.api.types import Obj

ABSENT: Any = object()
"""There is no old value to compare with."""


def validate(root: Structural, obj: Obj, old: Any = ABSENT) -> list[Cause]:
    """What is wrong with an object, fields in its own order. In: `old` what it replaces."""
    found: list[Cause] = []
    _walk(root.json, obj, old, "", found)
    return found


def check(schema: Obj, value: Any, path: str) -> list[Cause]:
    """The same for any value and schema text."""
    found: list[Cause] = []
    _walk(schema, value, ABSENT, path, found)
    return found


def _walk(schema: Obj, value: Any, old: Any, path: str, found: list[Cause]) -> None:
    if old is not ABSENT and old == value:
        return
    if value is None and schema.get("nullable"):
        return
    if (wrong := _type_problem(schema, value, path)) is not None:
        found.append(wrong)
        return
    _enum(schema, value, path, found)
    if isinstance(value, str):
        _string(schema, value, path, found)
    elif isinstance(value, dict):
        _object(schema, value, old, path, found)
    elif isinstance(value, list):
        _array(schema, value, old, path, found)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number(schema, value, path, found)
    _junctors(schema, value, path, found)


# ---- types -----------------------------------------------------------------------------------------------------------


def type_name(value: Any) -> str:
    """The JSON type of a value as messages name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _type_problem(schema: Obj, value: Any, path: str) -> Cause | None:
    if schema.get("x-kubernetes-int-or-string"):
        expected: tuple[str, ...] = ("integer", "string")
    elif schema.get("type"):
        expected = (schema["type"],)
    else:
        return None
    has = type_name(value)
    if has in expected or (has == "integer" and "number" in expected):
        return None
    return _wrong_type(path, has, ",".join(expected), has)


def _wrong_type(path: str, value: Any, expected: str, has: str) -> Cause:
    text = f"{path or '<nil>'} in body must be of type {expected}: {shown(has)}"
    return Cause("FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {text}", path)


def _enum(schema: Obj, value: Any, path: str, found: list[Cause]) -> None:
    allowed = schema.get("enum")
    if allowed and not any(type(one) is type(value) and one == value for one in allowed):
        listed = ", ".join(shown(one if isinstance(one, str) else orjson.dumps(one).decode()) for one in allowed)
        found.append(
            Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", path)
        )


# ---- scalars ---------------------------------------------------------------------------------------------------------


def _string(schema: Obj, value: str, path: str, found: list[Cause]) -> None:
    if (limit := schema.get("maxLength")) is not None and len(value) > limit:
        found.append(too_long(path, limit))
    if (limit := schema.get("minLength")) is not None and len(value) < limit:
        found.append(invalid(path, value, f"{path} in body should be at least {limit} chars long"))
    if (text := schema.get("pattern")) and not regex.compile(text).search(value):
        found.append(invalid(path, value, f"{path} in body should match '{text}'"))
    name = schema.get("format")
    if name in FORMATS and not FORMATS[name](value):
        found.append(_wrong_type(path, value, name, value))


def _number(schema: Obj, value: float, path: str, found: list[Cause]) -> None:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if low is not None:
        if schema.get("exclusiveMinimum") and value <= low:
            found.append(invalid(path, value, f"{path} in body should be greater than {_plain(low)}"))
        elif value < low:
            found.append(invalid(path, value, f"{path} in body should be greater than or equal to {_plain(low)}"))
    if high is not None:
        if schema.get("exclusiveMaximum") and value >= high:
            found.append(invalid(path, value, f"{path} in body should be less than {_plain(high)}"))
        elif value > high:
            found.append(invalid(path, value, f"{path} in body should be less than or equal to {_plain(high)}"))
    if step and value % step:
        found.append(invalid(path, value, f"{path} in body should be a multiple of {_plain(step)}"))
    low, high = _RANGES.get(schema.get("format") or "", (value, value))
    if not low <= value <= high:
        found.append(_wrong_type(path, value, schema["format"], str(value)))


_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


# ---- containers ------------------------------------------------------------------------------------------------------


def _object(schema: Obj, value: Obj, old: Any, path: str, found: list[Cause]) -> None:
    if (limit := schema.get("maxProperties")) is not None and len(value) > limit:
        found.append(too_many(path, len(value), limit))
    if (limit := schema.get("minProperties")) is not None and len(value) < limit:
        found.append(invalid(path, value, f"{path} in body should have at least {limit} properties"))
    found += [required(_field(path, name)) for name in schema.get("required") or () if name not in value]
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    before = old if isinstance(old, dict) else {}
    for key, item in value.items():
        child = properties.get(key, additional)
        if isinstance(child, dict):
            _walk(
                child, item, before.get(key, ABSENT), _field(path, key) if key in properties else f"{path}.{key}", found
            )
    if schema.get("x-kubernetes-embedded-resource"):
        found += [
            required(_field(path, key), "must not be empty") for key in ("apiVersion", "kind") if not value.get(key)
        ]


def _field(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _array(schema: Obj, value: list[Any], old: Any, path: str, found: list[Cause]) -> None:
    if (limit := schema.get("maxItems")) is not None and len(value) > limit:
        found.append(too_many(path, len(value), limit))
    if (limit := schema.get("minItems")) is not None and len(value) < limit:
        found.append(invalid(path, value, f"{path} in body should have at least {limit} items"))
    items, kind = schema.get("items"), schema.get("x-kubernetes-list-type")
    identity: Callable[[Any], Any] | None = None
    if kind == "set":
        identity = _whole
    elif kind == "map":
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        defaults = {key: ((items or {}).get("properties") or {}).get(key, {}).get("default") for key in keys}
        identity = lambda item: {key: item.get(key, defaults[key]) for key in keys} if isinstance(item, dict) else item  # noqa: E731
    before = _correlated(old, identity) if kind == "map" and isinstance(old, list) else {}
    if isinstance(items, dict):
        for index, item in enumerate(value):
            previous = before.get(_text(identity(item)), ABSENT) if identity and before else ABSENT
            _walk(items, item, previous, f"{path}[{index}]", found)
    if identity is not None:
        found += _duplicates(value, identity, path)


def _correlated(old: list[Any], identity: Callable[[Any], Any] | None) -> dict[bytes, Any]:
    return {_text(identity(item)): item for item in old} if identity else {}


def _whole(item: Any) -> Any:
    return item


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _duplicates(value: list[Any], identity: Callable[[Any], Any], path: str) -> Iterator[Cause]:
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        key = identity(item)
        text = _text(key)
        if text in seen:
            yield duplicate(f"{path}[{index}]", key)
        seen.add(text)


# ---- alternatives ----------------------------------------------------------------------------------------------------


def _junctors(schema: Obj, value: Any, path: str, found: list[Cause]) -> None:
    for inner in schema.get("allOf") or ():
        _walk(inner, value, ABSENT, path, found)
    if alternatives := schema.get("anyOf"):
        failures = [check(inner, value, path) for inner in alternatives]
        if all(failures):
            found.append(invalid(path, value, f'"{path}" must validate at least one schema (anyOf)'))
            found += _fewest(failures)
    if alternatives := schema.get("oneOf"):
        failures = [check(inner, value, path) for inner in alternatives]
        valid = sum(not failed for failed in failures)
        if valid != 1:
            why = f"Found {valid} valid alternatives" if valid else "Found none valid"
            found.append(invalid(path, value, f'"{path}" must validate one and only one schema (oneOf). {why}'))
            found += [] if valid else _fewest(failures)
    if (unwanted := schema.get("not")) is not None and not check(unwanted, value, path):
        found.append(invalid(path, value, f'"{path}" must not validate the schema (not)'))


def _fewest(failures: list[list[Cause]]) -> list[Cause]:
    """What is wrong along the alternative that was probably meant."""
    return min(failures, key=lambda causes: len(causes))
