"""pods/proxy, services/proxy and nodes/proxy: a request carried to an address in the cluster, and its answer back.

Who calls it: `Streams`. Invariant: body and answer are streamed, never held; credentials meant for us are not passed on;
a WebSocket is carried through as a WebSocket; links of a page lead back through the proxy (`rewrite.py`). Names may say
scheme and port: "NAME", "NAME:PORT", "https:NAME:PORT".
Upstream: pkg/registry/core/{pod,service,node}/strategy.go (ResourceLocation), apimachinery/pkg/util/{net,proxy}.
"""

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from apiserver import services
from apiserver.streaming.asgi import Headers, Stream, first_of
from apiserver.streaming.backend import Peer, bracketed, find, internal_ip, kubelet_port
from apiserver.streaming.relay import carry
from apiserver.streaming.rewrite import Page, link, readable
from minikube_py.api import errors
from minikube_py.api.types import Obj

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OURS = frozenset(("authorization", "host", "x-forwarded-for", "content-length"))
_HANDSHAKE = "sec-websocket-"
_LEADING_SEGMENTS = {"nodes": 6}
_NAMESPACED_SEGMENTS = 8


class Target(NamedTuple):
    """What a name in the path asks for; "" where it does not say."""

    scheme: str
    name: str
    port: str


async def serve_pod(stream: Stream) -> None:
    """Proxy to a pod: the port named, else its first containerPort, else 80."""
    target = split(stream.info.name, "pod")
    pod = await find(stream.server, f"/registry/pods/{stream.info.namespace}/{target.name}")
    if pod is None:
        raise errors.not_found("pods", target.name)
    address = (pod.get("status") or {}).get("podIP", "")
    if not address:
        raise errors.ServiceUnavailable(f"pod {target.name} has no IP address yet")
    ports = (port["containerPort"] for each in pod["spec"]["containers"] for port in each.get("ports") or [])
    await _proxy(stream, target.scheme or "http", f"{bracketed(address)}:{target.port or next(ports, 80)}")


async def serve_service(stream: Stream) -> None:
    """Proxy to one ready endpoint of a Service, chosen at random; the port by name or number."""
    target, namespace = split(stream.info.name, "service"), stream.info.namespace
    service = await find(stream.server, f"/registry/services/{namespace}/{target.name}")
    if service is None:
        raise errors.not_found("services", target.name)
    port_name = _port_name(service, target.port)
    slices = services.slices(stream.server.store, namespace, target.name)
    endpoints = [f"{bracketed(host)}:{port}" for piece in slices for host, port in services.ready(piece, port_name)]
    if not endpoints:
        raise errors.ServiceUnavailable(f'no endpoints available for service "{stream.info.name}"')
    await _proxy(stream, target.scheme or "http", random.choice(endpoints))


async def serve_node(stream: Stream) -> None:
    """Proxy to a node's kubelet, or to another port of the node."""
    target = split(stream.info.name, "node")
    node = await find(stream.server, f"/registry/nodes/{target.name}")
    if node is None:
        raise errors.not_found("nodes", target.name)
    address, kubelet = internal_ip(node), str(kubelet_port(node))
    if not address:
        raise errors.ServiceUnavailable(f"node {target.name} has no InternalIP address yet")
    port = target.port or kubelet
    scheme = "https" if port == kubelet else target.scheme or "http"
    await _proxy(stream, scheme, f"{bracketed(address)}:{port}", kubelet=port == kubelet)


def split(name: str, kind: str) -> Target:
    """The parts of "[SCHEME:]NAME[:PORT]". Raises BadRequest."""
    parts = name.split(":")
    if len(parts) == 3 and parts[0] in ("", "http", "https") and parts[1]:
        return Target(*parts)
    if len(parts) <= 2 and parts[0]:
        return Target("", parts[0], parts[1] if len(parts) == 2 else "")
    raise errors.BadRequest(f'invalid {kind} request "{name}"')


def _port_name(service: Obj, wanted: str) -> str:
    """The name that endpoints know a Service's port by. Raises ServiceUnavailable when the Service has no such port."""
    ports = service["spec"].get("ports") or []
    if not wanted and len(ports) == 1:
        return str(ports[0].get("name") or "")
    for port in ports:
        if wanted in (port.get("name") or "", str(port["port"])):
            return str(port.get("name") or "")
    name = service["metadata"]["name"]
    raise errors.ServiceUnavailable(f'no service port "{wanted}" found for service "{name}"')


