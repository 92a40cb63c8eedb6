"""A container's log as CRI runtimes write it: lines "TIME stdout|stderr F|P TEXT" in a file, P for one that goes on.

Who calls it: `runtime.cri` to read a log, and its thread to rotate them. Invariants: a reader that follows loses nothing at a
rotation, as it reads the old file to its end first; of the rotated files the newest few are kept, beside the log as
"LOG.TIME"; a log that is missing reads as empty.
Upstream: pkg/kubelet/kuberuntime/logs, pkg/kubelet/logs/container_log_manager.go (its compression is left out).
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kubelet.runtime.base import STDERR, STDOUT, LogOptions
from minikube_py.api.clock import Clock, parse_rfc3339

MAX_SIZE, MAX_FILES = 10 << 20, 5
_PERIOD, _BLOCK = 0.1, 1 << 16


def files(path: str) -> list[str]:
    """A log and its predecessors, oldest first."""
    directory, name = os.path.split(path)
    try:
        found = sorted(entry for entry in os.listdir(directory) if entry.startswith(name + "."))
    except OSError:
        return []
    return [*(os.path.join(directory, entry) for entry in found), path]


def remove(path: str) -> None:
    """Remove a log, its predecessors, and the directories that are empty then."""
    for file in files(path):
        with contextlib.suppress(OSError):
            os.unlink(file)
    for directory in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def rotate(path: str, reopen: Callable[[], None], stamp: str, max_size: int = MAX_SIZE) -> bool:
    """Set a log that has grown too large aside; the runtime then begins a new one. Out: whether it had to be.

    In: `reopen` tells the runtime; when that fails the log is put back. `stamp` sorts after those of earlier rotations.
    """
    try:
        if os.stat(path).st_size < max_size:
            return False
        for old in files(path)[: -(MAX_FILES - 1)]:
            os.unlink(old)
        os.rename(path, f"{path}.{stamp}")
    except OSError:  # gone meanwhile, or a disk in trouble: the next round tries again
        return False
    try:
        reopen()
    except BaseException:
        if not os.path.exists(path):
            os.rename(f"{path}.{stamp}", path)
        raise
    return True


class CriLogs:
    """A log being read: see `base.LogStream`. `running()` says whether more may come."""

    def __init__(self, path: str, options: LogOptions, running: Callable[[], bool], clock: Clock) -> None:
        self._path, self._options, self._running, self._clock = path, options, running, clock
        self._closed = threading.Event()
        self._fresh = True  # the next piece begins a line

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for line in self._lines():
            piece = self._piece(line)
            if piece is not None:
                yield piece

    def close(self) -> None:
        self._closed.set()

    def _lines(self) -> Iterator[bytes]:
        waiting, skip = files(self._path), 0
        if self._options.tail >= 0:
            waiting, skip = tail_of(waiting, self._options.tail)
        while not self._closed.is_set():
            file = _opened(waiting.pop(0)) if waiting else None
            if file is None and not waiting:
                if not (self._options.follow and self._running()):
                    return
                self._clock.wait(self._closed, _PERIOD)
                waiting = [self._path]
            elif file is not None:
                with file:
                    file.seek(skip)
                    yield from self._of(file, last=not waiting)
                    rotated = self._options.follow and not waiting and _is_other(file, self._path)
                skip = 0
                if rotated:
                    waiting = [self._path]

    def _of(self, file: BinaryIO, last: bool) -> Iterator[bytes]:
        """The lines of one file; of the newest also those to come, if we follow, until it is rotated."""
        rest = b""
        while not self._closed.is_set():
            more = last and self._options.follow
            alive = (
                more and self._running() and not _is_other(file, self._path)
            )  # asked before reading: nothing is missed
            while block := file.read(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
                if self._closed.is_set():
                    return
            if not alive:
                break
            self._clock.wait(self._closed, _PERIOD)
        if rest:
            yield rest

    def _piece(self, line: bytes) -> tuple[int, bytes] | None:
        """None for what is older than asked for, and for what is no line of a log (the power was cut while it was written)."""
        parts = line.split(b" ", 3)
        if len(parts) < 3:
            return None
        stamp, stream, tags, text = parts[0], parts[1], parts[2], parts[3] if len(parts) > 3 else b""
        if self._options.since and not self._is_new(stamp):
            return None
        head = stamp + b" " if self._options.timestamps and self._fresh else b""
        self._fresh = not tags.startswith(b"P")
        return STDERR if stream == b"stderr" else STDOUT, head + text + (b"\n" if self._fresh else b"")

    def _is_new(self, stamp: bytes) -> bool:
        try:
            return parse_rfc3339(stamp.decode()).timestamp() >= self._options.since
        except ValueError:
            return False


def tail_of(paths: list[str], count: int) -> tuple[list[str], int]:
    """Where the last `count` lines begin: (the files to read, the offset in the first)."""
    for index in range(len(paths) - 1, -1, -1):
        file = _opened(paths[index])
        if file is None:
            continue
        with file:
            offset, found = _last_lines(file, count)
        if found >= count:
            return paths[index:], offset
        count -= found
    return paths, 0


def _last_lines(file: BinaryIO, count: int) -> tuple[int, int]:
    """(Offset where the last `count` lines begin, how many there are of them), reading backwards."""
    end = at = file.seek(0, os.SEEK_END)
    if not count:
        return end, 0
    found = 0  # ends of lines seen, from the back; the very last one ends the last line
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        block = file.read(size)
        place = len(block)
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            if at + place + 1 != end:
                found += 1
                if found == count:
                    return at + place + 1, count
    return 0, found + (1 if end else 0)


def _opened(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except OSError:
        return None


def _is_other(file: BinaryIO, path: str) -> bool:
    """Whether a new file has taken the path."""
    try:
        now = os.stat(path)
    except OSError:
        return False
    return now.st_ino != os.fstat(file.fileno()).st_ino
