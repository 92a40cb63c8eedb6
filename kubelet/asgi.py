"""One request to the kubelet's server in ASGI's terms: an HTTP call or a WebSocket, and how to answer it.

Who calls it: `server` makes a `Call` for each, the handlers answer through it.
Invariant: a response is started once; a refusal after that only closes the connection.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class HttpError(Exception):
    """Answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass
class Call:
    """`parts`: the path's segments, decoded; `query`: all values by name."""

    scope: Scope
    receive: Receive
    send: Send
    parts: tuple[str, ...]
    query: Mapping[str, Sequence[str]]
    started: bool = False
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def value(self, name: str, default: str = "") -> str:
        found = self.query.get(name)
        return found[0] if found else default

    def flag(self, name: str) -> bool:
        return self.value(name).lower() in ("1", "true", "t")

    def number(self, name: str) -> int | None:
        text = self.value(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise HttpError(400, f'invalid value "{text}" for {name}') from None

    # --- HTTP

    async def text(self, body: str, status: int = 200, kind: str = "text/plain; charset=utf-8") -> None:
        await self.begin(status, kind)
        await self.write(body.encode(), more=False)

    async def json(self, value: object) -> None:
        await self.begin(200, "application/json")
        await self.write(json.dumps(value, separators=(",", ":")).encode(), more=False)

    async def begin(self, status: int, kind: str) -> None:
        self.started = True
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]}
        )

    async def write(self, data: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def gone(self) -> None:
        """Returns when the client has left."""
        while (await self.receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass

    # --- WebSocket

    async def accept(self, spoken: Sequence[str]) -> str:
        """Accept the WebSocket with the first offered subprotocol of `spoken`. Raises HttpError when none fits."""
        await self.receive()
        offered = self.scope.get("subprotocols") or []
        chosen = next((protocol for protocol in offered if protocol in spoken), "")
        if offered and not chosen:
            raise HttpError(400, f"unable to upgrade: none of {', '.join(offered)} is supported")
        self.started = True
        await self.send({"type": "websocket.accept", "subprotocol": chosen or None})
        return chosen

    async def frame(self, data: bytes) -> None:
        async with self._sending:
            await self.send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.send({"type": "websocket.close", "code": code, "reason": reason})

    # --- refusals

    async def refuse(self, error: HttpError) -> None:
        if self.scope["type"] == "websocket":
            if self.started:
                await self.close(1011, error.text[:100])
                return
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await self.send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
            await self.send({"type": "websocket.http.response.body", "body": error.text.encode(), "more_body": False})
        elif not self.started:
            await self.text(error.text, error.status)
        else:
            await self.write(b"", more=False)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run something that blocks for as long as it likes in a thread of its own, not one of the loop's few."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def work() -> None:
        result, problem = None, None
        try:
            result = function(*arguments)
        except Exception as error:
            problem = error
        loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=work, name="kubelet-stream", daemon=True).start()
    return await future
