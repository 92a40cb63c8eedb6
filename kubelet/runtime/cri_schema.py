"""The messages of the Container Runtime Interface v1 that this kubelet exchanges with a runtime. Data.

Who reads it: `runtime.cri` to call, `cri_create` and `cri_read` for the numbers. Invariant: names and numbers are those of the
published api.proto; fields nobody here needs are left out, which proto3 allows.
Upstream: staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto.
"""

from collections.abc import Mapping
from typing import Any

from minikube_py.api.messages import classes

PACKAGE = "runtime.v1"
_TEXT = """
VersionRequest: version 1 string
VersionResponse: version 1 string, runtime_name 2 string, runtime_version 3 string, runtime_api_version 4 string
StatusRequest: verbose 1 bool
RuntimeCondition: type 1 string, status 2 bool, reason 3 string, message 4 string
RuntimeStatus: conditions 1 RuntimeCondition[]
RuntimeHandlerFeatures: recursive_read_only_mounts 1 bool, user_namespaces 2 bool
RuntimeHandler: name 1 string, features 2 RuntimeHandlerFeatures
StatusResponse: status 1 RuntimeStatus, info 2 map, runtime_handlers 3 RuntimeHandler[]
RuntimeConfigRequest:
LinuxRuntimeConfiguration: cgroup_driver 1 enum
RuntimeConfigResponse: linux 1 LinuxRuntimeConfiguration
Int64Value: value 1 int64
UInt64Value: value 1 uint64
NamespaceOption: network 1 enum, pid 2 enum, ipc 3 enum, target_id 4 string
SecurityProfile: profile_type 1 enum, localhost_ref 2 string
LinuxContainerResources: cpu_period 1 int64, cpu_quota 2 int64, cpu_shares 3 int64, memory_limit_in_bytes 4 int64, oom_score_adj 5 int64, unified 9 map, memory_swap_limit_in_bytes 10 int64
PodSandboxMetadata: name 1 string, uid 2 string, namespace 3 string, attempt 4 uint32
LinuxSandboxSecurityContext: namespace_options 1 NamespaceOption, privileged 6 bool
LinuxPodSandboxConfig: cgroup_parent 1 string, security_context 2 LinuxSandboxSecurityContext, sysctls 3 map
PodSandboxConfig: metadata 1 PodSandboxMetadata, hostname 2 string, log_directory 3 string, labels 6 map, annotations 7 map, linux 8 LinuxPodSandboxConfig
RunPodSandboxRequest: config 1 PodSandboxConfig, runtime_handler 2 string
RunPodSandboxResponse: pod_sandbox_id 1 string
StopPodSandboxRequest: pod_sandbox_id 1 string
StopPodSandboxResponse:
RemovePodSandboxRequest: pod_sandbox_id 1 string
RemovePodSandboxResponse:
PodSandboxStatusRequest: pod_sandbox_id 1 string, verbose 2 bool
PodSandboxNetworkStatus: ip 1 string
PodSandboxStatus: id 1 string, metadata 2 PodSandboxMetadata, state 3 enum, created_at 4 int64, network 5 PodSandboxNetworkStatus, labels 7 map, annotations 8 map
PodSandboxStatusResponse: status 1 PodSandboxStatus, info 2 map
PodSandboxFilter: id 1 string, label_selector 3 map
ListPodSandboxRequest: filter 1 PodSandboxFilter
PodSandbox: id 1 string, state 3 enum, labels 5 map
ListPodSandboxResponse: items 1 PodSandbox[]
ImageSpec: image 1 string, user_specified_image 18 string
KeyValue: key 1 string, value 2 string
Mount: container_path 1 string, host_path 2 string, readonly 3 bool, propagation 5 enum, recursive_read_only 8 bool
Device: container_path 1 string, host_path 2 string, permissions 3 string
Capability: add_capabilities 1 string[], drop_capabilities 2 string[]
LinuxContainerSecurityContext: capabilities 1 Capability, privileged 2 bool, namespace_options 3 NamespaceOption, run_as_user 5 Int64Value, run_as_username 6 string, readonly_rootfs 7 bool, supplemental_groups 8 int64[], no_new_privs 11 bool, run_as_group 12 Int64Value, masked_paths 13 string[], readonly_paths 14 string[], seccomp 15 SecurityProfile, apparmor 16 SecurityProfile
LinuxContainerConfig: resources 1 LinuxContainerResources, security_context 2 LinuxContainerSecurityContext
ContainerMetadata: name 1 string, attempt 2 uint32
ContainerConfig: metadata 1 ContainerMetadata, image 2 ImageSpec, command 3 string[], args 4 string[], working_dir 5 string, envs 6 KeyValue[], mounts 7 Mount[], devices 8 Device[], labels 9 map, annotations 10 map, log_path 11 string, stdin 12 bool, stdin_once 13 bool, tty 14 bool, linux 15 LinuxContainerConfig, stop_signal 18 enum
CreateContainerRequest: pod_sandbox_id 1 string, config 2 ContainerConfig, sandbox_config 3 PodSandboxConfig
CreateContainerResponse: container_id 1 string
StartContainerRequest: container_id 1 string
StartContainerResponse:
StopContainerRequest: container_id 1 string, timeout 2 int64
StopContainerResponse:
RemoveContainerRequest: container_id 1 string
RemoveContainerResponse:
ContainerFilter: id 1 string, pod_sandbox_id 3 string, label_selector 4 map
ListContainersRequest: filter 1 ContainerFilter
Container: id 1 string, image_ref 5 string, state 6 enum, labels 8 map, image_id 10 string
ListContainersResponse: containers 1 Container[]
ContainerStatusRequest: container_id 1 string, verbose 2 bool
ContainerResources: linux 1 LinuxContainerResources
ContainerStatus: id 1 string, metadata 2 ContainerMetadata, state 3 enum, created_at 4 int64, started_at 5 int64, finished_at 6 int64, exit_code 7 int32, image 8 ImageSpec, image_ref 9 string, reason 10 string, message 11 string, labels 12 map, annotations 13 map, log_path 15 string, resources 16 ContainerResources, image_id 17 string
ContainerStatusResponse: status 1 ContainerStatus, info 2 map
UpdateContainerResourcesRequest: container_id 1 string, linux 2 LinuxContainerResources
UpdateContainerResourcesResponse:
ReopenContainerLogRequest: container_id 1 string
ReopenContainerLogResponse:
ExecSyncRequest: container_id 1 string, cmd 2 string[], timeout 3 int64
ExecSyncResponse: stdout 1 bytes, stderr 2 bytes, exit_code 3 int32
ExecRequest: container_id 1 string, cmd 2 string[], tty 3 bool, stdin 4 bool, stdout 5 bool, stderr 6 bool
ExecResponse: url 1 string
AttachRequest: container_id 1 string, stdin 2 bool, tty 3 bool, stdout 4 bool, stderr 5 bool
AttachResponse: url 1 string
CpuUsage: usage_core_nano_seconds 2 UInt64Value
MemoryUsage: working_set_bytes 2 UInt64Value, usage_bytes 4 UInt64Value, rss_bytes 5 UInt64Value, page_faults 6 UInt64Value, major_page_faults 7 UInt64Value
FilesystemIdentifier: mountpoint 1 string
FilesystemUsage: fs_id 2 FilesystemIdentifier, used_bytes 3 UInt64Value, inodes_used 4 UInt64Value
ContainerAttributes: id 1 string
ContainerStats: attributes 1 ContainerAttributes, cpu 2 CpuUsage, memory 3 MemoryUsage, writable_layer 4 FilesystemUsage
ContainerStatsFilter: id 1 string, label_selector 3 map
ListContainerStatsRequest: filter 1 ContainerStatsFilter
ListContainerStatsResponse: stats 1 ContainerStats[]
ListImagesRequest:
Image: id 1 string, repo_tags 2 string[], repo_digests 3 string[], size 4 uint64, uid 5 Int64Value, username 6 string, pinned 8 bool
ListImagesResponse: images 1 Image[]
ImageStatusRequest: image 1 ImageSpec
ImageStatusResponse: image 1 Image
AuthConfig: username 1 string, password 2 string
PullImageRequest: image 1 ImageSpec, auth 2 AuthConfig
PullImageResponse: image_ref 1 string
RemoveImageRequest: image 1 ImageSpec
RemoveImageResponse:
SubscribeRequest: filters 1 string[]
GetContainerEventsRequest:
ImageFsInfoRequest:
ImageFsInfoResponse: image_filesystems 1 FilesystemUsage[]
"""  # noqa: E501

