"""kubectl's port-forward: SPDY inside a WebSocket towards the client, one WebSocket to the kubelet per connection.

Who calls it: `portforward`, for the subprotocol "SPDY/3.1+portforward.k8s.io".
Invariant: a forwarded connection is a pair of SPDY streams with one requestID, "error" and "data", and has one kubelet
WebSocket with channel 0 for data and 1 for errors. The end of the client's bytes is told to the kubelet where it speaks
v5 (a close frame for channel 0); the end of the pod's bytes ends both streams. One connection's failure is its own.
Upstream: client-go/tools/portforward, apiserver/pkg/util/proxy/streamtunnel.go, kubelet/pkg/cri/streaming/portforward.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apiserver.streaming.asgi import Stream
from minikube_py.api import spdy
from minikube_py.api.errors import APIError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

SUBPROTOCOL = "SPDY/3.1+portforward.k8s.io"
_WAITING_FRAMES = 64
_END_OF_DATA = b"\xff\0"

Dial = Callable[[int], Awaitable["ClientConnection"]]


@dataclass
class _Forwarded:
    """One connection: its two streams, and what the client sent that the kubelet has not got yet (None = the end)."""

    port: int
    error: int = 0
    data: int = 0
    inbox: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_WAITING_FRAMES))
    task: asyncio.Task[None] | None = None


class Tunnel:
    """All forwarded connections of one client. `dial` opens a kubelet's WebSocket for a port."""

    def __init__(self, stream: Stream, dial: Dial) -> None:
        self._stream, self._dial = stream, dial
        self._spdy = spdy.Connection()
        self._by_request: dict[str, _Forwarded] = {}
        self._by_data: dict[int, _Forwarded] = {}

    async def run(self) -> None:
        """Serve until the client leaves. Raises ValueError when it does not speak SPDY."""
        try:
            while (message := await self._stream.receive())["type"] != "websocket.disconnect":
                for frame in self._spdy.receive(message.get("bytes") or b""):
                    await self._take(frame)
        finally:
            tasks = [each.task for each in self._by_data.values() if each.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Opened():
                await self._opened(frame)
            case spdy.Data(stream, content, fin):
                forwarded = self._by_data.get(stream)
                if forwarded is not None and content:
                    await forwarded.inbox.put(content)
                if forwarded is not None and fin:
                    await forwarded.inbox.put(None)
            case spdy.Reset(stream):
                forwarded = self._by_data.pop(stream, None)
                if forwarded is not None and forwarded.task is not None:
                    forwarded.task.cancel()
            case spdy.Ping(number):
                await self._send(spdy.ping(number))

    async def _opened(self, opened: spdy.Opened) -> None:
        await self._send(self._spdy.reply(opened.stream))
        port, request = opened.headers.get("port", ""), opened.headers.get("requestid", "")
        if not (port.isdigit() and 0 < int(port) < 65536):
            await self._send(spdy.data(opened.stream, f"unable to parse {port!r} as a port".encode(), fin=True))
            return
        forwarded = self._by_request.setdefault(request, _Forwarded(int(port)))
        if opened.headers.get("streamtype") == "error":
            forwarded.error = opened.stream
        else:
            forwarded.data = opened.stream
            self._by_data[opened.stream] = forwarded
        if forwarded.error and forwarded.data:
            del self._by_request[request]
            forwarded.task = asyncio.create_task(self._forward(forwarded))

    async def _forward(self, forwarded: _Forwarded) -> None:
        failure = b""
        try:
            kubelet = await self._dial(forwarded.port)
            async with kubelet:
                inward = asyncio.create_task(_to_kubelet(forwarded, kubelet))
                try:
                    await self._to_client(forwarded, kubelet)
                finally:
                    inward.cancel()
        except APIError as error:
            failure = error.message.encode()
        finally:
            self._by_data.pop(forwarded.data, None)
        await self._send(spdy.data(forwarded.error, failure, fin=True) + spdy.data(forwarded.data, b"", fin=True))

    async def _to_client(self, forwarded: _Forwarded, kubelet: "ClientConnection") -> None:
        named: set[int] = set()
        async for frame in kubelet:
            if not isinstance(frame, bytes) or frame[0] > 1:
                continue
            if frame[0] not in named:  # the first frame of a channel only names the port
                named.add(frame[0])
                continue
            stream = forwarded.data if frame[0] == 0 else forwarded.error
            await self._send(spdy.data(stream, frame[1:]))

    async def _send(self, frames: bytes) -> None:
        await self._stream.send({"type": "websocket.send", "bytes": frames})


async def _to_kubelet(forwarded: _Forwarded, kubelet: "ClientConnection") -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        while (content := await forwarded.inbox.get()) is not None:
            await kubelet.send(b"\0" + content)
        if kubelet.subprotocol == "v5.channel.k8s.io":
            await kubelet.send(_END_OF_DATA)
    except ConnectionClosed:
        return  # the other direction sees it too, and ends the connection
