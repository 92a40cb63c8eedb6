"""What is measured: a cluster of ours (with its profile) or any Kubernetes API a kubeconfig leads to.

Who uses it: every measurement. Invariant: a measurement works in a namespace of its own, which is gone afterwards.
"""

import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minikube_py.api import errors
from minikube_py.api.gvr import NAMESPACES, NODES, SERVICEACCOUNTS, new_object
from minikube_py.api.meta import condition_is
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.rest import Client
from minikube_py.cluster.profile import Profile

_serial = itertools.count(1)
NAMESPACE_GONE_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """How much to measure. `seconds`: per load; `image`: what test pods run (must have `sh`); `pods`: of a batch."""

    seconds: int = 4
    objects: int = 1000
    connections: int = 16
    watchers: int = 100
    idle_seconds: int = 15
    pods: int = 20
    nodes: int = 500
    deployments: int = 600
    replicas: int = 1000
    idle_nodes: int = 1000
    scale_pods: int = 1000
    fleet_nodes: int = 1000
    fleet_pods: int = 10_000
    idle_watches: int = 1000
    stored: int = 100_000
    image: str = "busybox:latest"


@dataclass(frozen=True)
class Target:
    """`profile` is None for a foreign cluster, of which only what its API shows can be measured. `kubeconfig` may be ""
    for ours, when a measurement needs no running cluster."""

    name: str
    kubeconfig: str
    profile: Profile | None = None
    pids: tuple[int, ...] = ()  # of the API server and the controllers, of a control plane of the measurement's own

    @property
    def foreign(self) -> bool:
        """Somebody else's cluster: neither a profile of ours nor left for the measurement to make."""
        return self.profile is None and bool(self.kubeconfig)

    def client(self) -> Client:
        return Client(kubeconfig.load(self.kubeconfig), user_agent="minikube-py/bench", timeout=60)

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of the measurement's own, usable for pods; deleted, with everything in it, at the end."""
        client, name = self.client(), f"bench-{os.getpid()}-{next(_serial)}"
        client.create(NAMESPACES, new_object(NAMESPACES, name))
        try:
            until(lambda: exists(lambda: client.get(SERVICEACCOUNTS, "default", name)), 15)
            yield name
        finally:
            client.delete(NAMESPACES, name)
            until(lambda: not exists(lambda: client.get(NAMESPACES, name)), NAMESPACE_GONE_SECONDS)

    def ready_nodes(self) -> list[Obj]:
        return [n for n in self.client().list(NODES)["items"] if condition_is(n, "Ready")]


def exists(read: Callable[[], Obj]) -> bool:
    try:
        read()
    except errors.NotFound:
        return False
    return True


def until(check: Callable[[], object], timeout: float, interval: float = 0.02) -> float | None:
    """Poll until true. Out: the seconds it took, None when `timeout` passed first."""
    start = time.monotonic()
    while time.monotonic() - start < timeout:
        if check():
            return time.monotonic() - start
        time.sleep(interval)
    return None


class Seen:
    """Moments at which objects of a watch first met a condition, without polling: (name → monotonic seconds)."""

    def __init__(self, watch: "Iterator[tuple[str, Obj]]", met: Callable[[str, Obj], bool]) -> None:
        self._watch, self._met = watch, met
        self._found: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.at: dict[str, float] = {}
        threading.Thread(target=self._follow, name="bench-watch", daemon=True).start()

    def _follow(self) -> None:
        told: set[str] = set()
        with contextlib.suppress(errors.APIError, OSError, ValueError):
            for kind, obj in self._watch:
                name = obj.get("metadata", {}).get("name", "")
                if name not in told and self._met(kind, obj):
                    told.add(name)
                    self._found.put((name, time.monotonic()))

    def wait(self, count: int, timeout: float) -> bool:
        """Until so many objects have met it. Out: False when the timeout (seconds) passed first."""
        deadline = time.monotonic() + timeout
        while len(self.at) < count:
            try:
                name, moment = self._found.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                return False
            self.at[name] = moment
        return True


def state_directory() -> Path:
    """Where built load clients and results are kept."""
    return Path(__file__).resolve().parent / "results"
