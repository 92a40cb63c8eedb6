"""The kubelet's own HTTPS API: logs, exec, attach, port-forward, pods, stats, metrics.

Who calls it: the API server relays users' requests here; Prometheus reads the metrics. `main` starts it, in a thread with an
event loop of its own. Invariants: nobody gets an answer whom `auth` does not let pass, /healthz apart; a stream holds a
thread only while it is open.
Upstream: pkg/kubelet/server/server.go.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from kubelet import certificates, container_logs, port_forward, remote_command
from kubelet.asgi import Call, HttpError, Receive, Scope, Send, in_thread
from kubelet.auth import Gate
from kubelet.options import Options
from kubelet.pod_manager import PodManager
from kubelet.runtime.base import Runtime
from kubelet.stats.handlers import Reports
from minikube_py.api.clock import Clock
from minikube_py.client.delegated import certificate_user

_log = logging.getLogger(__name__)
_IDENTITY = "kubelet.identity"


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 that tells the application whose certificate the connection showed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {_IDENTITY: certificate_user(tls.getpeercert(binary_form=True) or b"")}
        super().connection_made(transport)


Handler = Callable[[Call], Awaitable[None]]


class KubeletServer:
    """Listens on the node's address; `start` and `stop` once each."""

    def __init__(
        self, options: Options, runtime: Runtime, pods: PodManager, reports: Reports, gate: Gate, clock: Clock
    ) -> None:  # fmt: skip
        self._options, self._gate = options, gate
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._tls: ssl.SSLContext | None = None
        self._counts = reports.http
        place = container_logs.Place(runtime, pods)
        self._routes: dict[tuple[str, str], Handler] = {
            ("http", "healthz"): _healthz,
            ("http", "pods"): lambda call: call.json(
                {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods.pods()}
            ),
            ("http", "containerLogs"): container_logs.handler(place, clock),
            ("websocket", "exec"): remote_command.exec_handler(place),
            ("websocket", "attach"): remote_command.attach_handler(place),
            ("websocket", "portForward"): port_forward.handler(place),
            ("http", "stats"): reports.stats,
            ("http", "metrics"): reports.metrics,
        }

    def start(self) -> None:
        """Listen and serve in a thread. Raises OSError when the address is not ours or the port is taken."""
        listening = socket.socket(socket.AF_INET6 if ":" in self._options.node_ip else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._options.node_ip, self._options.port))
        except OSError as error:
            listening.close()
            where = f"{self._options.node_ip} port {self._options.port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from None
        self._tls = tls_context(self._options)
        threading.Thread(target=self._run, args=(listening, self._tls), name="kubelet-server", daemon=True).start()

    def renewed(self) -> None:
        """Show the certificate that is now in the file, on connections made from now on."""
        if self._tls is not None:
            self._tls.load_cert_chain(certificates.serving_certificate(self._options).file)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(listening, tls))

    async def _serve(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(
            self._app, interface="asgi3", http=_Protocol, ws=WebSocketsSansIOProtocol, lifespan="off", log_config=None,
            access_log=False, proxy_headers=False, server_header=False, date_header=False, ws_ping_interval=None,
            ws_max_size=16 << 20, ws_per_message_deflate=False,
        )  # fmt: skip
        config.load()
        state = ServerState()
        server = await self._loop.create_server(
            lambda: _Protocol(config=config, server_state=state, app_state={}),
            sock=listening, ssl=tls, backlog=256,
        )  # fmt: skip
        await self._stop.wait()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _parsed(scope, receive, send)
        route = (scope["type"], call.parts[0] if call.parts else "")
        with self._counts.served(scope.get("method", "GET"), route[1] if route in self._routes else ""):
            await self._answer(call, self._routes.get(route))

    async def _answer(self, call: Call, handler: Handler | None) -> None:
        scope = call.scope
        try:
            if handler is None:
                raise HttpError(404, "404 page not found")
            if call.parts != ("healthz",):
                await self._admit(scope, call)
            await handler(call)
        except HttpError as error:
            await call.refuse(error)
        except Exception as error:
            _log.exception("%s", scope.get("path"))
            await call.refuse(HttpError(500, str(error)))

    async def _admit(self, scope: Scope, call: Call) -> None:
        """Raises HttpError for who may not. Without TLS (tests) everybody may."""
        if self._tls is None:
            return
        user = scope.get("state", {}).get(_IDENTITY)
        if not self._gate.passes_alone(user):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            given, method = headers.get(b"authorization", ""), scope.get("method", "GET")
            await in_thread(self._gate.check, user, given, method, call.parts)


def _parsed(scope: Scope, receive: Receive, send: Send) -> Call:
    raw = scope.get("raw_path") or scope["path"].encode()
    parts = tuple(unquote(part) for part in raw.decode("latin-1").split("?")[0].strip("/").split("/") if part)
    query: dict[str, Sequence[str]] = dict(
        parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True).items()
    )
    return Call(scope, receive, send, parts, query)


async def _healthz(call: Call) -> None:
    await call.text("ok")


def tls_context(options: Options) -> ssl.SSLContext | None:
    """TLS that asks for a client certificate; None serves plain HTTP (tests, without certificates). Raises OSError."""
    if not options.tls_cert and not options.rotate_server_certificates:
        return None
    context: Any = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if options.tls_cert:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    else:
        context.load_cert_chain(certificates.self_signed(options))
    if options.client_ca:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context  # type: ignore[no-any-return]
