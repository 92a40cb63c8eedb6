"""HTTP connections to one API server: kept alive, shared by threads, closed when the other side has closed them.

Who calls it: `rest.Client`. It is the standard library's http.client and a stack of idle connections: larger HTTP libraries
take longer to import than a whole `kctl get` may take.
Invariants: one connection carries one exchange at a time; a connection goes back to the stack only after its answer was read
to the end; one that became readable while idle (the server closed it) is never used again.
"""

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from minikube_py.client.config import Config, ssl_context

Failures = (OSError, http.client.HTTPException)
"""What sending and reading raise."""

CONNECT_TIMEOUT = 5.0
_IDLE = 32
_CHUNK = 1 << 16
# A peer that vanished without a word (a partition, a machine switched off) is noticed within about ten seconds.
_SOCKET_OPTIONS: list[tuple[int, int, int]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
] + [
    (socket.IPPROTO_TCP, getattr(socket, option), value)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))
    if hasattr(socket, option)
]


class _Connection(http.client.HTTPConnection):
    """http.client's connection over a socket made our way."""

    def __init__(self, host: str, port: int, source: str, tls: ssl.SSLContext | None, server_name: str) -> None:
        super().__init__(host, port)
        self._source, self._tls, self._server_name = source, tls, server_name
        self.used = False

    def connect(self) -> None:
        source = (self._source, 0) if self._source else None
        plain = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT, source)
        try:
            for level, option, value in _SOCKET_OPTIONS:
                plain.setsockopt(level, option, value)
            name = self._server_name or self.host
            self.sock: Any = self._tls.wrap_socket(plain, server_hostname=name) if self._tls else plain
        except BaseException:
            plain.close()
            raise

    def is_stale(self) -> bool:
        """Nothing is ever sent to us unasked: a readable idle connection has been closed, or is broken."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


class Answer:
    """One answer. Either `read` it whole, or iterate over it; `shutdown` ends an iteration from another thread."""

    def __init__(self, transport: "Transport", connection: _Connection, response: http.client.HTTPResponse) -> None:
        self._transport, self._connection, self._response = transport, connection, response
        self._socket = connection.sock
        self.status, self.headers = response.status, response.headers

    def read(self) -> bytes:
        """All of it; the connection may then carry the next exchange."""
        try:
            data = self._response.read()
        except BaseException:
            self.close()
            raise
        self._transport.give_back(self._connection, reusable=not self._response.will_close)
        return data

    def __iter__(self) -> Iterator[bytes]:
        """Pieces as they arrive. The connection is used up, because the rest may never come."""
        try:
            while data := self._response.read1(_CHUNK):
                yield data
        finally:
            self.close()

    def shutdown(self) -> None:
        """End the connection under a reader: its read returns as if the server had closed."""
        if self._socket is not None:
            # Not the TLS socket's own method: that one takes the TLS state away from the thread that is reading.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def _written_at(config: Config) -> int:
    """When the file with the client's certificate was written; 0 where there is none to watch."""
    if not config.cert_file or config.cert_data:
        return 0
    try:
        return os.stat(config.cert_file).st_mtime_ns
    except OSError:
        return 0


class Transport:
    """All connections to the server of one config. Raises ValueError when that names none."""

    def __init__(self, config: Config) -> None:
        url = urlsplit(config.server)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{config.server!r} is not the URL of an API server (https://host:port)")
        self._config, self._shown_at = config, _written_at(config)
        self._tls = ssl_context(config) if url.scheme == "https" else None
        self._host, self._port = url.hostname, url.port or (443 if self._tls else 80)
        self._source, self._server_name = config.source_address, config.tls_server_name
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()

    def send(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None, timeout: float | None
    ) -> Answer:
        """One exchange, up to the head of the answer. `timeout`: seconds without a byte. Raises what is in `Failures`."""
        while True:
            connection = self._take()
            reused, connection.used = connection.used, True
            try:
                if connection.sock is None:
                    connection.connect()
                connection.sock.settimeout(timeout)
                connection.request(method, target, body, headers)
                return Answer(self, connection, connection.getresponse())
            except BaseException as error:
                connection.close()
                # Closed under our hands at the very moment we used it again: a read may safely be sent once more.
                lost = isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError)
                if not (reused and lost and method == "GET"):
                    raise

    def _renew(self) -> None:
        """A certificate that is kept in a file may have been replaced: connections made from now on show the new one."""
        written = _written_at(self._config)
        if written and written != self._shown_at:
            self._shown_at = written
            with contextlib.suppress(OSError):  # what cannot be read is no reason to drop what works
                self._tls = ssl_context(self._config)
                self.close()

    def _take(self) -> _Connection:
        if self._shown_at:
            self._renew()
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _Connection(self._host, self._port, self._source, self._tls, self._server_name)
            if not connection.is_stale():
                return connection
            connection.close()

    def give_back(self, connection: _Connection, *, reusable: bool) -> None:
        """The exchange on this connection is complete."""
        with self._lock:
            if reusable and connection.sock is not None and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Drop the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
