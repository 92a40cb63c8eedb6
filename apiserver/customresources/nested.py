"""Schemas in places where the API allows something else too (`items`, `additionalProperties`): decoded like all others.

Who calls it: the strategy of CustomResourceDefinitions, before anything looks into a schema. Invariant: afterwards every
schema inside a schema, however deep, has fields of the types that a schema's fields have.
Upstream: JSONSchemaPropsOrArray and JSONSchemaPropsOrBool in apiextensions-apiserver/pkg/apis/apiextensions/v1/marshal.go.
"""

from typing import Any

from minikube_py.api import schema
from minikube_py.api.errors import BadRequest
from minikube_py.api.schema_node import Node
from minikube_py.api.types import Obj

_PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_LISTED = ("allOf", "anyOf", "oneOf")


def decode(crd: Obj) -> None:
    """Bring the schemas of a definition into form. Mutates `crd`. Raises BadRequest for a value of the wrong type."""
    node = schema.load().definition(_PROPS)
    try:
        for version in (crd.get("spec") or {}).get("versions") or ():
            _walk(node, (version.get("schema") or {}).get("openAPIV3Schema") or {})
    except schema.DecodeError as error:
        kind, api_version = crd.get("kind"), str(crd.get("apiVersion")).rpartition("/")[2]
        raise BadRequest(f'{kind} in version "{api_version}" cannot be handled as a {kind}: {error}') from None


def _walk(node: Node, at: Obj) -> None:
    for inner in (at.get("properties") or {}).values():
        _walk(node, inner)
    for key in _LISTED:
        for inner in at.get(key) or ():
            _walk(node, inner)
    if isinstance(at.get("not"), dict):
        _walk(node, at["not"])
    for key in ("items", "additionalProperties"):
        if key in at:
            at[key] = _schema(node, at[key], key)


def _schema(node: Node, value: Any, key: str) -> Any:
    if isinstance(value, bool) and key == "additionalProperties":
        return value
    if isinstance(value, list) and key == "items":
        return value  # refused later, in words
    if not isinstance(value, dict):
        raise schema.DecodeError(f"{key}: expected a schema")
    made, _ = schema.coerce(node, value)
    _walk(node, made)
    return made
