"""The client's side of a stream in ASGI's terms: one response, or one WebSocket.

Who calls it: every module of this package. Invariant: a response is started at most once; a refusal after that can only
end the connection, which is what `refuse` then does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from apiserver.pipeline import Response
from apiserver.request import Query, RequestInfo
from apiserver.server import Server
from minikube_py.api.errors import APIError, to_status

if TYPE_CHECKING:
    from apiserver.streaming.backend import Backends

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass
class Stream:
    """One request being served. `started` is set once the client has been answered anything, `status` says what."""

    scope: Scope
    receive: Receive
    send: Send
    info: RequestInfo
    server: Server
    backends: "Backends"
    started: bool = False
    status: int = 0
    on_start: Callable[[int], None] = lambda _: None
    query: Query = field(default_factory=Query)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.query = Query(self.scope["query_string"].decode("latin-1"))

    @property
    def is_websocket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    def header(self, name: str) -> str:
        """A request header by its lower-case name, "" when it is not there."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name.encode()), "")

    async def respond(self, status: int, headers: Headers) -> None:
        """Begin the HTTP response."""
        self.started, self.status = True, status
        self.on_start(status)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def whole(self, response: Response) -> None:
        """A whole answer."""
        headers = [(b"content-type", response.content_type.encode()), (b"content-length", b"%d" % len(response.body))]
        headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        await self.respond(response.code, headers)
        await self.write(response.body, more=False)

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives."""
        async with self._reading:
            more = True
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    return
                if message.get("body"):
                    yield message["body"]
                more = message.get("more_body", False)

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accept the WebSocket."""
        self.started, self.status = True, 101
        self.on_start(101)
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def disconnected(self) -> None:
        """Return when the client has gone; waits for `body` first, since only one may receive."""
        async with self._reading:
            while (await self.receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
                pass


async def refuse(stream: Stream, error: APIError) -> None:
    """Answer with the error's Status; when an answer has begun already, end it."""
    body = orjson.dumps(to_status(error))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    with contextlib.suppress(RuntimeError, OSError):  # the client may have left: then there is nobody to tell
        if stream.started:
            if stream.is_websocket:
                await stream.send({"type": "websocket.close", "code": 1011, "reason": error.message[:120]})
            else:
                await stream.write(b"", more=False)
        elif stream.is_websocket:
            stream.status = error.code
            start = {"type": "websocket.http.response.start", "status": error.code, "headers": headers}
            await stream.send(start)
            await stream.send({"type": "websocket.http.response.body", "body": body})
        else:
            await stream.respond(error.code, headers)
            await stream.write(body, more=False)


async def first_of(*work: Coroutine[Any, Any, Any]) -> None:
    """Run side by side until one is done; the others are cancelled. Raises what the first one raised."""
    tasks: Sequence[asyncio.Task[Any]] = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
