"""Streaming to and from Docker: exec and attach over a hijacked connection, logs over a chunked one.

Who calls it: `runtime.docker`. We speak the upgrade ourselves, because the library's socket loses what arrived together with
the response headers and cannot close standard input alone.
Invariant: every byte after the headers reaches the reader exactly once, in order, split by Docker's eight-byte frames unless
the container has a terminal.
"""

import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from kubelet.runtime.base import STDERR, STDOUT, ContainerNotFound, RuntimeFault, RuntimeUnavailable

_HEADER = struct.Struct(">BxxxL")
_PIECE = 65536


def frames(read: Callable[[int], bytes], tty: bool) -> Iterator[tuple[int, bytes]]:
    """Demultiplex: `read(n)` gives up to n bytes, b"" at the end. With a terminal everything is standard output."""
    if tty:
        while piece := read(_PIECE):
            yield STDOUT, piece
        return
    while header := _exactly(read, _HEADER.size):
        stream, length = _HEADER.unpack(header)
        while length > 0:
            piece = read(min(length, _PIECE))
            if not piece:
                return
            length -= len(piece)
            yield (STDERR if stream == STDERR else STDOUT), piece


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = read(count - len(data))
        if not piece:
            return b""
        data += piece
    return data


def connect(base_url: str, timeout: float) -> socket.socket:
    """A fresh connection to the engine at unix://path or tcp://host:port."""
    url = urlsplit(base_url)
    try:
        if url.scheme in ("unix", "http+unix"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(url.path)
            return sock
        return socket.create_connection((url.hostname or "127.0.0.1", url.port or 2375), timeout)
    except OSError as error:
        raise RuntimeUnavailable(f"cannot reach the Docker Engine at {base_url}: {error}") from error


class HijackedSession:
    """One exec or attach: see `base.Session`."""

    def __init__(
        self, base_url: str, path: str, body: Any, *, tty: bool, resize: Callable[[int, int], None],
        exit_code: Callable[[], int | None],
    ) -> None:  # fmt: skip
        self._socket = connect(base_url, timeout=60)
        self._rest = b""
        self.resize, self.exit_code = resize, exit_code
        try:
            self._upgrade(path, json.dumps(body).encode() if body is not None else b"")
        except OSError as error:
            self._socket.close()
            raise RuntimeUnavailable(f"the Docker Engine ended the connection: {error}") from error
        except RuntimeFault:
            self._socket.close()
            raise
        self._socket.settimeout(None)
        self._frames = frames(self._read, tty)

    def _upgrade(self, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise RuntimeUnavailable("the Docker Engine closed the connection")
            answer += piece
        headers, _, self._rest = answer.partition(b"\r\n\r\n")
        status = int(headers.split(None, 2)[1])
        if status not in (101, 200):
            self._refused(status, headers)

    def _refused(self, status: int, headers: bytes) -> None:
        lengths = [line.split(b":")[1] for line in headers.split(b"\r\n") if line.lower().startswith(b"content-length")]
        while lengths and len(self._rest) < int(lengths[0]):
            piece = self._socket.recv(_PIECE)
            if not piece:
                break
            self._rest += piece
        message = self._rest.decode(errors="replace").strip()
        with contextlib.suppress(ValueError, TypeError, KeyError):
            message = json.loads(message)["message"]
        raise (ContainerNotFound if status == 404 else RuntimeFault)(message or f"HTTP {status}")

    def _read(self, count: int) -> bytes:
        if self._rest:
            piece, self._rest = self._rest[:count], self._rest[count:]
            return piece
        try:
            return self._socket.recv(count)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def settimeout(self, seconds: float | None) -> None:
        """How long one `read` may wait; it raises TimeoutError after that."""
        self._socket.settimeout(seconds)

    def read(self) -> tuple[int, bytes] | None:
        return next(self._frames, None)

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise RuntimeFault(f"the process does not read its input any more: {error}") from error

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class DockerLogs:
    """A log being read: see `base.LogStream`. `response` is a streaming HTTP response."""

    def __init__(self, response: Any, sock: socket.socket | None, tty: bool) -> None:
        self._response, self._socket, self._tty = response, sock, tty

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        try:
            yield from frames(self._read, self._tty)
        finally:
            self._response.close()

    def _read(self, count: int) -> bytes:
        try:
            # read1 gives what is there; read would wait for `count` bytes and hold back the last lines of a terminal.
            data: bytes = self._response.raw.read1(count) if self._tty else self._response.raw.read(count)
            return data
        except Exception:  # the library raises a dozen classes when its socket is closed under it: all mean the end
            return b""

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._response.close()
