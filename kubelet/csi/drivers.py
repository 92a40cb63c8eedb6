"""The CSI drivers of this node: taken on when they register, shown to the cluster in the CSINode and the Node's labels.

Who calls it: `plugin_watcher` (it is the handler of "CSIPlugin"), `csi.volumes`. Invariant: a driver is listed in the CSINode
exactly while it is registered here; what a former kubelet left there goes with the first registration after it.
Upstream: pkg/volume/csi/csi_plugin.go, pkg/volume/csi/nodeinfomanager.
"""

import threading
from collections.abc import Callable, Sequence

from kubelet.csi import schema
from kubelet.csi.driver import Driver
from kubelet.errors import VolumeError
from minikube_py.api import errors
from minikube_py.api.gvr import CSINODES, NODES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_TRIES = 10


class Drivers:
    """By name. Thread-safe."""

    def __init__(self, client: Client, node: str, root: str, changed: Callable[[], None]) -> None:
        self._client, self._node, self._root, self._changed = client, node, root, changed
        self._drivers: dict[str, Driver] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Driver:
        """Raises VolumeError when no such driver is registered."""
        with self._lock:
            found = self._drivers.get(name)
        if found is None:
            raise VolumeError(f"driver name {name} not found in the list of registered CSI drivers")
        return found

    def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Ask the driver about this node and list it. Raises VolumeError, APIError."""
        asked = Driver(name, endpoint, self._root)
        empty = schema.messages()["Empty"]()
        plugin = asked.call("Identity", "GetPluginInfo", empty, "GetPluginInfoResponse")
        if plugin.name != name:
            raise VolumeError(f"the driver calls itself {plugin.name}, its registration says {name}")
        info = asked.call("Node", "NodeGetInfo", empty, "NodeGetInfoResponse")
        abilities = asked.call("Node", "NodeGetCapabilities", empty, "NodeGetCapabilitiesResponse").capabilities
        driver = Driver(
            name, endpoint, self._root, info.node_id, info.max_volumes_per_node,
            dict(info.accessible_topology.segments), frozenset(ability.rpc.type for ability in abilities),
        )  # fmt: skip
        if driver.topology:
            self._client.patch(NODES, self._node, {"metadata": {"labels": dict(driver.topology)}})
        with self._lock:
            self._drivers[name] = driver
            self._publish()
        self._changed()

    def deregister(self, name: str) -> None:
        with self._lock:
            self._drivers.pop(name, None)
            self._publish()

    def settled(self) -> None:
        """Those that were here before us and are not any more leave the list."""
        with self._lock:
            self._publish()

    def _publish(self) -> None:
        """Make the CSINode list exactly our drivers. Raises APIError."""
        spec = {"drivers": [_entry(driver) for _, driver in sorted(self._drivers.items())]}
        for _ in range(_TRIES):
            try:
                try:
                    held = self._client.get(CSINODES, self._node)
                    if held["spec"] != spec:
                        self._client.update(CSINODES, {**held, "spec": spec})
                except errors.NotFound:
                    self._client.create(CSINODES, self._new(spec))
                return
            except (errors.Conflict, errors.AlreadyExists):
                continue
        raise errors.Conflict(f"CSINode {self._node} changes all the time")

    def _new(self, spec: Obj) -> Obj:
        made = new_object(CSINODES, self._node, spec=spec)
        uid = self._client.get(NODES, self._node)["metadata"]["uid"]
        made["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": uid}]
        return made


def _entry(driver: Driver) -> Obj:
    entry: Obj = {"name": driver.name, "nodeID": driver.node_id, "topologyKeys": sorted(driver.topology)}
    if driver.max_volumes:
        entry["allocatable"] = {"count": driver.max_volumes}
    return entry
