"""A thousand simulated nodes with ten thousand pods in one process: its memory, how fast pods come up, its CPU when idle.

Who calls it: __main__.py. It runs on a control plane of its own (private.py), so nothing but the kubelet process is measured;
the pods are bound when they are made, so the scheduler has no part in it either.
"""

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import private
from bench.figures import Figure, missing
from bench.resources import cpu_seconds, pss_bytes
from bench.target import Options, Seen, Target, until
from minikube_py.api.gvr import NAMESPACES, NODES, PODS, new_object
from minikube_py.api.meta import condition_is
from minikube_py.client.rest import Client

_ROOT = Path(__file__).resolve().parent.parent
_NAMESPACE = "fleet"


def measure(target: Target, options: Options) -> list[Figure]:
    with private.control_plane() as own, tempfile.TemporaryDirectory(prefix="minikube-py-bench-") as scratch:
        client = own.client()
        with _kubelet(own.kubeconfig, Path(scratch), options.fleet_nodes) as process:
            return _run(client, process.pid, options)


@contextlib.contextmanager
def _kubelet(kubeconfig: str, directory: Path, nodes: int) -> "Iterator[subprocess.Popen[bytes]]":
    flags = [
        f"--kubeconfig={kubeconfig}", "--node-name=sim", f"--root-dir={directory}", "--runtime=simulated", "--network=none",
        "--no-service-proxy", f"--simulated-nodes={nodes}", "--pod-cidr=10.0.0.0/12", "--node-ip=127.0.0.1",
        f"--port={private._free_port()}",
    ]  # fmt: skip
    with (directory / "kubelet.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kubelet.main", *flags], stdout=log, stderr=log, cwd=directory,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _run(client: Client, pid: int, options: Options) -> list[Figure]:
    nodes, pods = options.fleet_nodes, options.fleet_pods
    what = f"{pods} pods on {nodes} simulated nodes"

    def ready_nodes() -> bool:
        return sum(bool(condition_is(node, "Ready")) for node in client.list(NODES)["items"]) >= nodes

    start = time.monotonic()
    if until(ready_nodes, 120, interval=0.5) is None:
        return [missing(what, "the nodes were not Ready within 120 s")]
    registered = nodes / (time.monotonic() - start)
    client.create(NAMESPACES, new_object(NAMESPACES, _NAMESPACE))
    revision = client.list(PODS, _NAMESPACE)["metadata"]["resourceVersion"]
    with client.watch(PODS, _NAMESPACE, resource_version=revision) as watch:
        running = Seen(iter(watch), lambda kind, pod: (pod.get("status") or {}).get("phase") == "Running")
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: _create(client, number, nodes), range(pods)))
        if not running.wait(pods, 400):
            return [missing(what, "not all Running within 400 s")]
    took = time.monotonic() - start
    time.sleep(5)
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(options.idle_seconds)
    percent = 100 * (cpu_seconds(pid) - before) / (time.monotonic() - start)
    return [
        Figure("simulated nodes registered", registered, "/s", "higher"),
        Figure(f"{what}: Running", pods / took, "pods/s", "higher", "created and bound by the benchmark"),
        Figure(f"{what}: memory", pss_bytes(pid) / 1e6, "MB", note="PSS of the one process"),
        Figure(f"{what}: idle CPU", percent, "%", note="Leases every 10 s, % of one core"),
    ]


def _create(client: Client, number: int, nodes: int) -> None:
    container = {"name": "c", "image": "simulated", "imagePullPolicy": "IfNotPresent"}
    spec = {"nodeName": f"sim-{number % nodes:04d}", "containers": [container], "automountServiceAccountToken": False}
    client.create(PODS, new_object(PODS, f"pod-{number:05d}", _NAMESPACE, spec=spec))
