"""A webhook server of a test's own: real TLS, and answers that the test decides."""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from minikube_py.api.types import Obj
from tests.conftest import APIServer

Answer = Callable[[Obj], Any]
"""An AdmissionReview's request to: the response's fields, or the whole answer as bytes with its HTTP status."""


class WebhookServer:
    """`answers` are by path; `asked` are the requests that came, in order. `client(path)` is its WebhookClientConfig."""

    def __init__(self, certificate: str, key: str, authority: str) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Obj] = []
        self.paths: list[str] = []
        self._bundle = base64.b64encode(Path(authority).read_bytes()).decode()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.paths.append(self.path)
                status, text = owner.answer(self.path.partition("?")[0], body)
                with contextlib.suppress(OSError):  # the caller may have lost patience
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True).start()

    def answer(self, path: str, review: Obj) -> tuple[int, bytes]:
        self.asked.append(review["request"])
        made = self.answers[path](review["request"])
        if isinstance(made, tuple):
            return made
        response = {"uid": review["request"]["uid"], "allowed": True, **made}
        return 200, json.dumps(
            {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        ).encode()

    def client(self, path: str) -> Obj:
        return {"url": f"https://127.0.0.1:{self._server.server_address[1]}{path}", "caBundle": self._bundle}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def patched(*operations: Obj) -> Obj:
    """A response that changes the object."""
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def denied(message: str, **status: Any) -> Obj:
    return {"allowed": False, "status": {"message": message, **status}}


def serving(apiserver: APIServer) -> Iterator[WebhookServer]:
    """A server with the API server's own certificate."""
    pki = apiserver.pki
    server = WebhookServer(f"{pki}/apiserver.crt", f"{pki}/apiserver.key", apiserver.ca_file)
    yield server
    server.close()
