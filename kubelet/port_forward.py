"""WebSocket port-forward: for the port numbered i, channel 2i carries its data and 2i+1 its errors.

Who calls it: `server`. Invariants: the first frame on each channel, from us, holds the port as two bytes, low byte first; one
connection into the pod per port; when either end of it closes, the WebSocket closes. In v5 a frame on channel 255 ends what
the client sends on the channel it names, and the pod may still answer.
Upstream: kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence

from kubelet.asgi import Call, HttpError, in_thread
from kubelet.container_logs import Place
from kubelet.runtime.base import RuntimeFault

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "portforward.k8s.io")
_CLOSE = 255


def handler(place: Place) -> Callable[[Call], Awaitable[None]]:
    """/portForward/NAMESPACE/POD?port=80&port=…"""

    def sandbox_of(call: Call) -> str:
        sandbox = place.observe(place.pod(call.parts[1], call.parts[2])).sandbox
        if sandbox is None:
            raise HttpError(404, f'pod "{call.parts[2]}" is not running')
        return sandbox.id

    async def serve(call: Call) -> None:
        ports = [int(text) for text in call.query.get("port") or () if text.isdigit()]
        if len(call.parts) not in (3, 4) or not ports:
            raise HttpError(400, 'query parameter "port" is required')
        sandbox_id = await in_thread(sandbox_of, call)
        await call.accept(_PROTOCOLS)
        for index, port in enumerate(ports):
            for channel in (2 * index, 2 * index + 1):
                await call.frame(bytes([channel]) + port.to_bytes(2, "little"))
        connections: dict[int, asyncio.StreamWriter] = {}
        tasks: list[asyncio.Future[None]] = [
            asyncio.ensure_future(_connect(call, place, sandbox_id, index, port, connections))
            for index, port in enumerate(ports)
        ]
        tasks.append(asyncio.ensure_future(_incoming(call, connections, tasks)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for writer in connections.values():
                writer.close()
        with contextlib.suppress(Exception):  # the client may have left already
            await call.close()

    return serve


async def _connect(
    call: Call, place: Place, sandbox_id: str, index: int, port: int, connections: dict[int, asyncio.StreamWriter]
) -> None:
    """One port: dial, then carry what the pod sends."""
    try:
        sock: socket.socket = await in_thread(place.runtime.dial, sandbox_id, port)
    except RuntimeFault as error:
        await call.frame(bytes([2 * index + 1]) + f"error forwarding port {port} to pod: {error}".encode())
        return
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock)
    connections[2 * index] = writer
    while data := await reader.read(65536):
        await call.frame(bytes([2 * index]) + data)


async def _incoming(
    call: Call, connections: dict[int, asyncio.StreamWriter], dialling: "Sequence[asyncio.Future[None]]"
) -> None:
    while (message := await call.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes") or b""
        if len(data) < 2:
            continue
        channel = data[1] if data[0] == _CLOSE else data[0]
        while channel not in connections and channel % 2 == 0 and channel // 2 < len(dialling) - 1:
            await asyncio.sleep(0.01)  # the client may be quicker than the connection into the pod
        writer = connections.get(channel)
        if writer is not None and data[0] == _CLOSE:
            writer.write_eof()
        elif writer is not None:
            writer.write(data[1:])
            await writer.drain()
