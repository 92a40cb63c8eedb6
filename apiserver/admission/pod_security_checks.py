"""What the levels baseline and restricted of pod security forbid, check by check, from which version of the policy on.

Who calls it: `pod_security.py`. Invariant: pure; the checks run in upstream's order (by name, baseline first), and restricted
leaves out the baseline checks that one of its own says more strictly.
Upstream: staging/src/k8s.io/pod-security-admission/policy.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from minikube_py.api.types import Obj

LATEST = 1 << 16
_OWN_VERSION = 35
"""The newest version in which any check changed."""
_ALLOWED_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_SYSCTLS: tuple[tuple[int, frozenset[str]], ...] = (
    (0, frozenset({"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
                   "net.ipv4.ping_group_range", "net.ipv4.tcp_syncookies"})),
    (27, frozenset({"net.ipv4.ip_local_reserved_ports"})),
    (29, frozenset({"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
                    "net.ipv4.tcp_keepalive_time"})),
    (32, frozenset({"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"})),
)  # fmt: skip
_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = ("seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/")


class Broken(NamedTuple):
    """One check that a pod does not pass."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class Pod(NamedTuple):
    """What the checks look at. `version` is the minor version of the policy."""

    metadata: Obj
    spec: Obj
    version: int

    @property
    def containers(self) -> Iterator[Obj]:
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            yield from self.spec.get(kind) or ()

    def named(self, test: Callable[[Obj], Any]) -> list[str]:
        """The names of the containers for which the test holds."""
        return [str(container.get("name")) for container in self.containers if test(container)]

    @property
    def is_windows(self) -> bool:
        return (self.spec.get("os") or {}).get("name") == "windows"

    @property
    def has_own_users(self) -> bool:
        """In a user namespace, where root is nobody outside."""
        return self.version >= 35 and self.spec.get("hostUsers") is False


Check = Callable[[Pod], Broken | None]


def broken(level: str, version: int, metadata: Obj, spec: Obj) -> list[Broken]:
    """Everything by which a pod misses a level ("baseline" or "restricted") of a version."""
    pod = Pod(metadata, spec, min(version, _OWN_VERSION))
    checks = list(_BASELINE)
    if level == "restricted":
        ours = [check for check in _RESTRICTED if check.since <= pod.version]
        covered = {check.instead_of for check in ours}
        checks = [check for check in checks if check.name not in covered] + ours
    found = (check.run(pod) for check in checks if check.since <= pod.version)
    return [result for result in found if result is not None]


def _security(holder: Obj) -> Obj:
    context: Obj = holder.get("securityContext") or {}
    return context


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _number(one: str, items: Iterable[Any], many: str = "") -> str:
    return one if len(list(items)) == 1 else many or f"{one}s"


def _them(names: list[str], what: str = "container") -> str:
    return f"{_number(what, names)} {_quoted(names)}"


def _setters(pod: bool, containers: list[str]) -> str:
    """Who sets a bad value; "" for nobody."""
    return " and ".join([*(["pod"] if pod else []), *([_them(containers)] if containers else [])])


def _app_armor(pod: Pod) -> Broken | None:
    def bad(holder: Obj) -> str | None:
        profile = _security(holder).get("appArmorProfile")
        kind = None if profile is None else profile.get("type", "")
        return None if kind in (None, "RuntimeDefault", "Localhost") else kind

    wrong = [value for holder in (pod.spec, *pod.containers) if (value := bad(holder)) is not None]
    noted = sorted(
        f'{key}="{value}"' for key, value in (pod.metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )  # fmt: skip
    who = _setters(bad(pod.spec) is not None, pod.named(lambda c: bad(c) is not None))
    if noted:
        who = " and ".join([*([who] if who else []), _number("annotation", noted)])
    values = sorted(set(wrong)) + noted
    if not who:
        return None
    reason = _number("forbidden AppArmor profile", values)
    return Broken(reason, f"{who} must not set AppArmor profile type to {_quoted(values)}")


def _capabilities(container: Obj, which: str) -> set[str]:
    return set((_security(container).get("capabilities") or {}).get(which) or ())


def _capabilities_baseline(pod: Pod) -> Broken | None:
    who = pod.named(lambda c: _capabilities(c, "add") - _ALLOWED_CAPABILITIES)
    extra = sorted({name for c in pod.containers for name in _capabilities(c, "add") - _ALLOWED_CAPABILITIES})
    if not who:
        return None
    detail = f"{_them(who)} must not include {_quoted(extra)} in securityContext.capabilities.add"
    return Broken("non-default capabilities", detail)


def _capabilities_restricted(pod: Pod) -> Broken | None:
    if pod.version >= 25 and pod.is_windows:
        return None
    keeping = pod.named(lambda c: "ALL" not in _capabilities(c, "drop"))
    allowed = {"NET_BIND_SERVICE"}
    adding = pod.named(lambda c: _capabilities(c, "add") - allowed)
    extra = sorted({name for c in pod.containers for name in _capabilities(c, "add") - allowed})
    details = [f'{_them(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        details.append(f"{_them(adding)} must not include {_quoted(extra)} in securityContext.capabilities.add")
    return Broken("unrestricted capabilities", "; ".join(details)) if details else None


def _host_namespaces(pod: Pod) -> Broken | None:
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name)]
    return Broken("host namespaces", ", ".join(shared)) if shared else None


