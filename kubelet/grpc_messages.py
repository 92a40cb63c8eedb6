"""gRPC without generated code: message classes from a few lines of text, calls to a service on a Unix socket.

Who calls it: `csi`, `dra`, `plugin_watcher`, `runtime.cri`; drivers of ours and tests, as servers. Invariants: grpc and
protobuf are imported with the first call and not before, as they cost memory no other part of the kubelet needs; field numbers
are the published ones.
The text has one message per line: `Name: field number type, …`, a type being a scalar, `type[]`, `map` (string to string),
`map:type` (string to that) or a message of the same text; `oneof` needs no mark, as a client only sets one of its fields.
"""

import contextlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_SCALARS = {
    "double": 1, "int64": 3, "uint64": 4, "int32": 5, "enum": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE = 11
_OPTIONS = {
    "grpc.default_authority": "localhost", "grpc.max_receive_message_length": 16 << 20,
    "grpc.initial_reconnect_backoff_ms": 100, "grpc.min_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000,
}  # fmt: skip


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


class CallFailed(Exception):
    """A call that a service refused, or that was not answered: "CODE: what it said"."""

    def __init__(self, error: Exception) -> None:
        known: Any = error
        answered = hasattr(error, "code")
        self.code: str = known.code().name if answered else ""
        self.details: str = known.details() if answered else str(error)
        super().__init__(f"{self.code}: {self.details}" if self.code else self.details)


class Connection:
    """A lasting connection to the services on a Unix socket, made anew when it breaks. Thread-safe."""

    def __init__(self, socket: str) -> None:
        import grpc

        self._grpc: Any = grpc
        self._channel: Any = grpc.insecure_channel(f"unix://{socket}", options=list(_OPTIONS.items()))

    def call(self, method: str, request: Any, answer: Any, seconds: float) -> Any:
        """Call `/package.Service/Method`. In: `answer` is the class of the answer. Raises CallFailed."""
        ask = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return ask(request, timeout=seconds)
        except (self._grpc.RpcError, ValueError) as error:  # ValueError: closed meanwhile
            raise CallFailed(error) from error

    def stream(self, method: str, request: bytes, metadata: Mapping[str, str]) -> Iterator[bytes]:
        """What the service sends, as it is, until it ends. Raises CallFailed."""
        try:
            yield from self._channel.unary_stream(method)(request, metadata=tuple(metadata.items()))
        except (self._grpc.RpcError, ValueError) as error:
            raise CallFailed(error) from error

    def close(self) -> None:
        """Calls in progress end with CallFailed."""
        self._channel.close()


def call(socket: str, method: str, request: Any, answer: Any, seconds: float) -> Any:
    """One call on a connection of its own: see `Connection.call`."""
    with contextlib.closing(Connection(socket)) as connection:
        return connection.call(method, request, answer, seconds)
