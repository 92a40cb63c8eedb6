"""From a sandbox or container config to the bodies of the CRI's RunPodSandbox and CreateContainer. Pure.

Who calls it: `runtime.cri`. Invariants: what the CRI has no field for and the runtime would have to know again (the host name,
the image's name as it was asked for) travels in annotations; a log's place follows from whose log it is.
Upstream: pkg/kubelet/kuberuntime (kuberuntime_sandbox.go, kuberuntime_container.go, security_context.go).
"""

from collections.abc import Mapping

from kubelet.runtime import cri_schema as cri
from kubelet.runtime import labels
from kubelet.runtime.base import ContainerConfig, PodRef, Resources, SandboxConfig, Security
from minikube_py.api.types import Obj

HOSTNAME, IMAGE, LOG_PATH = "io.minikube-py.hostname", "io.minikube-py.image", "io.minikube-py.log-path"
_MASKED = [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_NOTHING = [
    "/proc/.nothing"
]  # an empty list reads as "your defaults" at the other end; what does not exist is passed over


def sandbox(config: SandboxConfig, logs: str) -> Obj:
    """A PodSandboxConfig. In: `logs` is the directory above all pods' logs."""
    host_network = config.network == "host"
    pid = cri.NODE if config.host_pid else cri.POD if config.share_pid else cri.CONTAINER
    return {
        "metadata": metadata(config.pod, config.attempt),
        "hostname": "" if host_network else config.hostname,
        "log_directory": pod_logs(config.pod, logs),
        "labels": dict(config.labels),
        "annotations": {HOSTNAME: "" if host_network else config.hostname},
        "linux": {
            "cgroup_parent": config.cgroup_parent,
            "sysctls": dict(config.sysctls),
            "security_context": {
                "namespace_options": _namespaces(host_network, pid, config.host_ipc),
                "privileged": config.privileged,
            },
        },
    }


def sandbox_of(config: ContainerConfig, attempt: int, annotations: Mapping[str, str], logs: str) -> Obj:
    """The PodSandboxConfig that CreateContainer wants to see again: what a container depends on of it."""
    return {
        "metadata": metadata(config.pod, attempt),
        "hostname": annotations.get(HOSTNAME, ""),
        "log_directory": pod_logs(config.pod, logs),
        "linux": {
            "cgroup_parent": config.cgroup_parent,
            "security_context": {
                "namespace_options": _container_namespaces(config, ""),
                "privileged": config.security.privileged,
            },
        },
    }


def metadata(pod: PodRef, attempt: int) -> Obj:
    return {"name": pod.name, "uid": pod.uid, "namespace": pod.namespace, "attempt": attempt}


def pod_logs(pod: PodRef, logs: str) -> str:
    return f"{logs}/{pod.namespace}_{pod.name}_{pod.uid}"


def container(sandbox_id: str, config: ContainerConfig, logs: str, seccomp_file: str) -> Obj:
    """A ContainerConfig. In: `seccomp_file` holds the container's own seccomp profile, "" when it has none."""
    path = f"{config.name}/{config.attempt}.log"
    return {
        "metadata": {"name": config.name, "attempt": config.attempt},
        "image": {"image": config.image, "user_specified_image": config.image},
        "command": list(config.command),
        "args": list(config.args),
        "working_dir": config.working_dir,
        "envs": [{"key": name, "value": value} for name, value in config.env],
        "mounts": [
            {
                "container_path": mount.container_path, "host_path": mount.host_path, "readonly": mount.read_only,
                "propagation": cri.PROPAGATION[mount.propagation], "recursive_read_only": mount.recursive_read_only,
            } for mount in config.mounts
        ],
        "devices": [
            {"container_path": d.container_path, "host_path": d.host_path, "permissions": d.permissions}
            for d in config.devices
        ],
        "labels": dict(config.labels),
        "annotations": {IMAGE: config.image, LOG_PATH: f"{pod_logs(config.pod, logs)}/{path}"},
        "log_path": path,
        "stdin": config.stdin,
        "stdin_once": config.stdin and config.stdin_once,
        "tty": config.tty,
        "linux": {
            "resources": resources(config.resources),
            "security_context": {
                "namespace_options": _container_namespaces(config, sandbox_id),
                **_security(config.security, seccomp_file),
            },
        },
        "stop_signal": cri.SIGNALS.get(config.stop_signal, 0),
    }  # fmt: skip


def resources(limits: Resources) -> Obj:
    """LinuxContainerResources; memory never spills into swap. Processes are limited by the pod's cgroup."""
    return {
        "cpu_period": limits.cpu_period, "cpu_quota": limits.cpu_quota or -1, "cpu_shares": limits.cpu_shares,
        "memory_limit_in_bytes": limits.memory, "memory_swap_limit_in_bytes": limits.memory,
        "oom_score_adj": limits.oom_score_adj,
    }  # fmt: skip


def _namespaces(host_network: bool, pid: int, host_ipc: bool, target: str = "") -> Obj:
    return {
        "network": cri.NODE if host_network else cri.POD, "pid": pid, "ipc": cri.NODE if host_ipc else cri.POD,
        "target_id": target,
    }  # fmt: skip


def _container_namespaces(config: ContainerConfig, sandbox_id: str) -> Obj:
    joined = config.pid_container
    if config.host_pid:
        pid = cri.NODE
    elif not joined:
        pid = cri.CONTAINER
    else:
        pid = cri.POD if joined == sandbox_id else cri.TARGET
    return _namespaces(config.host_network, pid, config.host_ipc, joined if pid == cri.TARGET else "")


def _security(security: Security, seccomp_file: str) -> Obj:
    kinds = {"Unconfined": cri.UNCONFINED, "RuntimeDefault": cri.RUNTIME_DEFAULT}
    capabilities = {"add": security.add_capabilities, "drop": security.drop_capabilities}
    context: Obj = {
        "capabilities": {f"{name}_capabilities": list(given) for name, given in capabilities.items()},
        "privileged": security.privileged,
        "readonly_rootfs": security.read_only_root,
        "supplemental_groups": list(security.groups),
        "no_new_privs": security.no_new_privileges,
        "masked_paths": _NOTHING if security.unmasked_proc else _MASKED,
        "readonly_paths": _NOTHING if security.unmasked_proc else _READ_ONLY,
        "seccomp": {"profile_type": kinds.get(security.seccomp, cri.LOCALHOST), "localhost_ref": seccomp_file},
        **_user(security.user),
    }
    if security.privileged:
        context.update(masked_paths=[], readonly_paths=[])
    if security.apparmor:
        unconfined = security.apparmor == "unconfined"
        context["apparmor"] = {"profile_type": cri.UNCONFINED} if unconfined else {
            "profile_type": cri.LOCALHOST, "localhost_ref": security.apparmor,
        }  # fmt: skip
    return context


def _user(text: str) -> Obj:
    """From "1000", "1000:3000", "app" or "": who the process is."""
    user, _, group = text.partition(":")
    who: Obj = {"run_as_user": {"value": int(user)}} if user.isdigit() else {"run_as_username": user}
    return {**who, **({"run_as_group": {"value": int(group)}} if group else {})}


def own_seccomp(security: Security) -> bool:
    """Whether `security.seccomp` is the text of a profile."""
    return security.seccomp not in ("Unconfined", "RuntimeDefault")


def labels_of_node(profile: str, node: str, pod_uid: str = "") -> dict[str, str]:
    """The selector of what belongs to one node, or to one of its pods."""
    return {labels.PROFILE: profile, labels.NODE: node, **({labels.POD_UID: pod_uid} if pod_uid else {})}
