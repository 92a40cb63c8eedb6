"""Requests that are conversations: exec, attach, port-forward, logs, the proxies, and all that aggregated servers answer.

Who calls it: the ASGI shell makes one `Streams` and hands it every request that `handles` names, HTTP or WebSocket.
Invariant: nothing is dialled before the request is authorised, and nothing accepted from the client before the other side
answered, so that every refusal is a Status; a stream holds no thread, and ends when either side leaves or the server stops.
Upstream: pkg/registry/core/{pod,service,node}/rest and apimachinery/pkg/util/proxy.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from apiserver import connecting, overload, pipeline, waiting
from apiserver import request as routing
from apiserver.aggregation import proxy as aggregation
from apiserver.pipeline import Response
from apiserver.request import Request
from apiserver.resourcemetrics import answers, kinds
from apiserver.resourcemetrics.scrape import Scraper
from apiserver.server import Server
from apiserver.streaming import exec, logs, portforward, proxy
from apiserver.streaming.asgi import Receive, Scope, Send, Stream, refuse
from apiserver.streaming.backend import Backends

Serve = Callable[[Stream], Awaitable[None]]
_T = TypeVar("_T")

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


_METRICS = f"/apis/{kinds.GROUP}/{kinds.VERSION}/"
_WORDS = tuple({f"/{subresource}" for _, subresource in STREAMS})


class Streams:
    """All streams of one server. Its HTTP client is made on first use: most clusters are idle when they start."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._backends = Backends(server.options)
        self._scraper = Scraper(server, self._backends)
        self._closing: asyncio.Future[None] | None = None

    def may_handle(self, path: str) -> bool:
        """Whether some request for this path belongs here, of those that look like plain reads."""
        return self._server.services.remote(path) is not None or path.startswith(_METRICS)

    def handles(self, request: Request) -> bool:
        """Whether this request belongs here rather than to the REST application."""
        if self._server.services.remote(request.path) is not None:
            return True
        if request.path.startswith(_METRICS):
            return answers.handles(routing.parse(request.method, request.path, request.query))
        if not request.path.startswith("/api/v1/") or not any(word in request.path for word in _WORDS):
            return False
        info = routing.parse(request.method, request.path, request.query)
        return bool(info.name) and (info.resource, info.subresource) in STREAMS

    async def serve(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        """Serve one request to its end, and count it. Never raises: what goes wrong is a Status."""
        info = routing.parse(request.method, request.path, request.query)
        stream = Stream(scope, receive, send, info, self._server, self._backends)
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_when_stopping())
        metrics, clock = self._server.metrics, self._server.clock
        started = clock.monotonic()
        try:
            if stream.is_websocket or overload.is_long_running(info):
                with metrics.long_running(info):
                    await self._serve(stream, request)
                return
            with overload.seat(self._server, request.method) as seated:
                refused = None if seated else await self._refusal(request)
                await (self._serve(stream, request) if refused is None else stream.whole(refused))
        finally:
            metrics.answered(info, stream.status, clock.monotonic() - started)

    async def _serve(self, stream: Stream, request: Request) -> None:
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
        server = self._server
        remote = server.services.remote(request.path)
        conversation = STREAMS.get((stream.info.resource, stream.info.subresource)) if stream.info.group == "" else None
        admit = connecting.admit if conversation is not None and remote is None else pipeline.admit
        admitted = await self._off_loop(lambda: admit(server, request))
        stream.on_start = lambda code: server.audit.started(request, admitted.trail, code)
        try:
            if remote is not None:
                await aggregation.serve(stream, admitted.user, remote, server.dialer)
            elif conversation is not None:
                await conversation(stream)
            else:
                await answers.serve(stream, request, self._scraper)
        except Exception as error:
            stream.on_start = lambda _: None  # the refusal that follows is this very outcome
            pipeline.ended(server, request, admitted, error)
            raise
        pipeline.ended(server, request, admitted, code=stream.status)

    async def _refusal(self, request: Request) -> Response | None:
        return await self._off_loop(lambda: overload.refusal(self._server, request))

    async def _off_loop(self, work: Callable[[], _T]) -> _T:
        """What may wait for the store or for webhooks."""
        loop = asyncio.get_running_loop()
        if self._server.store.reads_block:
            return await loop.run_in_executor(None, work)
        return await waiting.start(loop, work)

    async def _close_when_stopping(self) -> None:
        await self._server.stopping.wait()
        await self._backends.close()
