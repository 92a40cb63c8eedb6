"""Ending processes by id, and knowing whether one is still there.

Who calls it: the supervisor and `minikube-py down`. Invariant: a pid read from a file is touched only while that process
still calls itself ours, because the kernel reuses pids.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

TITLE = "minikube-py: "


def alive(pid: int) -> bool:
    """True while the process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def is_ours(pid: int) -> bool:
    """True while this pid belongs to a process of a cluster (its title says so, or its command line names us)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return command.startswith(TITLE) or "minikube_py.cluster.supervisor" in command


def read_pid(file: Path) -> int:
    """The pid in `file` if that process runs and is ours, else 0."""
    try:
        pid = int(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if alive(pid) and is_ours(pid) else 0


def end(pids: Sequence[int], grace: float, *, ours: bool = False) -> None:
    """SIGTERM to all, up to `grace` seconds for them to go, then SIGKILL. `ours`: they are our children; reap them."""
    targets = [pid for pid in pids if pid and (ours or is_ours(pid))]
    for pid in targets:
        signal_quietly(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and any(_still_there(pid, ours) for pid in targets):
        time.sleep(0.02)
    for pid in targets:
        if _still_there(pid, ours):
            signal_quietly(pid, signal.SIGKILL)
    while any(_still_there(pid, ours) for pid in targets):
        time.sleep(0.02)


def signal_quietly(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _still_there(pid: int, ours: bool) -> bool:
    if ours:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return alive(pid)
