"""gRPC without generated code: message classes from a few lines of text, calls to a service on a Unix socket.

Who calls it: `csi`, `plugin_watcher`; drivers of ours and tests, as servers. Invariants: grpc and protobuf are imported with
the first call and not before, as they cost memory no other part of the kubelet needs; field numbers are the published ones.
The text has one message per line: `Name: field number type, …`, a type being a scalar, `type[]`, `map` (string to string) or a
message of the same text; `oneof` needs no mark, as a client only sets one of its fields.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_SCALARS = {"double": 1, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "enum": 5}
_MESSAGE = 11
_MAP = "Map"


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
    field = message.field.add(name=name, number=int(number), label=3 if repeated or kind == "map" else 1)
    if kind == "map":
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for key, at in (("key", 1), ("value", 2)):
            entry.field.add(name=key, number=at, label=1, type=_SCALARS["string"])
        field.type, field.type_name = _MESSAGE, f".{package}.{message.name}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _MESSAGE, f".{package}.{kind}"


class CallFailed(Exception):
    """A call that a service refused, or that was not answered: "CODE: what it said"."""


def call(socket: str, method: str, request: Any, answer: Any, seconds: float) -> Any:
    """Call `/package.Service/Method` on a Unix socket. In: `answer` is the class of the answer. Raises CallFailed."""
    import grpc

    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix://{socket}", options=options) as channel:
        ask = channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return ask(request, timeout=seconds)
        except grpc.RpcError as error:
            known = hasattr(error, "code")
            raise CallFailed(f"{error.code().name}: {error.details()}" if known else str(error)) from error
