"""The ASGI shell in front of the REST application: sorts requests by how they must be served, and never blocks the loop.

Who calls it: `listener.py` hands every connection's requests here. Invariant: reads run on the loop only while the store
answers from memory; writes, and everything that may wait, run on the thread pool; a watch or stream is a coroutine and
holds no thread. A body over the limit is refused before it is read to its end.
Stop of the data path: 1 (from the socket).
Upstream: the limits and compression of staging/src/k8s.io/apiserver/pkg/endpoints/{filters,handlers/responsewriters}.
"""

import asyncio
import gzip
import io
import logging
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask

from apiserver import app, pipeline, rest, watching
from apiserver.pipeline import Response
from apiserver.request import Query, Request
from apiserver.server import Server
from apiserver.streaming import Streams
from minikube_py.api import errors

log = logging.getLogger(__name__)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

BODY_LIMIT = 3 * 1024 * 1024
CERTIFICATE = "minikube_py.certificate"
_COMPRESS_FROM = 128 * 1024
_WRITE_THREADS = 16
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_LOCAL = ("127.0.0.1", "::1")
_STREAMS = frozenset(("exec", "attach", "portforward", "log", "proxy"))


class Shell:
    """One ASGI application over one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._flask: Flask = app.make(server)
        self._pool = ThreadPoolExecutor(_WRITE_THREADS, thread_name_prefix="write")
        self._reads_block = server.store.reads_block
        self._streams = Streams(server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope)
        if self._streams.handles(request):
            await self._streams.serve(scope, receive, send, request)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003, "reason": "this path is no stream"})
            return
        if watching.is_watch(request):
            await watching.serve(self._server, request, receive, send)
            return
        if request.method not in _READS:
            try:
                request.body = await _body(scope, receive)
            except errors.APIError as error:
                await respond(send, pipeline.failure(error))
                return
        if self._is_quick(request):
            code, headers, body = self._call(request)
        else:
            loop = asyncio.get_running_loop()
            code, headers, body = await loop.run_in_executor(self._pool, self._call, request)
        if len(body) > _COMPRESS_FROM and _wants_gzip(request):
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(self._pool, gzip.compress, body, 1)
            headers = [header for header in headers if header[0] != b"content-length"]
            headers += [(b"content-encoding", b"gzip"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_quick(self, request: Request) -> bool:
        """A read that is over in well under a millisecond. Documents and Tables are not."""
        if self._reads_block or request.method not in _READS or request.path.startswith("/openapi"):
            return False
        return "as=Table" not in request.headers.get("accept", "")

    def answer_now(self, scope: Scope) -> Response | None:
        """The short way: a read of plain JSON, answered from memory on the loop without a coroutine and without Flask.

        None for everything else. What Flask's routing would add is known already: the path is a resource's.
        """
        if scope["method"] != "GET" or self._reads_block or not scope["path"].startswith(("/api/", "/apis/")):
            return None
        request = _request(scope)
        if not _is_plain_read(request):
            return None
        return pipeline.handle(self._server, request, rest.serve)

    def _call(self, request: Request) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Run the Flask application on one request, on this very thread."""
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            started[:] = [int(status[:3]), [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]]
            return lambda _: None

        chunks = self._flask.wsgi_app(_environ(request), start_response)
        body = b"".join(chunks)
        return started[0], started[1], body


def _environ(request: Request) -> dict[str, Any]:
    """The little of a WSGI environment that routing needs; the request itself rides along."""
    return {
        "REQUEST_METHOD": request.method, "PATH_INFO": request.path, "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "apiserver", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "apiserver",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "https", "wsgi.input": _EMPTY, "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False, app.REQUEST: request,
    }  # fmt: skip


_EMPTY = io.BytesIO()


def _is_plain_read(request: Request) -> bool:
    """One object or a list, as JSON. Tables take long to make, and what is compressed is made on a thread."""
    parts = request.path.count("/")
    if parts < (3 if request.path.startswith("/api/") else 4) or watching.is_watch(request):
        return False
    accept = request.headers.get("accept", "")
    if accept not in _PLAIN or request.path.rpartition("/")[2] in _STREAMS or "/proxy/" in request.path:
        return False
    return not _wants_gzip(request)


_PLAIN = frozenset(("", "*/*", "application/json", "application/json, */*"))


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    query = scope["query_string"].decode("latin-1")
    client = scope.get("client")
    return Request(
        scope.get("method", "GET"), scope["path"], query, headers, b"", scope["state"].get(CERTIFICATE, b""),
        client[0] if client else "", Query(query),
    )  # fmt: skip


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises RequestEntityTooLarge as soon as it is clear."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.BadRequest("the client went away before its request was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_LIMIT:
            raise errors.RequestEntityTooLarge(f"limit is {BODY_LIMIT}")
        if not message.get("more_body"):
            return b"".join(chunks)


def _wants_gzip(request: Request) -> bool:
    """Compression spends our processor to save the wire; on loopback there is no wire to save."""
    return "gzip" in request.headers.get("accept-encoding", "") and request.remote not in _LOCAL


async def respond(send: Send, response: Response) -> None:
    """Send one whole response."""
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", str(len(response.body)).encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