def _host_paths(pod: Pod) -> Broken | None:
    mounted = [v.get("name", "") for v in pod.spec.get("volumes") or () if v.get("hostPath") is not None]
    return Broken("hostPath volumes", _them(mounted, "volume")) if mounted else None


def _host_ports(pod: Pod) -> Broken | None:
    who = pod.named(lambda c: any(port.get("hostPort") for port in c.get("ports") or ()))
    used = sorted({str(p["hostPort"]) for c in pod.containers for p in c.get("ports") or () if p.get("hostPort")})
    if not who:
        return None
    return Broken(
        "hostPort", f"{_them(who)} {_number('uses', who, 'use')} {_number('hostPort', used)} {', '.join(used)}"
    )


def _hosts(container: Obj) -> Iterator[str]:
    """The hosts that probes and hooks of a container name."""
    hooks = container.get("lifecycle") or {}
    probes = (container.get(kind) for kind in ("livenessProbe", "readinessProbe", "startupProbe"))
    for handler in (*probes, hooks.get("postStart"), hooks.get("preStop")):
        for kind in ("httpGet", "tcpSocket"):
            if host := ((handler or {}).get(kind) or {}).get("host"):
                yield host


def _host_probes(pod: Pod) -> Broken | None:
    who = sorted(pod.named(lambda c: list(_hosts(c))))
    named = sorted({host for container in pod.containers for host in _hosts(container)})
    if not who:
        return None
    what = _number("probe or lifecycle host", named)
    return Broken("probe or lifecycle host", f"{_them(who)} {_number('uses', who, 'use')} {what} {_quoted(named)}")


def _privileged(pod: Pod) -> Broken | None:
    who = pod.named(lambda c: _security(c).get("privileged"))
    return Broken("privileged", f"{_them(who)} must not set securityContext.privileged=true") if who else None


def _proc_mount(pod: Pod) -> Broken | None:
    fine = (None, "Default")
    who = pod.named(lambda c: _security(c).get("procMount") not in fine)
    set_to = sorted({_security(c)["procMount"] for c in pod.containers if _security(c).get("procMount") not in fine})
    if not who:
        return None
    return Broken("procMount", f"{_them(who)} must not set securityContext.procMount to {_quoted(set_to)}")


def _proc_mount_baseline(pod: Pod) -> Broken | None:
    return None if pod.has_own_users else _proc_mount(pod)


def _selinux(pod: Pod) -> Broken | None:
    types = _SELINUX_TYPES | ({"container_engine_t"} if pod.version >= 31 else set())

    def options(holder: Obj) -> Obj:
        found: Obj = _security(holder).get("seLinuxOptions") or {}
        return found

    def bad(holder: Obj) -> bool:
        found = options(holder)
        return (found.get("type") or "") not in types or bool(found.get("user") or found.get("role"))

    who = _setters(bad(pod.spec), pod.named(bad))
    if not who:
        return None
    all_options = [options(holder) for holder in (pod.spec, *pod.containers)]
    wrong = sorted({found["type"] for found in all_options if (found.get("type") or "") not in types})
    data = [f"{_number('type', wrong)} {_quoted(wrong)}"] if wrong else []
    data += [f"{part} may not be set" for part in ("user", "role") if any(found.get(part) for found in all_options)]
    return Broken("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}")


def _profile(holder: Obj) -> str | None:
    profile = _security(holder).get("seccompProfile")
    return None if profile is None else profile.get("type", "")


def _unconfined(pod: Pod) -> Broken | None:
    fine = (None, "RuntimeDefault", "Localhost")
    who = _setters(_profile(pod.spec) not in fine, pod.named(lambda c: _profile(c) not in fine))
    values = sorted({_profile(h) or "" for h in (pod.spec, *pod.containers) if _profile(h) not in fine})
    if not who:
        return None
    return Broken("seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {_quoted(values)}")


