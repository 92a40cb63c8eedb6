"""gRPC without generated code: calls to a service on a Unix socket, with message classes from `api/messages.py`.

Who calls it: `csi`, `dra`, `plugin_watcher`, `runtime.cri`; drivers of ours and tests, as servers. Invariants: grpc and
protobuf are imported with the first call and not before, as they cost memory no other part of the kubelet needs; field numbers
are the published ones.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

_OPTIONS = {
    "grpc.default_authority": "localhost", "grpc.max_receive_message_length": 16 << 20,
    "grpc.initial_reconnect_backoff_ms": 100, "grpc.min_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000,
}  # fmt: skip


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
