"""The control plane's HTTPS side: three POSTs, and whether it is ready.

Who calls it: control.py starts it; the API server posts to /inject, sidecars to /v1/certificate and /v1/configuration (with
their token). Invariant: a slow or silent client holds up only its own thread; every error is answered as a Status.
"""

import logging
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import orjson

from minikube_py.api import errors

if TYPE_CHECKING:
    from minikube_py.mesh.control import Control

log = logging.getLogger(__name__)

_LARGEST = 4 << 20


class Server:
    """Serves from the first `use` on. `ready` is what /healthz says."""

    def __init__(self, control: "Control", port: int) -> None:
        self.ready = False
        self._control, self._port = control, port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server: ThreadingHTTPServer | None = None

    def use(self, certificate: str, key: str) -> None:
        """Show this certificate to whoever connects from now on."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(certificate + key)
            file.flush()
            self._context.load_cert_chain(file.name)
        if self._server is None:
            self._server = ThreadingHTTPServer(("", self._port), _handler(self, self._control))
            self._server.daemon_threads = True
            self._server.socket = self._context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            threading.Thread(target=self._server.serve_forever, daemon=True, name="mesh-server").start()


def _handler(server: Server, control: "Control") -> type[BaseHTTPRequestHandler]:
    def answer(path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/inject":
            return control.inject(body)
        if path == "/v1/certificate":
            return control.certificate(token, str(body.get("request", "")))
        if path == "/v1/configuration":
            return control.configuration(token, str(body.get("have", "")))
        raise errors.NotFound(f"nothing at {path}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            self._send(200 if self.path == "/healthz" and server.ready else 503, b"{}")

        def do_POST(self) -> None:
            try:
                length = int(self.headers.get("Content-Length") or 0)
                if length > _LARGEST:
                    raise errors.RequestEntityTooLarge("the request is too large")
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                path = self.path.partition("?")[0]
                self._send(200, orjson.dumps(answer(path, token, orjson.loads(self.rfile.read(length)))))
            except errors.APIError as error:
                self._send(error.code, orjson.dumps(errors.to_status(error)))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                self._send(400, orjson.dumps({"message": f"not what is asked here: {error!r}"}))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            log.debug(*arguments)

    return Handler
