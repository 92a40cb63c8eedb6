"""The file behind the audit log: lines are queued and written by a thread of its own, and the file is rotated.

Who calls it: `audit.py`. Invariant: `put` never waits; a line that the disk cannot take is dropped and counted, and no request
is held up or failed by its log.
Upstream: staging/src/k8s.io/apiserver/plugin/pkg/audit/log, with its batching mode.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from minikube_py.api.clock import Clock

log = logging.getLogger(__name__)
_ROTATE_BYTES = 64 * 1024 * 1024
_KEEP = 3
_QUEUE = 20_000
_GATHER_SECONDS = 0.05

Line = Callable[[], bytes]
"""Made into bytes on the writing thread, since that may take a moment."""


class AuditLog:
    """Appends to one file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._queue: deque[Line] = deque()
        self._some, self._stop = threading.Event(), threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_loop, name="audit", daemon=True)

    def start(self) -> None:
        """Open the file and begin to write. Raises OSError when it cannot be opened."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.open("ab").close()
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, and end."""
        if self._thread.is_alive():
            self._stop.set()
            self._some.set()
            self._thread.join(2)

    def put(self, line: Line) -> None:
        if len(self._queue) >= _QUEUE:
            self.dropped += 1
            return
        self._queue.append(line)
        if not self._some.is_set():
            self._some.set()

    def _write_loop(self) -> None:
        while not self._stop.is_set():
            self._clock.wait(self._some)
            self._clock.wait(self._stop, _GATHER_SECONDS)  # a moment for more: one write takes many lines
            self._some.clear()
            self._drain()

    def _drain(self) -> None:
        batch = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            self._append(b"".join(line() + b"\n" for line in batch))
        except OSError as error:
            self.dropped += len(batch)
            log.warning("the audit log cannot be written, %d entries so far are missing: %s", self.dropped, error)

    def _append(self, lines: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(lines)
            full = file.tell() > _ROTATE_BYTES
        if full:
            for number in range(_KEEP - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
