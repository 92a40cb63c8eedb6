"""Requests that are conversations: exec, attach, port-forward, logs, the proxies, and all that aggregated servers answer.

Who calls it: the ASGI shell makes one `Streams` and hands it every request that `handles` names, HTTP or WebSocket.
Invariant: nothing is dialled before the request is authorised, and nothing accepted from the client before the other side
answered, so that every refusal is a Status; a stream holds no thread, and ends when either side leaves or the server stops.
Upstream: pkg/registry/core/{pod,service,node}/rest and apimachinery/pkg/util/proxy.
"""

import asyncio
from collections.abc import Awaitable, Callable

from apiserver import connecting, pipeline, waiting
from apiserver import request as routing
from apiserver.aggregation import proxy as aggregation
from apiserver.request import Request
from apiserver.server import Server
from apiserver.streaming import exec, logs, portforward, proxy
from apiserver.streaming.asgi import Receive, Scope, Send, Stream, refuse
from apiserver.streaming.backend import Backends

Serve = Callable[[Stream], Awaitable[None]]

STREAMS: dict[tuple[str, str], Serve] = {
    ("pods", "exec"): exec.serve,
    ("pods", "attach"): exec.serve,
    ("pods", "portforward"): portforward.serve,
    ("pods", "log"): logs.serve,
    ("pods", "proxy"): proxy.serve_pod,
    ("services", "proxy"): proxy.serve_service,
    ("nodes", "proxy"): proxy.serve_node,
}
"""(plural, subresource) of the core group to the coroutine that serves it."""


_WORDS = tuple({f"/{subresource}" for _, subresource in STREAMS})


class Streams:
    """All streams of one server. Its HTTP client is made on first use: most clusters are idle when they start."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._backends = Backends(server.options)
        self._closing: asyncio.Future[None] | None = None

    def handles(self, request: Request) -> bool:
        """Whether this request belongs here rather than to the REST application."""
        if self._server.services.remote(request.path) is not None:
            return True
        if not request.path.startswith("/api/v1/") or not any(word in request.path for word in _WORDS):
            return False
        info = routing.parse(request.method, request.path, request.query)
        return bool(info.name) and (info.resource, info.subresource) in STREAMS

    async def serve(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        """Serve one request to its end. Never raises: what goes wrong is a Status."""
        info = routing.parse(request.method, request.path, request.query)
        stream = Stream(scope, receive, send, info, self._server, self._backends)
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_when_stopping())
        serving = asyncio.ensure_future(self._admit_and_serve(stream, request))
        stopping = asyncio.ensure_future(self._server.stopping.wait())
        try:
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        except Exception as error:
            await refuse(stream, pipeline.as_api_error(error))
        finally:
            for task in (serving, stopping):
                task.cancel()
            await asyncio.gather(serving, stopping, return_exceptions=True)

    async def _admit_and_serve(self, stream: Stream, request: Request) -> None:
        server, code = self._server, 200
        loop, remote = asyncio.get_running_loop(), server.services.remote(request.path)
        admit = pipeline.admit if remote is not None else connecting.admit
        if server.store.reads_block:
            admitted = await loop.run_in_executor(None, admit, server, request)
        else:
            admitted = await waiting.start(loop, lambda: admit(server, request))

        def started(answered: int) -> None:
            nonlocal code
            code = answered
            server.audit.started(request, admitted.trail, code)

        stream.on_start = started
        try:
            if remote is not None:
                await aggregation.serve(stream, admitted.user, remote, server.dialer)
            else:
                await STREAMS[stream.info.resource, stream.info.subresource](stream)
        except Exception as error:
            stream.on_start = lambda _: None  # the refusal that follows is this very outcome
            pipeline.ended(server, request, admitted, error)
            raise
        pipeline.ended(server, request, admitted, code=code)

    async def _close_when_stopping(self) -> None:
        await self._server.stopping.wait()
        await self._backends.close()
