"""The ASGI shell in front of the REST application: sorts requests by how they must be served, and never blocks the loop.

Who calls it: `listener.py` hands every connection's requests here. Invariant: nothing that waits for the disk, for another
process or for much computing runs on the loop itself; a watch or stream is a coroutine and holds no thread. A body over the
limit is refused before it is read to its end.

Three ways lead to the same pipeline. A plain read of a resource is answered at once, from memory. A write runs on the loop
too, and is set aside while the store commits it (`waiting.py`). Everything else goes through the Flask application: quick
documents at once, Tables, OpenAPI, collection deletes, large bodies and stores that answer from elsewhere on a thread.
Stop of the data path: 1 (from the socket).
Upstream: the limits and compression of staging/src/k8s.io/apiserver/pkg/endpoints/{filters,handlers/responsewriters}.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from apiserver import app, overload, pipeline, rest, waiting, watching
from apiserver.auth import impersonation
from apiserver.pipeline import Response
from apiserver.request import Request
from apiserver.resources import table
from apiserver.server import Server
from apiserver.streaming import Streams
from minikube_py.api import errors

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

BODY_LIMIT = 3 * 1024 * 1024
CERTIFICATE = "minikube_py.certificate"
WIRE = "minikube_py.wire"
"""In the connection's state: its `Wire`."""
_ANSWERED = "minikube_py.answered"
_COMPRESS_FROM = 128 * 1024
_LARGE_BODY = 64 * 1024
_THREADS = 16
_BODY_SECONDS = 60
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_WRITES = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_LOCAL = ("127.0.0.1", "::1")
_STREAMS = frozenset(("exec", "attach", "portforward", "log", "proxy"))


class Wire(watching.Wire, Protocol):
    """What the HTTP protocol offers for each request beside ASGI."""

    def write(self, response: Response) -> bool:
        """Send a whole response in one write. False when the ordinary way must be taken."""


class Shell:
    """One ASGI application over one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._flask = app.make(server)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
        self._reads_block = server.store.reads_block
        self._streams = Streams(server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope)
        if self._streams.handles(request):
            await self._streams.serve(scope, receive, send, request)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003, "reason": "this path is no stream"})
        elif watching.is_watch(request):
            await watching.serve(self._server, request, send, scope["state"][WIRE])
        else:
            await respond(scope["state"][WIRE], send, await self._answer(request, scope, receive))

    def answer_now(self, scope: Scope) -> Response | None:
        """The shortest way: a plain read, answered from memory without even a coroutine. None for everything else."""
        if (
            scope["method"] != "GET"
            or self._reads_block
            or not _is_resource(scope["path"])
            or table.may_block(scope["path"])
            or self._streams.may_handle(scope["path"])
        ):
            return None
        request = _request(scope)
        if not _is_plain_read(request):
            return None
        response = pipeline.handle(self._server, request, rest.serve)
        if response.size > _COMPRESS_FROM and _wants_gzip(request):
            scope["state"][_ANSWERED] = response  # compressing takes a thread, and that a coroutine
            return None
        return response

    async def _answer(self, request: Request, scope: Scope, receive: Receive) -> Response:
        loop = asyncio.get_running_loop()
        response: Response | None = scope["state"].get(_ANSWERED)
        if response is None:
            response = await self._make(request, receive, loop)
        if response.size > _COMPRESS_FROM and _wants_gzip(request):
            body = await loop.run_in_executor(self._pool, gzip.compress, response.whole(), 1)
            return replace(response, body=body, more=(), headers={**response.headers, "Content-Encoding": "gzip"})
        return response

    async def _make(self, request: Request, receive: Receive, loop: asyncio.AbstractEventLoop) -> Response:
        if request.method not in _READS:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    request.body = await _body(receive)
            except TimeoutError:
                return pipeline.failure(errors.BadRequest(f"the request's body did not come within {_BODY_SECONDS} s"))
            except errors.APIError as error:
                return pipeline.failure(error)
        with overload.seat(self._server, request.method) as seated:
            if not seated and (refused := await self._refusal(request, loop)) is not None:
                return refused
            return await self._work(request, loop)

    async def _refusal(self, request: Request, loop: asyncio.AbstractEventLoop) -> Response | None:
        if self._reads_block:
            return await loop.run_in_executor(None, overload.refusal, self._server, request)
        return overload.refusal(self._server, request)

    async def _work(self, request: Request, loop: asyncio.AbstractEventLoop) -> Response:
        if request.method not in _READS:
            if not self._reads_block and _is_short_write(request):
                return await waiting.start(loop, lambda: pipeline.handle(self._server, request, rest.serve))
        elif not self._reads_block and _is_quick(request):
            return app.call(self._flask, request)
        return await loop.run_in_executor(self._pool, app.call, self._flask, request)


def _is_resource(path: str) -> bool:
    """Below a group and version: the REST edge takes it, and Flask's routing would say no more."""
    if path.startswith("/apis/"):
        return path.count("/") >= 4
    return path.startswith("/api/") and path.count("/") >= 3


def _is_plain_read(request: Request) -> bool:
    """One object or a list as it is stored, or nearly so. Tables take long to make."""
    path = request.path
    if watching.is_watch(request) or path.rpartition("/")[2] in _STREAMS or "/proxy/" in path:
        return False
    return "as=" not in request.headers.get("accept", "")


def _is_short_write(request: Request) -> bool:
    """One object of ordinary size; deleting a collection means many."""
    if request.method not in _WRITES or len(request.body) > _LARGE_BODY or not _is_resource(request.path):
        return False
    if table.may_block(request.path):
        return False
    return request.method != "DELETE" or _names_an_object(request.path)


def _names_an_object(path: str) -> bool:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    return len(parts) % 2 == 0  # …/PLURAL/NAME, namespaces/NS/PLURAL/NAME; a collection's path is one shorter


def _is_quick(request: Request) -> bool:
    """A read that is over in well under a millisecond."""
    if request.path.startswith("/openapi") or table.may_block(request.path):
        return False
    return "as=Table" not in request.headers.get("accept", "")


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{impersonation.SEPARATOR if name.startswith(impersonation.PREFIX) else ','}{value}"
        headers[name] = value
    client = scope.get("client")
    return Request(
        scope.get("method", "GET"), scope["path"], scope["query_string"].decode("latin-1"), headers, b"",
        scope["state"].get(CERTIFICATE, b""), client[0] if client else "",
    )  # fmt: skip


async def _body(receive: Receive) -> bytes:
    """The whole body. Raises RequestEntityTooLarge as soon as it is clear."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.BadRequest("the client went away before its request was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_LIMIT:
            raise errors.RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")
        if not message.get("more_body"):
            return b"".join(chunks)


def _wants_gzip(request: Request) -> bool:
    """Compression spends our processor to save the wire; on loopback there is no wire to save."""
    return request.remote not in _LOCAL and "gzip" in request.headers.get("accept-encoding", "")


async def respond(wire: Wire, send: Send, response: Response) -> None:
    """Send one whole response."""
    if wire.write(response):
        return
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", b"%d" % response.size)]
    headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.code, "headers": headers})
    for chunk in (response.body, *response.more):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
