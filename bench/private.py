"""A control plane of the benchmark's own: API server and scheduler as processes, in a temporary directory, no nodes.

Who uses it: scale.py and workloads.py, which fill it with nodes that no kubelet stands behind, and server.py, which wants the
API server alone. Invariant: loopback only, gone afterwards.
"""

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.target import Target, until
from minikube_py.api import errors
from minikube_py.client import kubeconfig as reading
from minikube_py.client.rest import Client
from minikube_py.cluster import kubeconfig, pki

_ROOT = Path(__file__).resolve().parent.parent


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(client: Client) -> bool:
    try:
        return client.request("GET", "/readyz")[0] == 200
    except errors.APIError:
        return False


class Running(NamedTuple):
    """An API server of the benchmark's own. `ready_seconds`: from its command to a good answer from /readyz."""

    target: Target
    directory: Path
    port: int
    pid: int
    ready_seconds: float


@contextlib.contextmanager
def api_server(environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Yields it, ready. In: what to add to its environment. Raises RuntimeError with the end of its log if it never is."""
    with tempfile.TemporaryDirectory(prefix="minikube-py-bench-") as scratch:
        directory, port = Path(scratch), _free_port()
        keys, admin = directory / "pki", directory / "admin.conf"
        pki.ensure(keys, api_addresses=["10.96.0.1"])
        kubeconfig.write(admin, kubeconfig.build("bench", f"https://127.0.0.1:{port}", keys, "admin"))
        client = Client(reading.load(str(admin)))
        started = time.monotonic()
        process = _start(directory, "apiserver", [
            "--data-dir", str(directory / "store"), "--bind", "127.0.0.1", "--port", str(port),
            "--tls-cert", f"{keys}/apiserver.crt", "--tls-key", f"{keys}/apiserver.key", "--client-ca", f"{keys}/ca.crt",
            "--service-account-key", f"{keys}/sa.key", "--service-cluster-ip-range", "10.96.0.0/16",
        ], environment)  # fmt: skip
        try:
            if until(lambda: _answers(client), 60, interval=0.01) is None:
                raise RuntimeError((directory / "apiserver.log").read_text()[-500:])
            yield Running(Target("minikube-py", str(admin)), directory, port, process.pid, time.monotonic() - started)
        finally:
            _end(process)


@contextlib.contextmanager
def control_plane(controllers: str = "serviceaccount") -> Iterator[Target]:
    """Yields the target, with API server, scheduler and these controllers (comma-separated). Raises as `api_server` does."""
    with api_server() as running:
        flags = ["--kubeconfig", running.target.kubeconfig, "--no-leader-elect", "--controllers", controllers]
        process = _start(running.directory, "controllers", flags)
        try:
            yield dataclasses.replace(running.target, pids=(running.pid, process.pid))
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    process.wait()


def _start(
    directory: Path, component: str, flags: list[str], more: dict[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **(more or {})}
    with (directory / f"{component}.log").open("wb") as log:
        command = [sys.executable, "-m", f"{component}.main", *flags]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=directory)
