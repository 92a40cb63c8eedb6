"""Is this schema structural? Every field has a type outside of alternatives, and what makes no sense is refused.

Who calls it: `checks.py` for each version of a definition. Invariant: pure; a schema that passes can be compiled
(`structural.py`) and validated along (`values.py`) without further questions.
Upstream: apiextensions-apiserver/pkg/apiserver/schema/{validation.go,complete.go,defaulting/validation.go} and
pkg/apis/apiextensions/validation/validation.go (ValidateCustomResourceDefinitionOpenAPISchema).
"""

from typing import Any

from apiserver.customresources import rules, structural, values
from apiserver.strategies.checks import forbidden, invalid, required, unsupported
from minikube_py.api import regex
from minikube_py.api.cel import cost
from minikube_py.api.clone import clone
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("additionalItems", "definitions", "dependencies", "id", "patternProperties", "$ref")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_ONLY_OUTSIDE = ("title", "description", "default", "nullable")
_PRESERVE, _INT_OR_STRING = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"
_EMBEDDED, _LIST_TYPE, _MAP_KEYS = (
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
_EXTENSIONS = (
    ((_PRESERVE, _EMBEDDED, _INT_OR_STRING), "false"),
    ((_LIST_TYPE, _MAP_KEYS, "x-kubernetes-map-type"), "undefined"),
)
_INT_OR_STRING_JUNCTOR = [{"type": "integer"}, {"type": "string"}]


def validate(schema: Obj, path: str) -> list[Cause]:
    """What is wrong with the schema of a version."""
    found: list[Cause] = []
    if schema.get("type") and schema["type"] != "object":
        found.append(invalid(f"{path}.type", schema["type"], "must be object at the root"))
    if not schema.get("type"):
        found.append(required(f"{path}.type", "must not be empty at the root"))
    if schema.get("nullable"):
        found.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    _outside(schema, path, found, root=True)
    if not found:
        _defaults(schema, path, found)
    if not found:
        _rules(schema, path, found, root=True)
    return found


def _outside(schema: Obj, path: str, found: list[Cause], *, root: bool = False, embedded: bool = False) -> None:
    """A schema outside of alternatives. `embedded`: of an object that is a resource."""
    _generic(schema, path, found)
    _extensions(schema, path, found)
    resource = root or bool(schema.get(_EMBEDDED))
    for name, inner in (schema.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if resource and name == "metadata":
            _metadata(inner, at, found)
        if resource and name in ("apiVersion", "kind") and inner.get("type") != "string":
            found.append(invalid(f"{at}.type", inner.get("type") or "", "must be string"))
        _typed(inner, at, found, "object fields")
        _outside(inner, at, found)
    if isinstance(inner := schema.get("additionalProperties"), dict):
        _typed(inner, f"{path}.additionalProperties", found, "object fields")
        _outside(inner, f"{path}.additionalProperties", found)
    if isinstance(inner := schema.get("items"), dict):
        _typed(inner, f"{path}.items", found, "array items")
        _outside(inner, f"{path}.items", found)
    for at, inner in _alternatives(schema, path):
        _inside(inner, at, found, int_or_string=_is_int_or_string(schema, at))
        _complete(inner, schema, at, path, found)


def _typed(schema: Obj, path: str, found: list[Cause], what: str) -> None:
    if not schema.get("type") and not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVE):
        found.append(required(f"{path}.type", f"must not be empty for specified {what}"))


def _alternatives(schema: Obj, path: str) -> list[tuple[str, Obj]]:
    listed = [
        (f"{path}.{key}[{index}]", inner) for key in _JUNCTORS for index, inner in enumerate(schema.get(key) or ())
    ]
    return [*listed, (f"{path}.not", schema["not"])] if isinstance(schema.get("not"), dict) else listed


def _is_int_or_string(schema: Obj, at: str) -> bool:
    """The one place where an alternative may name a type: the two of an int-or-string."""
    if not schema.get(_INT_OR_STRING):
        return False
    return schema.get("anyOf") == _INT_OR_STRING_JUNCTOR or ".allOf[" in at


def _generic(schema: Obj, path: str, found: list[Cause]) -> None:
    """What is refused everywhere."""
    kind = schema.get("type")
    if kind == "null":
        found.append(forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative"))
    elif kind and kind not in _TYPES:
        found.append(unsupported(f"{path}.type", kind, _TYPES))
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(forbidden(f"{path}.uniqueItems", why))
    found += [forbidden(f"{path}.{key}", f"{key} is not supported") for key in _UNSUPPORTED if schema.get(key)]
    if schema.get("additionalProperties") is False:
        found.append(forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    if schema.get("additionalProperties") and schema.get("properties"):
        why = "additionalProperties and properties are mutual exclusive"
        found.append(forbidden(f"{path}.additionalProperties", why))
    if isinstance(schema.get("items"), list):
        found.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if kind == "array" and not schema.get("items"):
        found.append(required(f"{path}.items", "must be specified"))
    if schema.get("pattern"):
        try:
            regex.compile(schema["pattern"])
        except ValueError as error:
            found.append(
                invalid(f"{path}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {error}")
            )


def _extensions(schema: Obj, path: str, found: list[Cause]) -> None:
    """The x-kubernetes-… words."""
    kind = schema.get("type") or ""
    if schema.get(_PRESERVE) is False:
        found.append(invalid(f"{path}.{_PRESERVE}", False, "must be true or undefined"))
    if schema.get(_PRESERVE) and kind not in ("object", ""):
        found.append(invalid(f"{path}.type", kind, f"must be object if {_PRESERVE} is true"))
    if schema.get(_INT_OR_STRING) and kind:
        found.append(invalid(f"{path}.type", kind, f"must be empty if {_INT_OR_STRING} is true"))
    if schema.get(_EMBEDDED):
        if kind != "object":
            found.append(invalid(f"{path}.type", kind, f"must be object if {_EMBEDDED} is true"))
        if not schema.get(_PRESERVE) and not schema.get("properties"):
            why = f"must not be empty if {_EMBEDDED} is true without {_PRESERVE}"
            found.append(required(f"{path}.properties", why))
    if (map_type := schema.get("x-kubernetes-map-type")) is not None:
        at = f"{path}.x-kubernetes-map-type"
        if kind != "object":
            found.append(invalid(f"{path}.type", kind, "must be object if x-kubernetes-map-type is specified"))
        if map_type not in ("atomic", "granular"):
            found.append(unsupported(at, map_type, ("atomic", "granular")))
    _list_type(schema, kind, path, found)


def _list_type(schema: Obj, kind: str, path: str, found: list[Cause]) -> None:
    list_type, keys = schema.get(_LIST_TYPE), schema.get(_MAP_KEYS) or []
    if list_type is None:
        if keys:
            found.append(forbidden(f"{path}.{_MAP_KEYS}", f"may only be set if {_LIST_TYPE} is map"))
        return
    if kind != "array":
        found.append(invalid(f"{path}.type", kind, f"must be array if {_LIST_TYPE} is specified"))
    if list_type not in ("atomic", "set", "map"):
        found.append(unsupported(f"{path}.{_LIST_TYPE}", list_type, ("atomic", "set", "map")))
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    assert isinstance(items, dict)
    if list_type == "map":
        _map_keys(items, keys, path, found)
    elif list_type == "set":
        _set_items(items, f"{path}.items", found)


def _map_keys(items: Obj, keys: list[str], path: str, found: list[Cause]) -> None:
    if not keys:
        found.append(required(f"{path}.{_MAP_KEYS}", f"must not be empty if {_LIST_TYPE} is map"))
    if items.get("type") != "object":
        found.append(
            invalid(
                f"{path}.items.type", items.get("type") or "", f"must be object if parent array's {_LIST_TYPE} is map"
            )
        )
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        at = f"{path}.items.properties[{key}]"
        if key not in properties:
            found.append(invalid(f"{path}.{_MAP_KEYS}[{index}]", key, "must be a property of the items schema"))
            continue
        if properties[key].get("type") in ("array", "object"):
            found.append(invalid(f"{at}.type", properties[key]["type"], "must be a scalar type if parent array's "
                                                                      f"{_LIST_TYPE} is map"))  # fmt: skip
        if properties[key].get("nullable"):
            found.append(forbidden(f"{at}.nullable", f"this property is in {_MAP_KEYS}, so it cannot be nullable"))
        if key not in (items.get("required") or ()) and "default" not in properties[key]:
            why = f"this property is in {_MAP_KEYS}, so it must have a default or be a required property"
            found.append(required(f"{at}.default", why))
    if len(set(keys)) != len(keys):
        found.append(invalid(f"{path}.{_MAP_KEYS}", keys, "must be unique"))


def _set_items(items: Obj, path: str, found: list[Cause]) -> None:
    if items.get("nullable"):
        found.append(forbidden(f"{path}.nullable", f"cannot be nullable when {_LIST_TYPE} is set"))
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        found.append(invalid(f"{path}.x-kubernetes-map-type", items.get("x-kubernetes-map-type") or "",
                             "must be atomic as item of a list with x-kubernetes-list-type=set"))  # fmt: skip
    if items.get("type") == "array" and items.get(_LIST_TYPE) not in (None, "atomic"):
        found.append(invalid(f"{path}.{_LIST_TYPE}", items[_LIST_TYPE],
                             "must be atomic as item of a list with x-kubernetes-list-type=set"))  # fmt: skip


def _metadata(schema: Obj, path: str, found: list[Cause]) -> None:
    if schema.get("type") and schema["type"] != "object":
        found.append(invalid(f"{path}.type", schema["type"], "must be object"))
    extra = set(schema) - {"type", "properties", "description"}
    if extra or set(schema.get("properties") or ()) - {"name", "generateName"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        found.append(forbidden(path, why))


# ---- inside alternatives ---------------------------------------------------------------------------------------------


def _inside(schema: Obj, path: str, found: list[Cause], *, int_or_string: bool = False) -> None:
    """A schema that only restricts values: it says nothing about structure."""
    _generic(
        {key: value for key, value in schema.items() if key != "additionalProperties" and key != "type"}, path, found
    )
    if schema.get("type") and not (int_or_string and schema["type"] in ("integer", "string")):
        found.append(forbidden(f"{path}.type", "must be empty to be structural"))
    if schema.get("additionalProperties") is not None:
        found.append(forbidden(f"{path}.additionalProperties", "must be undefined to be structural"))
    for key in _ONLY_OUTSIDE:
        if schema.get(key) not in (None, "", False) or (key == "default" and "default" in schema):
            word = "undefined" if key == "default" else "false" if key == "nullable" else "empty"
            found.append(forbidden(f"{path}.{key}", f"must be {word} to be structural"))
    for keys, word in _EXTENSIONS:
        found += [forbidden(f"{path}.{key}", f"must be {word} to be structural") for key in keys if schema.get(key)]
    for at, inner in _nested(schema, path):
        _inside(inner, at, found, int_or_string=int_or_string and ".anyOf[" in at)


def _nested(schema: Obj, path: str) -> list[tuple[str, Obj]]:
    inner = [(f"{path}.properties[{name}]", one) for name, one in (schema.get("properties") or {}).items()]
    if isinstance(schema.get("items"), dict):
        inner.append((f"{path}.items", schema["items"]))
    return [*inner, *_alternatives(schema, path)]


def _complete(inner: Obj, outer: Obj | None, inner_path: str, path: str, found: list[Cause]) -> None:
    """Every field that an alternative names is there outside of it too."""
    outer = outer or {}
    for name, one in (inner.get("properties") or {}).items():
        known = (outer.get("properties") or {}).get(name)
        if known is None and isinstance(outer.get("additionalProperties"), dict):
            known = outer["additionalProperties"]
        at = f"{path}.properties[{name}]"
        if known is None and not outer.get(_EMBEDDED):
            found.append(required(at, f"because it is defined in {inner_path}.properties[{name}]"))
            continue
        _complete(one, known, f"{inner_path}.properties[{name}]", at, found)
    if isinstance(items := inner.get("items"), dict):
        known = outer.get("items")
        if not isinstance(known, dict):
            found.append(required(f"{path}.items", f"because it is defined in {inner_path}.items"))
        else:
            _complete(items, known, f"{inner_path}.items", f"{path}.items", found)
    for at, one in _alternatives(inner, inner_path):
        _complete(one, outer, at, path, found)


# ---- rules and defaults ------------------------------------------------------------------------------------------------


def _rules(schema: Obj, path: str, found: list[Cause], count: int | None = 1, *, root: bool = False) -> int:
    """Out: what all rules may cost together. In: `count` how many such values an object can have, None for any number."""
    wrong, total = rules.problems(schema, path, count, root=root)
    found += wrong
    for name, inner in (schema.get("properties") or {}).items():
        total += _rules(inner, f"{path}.properties[{name}]", found, count)
    for key in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(key), dict):
            most = cost.most(schema)
            total += _rules(inner, f"{path}.{key}", found, None if most is None or count is None else count * most)
    if root and total > cost.PER_DEFINITION:
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden(path, cost.too_much(what, total, cost.PER_DEFINITION)))
    return total


def _defaults(schema: Obj, path: str, found: list[Cause]) -> None:
    """A default is a value that the schema would take as it is."""
    if "default" in schema:
        _default(schema, schema["default"], f"{path}.default", found)
    for name, inner in (schema.get("properties") or {}).items():
        _defaults(inner, f"{path}.properties[{name}]", found)
    for key in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(key), dict):
            _defaults(inner, f"{path}.{key}", found)


def _default(schema: Obj, value: Any, path: str, found: list[Cause]) -> None:
    compiled = structural.Structural(schema)
    if isinstance(value, dict):
        pruned = clone(value)
        if structural.prune(compiled, pruned):
            found.append(invalid(path, value, "must not have unknown fields"))
            return
        value = pruned
    structural.default(compiled, value)
    found += values.check(schema, value, path)
