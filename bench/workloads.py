"""Controllers at work: many Deployments, one large rollout, many idle nodes; with the CPU time the control plane took.

Who calls it: __main__.py. On a control plane of its own (private.py) and played nodes (hollow.py). CPU time is given beside the
rates because it does not depend on what else the machine does.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from bench import private
from bench.figures import Figure
from bench.resources import cpu_seconds
from bench.target import Options, Target, until
from minikube_py.api.gvr import DEPLOYMENTS, NAMESPACES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_FEW = 10
_NAMESPACE = "workloads"


def measure(target: Target, options: Options) -> list[Figure]:
    with private.control_plane("*") as own:
        client = own.client()
        client.create(NAMESPACES, new_object(NAMESPACES, _NAMESPACE))
        with _nodes(own, _FEW):
            figures = _deployments(own, client, options.deployments) + _rollout(own, client, options.replicas)
    with private.control_plane("*") as own, _nodes(own, options.idle_nodes):
        time.sleep(15)  # let the registration settle
        return [*figures, _idle(own, options)]


@contextlib.contextmanager
def _nodes(own: Target, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.hollow", own.kubeconfig, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"registered\n":
            raise RuntimeError("the played nodes did not register")
        yield
    finally:
        process.kill()
        process.wait()


def _used(own: Target) -> float:
    return sum(cpu_seconds(pid) for pid in own.pids)


def _deployment(name: str, replicas: int, image: str = "busybox:1") -> Obj:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return new_object(DEPLOYMENTS, name, _NAMESPACE, spec=spec)


def _deployments(own: Target, client: Client, count: int) -> list[Figure]:
    used, began = _used(own), time.monotonic()
    for number in range(count):
        client.create(DEPLOYMENTS, _deployment(f"d{number}", 1))

    def all_available() -> bool:
        found = client.list(DEPLOYMENTS, _NAMESPACE)["items"]
        available: int = sum((d.get("status") or {}).get("availableReplicas", 0) for d in found)
        return available == count

    if until(all_available, 300, interval=0.5) is None:
        raise RuntimeError("the Deployments never became available")
    took, used = time.monotonic() - began, _used(own) - used
    client.delete_collection(DEPLOYMENTS, _NAMESPACE)
    return [
        Figure(f"{count} Deployments available", count / took, "/s", "higher", f"{took:.1f} s"),
        Figure("CPU per Deployment", 1000 * used / count, "ms", note="API server, controllers and scheduler"),
    ]


def _rollout(own: Target, client: Client, replicas: int) -> list[Figure]:
    client.create(DEPLOYMENTS, _deployment("big", replicas))

    def complete(generation: int) -> bool:
        status = client.get(DEPLOYMENTS, "big", _NAMESPACE).get("status") or {}
        counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
        return status.get("observedGeneration", 0) >= generation and counts == [replicas] * 3

    if until(lambda: complete(1), 300, interval=0.5) is None:
        raise RuntimeError("the large Deployment never became available")
    time.sleep(3)
    used, began = _used(own), time.monotonic()
    containers = {"containers": [{"name": "main", "image": "busybox:2"}]}
    client.patch(DEPLOYMENTS, "big", {"spec": {"template": {"spec": containers}}}, _NAMESPACE)
    if until(lambda: complete(2), 300, interval=0.5) is None:
        raise RuntimeError("the large Deployment never finished its rollout")
    took, used = time.monotonic() - began, _used(own) - used
    return [
        Figure(f"rollout of {replicas} replicas", took, "s"),
        Figure("CPU of the rollout", used, "s", note="API server, controllers and scheduler"),
    ]


def _idle(own: Target, options: Options) -> Figure:
    used, began = _used(own), time.monotonic()
    time.sleep(2 * options.idle_seconds)
    per_cent = 100 * (_used(own) - used) / (time.monotonic() - began)
    return Figure(f"{options.idle_nodes} idle nodes", per_cent, "% of a core", note="API server and controllers")
