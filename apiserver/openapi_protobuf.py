"""The Swagger document in protobuf: what kubectl asks for when a kind is in no version 3 document.

Who calls it: the handler of /openapi/v2 (`apiserver/public.py`) for clients that accept nothing else. The protobuf library
does the encoding; `_MESSAGES` tells it the fields that our documents use: key → (number, type), "[]" a list.
Invariant: carries what kubectl reads (definitions, paths with their kinds and parameters); unused fields are simply absent.
Upstream: gnostic-models openapiv2/OpenAPIv2.proto; kube-openapi/pkg/handler.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from minikube_py.api.types import Obj

ACCEPT = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Document": {"swagger": (1, "string"), "info": (2, "Info"), "paths": (8, "Paths"), "definitions": (9, "Definitions")},
    "Info": {"title": (1, "string"), "version": (2, "string")},
    "Paths": {"path": (2, "[]NamedPathItem")},
    "NamedPathItem": {"name": (1, "string"), "value": (2, "PathItem")},
    "PathItem": {
        "get": (2, "Operation"), "put": (3, "Operation"), "post": (4, "Operation"), "delete": (5, "Operation"),
        "options": (6, "Operation"), "head": (7, "Operation"), "patch": (8, "Operation"),
        "parameters": (9, "[]ParametersItem"),
    },
    "Operation": {
        "description": (3, "string"), "operationId": (5, "string"), "parameters": (8, "[]ParametersItem"),
        "extensions": (13, "[]NamedAny"),
    },
    "ParametersItem": {"parameter": (1, "Parameter")},
    "Parameter": {"nonBody": (2, "NonBodyParameter")},
    "NonBodyParameter": {"query": (3, "Query")},
    "Query": {"in": (2, "string"), "description": (3, "string"), "name": (4, "string"), "type": (6, "string")},
    "Definitions": {"schemas": (1, "[]NamedSchema")},
    "NamedSchema": {"name": (1, "string"), "value": (2, "Schema")},
    "Schema": {
        "$ref": (1, "string"), "format": (2, "string"), "description": (4, "string"), "required": (19, "[]string"),
        "additionalProperties": (21, "Additional"), "type": (22, "Type"), "items": (23, "Items"),
        "allOf": (24, "[]Schema"), "properties": (25, "Properties"), "extensions": (31, "[]NamedAny"),
    },
    "Additional": {"schema": (1, "Schema"), "boolean": (2, "bool")},
    "Type": {"value": (1, "[]string")},
    "Items": {"schema": (1, "[]Schema")},
    "Properties": {"schemas": (1, "[]NamedSchema")},
    "NamedAny": {"name": (1, "string"), "value": (2, "Any")},
    "Any": {"yaml": (2, "string")},
}  # fmt: skip
_SCALARS = {"string": 9, "bool": 8}


def encode(document: Obj) -> bytes:
    """A Swagger document (as `openapi.v2` makes it, decoded) in protobuf."""
    shaped = {
        "swagger": document["swagger"], "info": document["info"],
        "paths": {"path": _named(document["paths"], _path_item)},
        "definitions": {"schemas": _named(document["definitions"], _schema)},
    }  # fmt: skip
    return bytes(_filled(_class()(), "Document", shaped).SerializeToString(deterministic=True))


def _named(mapping: Obj, shape: Callable[[Obj], Obj]) -> list[Obj]:
    return [{"name": name, "value": shape(value)} for name, value in mapping.items()]


def _path_item(item: Obj) -> Obj:
    return {
        key: [_parameter(p) for p in value if p.get("in") == "query"] if key == "parameters" else _operation(value)
        for key, value in item.items()
        if key in _MESSAGES["PathItem"]
    }


def _operation(operation: Obj) -> Obj:
    parameters = [_parameter(p) for p in operation.get("parameters") or [] if p.get("in") == "query"]
    return {**operation, "parameters": parameters, "extensions": _extensions(operation)}


def _parameter(parameter: Obj) -> Obj:
    return {"parameter": {"nonBody": {"query": parameter}}}


def _schema(schema: Obj) -> Obj:
    shaped = {**schema, "extensions": _extensions(schema)}
    if "type" in schema:
        shaped["type"] = {"value": [schema["type"]]}
    if isinstance(schema.get("additionalProperties"), dict):
        shaped["additionalProperties"] = {"schema": _schema(schema["additionalProperties"])}
    elif "additionalProperties" in schema:
        shaped["additionalProperties"] = {"boolean": schema["additionalProperties"]}
    if "items" in schema:
        shaped["items"] = {"schema": [_schema(schema["items"])]}
    if "allOf" in schema:
        shaped["allOf"] = [_schema(part) for part in schema["allOf"]]
    if "properties" in schema:
        shaped["properties"] = {"schemas": _named(schema["properties"], _schema)}
    return shaped


def _extensions(holder: Obj) -> list[Obj]:
    """Extensions travel as YAML texts, of which JSON is one form."""
    return [{"name": key, "value": {"yaml": json.dumps(holder[key])}} for key in sorted(holder) if key.startswith("x-")]


def _filled(message: Any, name: str, content: Obj) -> Any:
    for key, (number, kind) in _MESSAGES[name].items():
        value = content.get(key)
        if value is None:
            continue
        field = f"f{number}"
        if kind.startswith("[]"):
            target = getattr(message, field)
            if kind[2:] in _SCALARS:
                target.extend(value)
            else:
                for item in value:
                    _filled(target.add(), kind[2:], item)
        elif kind in _SCALARS:
            setattr(message, field, value)
        else:
            getattr(message, field).SetInParent()
            _filled(getattr(message, field), kind, value)
    return message


@cache
def _class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name="openapi", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, kind in fields.values():
            field = message.field.add(name=f"f{number}", number=number, label=3 if kind.startswith("[]") else 1)
            bare = kind.removeprefix("[]")
            if bare in _SCALARS:
                field.type = _SCALARS[bare]
            else:
                field.type, field.type_name = 11, f".{bare}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Document"))
