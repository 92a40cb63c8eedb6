"""One CSI driver as the kubelet knows it, and the calls it answers.

Who calls it: `csi.drivers` asks it who it is, `csi.volumes` stages and publishes. Invariants: every call is idempotent by CSI's
contract, so each may be repeated after a crash; a driver whose endpoint is below /var/lib/kubelet runs in a container that sees
this node's directory there, and is told paths as it sees them.
Upstream: pkg/volume/csi/csi_client.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubelet import grpc_messages
from kubelet.csi import schema
from kubelet.errors import VolumeError

USUAL_ROOT = "/var/lib/kubelet"
_SECONDS = 120.0


@dataclass(frozen=True)
class Driver:
    """A registered driver. `root` is this node's directory; `topology` what it says of where the node is."""

    name: str
    endpoint: str
    root: str
    node_id: str = ""
    max_volumes: int = 0
    topology: Mapping[str, str] = field(default_factory=dict)
    abilities: frozenset[int] = frozenset()

    def seen(self, path: Path) -> str:
        """A path of this machine as the driver sees it."""
        text = str(path)
        inside = self.endpoint.startswith(USUAL_ROOT) and not self.root.startswith(USUAL_ROOT)
        return USUAL_ROOT + text.removeprefix(self.root) if inside and text.startswith(self.root) else text

    def call(self, service: str, method: str, request: Any, answer: str = "Empty") -> Any:
        """Raises VolumeError with the driver's words."""
        try:
            socket = real_path(self.endpoint, self.root)
            return grpc_messages.call(
                socket, f"/csi.v1.{service}/{method}", request, schema.messages()[answer], _SECONDS
            )
        except grpc_messages.CallFailed as error:
            raise VolumeError(f"rpc error from driver {self.name}: {method}: {error}") from error

    def stage(self, volume: "Volume", staging: Path) -> None:
        m = schema.messages()
        self.call("Node", "NodeStageVolume", m["NodeStageVolumeRequest"](
            volume_id=volume.handle, publish_context=volume.publish_context, staging_target_path=self.seen(staging),
            volume_capability=self.capability(volume), secrets=volume.stage_secrets, volume_context=volume.attributes,
        ))  # fmt: skip

    def publish(self, volume: "Volume", staging: Path | None, target: Path) -> None:
        m = schema.messages()
        self.call("Node", "NodePublishVolume", m["NodePublishVolumeRequest"](
            volume_id=volume.handle, publish_context=volume.publish_context, target_path=self.seen(target),
            staging_target_path=self.seen(staging) if staging else "", volume_capability=self.capability(volume),
            readonly=volume.read_only, secrets=volume.publish_secrets, volume_context={**volume.attributes, **volume.context},
        ))  # fmt: skip

    def unpublish(self, handle: str, target: Path) -> None:
        m = schema.messages()
        request = m["NodeUnpublishVolumeRequest"](volume_id=handle, target_path=self.seen(target))
        self.call("Node", "NodeUnpublishVolume", request)

    def unstage(self, handle: str, staging: Path) -> None:
        m = schema.messages()
        request = m["NodeUnstageVolumeRequest"](volume_id=handle, staging_target_path=self.seen(staging))
        self.call("Node", "NodeUnstageVolume", request)

    def expand(self, volume: "Volume", path: Path, staging: Path | None, size: int) -> None:
        m = schema.messages()
        self.call("Node", "NodeExpandVolume", m["NodeExpandVolumeRequest"](
            volume_id=volume.handle, volume_path=self.seen(path), capacity_range=m["CapacityRange"](required_bytes=size),
            staging_target_path=self.seen(staging) if staging else "", volume_capability=self.capability(volume),
        ), "NodeExpandVolumeResponse")  # fmt: skip

    def capability(self, volume: "Volume") -> Any:
        """How the volume will be used, in CSI's words."""
        m = schema.messages()
        modes = schema.SINGLE_WRITER_MODES if schema.SINGLE_NODE_MULTI_WRITER in self.abilities else schema.ACCESS_MODES
        mode = m["AccessMode"](mode=modes.get(volume.access_mode, 0))
        if volume.block:
            return m["VolumeCapability"](block=m["BlockVolume"](), access_mode=mode)
        group = str(volume.group) if volume.group is not None and schema.MOUNT_GROUP in self.abilities else ""
        mount = m["MountVolume"](fs_type=volume.fs_type, mount_flags=volume.mount_options, volume_mount_group=group)
        return m["VolumeCapability"](mount=mount, access_mode=mode)


@dataclass(frozen=True)
class Volume:
    """What a driver is told of one volume of one pod. `context` is the pod's part of the volume context."""

    driver: str
    handle: str
    access_mode: str = "ReadWriteOnce"
    fs_type: str = ""
    read_only: bool = False
    block: bool = False
    group: int | None = None
    mount_options: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    publish_context: Mapping[str, str] = field(default_factory=dict)
    stage_secrets: Mapping[str, str] = field(default_factory=dict)
    publish_secrets: Mapping[str, str] = field(default_factory=dict)


def real_path(path: str, root: str) -> str:
    """A path as a plugin in a container names it, as it is on this machine."""
    inside = path == USUAL_ROOT or path.startswith(USUAL_ROOT + "/")
    return root + path.removeprefix(USUAL_ROOT) if inside else path
