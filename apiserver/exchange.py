"""One HTTP exchange over TLS that ends when its time is over, whatever the other side does; connections are used again.

Who calls it: webhooks, on a thread per exchange. Invariant: `abort` ends an exchange at once, from any thread; a connection is
in one exchange at a time, and waits for the next only when the last was read to its end. One that the other side closed
meanwhile is noticed before a word is lost on it, or else the request is sent again on another.
"""

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections import deque
from typing import NamedTuple

_MOST_IDLE = 32
_LARGEST_ANSWER = 16 * 1024 * 1024


class Target(NamedTuple):
    """Where to connect to, and the name expected there."""

    host: str
    port: int
    name: str


_Key = tuple[Target, ssl.SSLContext]


class _Connection(NamedTuple):
    """An open connection. `handle` is a second descriptor of it, by which another thread may cut it."""

    http: http.client.HTTPConnection
    handle: socket.socket

    def close(self) -> None:
        self.http.close()
        self.handle.close()


class Idle:
    """Connections that wait for the next call to the same target. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[_Key, _Connection]] = deque()

    def take(self, key: _Key) -> _Connection | None:
        """One that the other side has not closed meanwhile."""
        with self._lock:
            found = [entry for entry in self._waiting if entry[0] == key]
            for entry in found:
                self._waiting.remove(entry)
        while found:
            connection = found.pop()[1]
            poll = select.poll()
            poll.register(connection.handle, select.POLLIN)
            if not poll.poll(0):  # nothing was said since: neither a word out of turn nor the end
                for other in found:
                    self.put(*other)
                return connection
            connection.close()
        return None

    def put(self, key: _Key, connection: _Connection) -> None:
        with self._lock:
            self._waiting.append((key, connection))
            surplus = [self._waiting.popleft()[1] for _ in range(len(self._waiting) - _MOST_IDLE)]
        for one in surplus:
            one.close()


class Exchange:
    """One request and its answer. `abort` cuts the connection, from any thread, at any time."""

    def __init__(self, idle: Idle, deadline: float) -> None:
        self._idle, self._deadline, self._lock = idle, deadline, threading.Lock()
        self._connection: _Connection | None = None
        self._aborted = False

    def left(self) -> float:
        """Seconds."""
        return max(self._deadline - time.monotonic(), 0.0)

    def post(self, target: Target, path: str, body: bytes, tls: ssl.SSLContext) -> tuple[int, bytes]:
        """Out: status and body. Raises TimeoutError, OSError, HTTPException, ValueError for an answer without end."""
        key = (target, tls)
        while (used := self._idle.take(key)) is not None:
            try:
                return self._ask(key, used, path, body)
            except (ConnectionError, ssl.SSLError):
                if self._aborted:
                    raise
        return self._ask(key, self._connected(target, tls), path, body)

    def _connected(self, target: Target, tls: ssl.SSLContext) -> _Connection:
        left = self.left()
        if not left:
            raise TimeoutError
        raw = socket.create_connection((target.host, target.port), timeout=left)
        with raw:  # TLS takes the descriptor over
            made = _Connection(http.client.HTTPConnection(target.name, target.port), raw.dup())
            self._hold(made)
            made.http.sock = tls.wrap_socket(raw, server_hostname=target.name)
        return made

    def _ask(self, key: _Key, connection: _Connection, path: str, body: bytes) -> tuple[int, bytes]:
        self._hold(connection)
        try:
            connection.http.sock.settimeout(self.left() or 0.001)
            headers = {"Content-Type": "application/json", "Accept": "application/json", "Host": key[0].name}
            connection.http.request("POST", path, body, headers)
            response = connection.http.getresponse()
            answer = response.read(_LARGEST_ANSWER + 1)
            if len(answer) > _LARGEST_ANSWER:
                raise ValueError(f"the answer is longer than {_LARGEST_ANSWER} bytes")
            if response.length:
                raise ConnectionError("the answer broke off")
            reusable = response.isclosed() and not response.will_close
        except BaseException:
            connection.http.close()
            raise
        with self._lock:
            held, self._connection = self._connection, None
        if held is not None and reusable:
            self._idle.put(key, connection)
        elif held is not None:
            connection.close()
        return response.status, answer

    def _hold(self, connection: _Connection) -> None:
        """From now on this is what `abort` cuts."""
        with self._lock:
            if self._aborted:
                connection.close()
                raise TimeoutError
            before, self._connection = self._connection, connection
        if before is not None and before is not connection:
            before.close()

    def abort(self) -> None:
        with self._lock:
            self._aborted, held, self._connection = True, self._connection, None
        if held is not None:
            with contextlib.suppress(OSError):  # it may be over already
                held.handle.shutdown(socket.SHUT_RDWR)
            held.handle.close()
