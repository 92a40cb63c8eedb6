"""The DRA drivers of this node: taken on when they register; what they published goes when they stay away.

Who calls it: `plugin_watcher` (it is the handler of "DRAPlugin"), `dra.claims`. Invariants: a driver that restarts within
`_GRACE` keeps its ResourceSlices; those of a driver that does not come back, or was never there since our start, are deleted,
so that no pod is sent here for devices that nobody can prepare.
Upstream: pkg/kubelet/cm/dra/plugin/{dra_plugin,dra_plugin_manager}.go.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kubelet import grpc_messages
from kubelet.csi.driver import real_path
from kubelet.dra import schema
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.gvr import RESOURCESLICES
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_GRACE, _AGAIN, _SECONDS = 30.0, 5.0, 45.0


class ClaimError(Exception):
    """A claim cannot be prepared or given back for now; `str()` is what the pod's events say."""


class ClaimRef(NamedTuple):
    """A claim as a driver is told of it."""

    namespace: str
    name: str
    uid: str


class Prepared(NamedTuple):
    """A device that a driver has made ready. No `requests` means that it is for all of them."""

    requests: tuple[str, ...]
    cdi: tuple[str, ...]


class Driver(NamedTuple):
    """`service` is the gRPC service it answers to."""

    name: str
    socket: str
    service: str

    def prepare(self, claims: Sequence[ClaimRef]) -> dict[str, list[Prepared]]:
        """Idempotent. Out: the devices by the claim's uid. Raises ClaimError."""
        answers = self._call("NodePrepareResources", "NodePrepareResourcesResponse", claims)
        return {
            uid: [Prepared(tuple(one.request_names), tuple(one.cdi_device_ids)) for one in answer.devices]
            for uid, answer in answers.items()
        }

    def unprepare(self, claims: Sequence[ClaimRef]) -> None:
        """Idempotent. Raises ClaimError."""
        self._call("NodeUnprepareResources", "NodeUnprepareResourcesResponse", claims)

    def _call(self, method: str, answer: str, claims: Sequence[ClaimRef]) -> dict[str, Any]:
        m = schema.messages()
        told = [m["Claim"](namespace=claim.namespace, name=claim.name, uid=claim.uid) for claim in claims]
        request = m[f"{method}Request"](claims=told)
        try:
            response = grpc_messages.call(self.socket, f"/{self.service}/{method}", request, m[answer], _SECONDS)
        except grpc_messages.CallFailed as error:
            raise ClaimError(f"{method}: rpc error from driver {self.name}: {error}") from error
        answers = dict(response.claims)
        for claim in claims:
            if claim.uid not in answers:
                raise ClaimError(f"{method} of driver {self.name} skipped ResourceClaim {claim.name}")
            if why := answers[claim.uid].error:
                raise ClaimError(f"{method} failed for ResourceClaim {claim.name}: {why}")
        return answers


class Drivers:
    """By name. Thread-safe. `root` is this node's directory, which drivers in containers see as /var/lib/kubelet."""

    def __init__(self, client: Client, node: str, root: str, clock: Clock) -> None:
        self._client, self._node, self._root, self._clock = client, node, root, clock
        self._drivers: dict[str, Driver] = {}
        self._times: Counter[str] = Counter()  # how often each has registered: it was here, and again
        self._lock, self._stopped = threading.Lock(), threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def get(self, name: str) -> Driver:
        """Raises ClaimError when no such driver is registered."""
        with self._lock:
            found = self._drivers.get(name)
        if found is None:
            raise ClaimError(f"DRA driver {name} is not registered")
        return found

    def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Raises ValueError when it speaks none of our versions."""
        service = next((service for version, service in schema.SERVICES.items() if version in versions), None)
        if service is None:
            raise ValueError(f"driver {name} supports none of {', '.join(schema.SERVICES)} but {', '.join(versions)}")
        with self._lock:
            self._times[name] += 1
            self._drivers[name] = Driver(name, real_path(endpoint, self._root), service)

    def deregister(self, name: str) -> None:
        with self._lock:
            self._drivers.pop(name, None)
            times = self._times[name]
        self._later(lambda: self._wipe(name, times))

    def settled(self) -> None:
        """The slices of drivers that were here before us and do not come back go, too."""
        self._later(self._wipe_strangers)

    # -- what is left of drivers that are gone ------------------------------------------------------------------------

    def _later(self, act: Callable[[], None]) -> None:
        threading.Thread(target=self._try, args=(act,), name="dra-wiping", daemon=True).start()

    def _try(self, act: Callable[[], None]) -> None:
        wait = _GRACE
        while not self._clock.wait(self._stopped, wait):
            try:
                act()
                return
            except APIError as error:
                _log.info("the ResourceSlices of a driver that is gone stay for now: %s", error)
                wait = _AGAIN

    def _wipe_strangers(self) -> None:
        there = self._client.list(RESOURCESLICES, field_selector=f"spec.nodeName={self._node}")["items"]
        for name in {one["spec"]["driver"] for one in there}:
            self._wipe(name, 0)

    def _wipe(self, name: str, times: int) -> None:
        """Delete what the driver published for this node, unless it has registered more often since. Raises APIError."""
        with self._lock:
            if self._times[name] != times:
                return
        selector = f"spec.nodeName={self._node},spec.driver={name}"
        self._client.delete_collection(RESOURCESLICES, field_selector=selector)
