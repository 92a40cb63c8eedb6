"""The sockets: several addresses, TLS with optional client certificates, HTTP/1.1 and WebSocket by uvicorn's protocols.

Who calls it: `main.run`, last of all; returns when the process was asked to stop. Invariant: the peer's certificate, already
verified by TLS against the client CA, reaches every request of its connection, WebSockets included; a client that does not
say what it wants is not waited for, one connection more than there are files for is told to come again; on SIGTERM no new
connection is accepted, watches end, requests under way finish, all within two seconds.
Upstream: staging/src/k8s.io/apiserver/pkg/server/secure_serving.go.
"""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from apiserver.options import OptionError, Options
from apiserver.pipeline import Response
from apiserver.shell import CERTIFICATE, WIRE, Scope, Shell

log = logging.getLogger(__name__)
_BACKLOG = 1024
_KEEP_ALIVE_SECONDS = 120
_DRAIN_SECONDS = 1.5
_SLICE = 128 * 1024
_HEAD_SECONDS, _HANDSHAKE_SECONDS, _SWEEP_SECONDS = 32.0, 10.0, 4.0
"""For the head of a request, and for TLS, before a client counts as too slow; how often that is looked at."""
_HEAD_BYTES = 1 << 20
_RESERVED_FILES = 256


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1, the peer's certificate in the state that every request is given, and a short way for plain reads.

    A read that the store answers from memory needs no coroutine: it is answered from within the parser's callback, head
    and body in one write. Against the ordinary way this doubles the reads per second.
    """

    __slots__ = ("_head_bytes", "lost", "waits_since")  # in the instance's dictionary they would make it 1.2 kB larger
    waits_since: float | None
    """When the head of the request that is coming in began, or the connection was made; None while there is none."""
    lost: Callable[[], object] | None
    """What the request under way wants called when the client is gone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_bytes, self.lost = 0, None
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {CERTIFICATE: tls.getpeercert(binary_form=True) or b""}
            (transport.get_extra_info("peercert") or {}).clear()  # the loop's own decoded copy: 1.5 kB per connection
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        if len(self.connections) > _most_connections():
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.lost is not None:
            self.lost()

    def data_received(self, data: bytes) -> None:
        if self.waits_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self.waits_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.waits_since = None
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        shell = cast(Shell, self.config.app)
        response = None if cycle.flow.write_paused else shell.answer_now(cast(Scope, cycle.scope))
        if response is None:
            cycle.scope["state"][WIRE] = _Wire(self, cycle)
            super()._start_asgi_task(cycle, app)
        else:
            _Wire(self, cycle).write(response)


class _Reader(asyncio.BufferedProtocol):
    """Stands between TLS and the protocol, and has all connections read into one buffer.

    Otherwise TLS makes a block of 256 kB for every read. From 256 kB on blocks are mapped (`malloc.py`), which would make a
    get one and a half times as dear.
    """

    __slots__ = ("_protocol",)
    _buffer = memoryview(bytearray(64 * 1024))

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class _Wire:
    """One request's connection, past ASGI (`shell.Wire`)."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: _Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    def write(self, response: Response) -> bool:
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.scope["method"] == "HEAD" or response.code == 304:
            return False
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        if response.code == 413:
            cycle.keep_alive = False  # what is left of that body is not read
        if len(response.body) <= _SLICE:
            cycle.transport.write(_head(response, cycle.keep_alive) + response.body)
        else:
            cycle.transport.write(_head(response, cycle.keep_alive))
            _write_slices(cycle.transport, response.body)
        for piece in response.more:
            cycle.transport.write(piece)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    def push(self, chunk: bytes) -> bool:
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return True

    def when_lost(self, call: Callable[[], object] | None) -> None:
        self._protocol.lost = call
        if call is not None and self._cycle.disconnected:
            call()


def _head(response: Response, keep_alive: bool) -> bytes:
    lines = [
        STATUS_LINE[response.code], b"content-type: ", response.content_type.encode(),
        b"\r\ncontent-length: %d\r\n" % response.size,
    ]  # fmt: skip
    lines += [f"{name.lower()}: {value}\r\n".encode() for name, value in response.headers.items()]
    lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    return b"".join(lines)


def _write_slices(transport: asyncio.Transport, body: bytes) -> None:
    """A large answer, in slices: TLS then needs buffers of a slice, not of the whole. After some lists of 1.7 MB this
    halves what the process has grown by."""
    view = memoryview(body)
    for at in range(0, len(body), _SLICE):
        transport.write(view[at : at + _SLICE])


_FULL = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@cache
def _most_connections() -> int:
    """As many as there are files to open, less some for everything else."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES


