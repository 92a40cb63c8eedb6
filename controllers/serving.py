"""The controllers' own HTTPS pages: health, metrics, and why the scheduler decided as it did.

Who calls it: controllers/main.py starts it; Prometheus, `minikube-py why` and curious people read it. Invariant: nobody gets a
page but /healthz whom the API server does not allow to `get` its path (members of system:masters need nobody's word).
Upstream: cmd/kube-controller-manager/app (secure serving); the scheduler's explanations are ours.
"""

import json
import logging
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from minikube_py.api import exposition
from minikube_py.api.errors import APIError, Forbidden, NotFound
from minikube_py.client.delegated import MASTERS, Reviewer, User, certificate_user

log = logging.getLogger(__name__)
_PATIENCE = 10.0  # seconds a connection may be silent
Page = Callable[[tuple[str, ...]], tuple[str, str]]
"""What follows its name in the path → content type and text. Raises APIError."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: "Server"

    def do_GET(self) -> None:
        """One page."""
        path = urlsplit(self.path).path
        try:
            kind, text = self._page(path)
            self._answer(200, kind, text)
        except APIError as error:
            self._answer(error.code, "text/plain; charset=utf-8", f"{error.message or error.reason}\n")
        except Exception as error:
            log.exception("%s", path)
            self._answer(500, "text/plain; charset=utf-8", f"{error}\n")

    def _page(self, path: str) -> tuple[str, str]:
        parts = tuple(unquote(part) for part in path.strip("/").split("/"))
        page = self.server.pages.get(parts[0])
        if page is None:
            raise NotFound(f"404 page not found; pages: {', '.join(f'/{name}' for name in self.server.pages)}")
        if parts[0] != "healthz":
            self.server.check(self.connection, self.headers.get("Authorization") or "", path)
        return page(parts[1:])

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """A thread per connection; the TLS handshake is made there, too, so that a slow client holds up nobody."""

    daemon_threads = True

    def __init__(
        self, address: str, port: int, tls: ssl.SSLContext, reviewer: Reviewer, pages: dict[str, Page]
    ) -> None:
        """Listen. Raises OSError when the address is not ours or the port is taken."""
        super().__init__((address, port), _Handler)
        self._tls, self._reviewer, self.pages = tls, reviewer, {"healthz": _healthy, **pages}

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="controllers-server", daemon=True).start()

    def get_request(self) -> tuple[Any, Any]:
        plain, address = super().get_request()
        plain.settimeout(_PATIENCE)
        return self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("connection from %s", client_address, exc_info=True)

    def check(self, connection: Any, authorization: str, path: str) -> None:
        """Raises Unauthorized, Forbidden, ServiceUnavailable."""
        shown = certificate_user(connection.getpeercert(binary_form=True) or b"")
        user: User = self._reviewer.user(shown, authorization)
        if MASTERS not in user.groups and not self._reviewer.allowed(user, {"path": path, "verb": "get"}):
            raise Forbidden(f'User "{user.name}" cannot get path "{path}"')


def _healthy(_: tuple[str, ...]) -> tuple[str, str]:
    return "text/plain; charset=utf-8", "ok"


def tls_context(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    """TLS that asks for a client certificate, and takes none for an answer. Raises OSError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def metrics_page(render: Callable[[], str]) -> Page:
    return lambda _: (exposition.CONTENT_TYPE, render())


def scheduling_page(explain: Callable[[str, str], Any]) -> Page:
    """/scheduling/NAMESPACE/POD: the latest attempt. In: `explain` raises ServiceUnavailable when another instance leads."""

    def page(rest: tuple[str, ...]) -> tuple[str, str]:
        if len(rest) != 2:
            raise NotFound("say whose: /scheduling/NAMESPACE/POD")
        attempt = explain(*rest)
        if attempt is None:
            raise NotFound(f'nothing is known about scheduling pod "{rest[0]}/{rest[1]}": it may be gone, or old')
        return "application/json", json.dumps(attempt)

    return page
