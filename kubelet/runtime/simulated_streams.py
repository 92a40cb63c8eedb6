"""What a simulated container does, says and uses: its commands' behaviour, its events, logs and sessions.

Who calls it: `runtime.simulated`. Invariant: nothing here starts a process or a thread.
"""

import queue
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kubelet.runtime.base import STDOUT, ContainerConfig, Event, LogOptions, Resources, Stats, Status
from minikube_py.api import quantity
from minikube_py.api.clock import Clock

_LEAST_SHARES, _IDLE_MILLI, _IDLE_MEMORY = 2, 2, 1 << 20


@dataclass
class Simulated:
    """One sandbox or container."""

    status: Status
    key: str
    config: ContainerConfig | None = None
    output: list[tuple[float, str, bytes]] = field(default_factory=list)


def behaviour(command: Sequence[str]) -> tuple[float | None, int]:
    """(seconds until the command ends, None = never; exit code), read off simple shell commands."""
    words = list(command)
    if len(words) >= 3 and words[0].rsplit("/", 1)[-1] in ("sh", "bash", "ash") and words[1] == "-c":
        lasts, code = 0.0, 0
        for part in re.split(r"[;&|\n]+", words[2]):
            inner, code = behaviour(_split(part))
            if inner is None:
                return None, 0
            lasts += inner
            if part.split()[:1] == ["exit"]:
                return lasts, code
        return lasts, code
    if not words:
        return None, 0
    name = words[0].rsplit("/", 1)[-1]
    if name == "sleep":
        number = re.fullmatch(r"([0-9.]+)", words[1]) if len(words) > 1 else None
        return (float(number.group(1)), 0) if number else (None, 0)
    if name == "exit":
        return 0.0, int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if name in ("true", "false", "echo", "date", "hostname", "ls", "cat", "touch", "mkdir", "rm", "test", "printf"):
        return 0.0, int(name == "false")
    return None, 0


def stated(item: Simulated, name: str, otherwise: int, read: Callable[[str], int] = quantity.value) -> int:
    """A quantity the container's environment states of itself."""
    text = dict(item.config.env).get(name) if item.config else None
    return otherwise if text is None else read(text)


def figures(item: Simulated, now: datetime) -> Stats:
    """What a container uses: as it states of itself, else half of the processor it asks for and a quarter of its memory."""
    status, limits = item.status, item.status.limits or Resources()
    ran = (now - status.started_at).total_seconds() if status.running and status.started_at else 0.0
    asked = limits.cpu_shares * 1000 // 1024 // 2 if limits.cpu_shares > _LEAST_SHARES else _IDLE_MILLI
    used = round(ran * stated(item, "SIMULATED_CPU", asked, quantity.milli) * 1e6)
    memory = stated(item, "SIMULATED_MEMORY", limits.memory // 4 or _IDLE_MEMORY)
    return Stats(
        status.id, used, memory, memory, memory, stated(item, "SIMULATED_PIDS", 1), cpu_user=used * 3 // 4,
        cpu_system=used // 4,
    )  # fmt: skip


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def echo(command: Sequence[str]) -> bytes:
    words = list(command)
    if len(words) >= 3 and words[1] == "-c":
        words = _split(re.split(r"[;&|\n]+", words[2])[0])
    return (" ".join(words[1:]) + "\n").encode() if words and words[0].rsplit("/", 1)[-1] == "echo" else b""


class SimulatedEvents:
    """See `base.EventStream`."""

    def __init__(self, forget: Callable[["SimulatedEvents"], None]) -> None:
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._forget = forget

    def put(self, event: Event) -> None:
        self._queue.put(event)

    def __iter__(self) -> Iterator[Event]:
        yield Event("relist")
        while (event := self._queue.get()) is not None:
            yield event

    def close(self) -> None:
        self._forget(self)
        self._queue.put(None)


class SimulatedLogs:
    """See `base.LogStream`."""

    def __init__(self, item: Simulated, options: LogOptions, changed: threading.Condition, clock: Clock) -> None:
        self._item, self._options, self._changed, self._clock = item, options, changed, clock
        self._closed = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        lines = [line for line in self._item.output if line[0] >= self._options.since]
        position = len(self._item.output)
        for line in lines[-self._options.tail :] if self._options.tail > 0 else lines if self._options.tail < 0 else []:
            yield STDOUT, self._format(line)
        while self._options.follow:
            with self._changed:
                fresh = self._item.output[position:]
                if not fresh:
                    if self._closed or not self._item.status.running:
                        return
                    self._clock.wait_on(self._changed, None)
                position += len(fresh)
            for line in fresh:
                yield STDOUT, self._format(line)

    def _format(self, line: tuple[float, str, bytes]) -> bytes:
        return f"{line[1]} ".encode() + line[2] if self._options.timestamps else line[2]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class SimulatedSession:
    """See `base.Session`; with input it echoes until the input ends."""

    def __init__(self, output: bytes, code: int | None, *, echo: bool) -> None:
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._code = code
        if output:
            self._queue.put(output)
        if not echo:
            self._queue.put(None)

    def read(self) -> tuple[int, bytes] | None:
        data = self._queue.get()
        return None if data is None else (STDOUT, data)

    def write(self, data: bytes) -> None:
        self._queue.put(data)

    def close_stdin(self) -> None:
        self._queue.put(None)

    def resize(self, width: int, height: int) -> None: ...

    def exit_code(self) -> int | None:
        return self._code

    def close(self) -> None:
        self._queue.put(None)
