"""Exec and attach through a CRI runtime's streaming server: SPDY/3.1 with the streams of remotecommand's version 4.

Who calls it: `runtime.cri`, with the address the runtime answered. SPDY and not WebSocket, although the servers speak both:
only there could standard input be closed alone before version 5, which containerd 1.6 and 1.7 do not know.
Invariant: every byte of output reaches the reader once, in order, and the exit code is known when the output has ended.
Upstream: staging/src/k8s.io/client-go/tools/remotecommand/v4.go, containerd's and CRI-O's use of k8s.io/kubelet streaming.
"""

import contextlib
import json
import socket
import threading
from collections import deque
from urllib.parse import urlsplit

from kubelet.runtime.base import STDERR, STDOUT, RuntimeFault, RuntimeUnavailable
from minikube_py.api import spdy
from minikube_py.api.types import Obj

_PIECE = 65536
_FAILED_CODE = 126


class SpdySession:
    """One exec or attach: see `base.Session`. Raises RuntimeFault when the runtime does not take it."""

    def __init__(self, url: str, *, tty: bool, stdin: bool, execs: bool) -> None:
        self._codec, self._lock = spdy.Connection(), threading.Lock()
        self._ready: deque[tuple[int, bytes]] = deque()
        self._status, self._execs, self._ended = b"", execs, False
        self._socket, rest = _upgraded(url)
        wanted = {"error": True, "stdin": stdin, "stdout": True, "stderr": not tty, "resize": tty}
        names = [name for name, asked in wanted.items() if asked]
        self._streams = {name: 2 * index + 1 for index, name in enumerate(names)}
        self._kinds = {
            number: {"stdout": STDOUT, "stderr": STDERR}.get(name, 0) for name, number in self._streams.items()
        }
        self._open = {self._streams[name] for name in ("error", "stdout", "stderr") if name in self._streams}
        try:
            for name, number in self._streams.items():
                self._send(self._codec.open(number, {"streamtype": name}))
            self._take(rest)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise RuntimeUnavailable(f"the container runtime ended the stream: {error}") from error

    def read(self) -> tuple[int, bytes] | None:
        while not self._ready:
            if self._ended:
                return None
            try:
                data = self._socket.recv(_PIECE)
                self._take(data)
            except (OSError, ValueError):
                data = b""
            if not data or not self._open:
                self._end()
        return self._ready.popleft()

    def _take(self, data: bytes) -> None:
        for frame in self._codec.receive(data):
            if isinstance(frame, spdy.Ping):
                self._send(spdy.ping(frame.number))
            elif isinstance(frame, spdy.Reset):
                self._open.discard(frame.stream)
            elif isinstance(frame, spdy.Data):
                if frame.stream == self._streams["error"]:
                    self._status += frame.data
                elif frame.data:
                    self._ready.append((self._kinds[frame.stream], frame.data))
                if frame.fin:
                    self._open.discard(frame.stream)

    def _end(self) -> None:
        self._ended = True
        if self._execs and self._failure():
            self._ready.append((STDERR, f"{self._failure()}\n".encode()))

    def _send(self, frame: bytes) -> None:
        with self._lock:
            self._socket.sendall(frame)

    def write(self, data: bytes) -> None:
        self._input(spdy.data(self._streams["stdin"], data))

    def close_stdin(self) -> None:
        if "stdin" in self._streams:
            with contextlib.suppress(RuntimeFault):
                self._input(spdy.data(self._streams["stdin"], b"", fin=True))

    def _input(self, frame: bytes) -> None:
        try:
            self._send(frame)
        except OSError as error:
            raise RuntimeFault(f"the process does not read its input any more: {error}") from error

    def resize(self, width: int, height: int) -> None:
        if "resize" in self._streams:
            text = json.dumps({"Width": width, "Height": height}).encode()
            with contextlib.suppress(OSError):
                self._send(spdy.data(self._streams["resize"], text))

    def _answer(self) -> Obj:
        with contextlib.suppress(ValueError):
            found = json.loads(self._status)
            return found if isinstance(found, dict) else {}
        return {}

    def _failure(self) -> str:
        """Why the command could not be run at all; "" when it was."""
        answer = self._answer()
        ran = answer.get("status") == "Success" or answer.get("reason") == "NonZeroExitCode"
        return "" if ran else str(answer.get("message") or "the container runtime ended the stream")

    def exit_code(self) -> int | None:
        if not self._execs or not self._ended:
            return None
        causes = (self._answer().get("details") or {}).get("causes") or ()
        code = next((cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"), None)
        return int(code) if code is not None else _FAILED_CODE if self._failure() else 0

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _upgraded(url: str) -> tuple[socket.socket, bytes]:
    """A connection that speaks SPDY now, and what came after the answer."""
    place = urlsplit(url)
    if place.scheme not in ("http", ""):
        raise RuntimeFault(
            f"the container runtime streams over {place.scheme}; only http on this machine is spoken here"
        )
    host = {"::": "::1", "0.0.0.0": "127.0.0.1", None: "127.0.0.1"}.get(place.hostname, place.hostname)
    head = (
        f"POST {place.path}{'?' + place.query if place.query else ''} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    )
    answer = b""
    try:
        sock = socket.create_connection((host, place.port or 80), 30)
        sock.sendall(head.encode())
        while b"\r\n\r\n" not in answer and (piece := sock.recv(_PIECE)):
            answer += piece
    except OSError as error:
        raise RuntimeUnavailable(f"the container runtime's streaming server does not answer: {error}") from error
    head_text, _, rest = answer.partition(b"\r\n\r\n")
    if head_text.split(b" ")[1:2] != [b"101"]:
        sock.close()
        raise RuntimeFault(rest.decode(errors="replace").strip() or "the container runtime refused the stream")
    sock.settimeout(None)
    return sock, rest
