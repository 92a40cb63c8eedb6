"""The other side of a stream: the kubelet of a node, or an address in the cluster.

Who calls it: every module of this package. The only place that imports aiohttp and websockets' client, on first use.
Invariant: a kubelet is dialled at its node's InternalIP and advertised port, with our client certificate, and must show
one of the kubelet CA (without `--kubelet-ca` it is not checked, as upstream). An answer of 400 and above is raised as the
error it describes.
Upstream: pkg/kubelet/client/kubelet_client.go.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from apiserver.options import Options
from apiserver.server import Server
from apiserver.storage.stored import Matcher
from minikube_py.api import errors
from minikube_py.api.types import Obj

if TYPE_CHECKING:
    import aiohttp
    from websockets.asyncio.client import ClientConnection

_Read = TypeVar("_Read")
Headers = list[tuple[str, str]]
_CONNECT_SECONDS = 10.0
_KUBELET_PORT = 10250
_CHUNK = 64 * 1024


class Peer(NamedTuple):
    """A server that is neither a kubelet nor taken as it comes: how to speak TLS with it, and the name it must prove."""

    tls: ssl.SSLContext
    name: str


class Backends:
    """The connections this API server opens."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._kubelet_tls: ssl.SSLContext | None = None

    async def request(
        self, method: str, url: str, *, kubelet: bool = False, peer: Peer | None = None, **options: Any
    ) -> "aiohttp.ClientResponse":
        """Send a request, return when its answer begins. Raises OSError when nobody can be reached."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                timeout=timeout, connector=connector, auto_decompress=False, read_bufsize=_CHUNK,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
            )  # fmt: skip
        try:
            target, tls = URL(url, encoded=True), peer.tls if peer else self._tls(url, kubelet)
            return await self._session.request(
                method, target, ssl=tls, server_hostname=peer.name if peer else None, allow_redirects=False, **options
            )
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error
        except TimeoutError as error:
            raise OSError(f"no connection within {_CONNECT_SECONDS:g} s") from error

    async def websocket(
        self, url: str, subprotocols: list[str], *, kubelet: bool = False, peer: Peer | None = None,
        headers: Headers | None = None,
    ) -> "ClientConnection":  # fmt: skip
        """Open a WebSocket. Raises OSError when nobody can be reached, the described APIError for a refusal."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        named: dict[str, Any] = {"server_hostname": peer.name} if peer else {}
        try:
            return await connect(
                url, subprotocols=subprotocols or None, ssl=peer.tls if peer else self._tls(url, kubelet),  # type: ignore[arg-type]
                open_timeout=_CONNECT_SECONDS, **named,
                compression=None, max_size=None, ping_interval=None, proxy=None, additional_headers=headers,
                user_agent_header=None,
            )  # fmt: skip
        except InvalidStatus as error:
            raise described(error.response.status_code, bytes(error.response.body or b"")) from error
        except TimeoutError as error:
            raise OSError(f"no answer within {_CONNECT_SECONDS:g} s") from error
        except InvalidHandshake as error:
            raise OSError(str(error)) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _tls(self, url: str, kubelet: bool) -> Any:
        """TLS for a kubelet; anything else in the cluster that speaks TLS is not verified, as in upstream's proxy."""
        if url.startswith("http:"):
            return True
        if url.startswith("ws:"):
            return None
        if not kubelet:
            return _unverified(ssl.create_default_context())
        if self._kubelet_tls is None:
            ca, certificate = self._options.kubelet_ca, self._options.kubelet_client_cert
            context = ssl.create_default_context(cafile=ca or None)
            self._kubelet_tls = context if ca else _unverified(context)
            if certificate:
                context.load_cert_chain(certificate, self._options.kubelet_client_key)
        return self._kubelet_tls


def _unverified(context: ssl.SSLContext) -> ssl.SSLContext:
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def described(status: int, body: bytes, path: str = "") -> errors.APIError:
    """What a kubelet's refusal means to our client: its Status, or its plain text under its HTTP code."""
    try:
        return errors.from_status(orjson.loads(body), status)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
    if status == 404 and not text:
        text = f"the server could not find the requested resource ({path})"
    error = errors.from_status(text, status)
    error.code = status
    return error


async def find(server: Server, key: str) -> Obj | None:
    """An object by its key in the store, without blocking the loop."""
    stored = await _read(server, server.store.get, key)
    return stored.obj() if stored else None


async def find_all(server: Server, prefix: str, labels: Matcher) -> list[Obj]:
    """The objects under a prefix that have these labels."""
    page = await _read(server, server.store.list, prefix, labels)
    return [stored.obj() for stored in page.items]


async def _read(server: Server, read: Callable[..., _Read], *arguments: Any) -> _Read:
    if server.store.reads_block:
        return await asyncio.get_running_loop().run_in_executor(None, read, *arguments)
    return read(*arguments)


async def kubelet_of(server: Server, node_name: str) -> str:
    """The "https://ADDRESS:PORT" of a node's kubelet. Raises NotFound, or ServiceUnavailable without an address."""
    node = await find(server, f"/registry/nodes/{node_name}")
    if node is None:
        raise errors.not_found("nodes", node_name)
    address = internal_ip(node)
    if not address:
        raise errors.ServiceUnavailable(f"node {node_name} has no InternalIP address yet: is its kubelet running?")
    return f"https://{bracketed(address)}:{kubelet_port(node)}"


def internal_ip(node: Obj) -> str:
    addresses = (node.get("status") or {}).get("addresses") or []
    return next((str(each["address"]) for each in addresses if each.get("type") == "InternalIP"), "")


def kubelet_port(node: Obj) -> int:
    endpoints = (node.get("status") or {}).get("daemonEndpoints") or {}
    return int((endpoints.get("kubeletEndpoint") or {}).get("Port") or _KUBELET_PORT)


def bracketed(address: str) -> str:
    """An address as URLs write it."""
    return f"[{address}]" if ":" in address else address


def unreachable(node_name: str, error: OSError) -> errors.APIError:
    """A kubelet that does not answer, in upstream's words."""
    return errors.InternalError(f"Internal error occurred: error dialing backend: kubelet of node {node_name}: {error}")
