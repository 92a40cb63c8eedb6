"""Network namespaces for tests: a "host" of the test's own and pods in it, so that nothing of the real host is touched.

Who uses it: the tests of this directory. A namespace is held by one thread; sockets are opened inside and used from outside.
"""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterator

from kubelet.network.netlink import entered

_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A fresh network namespace; `pid` serves as the process id of a sandbox living in it."""

    def __init__(self) -> None:
        self._ready, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()
        assert self._ready.wait(5), "no network namespace"

    def _hold(self) -> None:
        assert _libc.unshare(0x40000000) == 0, os.strerror(ctypes.get_errno())
        self.pid = threading.get_native_id()
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._ready.set()
        self._end.wait()

    def close(self) -> None:
        self._end.set()
        self._thread.join(5)
        os.close(self.fd)

    def socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        with entered(self.fd):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(3)
        return made

    def get(self, address: str, port: int, timeout: float = 3, source: str = "") -> str:
        """Connect, read what the server says, close."""
        with self.socket() as client:
            client.settimeout(timeout)
            if source:
                client.bind((source, 0))
            client.connect((address, port))
            return client.recv(200).decode()

    def ask(self, address: str, port: int, timeout: float = 3, source_port: int = 0) -> str:
        """One UDP question, one answer."""
        with self.socket(socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            client.bind(("0.0.0.0", source_port))
            client.connect((address, port))
            client.send(b"?")
            return client.recv(200).decode()

    @contextlib.contextmanager
    def serves(self, name: str, port: int, address: str = "0.0.0.0") -> Iterator[None]:
        """Answer every TCP connection and UDP question on `port` with "<name> <the client's address>"."""
        tcp, udp = self.socket(), self.socket(socket.SOCK_DGRAM)
        for server in (tcp, udp):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            server.settimeout(None)
        tcp.listen(64)
        threading.Thread(target=_accept, args=(tcp, name), daemon=True).start()
        threading.Thread(target=_answer, args=(udp, name), daemon=True).start()
        try:
            yield
        finally:
            for server in (tcp, udp):
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)
                server.close()


def _accept(server: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, peer = server.accept()
            with connection:
                connection.sendall(f"{name} {peer[0]}".encode())


def _answer(server: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            _, peer = server.recvfrom(100)
            if peer is None:
                return  # shut down
            server.sendto(f"{name} {peer[0]}".encode(), peer)
