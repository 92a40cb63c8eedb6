"""The seam between the pod worker and whatever manages devices (GPUs), and the manager of a node without any.

Who calls it: `admission` (may this pod have its devices?), `container_config` (what does that mean for the container?), `node`
(capacity and allocatable), the pod worker when a pod is gone.
Invariant: `grant` gives the same container the same devices as long as the pod lives, also after a restart of the kubelet.
Upstream: pkg/kubelet/cm/devicemanager.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kubelet.runtime.base import Device, Mount
from minikube_py.api.types import Obj


class DeviceError(Exception):
    """The devices a pod asks for cannot be given; `str()` is upstream's message, `reason` the pod's failure reason."""

    def __init__(self, message: str, reason: str = "UnexpectedAdmissionError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Grant:
    """What a container's devices add to it. `runtime_handler` "" keeps the engine's default runtime."""

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    device_requests: tuple[Mapping[str, Any], ...] = ()
    runtime_handler: str = ""

    def plus(self, other: "Grant") -> "Grant":
        """Both; of a variable that both set, the other's value."""
        return Grant(
            {**self.env, **other.env}, (*self.mounts, *other.mounts), (*self.devices, *other.devices),
            (*self.device_requests, *other.device_requests), self.runtime_handler or other.runtime_handler,
        )  # fmt: skip


class DeviceManager(Protocol):
    """Thread-safe."""

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look for devices; call `changed` whenever capacity or allocatable are different."""

    def stop(self) -> None: ...

    def restore(self, pods: Iterable[Obj]) -> None:
        """Told once, before anything else: the pods that have containers on this node already."""

    def labels(self) -> dict[str, str | None]:
        """Labels of the Node that tell of the devices; None = this one must not be there. Known after `start`."""

    def capacity(self) -> dict[str, str]:
        """Extended resources of the node, as `status.capacity` shows them."""

    def allocatable(self) -> dict[str, str]: ...

    def admit(self, pod: Obj) -> None:
        """Set devices aside for every container of the pod. Raises DeviceError when that is impossible."""

    def grant(self, pod: Obj, container: Obj) -> Grant:
        """What the container gets; an empty Grant when it asked for none. Raises DeviceError."""

    def release(self, pod_uid: str) -> None:
        """The pod has ended: its devices are free again."""

    def holders(self) -> set[str]:
        """The uids of pods that have devices."""

    def health(self, pod_uid: str) -> dict[str, list[Obj]]:
        """Container name -> its `allocatedResourcesStatus`: which devices it has and how they are."""


class NoDevices:
    """A node without devices."""

    def start(self, changed: Callable[[], None]) -> None: ...

    def stop(self) -> None: ...

    def restore(self, pods: Iterable[Obj]) -> None: ...

    def labels(self) -> dict[str, str | None]:
        return {}

    def capacity(self) -> dict[str, str]:
        return {}

    def allocatable(self) -> dict[str, str]:
        return {}

    def admit(self, pod: Obj) -> None: ...

    def grant(self, pod: Obj, container: Obj) -> Grant:
        return Grant()

    def release(self, pod_uid: str) -> None: ...

    def holders(self) -> set[str]:
        return set()

    def health(self, pod_uid: str) -> dict[str, list[Obj]]:
        return {}
