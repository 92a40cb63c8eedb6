"""The standard gRPC health check, as a client.

Who calls it: `probe_action`. Invariant: grpc is imported with the first such probe and not before: it costs memory that no
other part of the kubelet needs. The two messages are small enough to be written by hand.
Upstream: pkg/probe/grpc; grpc/health/v1/health.proto.
"""

_METHOD = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"


def check(host: str, port: int, service: str, timeout: float) -> tuple[bool, str]:
    """(whether the service says SERVING, what it says otherwise). Never raises for an answer that is not given."""
    import grpc

    name = service.encode()
    request = b"\x0a" + _varint(len(name)) + name if name else b""
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        call = channel.unary_unary(_METHOD)
        try:
            answer = call(request, timeout=timeout)
        except grpc.RpcError as error:
            return False, f"error: {error.code().name if hasattr(error, 'code') else error}"
    return bytes(answer).startswith(_SERVING), "service unhealthy (responded with NOT_SERVING)"


def _varint(number: int) -> bytes:
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
