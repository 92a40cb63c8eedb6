"""Many simulated nodes in one process: one kubelet that answers for a thousand names.

Who calls it: `main`, for `--simulated-nodes N`; it needs a kubeconfig that may act for all of them. Invariants: to the API each
node looks like any other (Node, Lease, status, its own admission); a node costs two small objects and no thread, a pod what it
costs any kubelet; node pressure is not simulated here, since all nodes share one runtime.
Upstream: test/kubemark (hollow nodes), and kwok, which likewise needs no process per node.
"""

import heapq
import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace

from kubelet.devices.base import DeviceManager
from kubelet.node import NodeAgent
from kubelet.options import Options
from kubelet.runtime.base import Info, Runtime
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj
from minikube_py.client.informer import Handler, Informer
from minikube_py.client.rest import Client


def names(options: Options) -> list[str]:
    """NODE-NAME-0000, NODE-NAME-0001, …"""
    return [f"{options.node_name}-{number:04d}" for number in range(options.simulated_nodes)]


class FleetPods:
    """The pods bound to any node of the fleet, out of an informer of all pods: see `pod_source`."""

    def __init__(self, informer: Informer, nodes: Sequence[str]) -> None:
        self._informer, self._nodes = informer, frozenset(nodes)

    def _ours(self, pod: Obj | None) -> bool:
        return pod is not None and pod["spec"].get("nodeName") in self._nodes

    def get(self, namespace: str, name: str) -> Obj | None:
        found = self._informer.get(namespace, name)
        return found if self._ours(found) else None

    def list(self, namespace: str = "") -> list[Obj]:
        return [pod for pod in self._informer.list(namespace) if self._ours(pod)]

    def add_handler(self, handler: Handler) -> None:
        def ours_only(old: Obj | None, new: Obj | None) -> None:
            if self._ours(new or old):
                handler(old if self._ours(old) else None, new)

        self._informer.add_handler(ours_only)


class FleetAgent:
    """As `node.NodeAgent`, for every node of the fleet: one thread for all statuses, one for all Leases."""

    def __init__(
        self, options: Options, client: Client, runtime: Runtime, info: Info, devices: DeviceManager, informer: Informer,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._informer, self._clock = informer, clock
        self._agents = {
            name: NodeAgent(replace(options, node_name=name), client, runtime, info, devices, informer, clock)
            for name in names(options)
        }
        self._stopped = threading.Event()

    def start(self) -> None:
        self._informer.add_handler(self._node_changed)
        statuses, leases = ([(0.0, name) for name in self._agents] for _ in range(2))
        for kind, work in (("report", statuses), ("renew", leases)):
            threading.Thread(target=self._keep, args=(kind, work), name=f"fleet-{kind}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def changed(self) -> None:
        """Devices and pressure never change here."""

    def images_changed(self) -> None:
        """Nothing is stored."""

    def node(self, name: str = "") -> Obj:
        """The Node of this name."""
        return self._agents[name].node() if name in self._agents else next(iter(self._agents.values())).node()

    def allocatable(self) -> dict[str, str]:
        return next(iter(self._agents.values())).allocatable()

    def _keep(self, kind: str, work: list[tuple[float, str]]) -> None:
        """Each node's turn, again and again, as often as it asks for."""
        serial = itertools.count()
        due = [(moment, next(serial), name) for moment, name in work]
        while not self._stopped.is_set():
            moment, _, name = due[0]
            left = moment - self._clock.monotonic()
            if left > 0 and self._clock.wait(self._stopped, left):
                return
            agent = self._agents[name]
            pause = agent.report() if kind == "report" else agent.renew()
            heapq.heapreplace(due, (self._clock.monotonic() + pause, next(serial), name))

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        agent = self._agents.get((new or old or {"metadata": {"name": ""}})["metadata"]["name"])
        if agent is not None:
            agent.node_changed(old, new)
