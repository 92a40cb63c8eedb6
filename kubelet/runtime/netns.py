"""What a runtime on this very machine does to processes: enter a network namespace, end a process, oom scores.

Who calls it: `runtime.docker`. Invariant: the calling thread leaves a namespace it entered; the socket made there stays in it.
"""

import contextlib
import os
import signal
import socket

from kubelet.network import netlink
from kubelet.runtime.base import RuntimeFault


def dial(pid: int, port: int, timeout: float = 10.0) -> socket.socket:
    """A TCP connection to the loopback address inside the network namespace of process `pid`."""
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            with netlink.entered(namespace):
                return _connect(port, timeout)
        finally:
            os.close(namespace)
    except OSError as error:
        raise RuntimeFault(
            f"failed to connect to localhost:{port} inside the pod: {error.strerror or error}"
        ) from error


def _connect(port: int, timeout: float) -> socket.socket:
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout)
    except ConnectionRefusedError:
        sock = socket.create_connection(("::1", port), timeout)
    sock.settimeout(None)
    return sock


def kill_process(pid: int) -> None:
    """End a process of this machine, if it is still there."""
    if pid > 1:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def may_lower_oom_score() -> bool:
    """Whether processes here may be given a negative oom_score_adj; some sandboxed machines refuse it even to root."""
    path = "/proc/self/oom_score_adj"
    try:
        with open(path) as file:
            now = file.read().strip()
        with open(path, "w") as file:
            file.write("-999")
        with open(path, "w") as file:
            file.write(now)
    except OSError:
        return False
    return True