async def _proxy(stream: Stream, scheme: str, host: str, *, kubelet: bool = False) -> None:
    path = _remainder(stream)
    query = stream.scope["query_string"].decode("latin-1")
    suffix = f"?{query}" if query else ""
    if stream.is_websocket:
        url = f"{'wss' if scheme == 'https' else 'ws'}://{host}/{path or ''}{suffix}"
        await carry_websocket(stream, url, forwarded(stream), kubelet=kubelet)
    elif path is None and stream.scope["method"] in ("GET", "HEAD"):
        await stream.respond(301, [(b"location", f"{stream.scope['path']}/{suffix}".encode())])
        await stream.write(b"", more=False)
    else:
        await carry_request(stream, f"{scheme}://{host}/{path or ''}{suffix}", forwarded(stream), kubelet=kubelet)


def _remainder(stream: Stream) -> str | None:
    """The path behind ".../proxy/" exactly as the client wrote it; None when there is not even the slash."""
    count = _LEADING_SEGMENTS.get(stream.info.resource, _NAMESPACED_SEGMENTS)
    parts = _raw_path(stream).split("/", count)
    return parts[count] if len(parts) > count else None


def _raw_path(stream: Stream) -> str:
    raw: bytes = stream.scope.get("raw_path") or stream.scope["path"].encode()
    return raw.decode("latin-1")


def target_of(stream: Stream) -> str:
    """The path and query as the client wrote them."""
    query = stream.scope["query_string"].decode("latin-1")
    return _raw_path(stream).partition("?")[0] + (f"?{query}" if query else "")


async def carry_request(
    stream: Stream, url: str, headers: list[tuple[str, str]], peer: Peer | None = None, *, kubelet: bool = False
) -> None:
    """Ask the far side, and stream its answer back. A `peer` knows its own paths, so its pages stay as they are."""
    length = stream.header("content-length")
    chunked = bool(stream.header("transfer-encoding"))
    body: AsyncIterator[bytes] | None = stream.body() if chunked or int(length or 0) else None
    if body is not None and length:
        headers.append(("Content-Length", length))
    try:
        method = stream.scope["method"]
        request = stream.backends.request(method, url, kubelet=kubelet, peer=peer, headers=headers, data=body)
        answer = await request
    except OSError as error:
        raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from error
    try:
        prefix, host = "" if peer else _prefix(stream), urlsplit(url).netloc
        page = None if peer else _page(method, answer.headers, prefix, host)
        await stream.respond(answer.status, _kept(answer.raw_headers, prefix, host, page))

        async def carry() -> None:
            async for chunk in answer.content.iter_any():
                await stream.write(chunk if page is None else page.feed(chunk))
            await stream.write(b"" if page is None else page.finish(), more=False)

        await first_of(carry(), stream.disconnected())
    finally:
        answer.close()


def _prefix(stream: Stream) -> str:
    """Our path up to and with ".../proxy", which is the far side's root."""
    count = _LEADING_SEGMENTS.get(stream.info.resource, _NAMESPACED_SEGMENTS)
    return "/".join(_raw_path(stream).split("/", count)[:count])


def _page(method: str, headers: Mapping[str, str], prefix: str, host: str) -> Page | None:
    """The rewriter when the answer is a page that we can read."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    is_page = headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"
    # A redirect's page is shown by nobody, and a HEAD has none.
    if not is_page or method == "HEAD" or "Location" in headers or not readable(encoding):
        return None
    return Page(prefix, host, encoding)


def _kept(raw: Iterable[tuple[bytes, bytes]], prefix: str, host: str, page: Page | None) -> Headers:
    """The answer's headers that are the client's business; a page that we rewrite has another length, and no encoding."""
    kept: Headers = []
    for raw_name, value in raw:
        name = raw_name.lower()
        if name.decode("latin-1") in _HOP_BY_HOP or (page and name in (b"content-length", b"content-encoding")):
            continue
        if name == b"location" and prefix:
            value = link(value.decode("latin-1"), prefix, host).encode("latin-1")
        kept.append((name, value))
    return kept


def forwarded(stream: Stream) -> list[tuple[str, str]]:
    """The client's headers without those that were for us."""
    named = {name.strip().lower() for name in stream.header("connection").split(",")}
    headers = []
    for raw_name, value in stream.scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in _HOP_BY_HOP or name in _OURS or name in named or name.startswith(("impersonate-", _HANDSHAKE)):
            continue
        headers.append((name, value.decode("latin-1")))
    client = stream.scope.get("client")
    before = stream.header("x-forwarded-for")
    if client:
        headers.append(("X-Forwarded-For", f"{before}, {client[0]}" if before else client[0]))
    return headers


async def carry_websocket(
    stream: Stream, url: str, headers: list[tuple[str, str]], peer: Peer | None = None, *, kubelet: bool = False
) -> None:
    """Open the WebSocket at the far side, accept the client's, and carry frames."""
    offered = list(stream.scope.get("subprotocols") or [])
    try:
        far = await stream.backends.websocket(url, offered, kubelet=kubelet, peer=peer, headers=headers)
    except OSError as error:
        raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from error
    async with far:
        await stream.accept(far.subprotocol)
        await carry(stream, far)
