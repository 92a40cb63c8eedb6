"""Custom kinds in OpenAPI documents: their definitions, in the form of version 2 or 3.

Who calls it: `apiserver/openapi.py`. Invariant: pure; in version 3 a schema is published as it was written, in version 2
without what that cannot say, so that clients which know only version 2 do not refuse what the server takes.
Upstream: apiextensions-apiserver/pkg/controller/openapi/{builder,v2}.
"""

from collections.abc import Iterable
from typing import Any

from apiserver.customresources.version import Version
from apiserver.openapi_schemas import V2_PREFIX, V3_PREFIX
from apiserver.resources.row import Row
from minikube_py.api.schema import META
from minikube_py.api.types import Obj

OBJECT_META, LIST_META = META + "ObjectMeta", META + "ListMeta"
SHARED = (OBJECT_META, LIST_META, "io.k8s.api.autoscaling.v1.Scale")
"""Built-in definitions that those of custom kinds refer to."""
_PRESERVE, _INT_OR_STRING = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"
_ONLY_V3 = ("allOf", "anyOf", "oneOf", "not", "nullable", "x-kubernetes-validations")
_API_VERSION: Obj = {
    "type": "string",
    "description": "APIVersion defines the group and version that this object is written in.",
}
_KIND: Obj = {"type": "string", "description": "Kind is what this object is, in its group and version."}


def names(rows: Iterable[Row]) -> dict[tuple[str, str, str], str]:
    """(group, version, kind) of custom kinds and of their lists → definition."""
    found = {}
    for row in rows:
        found[row.group, row.version, row.kind] = row.definition
        found[row.group, row.version, f"{row.kind}List"] = row.definition + "List"
    return found


def definitions(rows: Iterable[Row], *, v3: bool) -> dict[str, Obj]:
    """The definitions of custom kinds and their lists."""
    made: dict[str, Obj] = {}
    for row in rows:
        version: Version = row.custom
        made[row.definition] = _kind(version, v3)
        made[row.definition + "List"] = _list(version, v3)
    return made


def _kind(version: Version, v3: bool) -> Obj:
    schema, gvk = version.schema, _gvk(version, version.row.kind)
    if not v3 and schema.get(_PRESERVE):
        return {"type": "object", **gvk}  # with any property named, clients of version 2 would refuse all others
    made = {**_convert(schema, v3), "type": "object"}
    made["properties"] = {**(made.get("properties") or {}), **_resource(v3)}
    return {**made, **gvk}


def _resource(v3: bool) -> Obj:
    description = "Standard object's metadata: name, labels, owners."
    return {"apiVersion": _API_VERSION, "kind": _KIND, "metadata": _reference(OBJECT_META, v3, description)}


def _reference(name: str, v3: bool, description: str) -> Obj:
    if v3:
        return {"allOf": [{"$ref": V3_PREFIX + name}], "description": description, "default": {}}
    return {"$ref": V2_PREFIX + name, "description": description}


def _list(version: Version, v3: bool) -> Obj:
    kind = version.row.kind
    items = {"$ref": (V3_PREFIX if v3 else V2_PREFIX) + version.row.definition}
    return {
        "description": f"{kind}List is a list of {kind}", "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": _API_VERSION, "kind": _KIND,
            "items": {"type": "array", "items": items, "description": f"The objects of kind {kind}."},
            "metadata": _reference(LIST_META, v3, "What every list has: its resourceVersion, and where it goes on."),
        },
        **_gvk(version, version.definition.names.get("listKind") or f"{kind}List"),
    }  # fmt: skip


def _gvk(version: Version, kind: str) -> Obj:
    row = version.row
    return {"x-kubernetes-group-version-kind": [{"group": row.group, "kind": kind, "version": row.version}]}


def _convert(schema: Obj, v3: bool) -> Obj:
    if not v3 and (schema.get("nullable") or schema.get(_PRESERVE) or schema.get(_INT_OR_STRING)):
        return _opaque(schema)
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _convert(inner, v3) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            made[key] = _convert(value, v3)
        elif v3 or key not in _ONLY_V3:
            made[key] = value
    if schema.get("x-kubernetes-embedded-resource"):
        made["properties"] = {**(made.get("properties") or {}), **_resource(v3)}
    return made


def _opaque(schema: Obj) -> Obj:
    """What clients of version 2 take anything for."""
    dropped = {*_ONLY_V3, "type", "properties", "items", "additionalProperties", "required", "default"}
    return {key: value for key, value in schema.items() if key not in dropped}