def _seccomp_baseline(pod: Pod) -> Broken | None:
    if pod.version >= 19:
        return _unconfined(pod)
    keys = {_SECCOMP[0], *(_SECCOMP[1] + str(c.get("name")) for c in pod.containers)}
    noted = sorted(
        f'{key}="{value}"' for key, value in (pod.metadata.get("annotations") or {}).items()
        if key in keys and value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
    )  # fmt: skip
    return Broken("seccompProfile", f"forbidden {_number('annotation', noted)} {', '.join(noted)}") if noted else None


def _seccomp_restricted(pod: Pod) -> Broken | None:
    if pod.version >= 25 and pod.is_windows:
        return None
    if (found := _unconfined(pod)) is not None:
        return found
    who = [] if _profile(pod.spec) else pod.named(lambda c: _profile(c) is None)
    choice = '"RuntimeDefault" or "Localhost"'
    detail = f"pod or {_them(who)} must set securityContext.seccompProfile.type to {choice}"
    return Broken("seccompProfile", detail) if who else None


def _sysctls(pod: Pod) -> Broken | None:
    allowed = {name for since, names in _SYSCTLS if since <= pod.version for name in names}
    odd = [s.get("name", "") for s in _security(pod.spec).get("sysctls") or () if s.get("name") not in allowed]
    return Broken("forbidden sysctls", ", ".join(odd)) if odd else None


def _host_process(pod: Pod) -> Broken | None:
    def bad(holder: Obj) -> bool:
        return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))

    who = _setters(bad(pod.spec), pod.named(bad))
    detail = f"{who} must not set securityContext.windowsOptions.hostProcess=true"
    return Broken("hostProcess", detail) if who else None


def _escalation(pod: Pod) -> Broken | None:
    if pod.version >= 25 and pod.is_windows:
        return None
    who = pod.named(lambda c: _security(c).get("allowPrivilegeEscalation") is not False)
    detail = f"{_them(who)} must set securityContext.allowPrivilegeEscalation=false"
    return Broken("allowPrivilegeEscalation != false", detail) if who else None


def _restricted_volumes(pod: Pod) -> Broken | None:
    bad = [v for v in pod.spec.get("volumes") or () if not any(v.get(kind) is not None for kind in _VOLUMES)]
    names = [volume.get("name", "") for volume in bad]
    kinds = sorted({next((key for key in volume if key != "name"), "unknown") for volume in bad})
    if not bad:
        return None
    what = f"{_number('uses', names, 'use')} {_number('restricted volume type', kinds)} {_quoted(kinds)}"
    return Broken("restricted volume types", f"{_them(names, 'volume')} {what}")


def _non_root(pod: Pod) -> Broken | None:
    if pod.has_own_users:
        return None
    own = _security(pod.spec).get("runAsNonRoot")
    who = _setters(own is False, pod.named(lambda c: _security(c).get("runAsNonRoot") is False))
    if who:
        return Broken("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    silent = [] if own else pod.named(lambda c: _security(c).get("runAsNonRoot") is None)
    detail = f"pod or {_them(silent)} must set securityContext.runAsNonRoot=true"
    return Broken("runAsNonRoot != true", detail) if silent else None


def _user_zero(pod: Pod) -> Broken | None:
    if pod.has_own_users:
        return None

    def bad(holder: Obj) -> bool:
        return _security(holder).get("runAsUser") == 0

    who = _setters(bad(pod.spec), pod.named(bad))
    return Broken("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


class _Check(NamedTuple):
    name: str
    run: Check
    since: int = 0
    instead_of: str = ""


_BASELINE = (
    _Check("appArmorProfile", _app_armor),
    _Check("capabilities_baseline", _capabilities_baseline),
    _Check("hostNamespaces", _host_namespaces),
    _Check("hostPathVolumes", _host_paths),
    _Check("hostPorts", _host_ports),
    _Check("hostProbesAndHostLifecycle", _host_probes, 34),
    _Check("privileged", _privileged),
    _Check("procMount", _proc_mount_baseline),
    _Check("seLinuxOptions", _selinux),
    _Check("seccompProfile_baseline", _seccomp_baseline),
    _Check("sysctls", _sysctls),
    _Check("windowsHostProcess", _host_process),
)
_RESTRICTED = (
    _Check("allowPrivilegeEscalation", _escalation, 8),
    _Check("capabilities_restricted", _capabilities_restricted, 22, "capabilities_baseline"),
    _Check("procMount_restricted", _proc_mount, 35, "procMount"),
    _Check("restrictedVolumes", _restricted_volumes, 0, "hostPathVolumes"),
    _Check("runAsNonRoot", _non_root),
    _Check("runAsUser", _user_zero, 23),
    _Check("seccompProfile_restricted", _seccomp_restricted, 19, "seccompProfile_baseline"),
)
