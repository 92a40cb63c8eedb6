"""Kubernetes' protobuf encoding → JSON objects: four magic bytes, then `runtime.Unknown`, then the object itself.

Who calls it: `apiserver/decode.py`, for clients whose typed objects travel this way (kubectl's `create`, client-go). We always
answer in JSON, which every client accepts. The protobuf library does the parsing; `fields.json` tells it the numbers: one row
per message, one entry per field: "number jsonName type", with "[]" and "{}" for lists and maps, "-" for a field whose content
is inlined into its parent, and "omitempty" where Go drops a zero.
Invariant: the result is what Go's JSON encoding of the same object would hold. Nothing is loaded before the first such body.
Upstream: staging/src/k8s.io/apimachinery/pkg/runtime/serializer/protobuf; the numbers are those of release 1.36.
"""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from minikube_py.api.clock import rfc3339, rfc3339_micro
from minikube_py.api.errors import BadRequest, UnsupportedMediaType
from minikube_py.api.types import Obj

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_META = "apimachinery.pkg.apis.meta.v1"
_UNKNOWN = "apimachinery.pkg.runtime.Unknown"
_PACKAGES = {
    "": "api.core",
    "apiextensions.k8s.io": "apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "kube_aggregator.pkg.apis.apiregistration",
    "flowcontrol.apiserver.k8s.io": "api.flowcontrol",
    "rbac.authorization.k8s.io": "api.rbac",
}
"""Groups whose package is not `api.` and the first word of the group."""
_SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}


class Field(NamedTuple):
    number: int
    name: str
    shape: str  # "", "[]" or "{}"
    type: str
    omitempty: bool


def decode(body: bytes) -> Obj:
    """The object in a protobuf body. Raises BadRequest for a broken one, UnsupportedMediaType for a kind we have no row for."""
    if not body.startswith(_MAGIC):
        raise BadRequest("the body does not begin with the bytes of Kubernetes' protobuf encoding (k8s\\0)")
    envelope = _parse(_UNKNOWN, body[len(_MAGIC) :])
    type_meta = envelope.f1
    api_version, kind, raw = type_meta.f1, type_meta.f2, envelope.f2
    message = message_of(api_version, kind)
    if message not in _table():
        raise UnsupportedMediaType(f"{api_version} {kind} cannot be decoded from protobuf; send it as application/json")
    return {"apiVersion": api_version, "kind": kind, **_object(_parse(message, raw), message)}


def message_of(api_version: str, kind: str) -> str:
    """The name of the message that carries this kind."""
    group, _, version = api_version.rpartition("/")
    if kind in ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "Status", "ListOptions"):
        return f"{_META}.{kind}"
    package = _PACKAGES.get(group) or f"api.{group.split('.')[0]}"
    return f"{package}.{version}.{kind}"