def allow_files() -> None:
    """As many open files, and so connections, as this process may have at all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _end_the_slow(state: ServerState) -> None:
    """Whoever takes too long to say what it wants is cut off: it would hold its connection for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for connection in list(state.connections):
            since = getattr(connection, "waits_since", None)
            if since is not None and loop.time() - since > _HEAD_SECONDS:
                connection.transport.abort()


class _WebSocket(WebSocketsSansIOProtocol):
    """Subprotocols are chosen by the application: kubectl offers one with a slash in it, which no strict parser takes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn.process_subprotocol = lambda headers: None  # type: ignore[method-assign]


def open_sockets(options: Options) -> list[socket.socket]:
    """One listening socket per address. Raises OptionError that names the address which is taken."""
    sockets: list[socket.socket] = []
    for address in options.bind:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((address, options.port))
        except OSError as error:
            for other in sockets:
                other.close()
            raise OptionError(
                f"cannot listen on {address} port {options.port}: {error.strerror}; stop what uses it or choose another --port"
            ) from None
        sockets.append(opened)
    return sockets


def tls_context(options: Options) -> ssl.SSLContext | None:
    """TLS as the options ask; None serves plain HTTP (tests). Raises OptionError for files that cannot be used."""
    if not options.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
        for authority in filter(None, (options.client_ca, options.requestheader_client_ca)):
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = (options.tls_cert, options.tls_key, options.client_ca, options.requestheader_client_ca)
        names = " or ".join(filter(None, files))
        raise OptionError(f"the TLS files cannot be used ({names}): {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # connections are kept open; tickets would only cost every handshake
    return context


Start = Callable[[], Awaitable[tuple[Any, asyncio.Event]]]


def run(sockets: list[socket.socket], tls: ssl.SSLContext | None, start: Start) -> None:
    """Serve until SIGTERM or SIGINT. `start`, on the loop, makes the ASGI application and the event that ends its watches."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sockets, tls, start))


async def _serve(sockets: list[socket.socket], tls: ssl.SSLContext | None, start: Start) -> None:
    loop = asyncio.get_running_loop()
    application, stopping = await start()
    config = uvicorn.Config(
        application, interface="asgi3", http=_Protocol, ws=_WebSocket, lifespan="off", log_config=None,
        access_log=False, proxy_headers=False, timeout_keep_alive=_KEEP_ALIVE_SECONDS, server_header=False, date_header=False,
        ws_max_size=16 * 1024 * 1024, ws_ping_interval=None, ws_per_message_deflate=False,
    )  # fmt: skip
    config.load()
    state = ServerState()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def protocol() -> _Reader:
        return _Reader(_Protocol(config=config, server_state=state, app_state={}))

    handshake = _HANDSHAKE_SECONDS if tls is not None else None
    servers = [
        await loop.create_server(protocol, sock=opened, ssl=tls, backlog=_BACKLOG, ssl_handshake_timeout=handshake)
        for opened in sockets
    ]
    sweeping = asyncio.ensure_future(_end_the_slow(state))
    log.info("listening on %s", ", ".join("{}:{}".format(*opened.getsockname()[:2]) for opened in sockets))
    await stop.wait()
    sweeping.cancel()
    for server in servers:
        server.close()
    stopping.set()
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=_DRAIN_SECONDS)
    for connection in list(state.connections):
        with contextlib.suppress(Exception):
            connection.transport.close()
