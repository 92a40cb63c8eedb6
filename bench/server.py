"""The API server alone: start to ready, what idle watches cost, and whether a request's cost grows with what is stored.

Who calls it: __main__.py. Runs on API servers of its own (private.py) with SQLite and no nodes. What a request costs is the
processor time the server was charged for it: unlike a rate it hardly depends on what else the machine does.
"""

import contextlib
import re
import resource
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence

from bench import golang, private
from bench.figures import Figure, missing, seconds
from bench.private import Running
from bench.resources import cpu_seconds, pss_bytes
from bench.target import Options, Target

_STARTS = 5
_SETTLE_SECONDS = 1.0
_VERBS = ("create", "get", "patch", "delete")
_CALLS = re.compile(r"n=(\d+) fails=(\d+)")


def measure(target: Target, options: Options) -> list[Figure]:
    return [*_starts(), *_idle_watches(options.idle_watches), *_flatness(options)]


def _starts() -> list[Figure]:
    warm = []
    for _ in range(_STARTS):
        with private.api_server() as running:
            warm.append(running.ready_seconds)
    with tempfile.TemporaryDirectory() as empty, private.api_server({"PYTHONPYCACHEPREFIX": empty}) as running:
        cold = Figure("API server: first start ever", running.ready_seconds, "s", note="nothing compiled yet")
    return [*seconds("API server: start to ready", warm, "a process of its own, empty store"), cold]


def _idle_watches(count: int) -> list[Figure]:
    name = f"{count} idle watches"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        return [missing(name, f"needs {count + 200} open files; the limit is {hard} (ulimit -n)")]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with private.api_server() as running:
            return _watch_memory(running, name, count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _watch_memory(running: Running, name: str, count: int) -> list[Figure]:
    with contextlib.ExitStack() as open_connections:
        open_watch = _watcher(running)
        open_connections.callback(open_watch().close)
        time.sleep(_SETTLE_SECONDS)
        before = pss_bytes(running.pid)
        for _ in range(count):
            open_connections.callback(open_watch().close)
        time.sleep(_SETTLE_SECONDS)
        memory, cpu, start = pss_bytes(running.pid) - before, cpu_seconds(running.pid), time.monotonic()
        time.sleep(3 * _SETTLE_SECONDS)
        percent = 100 * (cpu_seconds(running.pid) - cpu) / (time.monotonic() - start)
    note = "each on a TLS connection of its own, with a client certificate"
    return [Figure(f"memory, {name}", memory / 1e6, "MB", note=note), Figure(f"idle CPU, {name}", percent, "%")]


def _watcher(running: Running) -> Callable[[], ssl.SSLSocket]:
    """What opens one more watch of pods."""
    keys = running.directory / "pki"
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    context.load_cert_chain(keys / "admin.crt", keys / "admin.key")

    def open_watch() -> ssl.SSLSocket:
        opened = context.wrap_socket(
            socket.create_connection(("127.0.0.1", running.port), 30), server_hostname="127.0.0.1"
        )
        opened.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: bench\r\n\r\n")
        if b" 200 " not in opened.recv(100):
            raise RuntimeError("the API server refused a watch")
        return opened

    return open_watch


def _flatness(options: Options) -> list[Figure]:
    """What a request costs the server with 100 objects stored and with many, of the same kind."""
    binary = golang.build("kbench")
    if binary is None:
        return [missing("cost per request", golang.NO_GO)]
    costs: dict[str, list[float]] = {verb: [] for verb in _VERBS}
    with private.api_server() as running, golang.credentials(running.target) as flags:
        client = [str(binary), *flags, "-name", "flat"]
        for stored in (100, options.stored):
            _run([*client, "-ns", f"stored-{stored}", "-only", "create", "-objs", str(stored)])
            for verb in _VERBS:
                costs[verb].append(_cost(running, client, verb, options.seconds))
    figures = []
    for verb, (few, many) in costs.items():
        note = f"processor time of the server; {few:.3f} ms with 100, {many / few:.2f} times"
        figures.append(Figure(f"cost of one {verb}, {options.stored} stored", many, "ms", note=note))
    return figures


def _cost(running: Running, client: Sequence[str], verb: str, length: int) -> float:
    """Milliseconds of the server's processor time per call."""
    keep = [] if verb == "create" else ["-keep"]
    start = cpu_seconds(running.pid)
    calls = _run([*client, "-ns", "measured", "-only", verb, "-secs", str(length), *keep])
    return 1000 * (cpu_seconds(running.pid) - start) / calls


def _run(command: Sequence[str]) -> int:
    """Out: the calls made. Raises RuntimeError when some failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = _CALLS.search(done.stdout)
    if found is None or found[2] != "0":
        raise RuntimeError(f"the load client said: {(done.stderr or done.stdout).strip()[-200:]}")
    return int(found[1])
