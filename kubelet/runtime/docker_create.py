"""From a sandbox or container config to the body of Docker's `POST /containers/create`. Pure; golden-tested.

Who calls it: `runtime.docker`. Invariants: Docker's own restart policy is always "no" (restarting is the pod worker's), logs
are always kept in json files (whatever the daemon's default is), and an image's health check never runs.
Upstream: the behaviour of the former pkg/kubelet/dockershim (helpers_linux.go, security_context.go).
"""

from typing import Any

from kubelet.runtime import labels
from kubelet.runtime.base import ContainerConfig, Device, Mount, Resources, SandboxConfig, Security
from minikube_py.api.types import Obj

_LOGS: Obj = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}
# None is left to the engine: private, but slave where the source holds the engine's own directory, which it insists on.
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


def sandbox_body(config: SandboxConfig, oom_floor: int = -1000) -> Obj:
    """The pause container: nothing but the owner of the pod's network and IPC namespaces.

    In: `oom_floor` is the lowest oom_score_adj the engine is allowed to set.
    """
    host: Obj = {
        "IpcMode": "host" if config.host_ipc else "shareable",
        "CpuShares": 2,
        "OomScoreAdj": max(config.oom_score_adj, oom_floor),
        "Mounts": [_mount(mount) for mount in config.mounts],
        "SecurityOpt": [],
        **_common(config.cgroup_parent, config.runtime_handler),
    }
    if config.host_pid:
        host["PidMode"] = "host"
    if config.sysctls:
        host["Sysctls"] = dict(config.sysctls)
    body: Obj = {"Image": config.image, "Labels": dict(config.labels), "HostConfig": host}
    if config.hostname:
        body["Hostname"] = config.hostname
    if config.network:
        host["NetworkMode"] = config.network
    else:
        body["NetworkDisabled"] = True
    if config.network and config.network != "host" and config.labels.get(labels.POD_IP):
        address = {"IPAMConfig": {"IPv4Address": config.labels[labels.POD_IP]}}
        body["NetworkingConfig"] = {"EndpointsConfig": {config.network: address}}
    if config.network and config.network != "host" and config.port_mappings:
        body["ExposedPorts"], host["PortBindings"] = _published(config.port_mappings)
    return body


def container_body(sandbox_id: str, config: ContainerConfig, oom_floor: int = -1000) -> Obj:
    """A container that lives in the namespaces of its sandbox."""
    body: Obj = {
        "Image": config.image,
        "Labels": dict(config.labels),
        "Env": [f"{name}={value}" for name, value in config.env],
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin and config.stdin_once,
        "Tty": config.tty,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(sandbox_id, config, oom_floor),
    }
    optional = {
        "Entrypoint": list(config.command), "Cmd": list(config.args), "WorkingDir": config.working_dir,
        "User": config.security.user, "StopSignal": config.stop_signal,
    }  # fmt: skip
    body.update({name: value for name, value in optional.items() if value})
    return body


def _host_config(sandbox_id: str, config: ContainerConfig, oom_floor: int) -> Obj:
    joined = f"container:{sandbox_id}"
    host: Obj = {
        "NetworkMode": "host" if config.host_network else joined,
        "IpcMode": "host" if config.host_ipc else joined,
        "Mounts": [_mount(mount) for mount in config.mounts],
        **resources(config.resources, oom_floor),
        **_security(config.security),
        **_common(config.cgroup_parent, config.runtime_handler),
    }
    if config.host_pid:
        host["PidMode"] = "host"
    elif config.pid_container:
        host["PidMode"] = f"container:{config.pid_container}"
    if config.host_network:
        host["UTSMode"] = "host"
    if config.ulimits:
        host["Ulimits"] = [{"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in config.ulimits]
    if config.devices:
        host["Devices"] = [_device(device) for device in config.devices]
    if config.device_requests:
        host["DeviceRequests"] = [dict(request) for request in config.device_requests]
    return host


def resources(limits: Resources, oom_floor: int = -1000) -> Obj:
    """The resource fields; memory never spills into swap."""
    host: Obj = {"CpuShares": limits.cpu_shares, "OomScoreAdj": max(limits.oom_score_adj, oom_floor)}
    if limits.cpu_quota:
        host.update(CpuQuota=limits.cpu_quota, CpuPeriod=limits.cpu_period)
    if limits.memory:
        host.update(Memory=limits.memory, MemorySwap=limits.memory)
    if limits.pids:
        host["PidsLimit"] = limits.pids
    return host


def update_body(limits: Resources) -> Obj:
    """The body of `POST /containers/ID/update`: what an in-place resize may change."""
    body = resources(limits)
    del body["OomScoreAdj"]
    return {"CpuQuota": -1, **body}


def _common(cgroup_parent: str, runtime_handler: str) -> Obj:
    host: Obj = {"RestartPolicy": {"Name": "no"}, "LogConfig": _LOGS}
    if cgroup_parent:
        host["CgroupParent"] = cgroup_parent
    if runtime_handler:
        host["Runtime"] = runtime_handler
    return host


def _security(security: Security) -> Obj:
    options: list[str] = []
    if security.no_new_privileges:
        options.append("no-new-privileges")
    if security.seccomp == "Unconfined":
        options.append("seccomp=unconfined")
    elif security.seccomp != "RuntimeDefault":
        options.append(f"seccomp={security.seccomp}")
    if security.apparmor:
        options.append(f"apparmor={security.apparmor}")
    host: Obj = {
        "Privileged": security.privileged,
        "ReadonlyRootfs": security.read_only_root,
        "CapAdd": list(security.add_capabilities),
        "CapDrop": list(security.drop_capabilities),
        "GroupAdd": [str(group) for group in security.groups],
        "SecurityOpt": options,
    }
    if security.unmasked_proc:
        host.update(MaskedPaths=[], ReadonlyPaths=[])
    return host


def _mount(mount: Mount) -> Obj:
    """Since API 1.44 a read-only mount is recursively so unless one says otherwise; older engines pass over the field."""
    bind: Obj = {
        "Type": "bind", "Source": mount.host_path, "Target": mount.container_path, "ReadOnly": mount.read_only,
    }  # fmt: skip
    options: Obj = {}
    if mount.propagation in _PROPAGATION:
        options["Propagation"] = _PROPAGATION[mount.propagation]
    if mount.read_only:
        options["ReadOnlyForceRecursive" if mount.recursive_read_only else "ReadOnlyNonRecursive"] = True
    if options:
        bind["BindOptions"] = options
    return bind


def _device(device: Device) -> Obj:
    return {
        "PathOnHost": device.host_path, "PathInContainer": device.container_path,
        "CgroupPermissions": device.permissions,
    }  # fmt: skip


def _published(mappings: tuple[tuple[str, int, int, str], ...]) -> tuple[Obj, dict[str, list[Obj]]]:
    """Host ports, published by the engine itself: only where the engine also wires the pod."""
    exposed: dict[str, Any] = {}
    bindings: dict[str, list[Obj]] = {}
    for host_ip, host_port, container_port, protocol in mappings:
        key = f"{container_port}/{protocol.lower()}"
        exposed[key] = {}
        bindings.setdefault(key, []).append({"HostIp": host_ip, "HostPort": str(host_port)})
    return exposed, bindings
