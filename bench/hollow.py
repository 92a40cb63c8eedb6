"""Nodes without machines: each renews its Lease, and a pod that is bound to one is Ready at once and gone at once.

Who uses it: workloads.py, as a process of its own (`python -m bench.hollow KUBECONFIG NODES`), so that what the nodes cost is
not counted as the control plane's. Writes a line when all are registered; ends when its input does.
"""

import contextlib
import sys
import threading
import time

from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339, rfc3339_micro
from minikube_py.api.gvr import LEASES, NODES, PODS, new_object
from minikube_py.api.meta import is_terminating, name_of, namespace_of, split_key
from minikube_py.client import kubeconfig
from minikube_py.client.controller import Controller
from minikube_py.client.informer import Informer
from minikube_py.client.rest import Client

_RENEW = 10.0
_WORKERS = 4


class Pods:
    """The kubelets of all nodes."""

    name = "hollow"

    def __init__(self, client: Client) -> None:
        self._client, self.informer = client, Informer(client, PODS)

    def reconcile(self, key: str) -> float | None:
        pod = self.informer.get_key(key)
        if pod is None or not pod["spec"].get("nodeName"):
            return None
        namespace, name = split_key(key)
        with contextlib.suppress(errors.NotFound):
            if is_terminating(pod):
                self._client.delete(PODS, name, namespace, grace_period_seconds=0)
            elif (pod.get("status") or {}).get("phase") == "Pending":
                now = rfc3339(REAL.now())
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
                status = {"phase": "Running", "startTime": now, "conditions": [ready]}
                self._client.patch(PODS, name_of(pod), {"status": status}, namespace_of(pod), subresource="status")
        return None


def register(client: Client, count: int) -> list[str]:
    names = [f"hollow-{number}" for number in range(count)]
    capacity = {"cpu": "1000", "memory": "1Ti", "pods": "5000"}
    now = rfc3339(REAL.now())
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
    for name in names:
        client.create(NODES, new_object(NODES, name))
        body = {"status": {"conditions": [ready], "capacity": capacity, "allocatable": capacity}}
        client.patch(NODES, name, body, subresource="status")
        lease = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": rfc3339_micro(REAL.now())}
        client.create(LEASES, new_object(LEASES, name, "kube-node-lease", spec=lease))
    return names


def renew(client: Client, names: list[str]) -> None:
    """For ever: every Lease once in ten seconds, evenly spread."""
    while True:
        began = time.monotonic()
        for number, name in enumerate(names):
            time.sleep(max(0.0, began + number * _RENEW / len(names) - time.monotonic()))
            with contextlib.suppress(errors.APIError):
                renewed = {"spec": {"renewTime": rfc3339_micro(REAL.now())}}
                client.patch(LEASES, name, renewed, "kube-node-lease")
        time.sleep(max(0.0, began + _RENEW - time.monotonic()))


def main() -> None:
    client = Client(kubeconfig.load(sys.argv[1]), user_agent="minikube-py/hollow")
    names = register(client, int(sys.argv[2]))
    pods = Pods(client)
    controller = Controller(pods, workers=_WORKERS).watch(pods.informer)
    pods.informer.start()
    controller.start()
    threading.Thread(target=renew, args=(client, names), daemon=True).start()
    print("registered", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
