"""The official definitions turned into the two forms in which OpenAPI clients know them: version 2 (Swagger) and version 3.

Who uses it: `openapi.py`. Invariant: pure; a definition keeps its upstream name, its texts and its x-kubernetes extensions,
so that `kubectl explain` and generators find what they would find upstream.
Upstream: kube-openapi/pkg/{builder,builder3}. The source writes optional types as [T, "null"] and forgets the formats of
IntOrString; both are put back here.
"""

from collections.abc import Iterable
from typing import Any

from minikube_py.api.schema_cache import PREFIX
from minikube_py.api.types import Obj

V2_PREFIX, V3_PREFIX = "#/definitions/", "#/components/schemas/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_UNIONS: dict[bool, dict[str, Obj]] = {
    False: {_QUANTITY: {"type": "string"}, _INT_OR_STRING: {"format": "int-or-string", "type": "string"}},
    True: {
        _QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
        _INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    },
}


def closure(definitions: dict[str, Obj], roots: Iterable[str], prefix: str = PREFIX) -> list[str]:
    """The roots and every definition that they refer to, directly or not, sorted."""
    found: set[str] = set()
    pending = [name for name in roots if name in definitions]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += (each for each in references(definitions[name], prefix) if each in definitions)
    return sorted(found)


def references(schema: Any, prefix: str) -> list[str]:
    """The names of all definitions that a piece of a document refers to."""
    if isinstance(schema, list):
        return [name for item in schema for name in references(item, prefix)]
    if not isinstance(schema, dict):
        return []
    reference = schema.get("$ref")
    found = [reference.removeprefix(prefix)] if isinstance(reference, str) else []
    return found + [
        name for value in schema.values() if isinstance(value, dict | list) for name in references(value, prefix)
    ]


def convert(name: str, schema: Obj, *, v3: bool) -> Obj:
    """One definition in the form of version 2 or 3."""
    union = _UNIONS[v3].get(name)
    if union is None:
        return _convert(schema, v3)
    return {**({"description": schema["description"]} if "description" in schema else {}), **union}


def _convert(schema: Obj, v3: bool) -> Obj:
    made: Obj = {}
    for key, value in schema.items():
        if key == "type":
            made["type"] = next(kind for kind in value if kind != "null") if isinstance(value, list) else value
        elif key == "properties":
            made["properties"] = {name: _property(name, inner, schema, v3) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            made[key] = _convert(value, v3)
        elif key == "$ref":
            made["$ref"] = (V3_PREFIX if v3 else V2_PREFIX) + value.removeprefix(PREFIX)
        else:
            made[key] = value
    if v3 and "$ref" in made and len(made) > 1:
        # Version 3 ignores what stands beside a reference, so the reference is wrapped.
        made = {"allOf": [{"$ref": made.pop("$ref")}], "default": {}, **made}
    return made


def _property(name: str, inner: Obj, schema: Obj, v3: bool) -> Obj:
    made = _convert(inner, v3)
    if name in ("apiVersion", "kind") and "x-kubernetes-group-version-kind" in schema:
        made.pop("enum", None)
    return made
