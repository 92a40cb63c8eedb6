"""pods/portforward over WebSocket: each port has two channels, data and error, and the kubelet has the same ones.

Who calls it: `Streams`. Invariant: as for exec, frames are carried over unchanged and the kubelet accepts first. For the
port numbered i, channel 2i is its data and 2i+1 its errors; the first frame of each, from the server, names the port.
Upstream: pkg/registry/core/pod/rest/subresources.go, kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

from urllib.parse import quote, urlencode

from apiserver.streaming.asgi import Stream
from apiserver.streaming.backend import kubelet_of
from apiserver.streaming.container import node_of, pod_of
from apiserver.streaming.exec import BASE64, V4, choose, relay, require_websocket
from minikube_py.api import errors

PROTOCOLS = (V4, *BASE64)


async def serve(stream: Stream) -> None:
    """Serve one port-forward request."""
    require_websocket(stream)
    pod = await pod_of(stream)
    node = node_of(pod)
    protocol = choose(stream, PROTOCOLS)
    ports = ports_of(stream)
    place = f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}"
    query = urlencode([("port", port) for port in ports])
    await relay(stream, f"{await kubelet_of(stream.server, node)}/portForward/{place}?{query}", node, protocol)


def ports_of(stream: Stream) -> list[int]:
    """The ports of the request: `ports` (or `port`), repeated or separated by commas. Raises BadRequest."""
    texts = [text for name, value in stream.query.all if name in ("ports", "port") for text in value.split(",")]
    if not texts:
        raise errors.BadRequest('query parameter "port" is required')
    for text in texts:
        if not (text.isdigit() and 0 < int(text) < 65536):
            raise errors.BadRequest(f"unable to parse {text!r} as a port: use a number from 1 to 65535")
    return [int(text) for text in texts]
