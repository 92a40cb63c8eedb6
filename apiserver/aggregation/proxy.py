"""A request for an aggregated group, carried to its server and back: plain answers, watches, WebSockets.

Who calls it: `Streams`, for paths of which the catalogue says that another server answers them, after authorisation.
Invariant: the server is told who asks in the front proxy's headers, and never gets the client's own credentials; body and
answer are streamed. A server that cannot be used is a 503 in plain text, in upstream's words.
Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go.
"""

import ssl

from apiserver import services
from apiserver.aggregation.catalogue import Remote
from apiserver.aggregation.dial import Dialer
from apiserver.auth import front_proxy
from apiserver.auth.user import UserInfo
from apiserver.pipeline import Response
from apiserver.streaming import proxy
from apiserver.streaming.asgi import Stream
from apiserver.streaming.backend import Peer, bracketed
from minikube_py.api import errors

UNAVAILABLE = "service unavailable"


async def serve(stream: Stream, user: UserInfo, remote: Remote, dialer: Dialer) -> None:
    """Serve one request to its end. Raises APIError for what must be refused as a Status."""
    if "spdy" in stream.header("upgrade").lower():
        why = "SPDY is not supported: streams of aggregated API servers need a client that uses WebSocket"
        raise errors.BadRequest(why)
    if not remote.available:
        await _refuse(stream, 503, UNAVAILABLE)
        return
    try:
        address, port = dialer.endpoint(remote)
        peer = Peer(dialer.tls(remote), remote.host)
    except services.NoEndpoint:
        await _refuse(stream, 503, UNAVAILABLE)
        return
    except (ssl.SSLError, ValueError, OSError) as error:
        await _refuse(stream, 500, str(error))
        return
    host, suffix = f"{bracketed(address)}:{port}", proxy.target_of(stream)
    headers = [
        *((name, value) for name, value in proxy.forwarded(stream) if not front_proxy.is_ours(name)),
        *front_proxy.headers_for(user),
    ]
    try:
        if stream.is_websocket:
            await proxy.carry_websocket(stream, f"wss://{host}{suffix}", headers, peer)
        else:
            await proxy.carry_request(stream, f"https://{host}{suffix}", headers, peer)
    except errors.ServiceUnavailable as error:
        await _refuse(stream, 503, error.message)


async def _refuse(stream: Stream, status: int, text: str) -> None:
    """As upstream refuses here: without a Status."""
    if stream.is_websocket or stream.started:
        raise errors.ServiceUnavailable(text)
    headers = {"X-Content-Type-Options": "nosniff"}
    await stream.whole(Response(status, f"{text}\n".encode(), "text/plain; charset=utf-8", headers))
