"""Runtimes and engines that fail on purpose, for test_faults.py: one that dies at its nth call, a socket that hangs or lies."""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubelet.runtime.base import CONTAINER, Runtime
from minikube_py.api.clock import RealClock

COUNTED = (
    "run_sandbox", "stop_sandbox", "list_all", "inspect", "create_container", "start_container", "stop_container", "remove",
    "image_status", "pull_image", "update_resources",
)  # fmt: skip


class Killed(BaseException):
    """The process is gone: nothing catches this, so the thread that called ends there."""


class Mortal:
    """A runtime whose user dies at its nth call, before or after it took effect. The runtime itself lives on."""

    def __init__(self, runtime: Runtime, nth: int = 0, when: str = "before") -> None:
        self.runtime, self.nth, self.when = runtime, nth, when
        self.calls: list[str] = []
        self.dead = threading.Event()
        self.on_death: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.runtime, name)
        if name not in COUNTED:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                if self.dead.is_set():
                    raise Killed
                self.calls.append(name)
                last = len(self.calls) == self.nth
                if last and self.when == "before":
                    self._die()
            result = method(*args, **kwargs)
            if last:
                self._die()
            if self.dead.is_set():
                raise Killed
            return result

        return call

    def _die(self) -> None:
        self.dead.set()
        self.on_death()
        raise Killed


class RunningTwice:
    """Watches a simulated runtime: was there ever a moment with two running containers of one name in one pod?"""

    def __init__(self, runtime: Any) -> None:
        self.found: list[str] = []
        original = runtime.start_container

        def start(container_id: str) -> None:
            original(container_id)
            running = [
                (s.labels["io.kubernetes.pod.uid"], s.labels["io.kubernetes.container.name"])
                for s in runtime.list_all() if s.state == "running" and s.labels["io.kubernetes.docker.type"] == CONTAINER
            ]  # fmt: skip
            self.found += [str(pair) for pair in set(running) if running.count(pair) > 1]

        runtime.start_container = start


class Jumping(RealClock):
    """A clock somebody sets: `offset` seconds away from the truth. Waiting and measuring go on undisturbed."""

    offset = 0.0

    def now(self) -> Any:
        from datetime import timedelta

        return super().now() + timedelta(seconds=self.offset)

    def time(self) -> float:
        return super().time() + self.offset


class EngineProxy:
    """A socket in front of the engine's: `mode` is "pass", "error" (500 for everything) or "hang" (no answer at all)."""

    def __init__(self, path: Path, engine: str = "/var/run/docker.sock") -> None:
        self.path, self.engine, self.mode = path, engine, "pass"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="engine-proxy", daemon=True).start()

    def become(self, mode: str) -> None:
        """From now on; connections that are open end, as with an engine that got stuck."""
        self.mode = mode
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        self.become("error")
        os.unlink(self.path)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="engine-proxy", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with contextlib.suppress(OSError), connection:
            if self.mode == "pass":
                with socket.socket(socket.AF_UNIX) as engine:
                    engine.connect(self.engine)
                    self._open.add(engine)
                    _pump(connection, engine)
            while self.mode == "hang" and connection.recv(65536):
                pass
            if self.mode == "error":
                connection.recv(65536)
                text = b'{"message": "something is wrong with this engine"}'
                head = f"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
                connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + text)
        self._open.discard(connection)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Both ways until either ends."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)
