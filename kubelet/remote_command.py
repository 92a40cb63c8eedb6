"""WebSocket exec and attach: the channel protocols v5 and v4, on top of a runtime session.

Who calls it: `server`. A frame's first byte is its channel: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize, and in v5 255
closes the channel named by the second byte. Invariants: the error channel says how the command ended, once, after all output;
closing the connection ends our side of the session.
Upstream: kubelet/pkg/cri/streaming/remotecommand (websocket.go, exec.go).
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from kubelet.asgi import Call, HttpError, in_thread
from kubelet.container_logs import Place
from kubelet.runtime.base import RuntimeFault, Session
from minikube_py.api.types import Obj

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _ERROR, _RESIZE, _CLOSE = 0, 3, 4, 255
Open = Callable[[Call], tuple[Session, str]]


def exec_handler(place: Place) -> Callable[[Call], Awaitable[None]]:
    """/exec/NAMESPACE/POD/CONTAINER?command=…&input=1&output=1&error=1&tty=1"""

    def open_session(call: Call) -> tuple[Session, str]:
        command = list(call.query.get("command") or ())
        if not command:
            raise HttpError(400, "you must specify a command for the container")
        _, status = place.running(call.parts[1], call.parts[2], call.parts[-1])
        return place.runtime.exec(status.id, command, tty=call.flag("tty"), stdin=call.flag("input")), " ".join(command)

    return _handler(open_session)


def attach_handler(place: Place) -> Callable[[Call], Awaitable[None]]:
    """/attach/NAMESPACE/POD/CONTAINER?input=1&output=1&error=1&tty=1"""

    def open_session(call: Call) -> tuple[Session, str]:
        spec, status = place.running(call.parts[1], call.parts[2], call.parts[-1])
        stdin = call.flag("input") and bool(spec.get("stdin"))
        return place.runtime.attach(status.id, tty=bool(spec.get("tty")), stdin=stdin), ""

    return _handler(open_session)


def _handler(open_session: Open) -> Callable[[Call], Awaitable[None]]:
    async def serve(call: Call) -> None:
        if len(call.parts) not in (4, 5):  # with or without the pod's uid
            raise HttpError(404, "404 page not found")
        try:
            session, command = await in_thread(open_session, call)
        except RuntimeFault as error:
            raise HttpError(500, str(error)) from error
        try:
            protocol = await call.accept((V5, V4))
            wanted = {1: call.flag("output"), 2: call.flag("error")}
            loop = asyncio.get_running_loop()
            incoming = asyncio.ensure_future(_incoming(call, session, protocol))
            try:
                status = await in_thread(_outgoing, call, session, wanted, loop, command)
                await call.frame(bytes([_ERROR]) + json.dumps(status).encode())
                await call.close()
            finally:
                incoming.cancel()
        finally:
            await in_thread(session.close)

    return serve


def _outgoing(
    call: Call, session: Session, wanted: dict[int, bool], loop: asyncio.AbstractEventLoop, command: str
) -> Obj:
    """In a thread: all output to the client, then how it ended, as a Status."""
    while (piece := session.read()) is not None:
        channel, data = piece
        if wanted.get(channel) and data:
            asyncio.run_coroutine_threadsafe(call.frame(bytes([channel]) + data), loop).result()
    return exit_status(session.exit_code(), command)


def exit_status(code: int | None, command: str) -> Obj:
    """The Status on the error channel. In: None for an attach."""
    if not code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }  # fmt: skip


async def _incoming(call: Call, session: Session, protocol: str) -> None:
    """Frames from the client: input, terminal sizes, the end of input."""
    while (message := await call.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes") or (message.get("text") or "").encode()
        if not data:
            continue
        channel, payload = data[0], data[1:]
        with contextlib.suppress(RuntimeFault):
            if channel == _STDIN and payload:
                await in_thread(session.write, payload)
            elif channel == _RESIZE:
                await _resize(session, payload)
            elif channel == _CLOSE and protocol == V5 and payload[:1] == bytes([_STDIN]):
                await in_thread(session.close_stdin)
    await in_thread(session.close)


async def _resize(session: Session, payload: bytes) -> None:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        size = json.loads(payload)
        width, height = int(size.get("Width", 0)), int(size.get("Height", 0))
        if width > 0 and height > 0:
            await in_thread(session.resize, width, height)
