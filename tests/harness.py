"""What tests start for themselves: the real API server, a real etcd, a real Docker Engine. Ends only what it started.

Who uses it: the fixtures in conftest.py, and the fault tests that need to kill what they started.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A TCP port nobody listens on right now (loopback)."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def eventually(check: Callable[[], Any], timeout: float = 20.0, interval: float = 0.05, what: str = "") -> Any:
    """Poll `check` until it returns something truthy (returned); raises AssertionError naming the last value or error."""
    deadline = time.monotonic() + timeout
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except Exception as error:
            last = error
        time.sleep(interval)
    raise AssertionError(f"{what or 'condition'} did not hold within {timeout:g} s; last: {last!r}")


def stop(process: subprocess.Popen[Any], timeout: float = 10.0) -> None:
    """Terminate one process we started; kill it when it does not listen."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout)


def environment() -> dict[str, str]:
    """Our own environment with the checkout on PYTHONPATH, for component processes."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def url_answers(url: str, ca_file: str | None = None) -> bool:
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1, context=context) as response:
        return bool(response.status == 200)
    return False


@contextlib.contextmanager
def running_etcd(directory: Path) -> Iterator[str]:
    """A real etcd on a free loopback port; yields "127.0.0.1:PORT"."""
    binary = shutil.which("etcd")
    assert binary, "etcd is not installed: apt-get install etcd-server (make test does)"
    port, peer = free_port(), free_port()
    with (directory / "etcd.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync",
             "--listen-client-urls", f"http://127.0.0.1:{port}", "--advertise-client-urls", f"http://127.0.0.1:{port}",
             "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        eventually(lambda: url_answers(f"http://127.0.0.1:{port}/health"), what="etcd health")
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


_ENGINE = Path(tempfile.gettempdir()) / "minikube-py-tests-engine"


@contextlib.contextmanager
def running_dockerd(directory: Path) -> Iterator[None]:
    """A Docker Engine that answers: the one already there, or one that the first test process to need it starts.

    Test processes that run side by side share it; a file counts its users, and the last one stops it.
    """
    with _engine_record() as record:
        if record["users"] or not _docker_answers():
            if not record["users"]:
                record["pid"] = _start_dockerd(directory)
            record["users"] += 1
    try:
        yield
    finally:
        with _engine_record() as record:
            if record["users"]:
                record["users"] -= 1
                if not record["users"]:
                    _stop_dockerd(record["pid"])


@contextlib.contextmanager
def _engine_record() -> Iterator[dict[str, int]]:
    """{"pid", "users"} of the engine that tests started, under a lock; {0, 0} once that process is gone."""
    with _ENGINE.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record = json.loads(file.read() or "{}") or {"pid": 0, "users": 0}
        if not _is_dockerd(record["pid"]):
            record = {"pid": 0, "users": 0}
        yield record
        file.seek(0)
        file.truncate()
        file.write(json.dumps(record))


def _is_dockerd(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(pid) and b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _start_dockerd(directory: Path) -> int:
    binary = shutil.which("dockerd")
    assert binary, "no Docker Engine answers and dockerd is not installed: apt-get install docker.io (make test does)"
    with (directory / "dockerd.log").open("wb") as log:
        process = subprocess.Popen([binary], stdout=log, stderr=log, start_new_session=True)
    eventually(_docker_answers, timeout=60, interval=0.2, what="dockerd")
    return process.pid


def _stop_dockerd(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(ChildProcessError, AssertionError):
        eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] or not _is_dockerd(pid), timeout=30, what="dockerd to end")


def _docker_answers() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(2)
        sock.connect("/var/run/docker.sock")
        sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b"200 OK" in sock.recv(1024)
    return False


def python_component(module: str, *flags: str, log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE FLAGS`, its output in `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module, *flags], stdout=out, stderr=out, env=environment(), cwd=ROOT
        )
