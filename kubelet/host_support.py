"""What this machine and its engine cannot do for a pod: sysctls that are not a pod's own, AppArmor where the kernel has none,
user namespaces of its own. Pure, but for one look at the kernel.

Who calls it: `admission`, before a pod's first container. Invariant: a pod that asks for isolation this node cannot give is
refused with upstream's reason and never run without it.
Upstream: pkg/kubelet/sysctl, pkg/security/apparmor/validate.go, pkg/kubelet/userns.
"""

from collections.abc import Sequence
from pathlib import Path

from kubelet.pod_spec import containers_of
from kubelet.status import Verdict
from minikube_py.api.types import Obj

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)  # fmt: skip
_IPC, _NET = ("kernel.shm", "kernel.msg", "fs.mqueue."), ("net.",)
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


def refuse(pod: Obj, unsafe_sysctls: Sequence[str] = (), apparmor: bool | None = None) -> Verdict | None:
    """Why the pod cannot run here. In: `unsafe_sysctls` are names, or beginnings of names that end in "*"."""
    return _sysctls(pod, unsafe_sysctls) or _apparmor_profile(pod, apparmor) or _user_namespace(pod)


def _sysctls(pod: Obj, unsafe: Sequence[str]) -> Verdict | None:
    spec, allowed = pod["spec"], (*SAFE_SYSCTLS, *unsafe)
    for entry in (spec.get("securityContext") or {}).get("sysctls") or []:
        name = entry["name"].replace("/", ".")
        why = ""
        if not any(name == known or (known.endswith("*") and name.startswith(known[:-1])) for known in allowed):
            why = f'"{name}" not allowlisted'
        elif spec.get("hostNetwork") and name.startswith(_NET):
            why = f'"{name}" not allowed with host net enabled'
        elif spec.get("hostIPC") and (name.startswith(_IPC) or name == "kernel.sem"):
            why = f'"{name}" not allowed with host ipc enabled'
        if why:
            return Verdict("SysctlForbidden", f"forbidden sysctl: {why}")
    return None


def _apparmor_profile(pod: Obj, enabled: bool | None) -> Verdict | None:
    holders = [pod["spec"], *containers_of(pod)]
    profiles = [(holder.get("securityContext") or {}).get("appArmorProfile") or {} for holder in holders]
    if all(profile.get("type", "Unconfined") == "Unconfined" for profile in profiles):
        return None
    if _kernel_has_apparmor() if enabled is None else enabled:
        return None
    return Verdict("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def _kernel_has_apparmor() -> bool:
    try:
        return _APPARMOR.read_text().startswith("Y")
    except OSError:
        return False


def _user_namespace(pod: Obj) -> Verdict | None:
    if pod["spec"].get("hostUsers") is not False:
        return None
    return Verdict(
        "UnsupportedUserNamespaces", "Pod was rejected: the container runtime does not support user namespaces"
    )
