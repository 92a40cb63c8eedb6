"""Asking other name servers without waiting for them.

Who calls it: dns.py, within its one thread. Invariant: every question gets exactly one completion: a reply with the right id
from the server it was sent to, or None. Each is sent from a fresh socket (a random port, so replies are hard to forge).
A server that let questions time out is left alone for a while; when all are, the answer is None at once.
Upstream: CoreDNS plugin/forward.
"""

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minikube_py.api.clock import Clock

_TIMEOUT, _DOWN_FOR, _MAX_WAITING = 1.5, 5.0, 500
Complete = Callable[[bytes | None], None]


@dataclass
class _Waiting:
    query: bytes
    complete: Complete
    deadline: float
    server: tuple[str, int]
    tried: set[tuple[str, int]]


class Upstream:
    """The resolvers of the host, asked in order. Lives in the loop of `selector`."""

    def __init__(self, servers: Sequence[str], selector: selectors.BaseSelector, clock: Clock) -> None:
        self._servers = [_address(server) for server in servers]
        self._selector, self._clock = selector, clock
        self._down: dict[tuple[str, int], float] = {}
        self._waiting: dict[socket.socket, _Waiting] = {}

    def ask(self, query: bytes, complete: Complete, *, tcp: bool) -> None:
        """Send a query; `complete(reply or None)` is called later, or at once when nobody can be asked."""
        if tcp:
            self._ask_tcp(query, complete)
        else:
            self._send(_Waiting(query, complete, 0.0, ("", 0), set()))

    def timeout(self) -> float | None:
        """Seconds until the next deadline; None when nothing is waited for."""
        if not self._waiting:
            return None
        nearest = min(w.deadline for w in self._waiting.values())
        return max(0.001, nearest - self._clock.monotonic())

    def expire(self) -> None:
        """Give up on what is overdue: its server is down for a while, the next one is asked."""
        now = self._clock.monotonic()
        for sock, waiting in [item for item in self._waiting.items() if item[1].deadline <= now]:
            self._forget(sock)
            self._down[waiting.server] = now + _DOWN_FOR
            self._send(waiting)

    def _send(self, waiting: _Waiting) -> None:
        now = self._clock.monotonic()
        for server in self._servers:
            if server in waiting.tried or self._down.get(server, 0.0) > now or len(self._waiting) >= _MAX_WAITING:
                continue
            waiting.tried.add(server)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.connect(server)
                sock.send(waiting.query)
            except OSError:
                sock.close()
                self._down[server] = now + _DOWN_FOR
                continue
            waiting.server, waiting.deadline = server, now + _TIMEOUT
            self._waiting[sock] = waiting
            self._selector.register(sock, selectors.EVENT_READ, self._receive)
            return
        waiting.complete(None)

    def _receive(self, sock: socket.socket) -> None:
        waiting = self._waiting[sock]
        try:
            reply = sock.recv(65535)
        except OSError:  # nobody listens there
            self._forget(sock)
            self._down[waiting.server] = self._clock.monotonic() + _DOWN_FOR
            self._send(waiting)
            return
        if reply[:2] == waiting.query[:2]:
            self._forget(sock)
            waiting.complete(reply)

    def _forget(self, sock: socket.socket) -> None:
        del self._waiting[sock]
        self._selector.unregister(sock)
        sock.close()

    def _ask_tcp(self, query: bytes, complete: Complete) -> None:
        """Rare (answers too long for a datagram), so a thread per question; it hands the reply back through a socket pair."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        servers = [s for s in self._servers if self._down.get(s, 0.0) <= self._clock.monotonic()]
        threading.Thread(target=_tcp, args=(servers, query, theirs), name="dns-tcp", daemon=True).start()

        def receive(sock: socket.socket) -> None:
            self._selector.unregister(sock)
            reply = sock.recv(70000)
            sock.close()
            complete(reply or None)

        self._selector.register(ours, selectors.EVENT_READ, receive)


def _tcp(servers: list[tuple[str, int]], query: bytes, back: socket.socket) -> None:
    with back:
        for server in servers:
            with contextlib.suppress(OSError), socket.create_connection(server, timeout=_TIMEOUT) as connection:
                connection.sendall(struct.pack(">H", len(query)) + query)
                stream = connection.makefile("rb")
                reply = stream.read(struct.unpack(">H", stream.read(2) or b"\0\0")[0])
                if reply[:2] == query[:2] and reply:
                    back.send(reply)
                    return


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.partition(":")
    return host, int(port or 53)
