"""This node in the API: registered, its status kept true, its Lease renewed.

Who calls it: `main`. Invariants: a heartbeat is a Lease renewal and nothing else; the status is written when something changed
or every five minutes, always as a merge, so that labels, taints and extended resources others put there stay; a node that was
called Unknown while it was cut off says so is not true as soon as it hears of it.
Upstream: pkg/kubelet/kubelet_node_status.go, component-helpers/apimachinery/lease.
"""

import logging
import threading
from collections.abc import Callable

from kubelet import node_status
from kubelet.devices.base import DeviceManager
from kubelet.options import Options
from kubelet.runtime.base import Image, Info, Runtime, RuntimeFault
from minikube_py.api.clock import Clock, rfc3339, rfc3339_micro
from minikube_py.api.errors import AlreadyExists, APIError, Conflict, NotFound
from minikube_py.api.gvr import LEASES, NODES
from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import Informer
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_LEASE_NAMESPACE = "kube-node-lease"
_REPORT_EVERY, _RETRY = 300.0, 0.2


class NodeAgent:
    """One Node object and its Lease. `informer` holds the Node itself (a field selection of one)."""

    def __init__(
        self, options: Options, client: Client, runtime: Runtime, info: Info, devices: DeviceManager, informer: Informer,
        clock: Clock, pressure: Callable[[], frozenset[str]] = frozenset, volumes_in_use: Callable[[], list[str]] = list,
    ) -> None:  # fmt: skip
        """In: `pressure` gives the pressure conditions that are true, `volumes_in_use` the attachable volumes set up here."""
        self._pressure, self._volumes_in_use = pressure, volumes_in_use
        self._options, self._client, self._runtime, self._info = options, client, runtime, info
        self._devices, self._informer, self._clock = devices, informer, clock
        self._stopped, self._wake = threading.Event(), threading.Event()
        self._lease: Obj | None = None
        self._lease_client = client.with_timeout(max(1.0, min(10.0, options.node_lease_duration / 2)))
        self._registered = False
        self._images: list[Image] = []
        self._images_at = self._reported_at = float("-inf")

    def start(self) -> None:
        """Register (as soon as the API server answers), then keep status and Lease up to date in two threads."""
        self._informer.add_handler(self.node_changed)
        for name, target in (("node-status", self._status_loop), ("node-lease", self._lease_loop)):
            threading.Thread(target=target, name=name, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()

    def changed(self) -> None:
        """Something the status depends on changed (devices): look now."""
        self._wake.set()

    def images_changed(self) -> None:
        """An image arrived: say so with the next report."""
        self._images_at = float("-inf")
        self._wake.set()

    def node(self, name: str = "") -> Obj:
        """The Node as the API has it; before it does, as we would register it."""
        return self._informer.get("", self._options.node_name) or {
            **node_status.registration(self._options, self._devices.labels()),
            "status": {"allocatable": self.allocatable()},
        }

    def allocatable(self) -> dict[str, str]:
        return {**node_status.allocatable(self._options), **self._devices.allocatable()}

    # --- status

    def _status_loop(self) -> None:
        while not self._stopped.is_set():
            pause = self.report()
            self._clock.wait(self._wake, pause)
            self._wake.clear()

    def report(self) -> float:
        """Register where that is due, and write the status if there is reason to. Out: seconds until the next look."""
        try:
            if not self._registered and not self._register():
                return _RETRY
            self._registered = True
            self._report()
            return self._options.node_status_update_frequency
        except NotFound:
            self._registered = False
            return 0.0
        except APIError as error:
            _log.info("node status waits: %s", error)
            return 1.0

    def _register(self) -> bool:
        node = node_status.registration(self._options, self._devices.labels())
        try:
            self._reported_at = float("-inf")
            self._client.create(NODES, {**node, "status": self._status({})})
            return True
        except AlreadyExists:
            return self._adopt(node)
        except APIError as error:
            _log.info("cannot register node %s yet: %s", self._options.node_name, error)
            return False

    def _adopt(self, node: Obj) -> bool:
        """The node was here before: make sure that our labels and pod CIDR are on it."""
        labels = {**self._devices.labels(), **node["metadata"]["labels"]}  # None removes what former devices left
        metadata = {"labels": labels, "annotations": node["metadata"]["annotations"]}
        body = {"metadata": metadata, "spec": {"podCIDR": node["spec"]["podCIDR"]}}
        try:
            self._client.patch(NODES, self._options.node_name, body, kind="strategic")
        except APIError as error:
            _log.info("cannot update node %s yet: %s", self._options.node_name, error)
            return False
        return True

    def _report(self) -> None:
        """Write the status if there is reason to. Raises APIError."""
        held = self._informer.get("", self._options.node_name)
        if held is None or self._reported_at == float("-inf"):
            held = self._client.get(NODES, self._options.node_name)
        old = held.get("status") or {}
        new = self._status(old)
        if (in_use := self._volumes_in_use()) != (old.get("volumesInUse") or []):
            new["volumesInUse"] = in_use
        now = self._clock.monotonic()
        if not node_status.worth_writing(old, new) and now - self._reported_at < _REPORT_EVERY:
            return
        if old.get("addresses") == new["addresses"]:
            del new["addresses"]  # merged by type, so only sent when they differ
        self._client.patch(NODES, self._options.node_name, {"status": new}, kind="strategic", subresource="status")
        self._reported_at = now

    def _status(self, old: Obj) -> Obj:
        problem = ""
        now = self._clock.monotonic()
        try:
            if now - self._images_at >= _REPORT_EVERY or not self._images:
                self._images, self._images_at = self._runtime.list_images(), now
            else:
                self._runtime.info()
        except RuntimeFault as error:
            problem = str(error)
        readings = node_status.Readings(self._pressure(), problem)
        return node_status.status(
            self._options, self._info, self._images, readings, self._devices.capacity(), self._devices.allocatable(),
            old.get("conditions") or [], rfc3339(self._clock.now()),
        )  # fmt: skip

    def node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Somebody else wrote our node: deleted, or called Unknown while we were cut off."""
        if new is None:
            self._wake.set()
            return
        ready = condition_of(new, "Ready")
        if ready is None or ready.get("status") == "Unknown":
            self._wake.set()

    # --- lease

    def _lease_loop(self) -> None:
        while not self._stopped.is_set():
            self._clock.wait(self._stopped, self.renew())

    def renew(self) -> float:
        """Renew the Lease. Out: seconds until that is due again."""
        interval = self._options.node_lease_renew_interval
        try:
            self._lease = self._renew(self._lease_client)
            return interval
        except APIError as error:
            _log.info("lease not renewed: %s", error)
            self._lease = None
            return min(interval, 1.0)

    def _renew(self, client: Client) -> Obj:
        name, now = self._options.node_name, rfc3339_micro(self._clock.now())
        if self._lease is not None:
            try:
                return client.update(LEASES, {**self._lease, "spec": {**self._lease["spec"], "renewTime": now}})
            except (Conflict, NotFound):
                self._lease = None
        spec = {"holderIdentity": name, "leaseDurationSeconds": self._options.node_lease_duration, "renewTime": now}
        try:
            held = client.get(LEASES, name, _LEASE_NAMESPACE)
            return client.update(LEASES, {**held, "spec": {**held.get("spec", {}), **spec}})
        except NotFound:
            meta: Obj = {"name": name, "namespace": _LEASE_NAMESPACE}
            node = self._informer.get("", name)
            if node is not None:
                meta["ownerReferences"] = [
                    {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
                ]  # fmt: skip
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            return client.create(LEASES, lease)
