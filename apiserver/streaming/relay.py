"""Carries WebSocket frames between the client and the far side until one of them closes.

Who calls it: `exec`, `portforward` and `proxy`. Invariant: frames keep their order, their boundaries and their kind; what
the far side said before it closed still reaches the client.
Upstream: apimachinery/pkg/util/proxy/upgradeaware.go, which copies bytes; we have frames, so we copy frames.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from apiserver.streaming.asgi import Stream, first_of
from minikube_py.api import errors

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

Recode = Callable[[bytes | str], bytes | str]


async def carry(
    stream: Stream, far: "ClientConnection", inward: Recode | None = None, outward: Recode | None = None
) -> None:
    """Both directions of an accepted client. `inward` recodes frames to the far side, `outward` those to the client."""
    await first_of(_inward(stream, far, inward), _outward(stream, far, outward))


async def _inward(stream: Stream, far: "ClientConnection", recode: Recode | None) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        while (message := await stream.receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                data = message.get("bytes")
                frame = message.get("text") or "" if data is None else data
                await far.send(recode(frame) if recode else frame)
    except ConnectionClosed:
        await asyncio.Event().wait()  # what it said last is still on its way: the other direction ends this
    except ValueError as error:
        raise errors.BadRequest(f"a frame is malformed: {error}") from error


async def _outward(stream: Stream, far: "ClientConnection", recode: Recode | None) -> None:
    async for received in far:
        frame = recode(received) if recode else received
        await stream.send({"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame})
    code = far.close_code if far.close_code not in (None, 1005, 1006) else 1000
    await stream.send({"type": "websocket.close", "code": code, "reason": far.close_reason or ""})
