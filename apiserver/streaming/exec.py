"""pods/exec and pods/attach: a WebSocket to the client, a WebSocket to the kubelet, frames carried over as they are.

Who calls it: `Streams`. Invariant: the kubelet is dialled first and the client accepted only when the kubelet accepted, so
that a container that is not there is a Status and not a broken connection. Both sides speak the same channel protocol
(the first byte of a frame is its channel: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize, 255 close); for the base64
protocols the frames are recoded on the way, and before version 4 the error channel holds words, not a Status. SPDY is not
spoken here; clients since kubectl 1.31 do not need it.
Upstream: pkg/registry/core/pod/rest/subresources.go, apimachinery/pkg/util/remotecommand/constants.go,
kubelet/pkg/cri/streaming/remotecommand/websocket.go.
"""

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from apiserver.streaming.asgi import Stream
from apiserver.streaming.backend import kubelet_of, unreachable
from apiserver.streaming.container import check_running, container_of, node_of, pod_of
from apiserver.streaming.relay import carry
from minikube_py.api import errors

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
BASE64 = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
SPOKEN_TO_KUBELET = {V5: V5, V4: V4, "channel.k8s.io": V4, **dict.fromkeys(BASE64, V4)}
"""Client's subprotocol to the one used with the kubelet, in the order of preference."""
UNVERSIONED = ("channel.k8s.io", "base64.channel.k8s.io")
_ERROR = b"\3"

_STREAM_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


async def serve(stream: Stream) -> None:
    """Serve one exec or attach request."""
    pod = await pod_of(stream)
    container = container_of(pod, stream.query.get("container", ""))
    node = node_of(pod)
    query = _kubelet_query(stream)
    if not stream.is_websocket:
        check_running(pod, container)
    require_websocket(stream)
    place = f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}/{quote(container)}"
    url = f"{await kubelet_of(stream.server, node)}/{stream.info.subresource}/{place}?{query}"
    await relay(stream, url, node, choose(stream, tuple(SPOKEN_TO_KUBELET)))


def require_websocket(stream: Stream) -> None:
    """Raises BadRequest for a request that is not a WebSocket.

    To be called last: kubectl tries again with SPDY after any refusal, and shows only what it hears then.
    """
    if stream.is_websocket:
        return
    if "spdy" in stream.header("upgrade").lower():
        raise errors.BadRequest(
            "SPDY is not supported: exec, attach and port-forward need a client that uses WebSocket"
        )
    raise errors.BadRequest("Upgrade request required")


def choose(stream: Stream, spoken: tuple[str, ...]) -> str:
    """The first subprotocol the client offers that we speak, "" when it offers none. Raises BadRequest."""
    offered = stream.scope.get("subprotocols") or []
    for protocol in offered:
        if protocol in spoken:
            return str(protocol)
    if offered:
        raise errors.BadRequest(f"unable to upgrade: none of the subprotocols {', '.join(offered)} is supported")
    return ""


async def relay(stream: Stream, url: str, node: str, protocol: str) -> None:
    """Dial the kubelet, accept the client, carry frames until either side closes."""
    spoken = SPOKEN_TO_KUBELET.get(protocol or V4, protocol)
    async with await dial_kubelet(stream, url, node, [spoken]) as kubelet:
        await stream.accept(protocol or None)
        if protocol in BASE64:
            plain = protocol in UNVERSIONED
            await carry(stream, kubelet, decode_frame, lambda f: encode_frame(in_words(f) if plain else f))
        else:
            await carry(stream, kubelet, None, in_words if protocol in UNVERSIONED else None)


async def dial_kubelet(stream: Stream, url: str, node: str, subprotocols: list[str]) -> "ClientConnection":
    """A WebSocket to a node's kubelet. Raises InternalError when it cannot be reached, or the error it answered."""
    try:
        return await stream.backends.websocket("wss" + url.removeprefix("https"), subprotocols, kubelet=True)
    except OSError as error:
        raise unreachable(node, error) from error


def _kubelet_query(stream: Stream) -> str:
    """The options under the names the kubelet knows them by. Raises BadRequest when nothing would be streamed."""
    query = stream.query
    pairs = [("command", value) for name, value in query.all if name == "command"]
    if stream.info.subresource == "exec" and not pairs:
        raise errors.BadRequest("you must specify at least one command for the container")
    wanted = {name for name in _STREAM_FLAGS if query.flag(name)}
    if "stdout" not in query and "stderr" not in query:
        wanted |= {"stdout", "stderr"}
    if "tty" in wanted:
        wanted.discard("stderr")  # a terminal has one output
    if not wanted & {"stdin", "stdout", "stderr"}:
        raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return urlencode(pairs + [(name, "1") for key, name in _STREAM_FLAGS.items() if key in wanted])


def in_words(frame: bytes | str) -> bytes | str:
    """A frame for a client from before version 4: of a Status, only a failure's message is told."""
    if isinstance(frame, str) or not frame.startswith(_ERROR):
        return frame
    status = json.loads(frame[1:])
    return _ERROR + ("" if status.get("status") == "Success" else str(status.get("message", ""))).encode()


def encode_frame(frame: bytes | str) -> str:
    """A binary channel frame in its base64 form: the channel as a digit, then the data."""
    assert isinstance(frame, bytes)
    return f"{frame[0]}{base64.b64encode(frame[1:]).decode()}"


def decode_frame(frame: bytes | str) -> bytes:
    """`encode_frame` backwards. Raises ValueError."""
    text = frame if isinstance(frame, str) else frame.decode("ascii")
    return bytes([int(text[:1])]) + base64.b64decode(text[1:], validate=True)
