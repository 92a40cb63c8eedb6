"""A device plugin, in the shape of the v1beta1 device-plugin API.

Who implements it: `nvidia_plugin` in this process; a gRPC client of a plugin's socket has the same calls.
Who calls it: `manager`. Invariant: a plugin knows devices and what they need in a container, and nothing of pods; who has which
device is the manager's business.
Upstream: staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

from minikube_py.api.types import Obj


class PluginError(Exception):
    """A plugin refused a call; one sentence."""


class Device(NamedTuple):
    """One device; `numa` -1 = it belongs to no NUMA node."""

    id: str
    healthy: bool = True
    numa: int = -1


class PluginOptions(NamedTuple):
    """DevicePluginOptions."""

    pre_start_required: bool = False
    preferred_allocation_available: bool = False


class DevicePlugin(Protocol):
    """Thread-safe."""

    resource: str

    def options(self) -> PluginOptions: ...

    def list_and_watch(self) -> Iterator[list[Device]]:
        """All devices, again whenever something about them changed; ends (or raises PluginError) when the plugin is gone."""

    def preferred_allocation(self, available: Collection[str], must_include: Collection[str], size: int) -> list[str]:
        """GetPreferredAllocation: which `size` of the available it would take. Advice; raises PluginError."""

    def allocate(self, ids: Collection[str]) -> Obj:
        """ContainerAllocateResponse for these devices: envs, mounts, devices, annotations, cdi_devices. Raises PluginError."""

    def pre_start(self, ids: Collection[str]) -> None:
        """PreStartContainer: before every start of a container that has them. Raises PluginError."""

    def stop(self) -> None:
        """End `list_and_watch`."""
