"""pods/portforward over WebSocket, in its two forms.

With the channel protocol each port has two channels, data and error: for the port numbered i, channel 2i is its data and
2i+1 its errors, and the first frame of each, from the server, names the port. kubectl tunnels SPDY instead (`tunnel`).
Who calls it: `Streams`. Invariant: channel frames are carried over unchanged, and the kubelet accepts first, as for exec.
Upstream: pkg/registry/core/pod/rest/subresources.go, kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from apiserver.streaming.asgi import Stream
from apiserver.streaming.backend import kubelet_of
from apiserver.streaming.container import node_of, pod_of
from apiserver.streaming.exec import BASE64, V4, V5, choose, dial_kubelet, relay, require_websocket
from apiserver.streaming.tunnel import SUBPROTOCOL, Tunnel
from minikube_py.api import errors

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

PROTOCOLS = (SUBPROTOCOL, V4, *BASE64)


async def serve(stream: Stream) -> None:
    """Serve one port-forward request."""
    pod = await pod_of(stream)
    node = node_of(pod)
    require_websocket(stream)
    protocol = choose(stream, PROTOCOLS)
    place = f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}"
    url = f"{await kubelet_of(stream.server, node)}/portForward/{place}"
    if protocol != SUBPROTOCOL:
        query = urlencode([("port", port) for port in ports_of(stream)])
        await relay(stream, f"{url}?{query}", node, protocol)
        return

    async def dial(port: int) -> "ClientConnection":
        return await dial_kubelet(stream, f"{url}?port={port}", node, [V5, V4])

    await stream.accept(SUBPROTOCOL)
    try:
        await Tunnel(stream, dial).run()
    except ValueError as error:
        raise errors.BadRequest(str(error)) from error


def ports_of(stream: Stream) -> list[int]:
    """The ports of the request: `ports` (or `port`), repeated or separated by commas. Raises BadRequest."""
    texts = [text for name, value in stream.query.all if name in ("ports", "port") for text in value.split(",")]
    if not texts:
        raise errors.BadRequest('query parameter "port" is required')
    for text in texts:
        if not (text.isdigit() and 0 < int(text) < 65536):
            raise errors.BadRequest(f"unable to parse {text!r} as a port: use a number from 1 to 65535")
    return [int(text) for text in texts]
