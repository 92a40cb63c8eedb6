"""A gRPC server on a Unix socket without generated code, and a plugin's registration with the kubelet.

Who calls it: the example drivers (examples/*_driver.py), which the tests run, too. Invariant: grpc is imported with the first
server; an OSError that a method raises becomes the call's error with its words.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

from kubelet import plugin_watcher

Methods = Mapping[str, tuple[Any, Callable[[Any], Any]]]
"""A service's methods: name → (class of the request, what answers it)."""
_THREADS = 4


def serve(socket: Path, services: Mapping[str, Methods]) -> Callable[[], None]:
    """Answer on the socket. In: services by their full names. Out: what ends it."""
    import grpc

    def answer(act: Callable[[Any], Any], request: Any, context: Any) -> Any:
        try:
            return act(request)
        except OSError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))

    server = grpc.server(futures.ThreadPoolExecutor(_THREADS))
    for service, methods in services.items():
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                lambda request, context, act=act: answer(act, request, context),
                request_deserializer=kind.FromString, response_serializer=lambda made: made.SerializeToString(),
            )
            for name, (kind, act) in methods.items()
        }  # fmt: skip
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server.add_insecure_port(f"unix://{socket}")
    server.start()

    def stop() -> None:
        socket.unlink(missing_ok=True)
        server.stop(0).wait()

    return stop


def register(registration: Path, kind: str, name: str, endpoint: Path, versions: Sequence[str]) -> Callable[[], None]:
    """Put a socket into the kubelet's `plugins_registry` that says who the plugin is. Out: what ends it."""
    r = plugin_watcher.messages()
    info = r["PluginInfo"](type=kind, name=name, endpoint=str(endpoint), supported_versions=versions)
    registrar: Methods = {
        "GetInfo": (r["InfoRequest"], lambda request: info),
        "NotifyRegistrationStatus": (r["RegistrationStatus"], lambda request: r["RegistrationStatusResponse"]()),
    }
    return serve(registration, {"pluginregistration.Registration": registrar})
