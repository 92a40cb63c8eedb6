"""Protobuf without generated code: message classes from a few lines of text.

Who calls it: the kubelet's sockets for plugins and the CRI (`kubelet/grpc_messages.py`). Invariants: protobuf
is imported with the first call and not before, as it costs memory no other part of a process needs; field numbers are
the published ones.
The text has one message per line: `Name: field number type, …`, a type being a scalar, `type[]`, `map` (string to string),
`map:type` (string to that) or a message of the same text; `oneof` needs no mark, as a client only sets one of its fields.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_SCALARS = {
    "double": 1, "int64": 3, "uint64": 4, "int32": 5, "enum": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE = 11


@lru_cache
def classes(package: str, text: str) -> Mapping[str, Any]:
    """Message name → class. `enum` is a number on the wire like int32."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"minikube_py/{package}.proto", package=package, syntax="proto3")
    names = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, fields = line.partition(":")
        names.append(name)
        message = file.message_type.add(name=name)
        for field in filter(None, map(str.strip, fields.split(","))):
            _add(message, package, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


def _add(message: Any, package: str, name: str, number: str, kind: str) -> None:
    repeated = kind.endswith("[]")
    kind = kind.removesuffix("[]")
    is_map = kind.partition(":")[0] == "map"
    field = message.field.add(name=name, number=int(number), label=3 if repeated or is_map else 1)
    if is_map:
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add(entry, package, "key", "1", "string")
        _add(entry, package, "value", "2", kind.partition(":")[2] or "string")
        field.type, field.type_name = _MESSAGE, f".{package}.{message.name}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _MESSAGE, f".{package}.{kind}"
