"""The device manager: plugins' devices as extended resources, given to containers one owner at a time.

Who calls it: the seam of `base.DeviceManager`. Invariants: a device has one container (or, one after the other, the init
containers of one pod); what was given is on disk before `admit` returns; a container keeps its devices, and the plugin's answer
about them, over restarts of itself and of the kubelet; a device that gets unhealthy is not taken from who has it.
Upstream: pkg/kubelet/cm/devicemanager/manager.go.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubelet.devices import allocation, checkpoint
from kubelet.devices.allocation import Refused
from kubelet.devices.base import DeviceError, Grant
from kubelet.devices.checkpoint import Entry
from kubelet.devices.plugin import Device, DevicePlugin, PluginError
from minikube_py.api import quantity
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)

# A plugin that is being updated is back soon; its resource keeps its size meanwhile.
_KEEP_CAPACITY, _FIRST_LIST = 300.0, 2.0
Inject = Callable[[Obj, Obj, list[Obj]], Grant]
"""(pod, container, the plugins' responses) -> what that means for the container."""


@dataclass
class _Resource:
    plugin: DevicePlugin | None = None
    devices: dict[str, Device] = field(default_factory=dict)
    registered: threading.Event = field(default_factory=threading.Event)
    ended_at: float | None = None


class PluginDeviceManager:
    """In: `directory` holds the checkpoint; `inject` turns responses into a Grant; `labels` go onto the Node."""

    def __init__(
        self, directory: Path, plugins: Sequence[DevicePlugin], inject: Inject, *,
        labels: Mapping[str, str | None] | None = None, on_change: Callable[[set[str]], None] | None = None,
        clock: Clock = REAL,
    ) -> None:  # fmt: skip
        self._directory, self._plugins, self._inject, self._clock = directory, plugins, inject, clock
        self._labels, self._on_change = labels or {}, on_change
        self._lock = threading.RLock()
        self._resources: dict[str, _Resource] = {}
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._reserved: dict[str, set[str]] = defaultdict(set)  # chosen, while the plugin is being asked
        self._changed: Callable[[], None] = lambda: None
        entries, registered = checkpoint.read(directory)
        for entry in entries:
            self._entries[entry[:3]] = entry
        for name in registered:
            self._resources[name] = _Resource(ended_at=float("-inf"))

    # -- plugins ------------------------------------------------------------------------------------------------------

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        for plugin in self._plugins:
            self._resources[plugin.resource] = resource = _Resource(plugin)
            name = f"devices-{plugin.resource.rpartition('/')[2]}"
            threading.Thread(target=self._follow, args=(plugin, resource), name=name, daemon=True).start()
        for plugin in self._plugins:
            self._clock.wait(self._resources[plugin.resource].registered, _FIRST_LIST)
        self._tell()

    def stop(self) -> None:
        for plugin in self._plugins:
            plugin.stop()

    def _follow(self, plugin: DevicePlugin, resource: _Resource) -> None:
        """Take over every list the plugin sends; when it ends, all its devices are unhealthy."""
        try:
            for devices in plugin.list_and_watch():
                with self._lock:
                    new = set(resource.devices) != {device.id for device in devices}
                    resource.devices = {device.id: device for device in devices}
                    if new:
                        self._save()
                resource.registered.set()
                self._changed()
        except PluginError as error:
            log.warning("device plugin of %s ended: %s", plugin.resource, error)
        except Exception:
            log.exception("device plugin of %s ended", plugin.resource)
        with self._lock:
            resource.devices = {d.id: d._replace(healthy=False) for d in resource.devices.values()}
            resource.ended_at = self._clock.monotonic()
        resource.registered.set()
        self._changed()

    # -- the node -----------------------------------------------------------------------------------------------------

    def labels(self) -> dict[str, str | None]:
        """What the Node is labelled with; None = must not be there."""
        return dict(self._labels)

    def capacity(self) -> dict[str, str]:
        with self._lock:
            now = self._clock.monotonic()
            return {
                name: str(len(r.devices) if r.ended_at is None or now - r.ended_at < _KEEP_CAPACITY else 0)
                for name, r in self._resources.items()
            }

    def allocatable(self) -> dict[str, str]:
        with self._lock:
            return {name: str(len(self._healthy(name))) for name in self._resources}

    # -- pods ---------------------------------------------------------------------------------------------------------

    def restore(self, pods: Iterable[Obj]) -> None:
        known = {uid_of(pod) for pod in pods}
        with self._lock:
            self._entries = {key: entry for key, entry in self._entries.items() if key[0] in known}
            self._save()
        self._tell()

    def admit(self, pod: Obj) -> None:
        uid, spec = uid_of(pod), pod["spec"]
        reusable: dict[str, set[str]] = defaultdict(set)
        init = spec.get("initContainers") or []
        try:
            for container in [*init, *spec["containers"]]:
                for resource, count in self._wanted(container):
                    given = self._allocate(uid, container["name"], resource, count, reusable[resource])
                    if container in init and container.get("restartPolicy") != "Always":
                        reusable[resource] |= given
                    else:
                        reusable[resource] -= given
        except (Refused, PluginError) as error:
            self.release(uid)
            raise DeviceError(f"Allocate failed due to {error}, which is unexpected") from None
        self._tell()

    def grant(self, pod: Obj, container: Obj) -> Grant:
        uid, name = uid_of(pod), container["name"]
        responses = []
        for resource, count in self._wanted(container):
            try:
                # After a lost checkpoint there is no entry for a pod that runs: choose anew rather than start without.
                self._allocate(uid, name, resource, count, set())
                entry = self._entries[uid, name, resource]
                plugin = self._resources[resource].plugin
                if plugin is not None and plugin.options().pre_start_required:
                    plugin.pre_start(entry.ids())
            except (Refused, PluginError) as error:
                raise DeviceError(f"devices of {resource}: {error}") from None
            responses.append(entry.response)
        return self._inject(pod, container, responses)

    def release(self, pod_uid: str) -> None:
        with self._lock:
            held = [key for key in self._entries if key[0] == pod_uid]
            if not held:
                return
            for key in held:
                del self._entries[key]
            self._save()
        self._tell()

    def holders(self) -> set[str]:
        with self._lock:
            return {uid for uid, _, _ in self._entries}

    def health(self, pod_uid: str) -> dict[str, list[Obj]]:
        with self._lock:
            found: dict[str, list[Obj]] = {}
            for (uid, container, resource), entry in sorted(self._entries.items()):
                if uid == pod_uid:
                    healthy = self._healthy(resource)
                    devices = [
                        {"resourceID": device, "health": "Healthy" if device in healthy else "Unhealthy"}
                        for device in sorted(entry.ids())
                    ]
                    found.setdefault(container, []).append({"name": resource, "resources": devices})
            return found

    def _wanted(self, container: Obj) -> list[tuple[str, int]]:
        """What it asks of the resources that plugins here have, or had."""
        limits = (container.get("resources") or {}).get("limits") or {}
        asked = [(name, quantity.value(amount)) for name, amount in sorted(limits.items()) if name in self._resources]
        return [(name, count) for name, count in asked if count]

    def _allocate(self, uid: str, container: str, resource: str, count: int, reusable: set[str]) -> set[str]:
        """The container's devices: those it has, else fresh ones, on disk when this returns. Raises Refused, PluginError."""
        with self._lock:
            entry = self._entries.get((uid, container, resource))
            if entry is not None:
                if len(entry.ids()) != count:
                    raise Refused(
                        f"pod {uid} container {container} changed request for resource {resource} "
                        f"from {len(entry.ids())} to {count}"
                    )
                return entry.ids()
            plugin, known = self._resources[resource].plugin, self._resources[resource].devices
            if plugin is None:
                raise Refused(f"cannot allocate unregistered device {resource}")
            ids = allocation.choose(
                resource, count, self._healthy(resource), self._in_use(resource), reusable=reusable,
                numa={device.id: device.numa for device in known.values()}, prefer=self._advice(plugin),
            )  # fmt: skip
            fresh = ids - reusable
            self._reserved[resource] |= fresh
        try:
            response = plugin.allocate(sorted(ids))
            devices: dict[int, list[str]] = defaultdict(list)
            for device in sorted(ids):
                devices[known[device].numa].append(device)
            with self._lock:
                self._entries[uid, container, resource] = Entry(uid, container, resource, dict(devices), response)
                self._save()
        finally:
            with self._lock:
                self._reserved[resource] -= fresh
        return ids

    @staticmethod
    def _advice(plugin: DevicePlugin) -> allocation.Prefer | None:
        if not plugin.options().preferred_allocation_available:
            return None

        def prefer(available: Collection[str], must: Collection[str], size: int) -> Collection[str]:
            try:
                return plugin.preferred_allocation(available, must, size)
            except PluginError as error:  # one lost GPU must not block the others
                log.warning("device plugin of %s gives no advice: %s", plugin.resource, error)
                return ()

        return prefer

    def _healthy(self, resource: str) -> set[str]:
        return {device.id for device in self._resources[resource].devices.values() if device.healthy}

    def _in_use(self, resource: str) -> set[str]:
        given = {d for (_, _, name), entry in self._entries.items() if name == resource for d in entry.ids()}
        return given | self._reserved[resource]

    def _save(self) -> None:
        registered = {name: sorted(self._healthy(name)) for name in self._resources}
        try:
            checkpoint.write(self._directory, self._entries.values(), registered)
        except OSError as error:
            raise PluginError(f"cannot write the device checkpoint: {error.strerror}") from None

    def _tell(self) -> None:
        """Tell who wants to know which devices are in use (simulated cards show it as load)."""
        if self._on_change is not None:
            with self._lock:
                self._on_change({device for entry in self._entries.values() for device in entry.ids()})