HINTS: tuple[tuple[str, str, dict[str, list[str]], dict[str, str]], ...] = (
    (f"/{PACKAGE}.RuntimeService/GetContainerEvents", "GetContainerEventsRequest", {}, {}),
    (
        "/containerd.services.events.v1.Events/Subscribe", "SubscribeRequest",
        {"filters": [f'topic=="/{topic}"' for topic in ("tasks/exit", "tasks/oom", "containers/delete")]},
        {"containerd-namespace": "k8s.io"},
    ),
)  # fmt: skip
"""Streams that tell when something happened: the CRI's own, and containerd's, whose older versions have only that. Each: the
method, its request and that one's fields, metadata. Of what we do ourselves we need not be told."""
READY = 0
"""PodSandboxState; all else is not ready."""
CONTAINER_STATES = ("created", "running", "exited", "exited")
"""ContainerState by number; the last is "unknown"."""
POD, CONTAINER, NODE, TARGET = range(4)
"""NamespaceMode: the sandbox's namespace, one of its own, the host's, another container's."""
PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
"""SecurityProfile.ProfileType."""
SYSTEMD = 0
"""CgroupDriver; 1 is cgroupfs."""
_NUMBERS = [*(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(14, 0, -1)), "RTMAX"]
_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN "
    "TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN"
)
SIGNALS = {f"SIG{name}": number for number, name in enumerate([*_NAMES.split(), *_NUMBERS], 1)}
IMAGE_SERVICE = {"ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo"}
"""The methods of ImageService; all others are RuntimeService's."""


def messages() -> Mapping[str, Any]:
    """Message name → class."""
    return classes(PACKAGE, _TEXT)
