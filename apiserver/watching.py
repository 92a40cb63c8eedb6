"""A watch request on its way: admitted like any other, then served as a coroutine from the store's subscription.

Who calls it: the shell, for GETs that ask to watch. Invariant: what can be refused is refused with a Status before the first
byte; a watch ends when its client goes away, its timeout passes, or the server stops.
Stop of the data path: 5 (the watch stream).
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/{get,watch}.go.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from apiserver import encode, listing, pipeline, rest, watch
from apiserver import request as routing
from apiserver.pipeline import Admitted
from apiserver.request import Request
from apiserver.resources.row import Row
from apiserver.server import Server
from apiserver.watch import WatchRequest
from minikube_py.api import errors

Send = Callable[[Any], Awaitable[None]]
_MIN_TIMEOUT = 1800


class Wire(Protocol):
    """The connection of a request, past ASGI: what needs no coroutine."""

    def push(self, chunk: bytes) -> bool:
        """Send a chunk of a body that has begun, at once. False when the ordinary way must be taken."""

    def when_lost(self, call: Callable[[], object] | None) -> None:
        """What is called, once, when the client is gone; at once, if it is already."""


def is_watch(request: Request) -> bool:
    """A GET below /api or /apis that asks for a stream of changes."""
    return request.method == "GET" and (
        request.query.flag("watch") or "/watch/" in request.path
    ) and request.path.startswith(("/api/", "/apis/"))  # fmt: skip


async def serve(server: Server, request: Request, send: Send, wire: Wire) -> None:
    """Answer a watch until it ends."""
    admitted: Admitted | None = None
    started, info = server.clock.monotonic(), routing.parse(request.method, request.path, request.query)
    try:
        admitted = await _admit(server, request)
        row = rest.check_route(admitted.info)
        asked = _asked(server, request, admitted, row)
    except Exception as error:
        if admitted is not None:
            pipeline.ended(server, request, admitted, error)
        refused = pipeline.failure(pipeline.as_api_error(error))
        server.metrics.answered(info, refused.code, server.clock.monotonic() - started)
        await respond(send, refused)
        return
    try:
        with server.metrics.long_running(info):
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            server.audit.started(request, admitted.trail, 200)
            await _pump(server, watch.stream(server.store, asked, wire.push), send, wire)
    finally:
        pipeline.ended(server, request, admitted)
        server.metrics.answered(info, 200, server.clock.monotonic() - started)


async def respond(send: Send, response: pipeline.Response) -> None:
    """Send a refusal."""
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", str(len(response.body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _admit(server: Server, request: Request) -> Admitted:
    if server.store.reads_block:
        return await asyncio.get_running_loop().run_in_executor(None, pipeline.admit, server, request)
    return pipeline.admit(server, request)


async def _pump(server: Server, chunks: AsyncIterator[bytes], send: Send, wire: Wire) -> None:
    """Send chunks as they come, until they end; the client's hanging up, or the server's stopping, cancels this task.

    No second task looks out for the client: it would be 2 kB of every idle watch.
    """
    task = asyncio.current_task()
    assert task is not None
    server.watches.add(task)
    wire.when_lost(task.cancel)
    try:
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except asyncio.CancelledError:
        pass
    finally:
        wire.when_lost(None)
        server.watches.discard(task)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def end_all(server: Server) -> None:
    """When the server stops, end every watch: one task for all of them, as an idle watch should cost little."""
    await server.stopping.wait()
    for task in list(server.watches):
        task.cancel()


def _asked(server: Server, request: Request, admitted: Admitted, row: Row) -> WatchRequest:
    query, info = request.query, admitted.info
    stored = rest.stored_row(row)
    chosen = listing.selection(row, query)
    version = query.get("resourceVersion", "")
    initial = query.flag("sendInitialEvents") if "sendInitialEvents" in query else None
    _check(query.get("resourceVersionMatch", ""), initial)
    if version not in ("", "0") and not version.isdigit():
        raise errors.BadRequest(f"Invalid resource version {version!r}: it must be a number")
    timeout = float(query.get("timeoutSeconds") or 0) or random.uniform(1, 2) * _MIN_TIMEOUT
    single = info.name and "/watch/" in request.path
    prefix = stored.key(info.namespace, info.name) if single else stored.prefix(info.namespace)
    api_version, kind, transform = encode.events(request, row)
    return WatchRequest(
        prefix, api_version, kind, version, chosen.labels, chosen.fields, query.flag("allowWatchBookmarks"), initial, timeout,
        transform, row.custom is not None and row.custom.definition.conversion.blocks,
    )  # fmt: skip


def _check(match: str, initial: bool | None) -> None:
    why = ""
    if initial is not None and match != "NotOlderThan":
        why = "resourceVersionMatch must be NotOlderThan when sendInitialEvents is set"
    elif initial is None and match:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    if why:
        cause = errors.Cause("FieldValueForbidden", f"Forbidden: {why}", "resourceVersionMatch")
        raise errors.invalid("ListOptions", "", [cause], "meta.k8s.io")
