"""The messages of CSI v1 that a node exchanges with a driver. Data.

Who reads it: `csi.driver`; examples/csi_driver.py, as a server. Invariant: names and numbers are those of the published
csi.proto (container-storage-interface/spec); fields nobody here needs are left out, which proto3 allows.
"""

from collections.abc import Mapping
from typing import Any

from minikube_py.api.messages import classes

_TEXT = """
Empty:
GetPluginInfoResponse: name 1 string, vendor_version 2 string, manifest 3 map
PluginService: type 1 enum
PluginCapability: service 1 PluginService
GetPluginCapabilitiesResponse: capabilities 1 PluginCapability[]
BoolValue: value 1 bool
ProbeResponse: ready 1 BoolValue
BlockVolume:
MountVolume: fs_type 1 string, mount_flags 2 string[], volume_mount_group 3 string
AccessMode: mode 1 enum
VolumeCapability: block 1 BlockVolume, mount 2 MountVolume, access_mode 3 AccessMode
CapacityRange: required_bytes 1 int64, limit_bytes 2 int64
Topology: segments 1 map
NodeStageVolumeRequest: volume_id 1 string, publish_context 2 map, staging_target_path 3 string, volume_capability 4 VolumeCapability, secrets 5 map, volume_context 6 map
NodeUnstageVolumeRequest: volume_id 1 string, staging_target_path 2 string
NodePublishVolumeRequest: volume_id 1 string, publish_context 2 map, staging_target_path 3 string, target_path 4 string, volume_capability 5 VolumeCapability, readonly 6 bool, secrets 7 map, volume_context 8 map
NodeUnpublishVolumeRequest: volume_id 1 string, target_path 2 string
NodeExpandVolumeRequest: volume_id 1 string, volume_path 2 string, capacity_range 3 CapacityRange, staging_target_path 4 string, volume_capability 5 VolumeCapability, secrets 6 map
NodeExpandVolumeResponse: capacity_bytes 1 int64
NodeRPC: type 1 enum
NodeServiceCapability: rpc 1 NodeRPC
NodeGetCapabilitiesResponse: capabilities 1 NodeServiceCapability[]
NodeGetInfoResponse: node_id 1 string, max_volumes_per_node 2 int64, accessible_topology 3 Topology
"""  # noqa: E501

STAGE, EXPAND, SINGLE_NODE_MULTI_WRITER, MOUNT_GROUP = 1, 3, 5, 6
"""NodeServiceCapability.RPC.Type."""
ACCESS_MODES = {"ReadWriteOnce": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5, "ReadWriteOncePod": 1}
SINGLE_WRITER_MODES = {**ACCESS_MODES, "ReadWriteOnce": 7, "ReadWriteOncePod": 6}
"""For drivers that tell one pod from one node."""


def messages() -> Mapping[str, Any]:
    """Message name → class."""
    return classes("csi.v1", _TEXT)