def _parse(message: str, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _class(message).FromString(data)
    except DecodeError as error:
        raise BadRequest(f"the body is not a well-formed protobuf message: {error}") from None


@cache
def _table() -> dict[str, list[Field]]:
    rows = json.loads((Path(__file__).parent / "fields.json").read_text())
    return {name: [_field(entry) for entry in entries] for name, entries in rows.items()}


def _field(entry: str) -> Field:
    number, name, kind, *flags = entry.split(" ")
    shape = kind[:2] if kind[:2] in ("[]", "{}") else ""
    return Field(int(number), name, shape, kind.removeprefix(shape) if shape else kind, bool(flags))


@cache
def _class(root: str) -> Any:
    """The class of one message, made by the protobuf library from descriptors of it and of everything it holds."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name=root, syntax="proto2")
    for name in _closure(root):
        message = file.message_type.add(name=_identifier(name))
        for field in _table()[name]:
            declared = message.field.add(name=f"f{field.number}", number=field.number)
            declared.label = 3 if field.shape else 1
            if field.shape == "{}":
                entry = message.nested_type.add(name=f"F{field.number}Entry")
                entry.options.map_entry = True
                _declare(entry.field.add(name="key", number=1, label=1), "string")
                _declare(entry.field.add(name="value", number=2, label=1), field.type)
                declared.type, declared.type_name = 11, f".{_identifier(name)}.{entry.name}"
            else:
                _declare(declared, field.type)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_identifier(root)))


def _closure(root: str) -> set[str]:
    """`root` and every message reachable from it."""
    found, waiting = {root}, [root]
    while waiting:
        inside = {field.type for field in _table()[waiting.pop()]} - set(_SCALARS) - found
        found |= inside
        waiting += inside
    return found


def _declare(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = 11, f".{_identifier(kind)}"


def _identifier(message: str) -> str:
    return message.replace(".", "_").replace("-", "_")


def _object(message: Any, name: str) -> Obj:
    """A message as a JSON object: present fields only, zeroes dropped where Go drops them, inlined ones merged in."""
    present = {descriptor.number: value for descriptor, value in message.ListFields()}
    result: Obj = {}
    for field in _table()[name]:
        if field.number not in present:
            continue
        value = _value(present[field.number], field)
        if field.name == "-" and isinstance(value, dict):
            result |= value
        elif not (value is None or (field.omitempty and value in ("", 0, False))):
            result[field.name] = value
    return result


def _value(value: Any, field: Field) -> Any:
    if field.shape == "[]":
        return [_single(item, field.type) for item in value]
    if field.shape == "{}":
        return {key: _single(value[key], field.type) for key in sorted(value)}
    return _single(value, field.type)


def _single(value: Any, kind: str) -> Any:
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind in _SCALARS:
        return value
    special = _SPECIAL.get(kind)
    return special(value) if special else _object(value, kind)


def _time(value: Any) -> str | None:
    if not value.ListFields():
        return None
    return rfc3339(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.f1))


def _micro_time(value: Any) -> str | None:
    if not value.ListFields():
        return None
    return rfc3339_micro(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.f1, microseconds=value.f2 // 1000))


def _raw_json(value: Any) -> Any:
    """Embedded JSON travels as the bytes of its text."""
    try:
        return orjson.loads(value.f1) if value.f1 else None
    except orjson.JSONDecodeError:
        raise BadRequest("an embedded object is not JSON") from None


def _schema_or_array(value: Any) -> Any:
    schemas = [_object(item, _SCHEMA) for item in value.f2]
    return schemas or _object(value.f1, _SCHEMA)


def _schema_or_bool(value: Any) -> Any:
    return _object(value.f2, _SCHEMA) if value.HasField("f2") else value.f1


def _schema_or_strings(value: Any) -> Any:
    return list(value.f2) or _object(value.f1, _SCHEMA)


def _duration(value: Any) -> str:
    return f"{value.f1 / 1e9:g}s"


_EXTENSIONS = "apiextensions_apiserver.pkg.apis.apiextensions.v1"
_SCHEMA = f"{_EXTENSIONS}.JSONSchemaProps"
_SPECIAL: dict[str, Callable[[Any], Any]] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": _micro_time,
    f"{_META}.Duration": _duration,
    f"{_META}.FieldsV1": _raw_json,
    "apimachinery.pkg.api.resource.Quantity": lambda value: value.f1,
    "apimachinery.pkg.util.intstr.IntOrString": lambda value: value.f3 if value.f1 else value.f2,
    "apimachinery.pkg.runtime.RawExtension": _raw_json,
    f"{_EXTENSIONS}.JSON": _raw_json,
    f"{_EXTENSIONS}.JSONSchemaPropsOrArray": _schema_or_array,
    f"{_EXTENSIONS}.JSONSchemaPropsOrBool": _schema_or_bool,
    f"{_EXTENSIONS}.JSONSchemaPropsOrStringArray": _schema_or_strings,
}
"""Messages whose JSON is not an object with their fields."""
_SPECIAL |= {
    name: lambda value: list(value.f1)
    for name in (
        "api.authentication.v1.ExtraValue", "api.authorization.v1.ExtraValue", "api.certificates.v1.ExtraValue",
        f"{_META}.Verbs",
    )
}  # fmt: skip
