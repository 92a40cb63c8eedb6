"""PodSecurity: a namespace's label says how much its pods may do to the host: privileged, baseline, restricted.

Who calls it: `chain.py`, for pods (creation, and updates of their spec). Invariant: without the label
`pod-security.kubernetes.io/enforce` everything passes; everything a pod breaks is named in one refusal.
Upstream: staging/src/k8s.io/pod-security-admission (policy/check_*.go), the newest version of every check.
"""

from collections.abc import Callable, Iterator
from typing import Any

from apiserver.admission.attributes import Attributes
from minikube_py.api.types import Obj

_LABEL = "pod-security.kubernetes.io/enforce"
_ALLOWED_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_ALLOWED_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
})  # fmt: skip
_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip


def _containers(spec: Obj) -> Iterator[Obj]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _security(holder: Obj) -> Obj:
    context: Obj = holder.get("securityContext") or {}
    return context


def _bad(spec: Obj, test: Callable[[Obj], Any]) -> str:
    """The containers for which the test holds, as upstream lists them; "" when there are none."""
    names = [f'"{container.get("name")}"' for container in _containers(spec) if test(container)]
    return f"container{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""


def _added(container: Obj) -> set[str]:
    return set((_security(container).get("capabilities") or {}).get("add") or ())


def _dropped(container: Obj) -> set[str]:
    return set((_security(container).get("capabilities") or {}).get("drop") or ())


def _baseline(spec: Obj) -> Iterator[str]:
    shared = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if shared:
        yield f"host namespaces ({', '.join(shared)})"
    if who := _bad(spec, lambda c: _security(c).get("privileged")):
        yield f"privileged ({who} must not set securityContext.privileged=true)"
    if who := _bad(spec, lambda c: _added(c) - _ALLOWED_CAPABILITIES):
        extra = sorted({name for c in _containers(spec) for name in _added(c) - _ALLOWED_CAPABILITIES})
        listed = ", ".join(f'"{name}"' for name in extra)
        yield f"non-default capabilities ({who} must not include {listed} in securityContext.capabilities.add)"
    if mounted := [f'"{v.get("name")}"' for v in spec.get("volumes") or () if v.get("hostPath") is not None]:
        yield f"hostPath volumes (volume{'s' if len(mounted) > 1 else ''} {', '.join(mounted)})"
    if who := _bad(spec, lambda c: any(port.get("hostPort") for port in c.get("ports") or ())):
        used = sorted({p["hostPort"] for c in _containers(spec) for p in c.get("ports") or () if p.get("hostPort")})
        yield f"hostPort ({who} uses hostPort{'s' if len(used) > 1 else ''} {', '.join(map(str, used))})"
    if who := _bad(spec, lambda c: _security(c).get("procMount") not in (None, "", "Default")):
        yield f'procMount ({who} must not set securityContext.procMount to "Unmasked")'
    if any(_profile(holder) == "Unconfined" for holder in (spec, *_containers(spec))):
        yield 'seccompProfile (pod or containers must not set securityContext.seccompProfile.type to "Unconfined")'
    if odd := [
        s.get("name", "") for s in _security(spec).get("sysctls") or () if s.get("name") not in _ALLOWED_SYSCTLS
    ]:
        yield f"forbidden sysctls ({', '.join(odd)})"


def _profile(holder: Obj) -> str | None:
    kind: str | None = (_security(holder).get("seccompProfile") or {}).get("type")
    return kind


def _own_or_pods(spec: Obj, field: str) -> Callable[[Obj], Any]:
    def value(container: Obj) -> Any:
        own = _security(container).get(field)
        return _security(spec).get(field) if own is None else own

    return value


def _restricted(spec: Obj) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        for kind in volume:
            if kind != "name" and kind != "hostPath" and kind not in _VOLUMES:
                yield f'restricted volume types (volume "{volume.get("name")}" uses restricted volume type "{kind}")'
    if who := _bad(spec, lambda c: _security(c).get("allowPrivilegeEscalation") is not False):
        yield f"allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
    if who := _bad(spec, lambda c: "ALL" not in _dropped(c) or _added(c) - {"NET_BIND_SERVICE"}):
        yield f'unrestricted capabilities ({who} must set securityContext.capabilities.drop=["ALL"])'
    if who := _bad(spec, lambda c: _own_or_pods(spec, "runAsNonRoot")(c) is not True):
        yield f"runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"
    if _security(spec).get("runAsUser") == 0 or _bad(spec, lambda c: _security(c).get("runAsUser") == 0):
        yield "runAsUser=0 (pod or containers must not set runAsUser=0)"
    allowed = ("RuntimeDefault", "Localhost")
    if who := _bad(spec, lambda c: (_profile(c) or _profile(spec)) not in allowed):
        choice = '"RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {who} must set securityContext.seccompProfile.type to {choice})"


def check(attributes: Attributes) -> None:
    """Raises Forbidden for a pod that breaks its namespace's level."""
    obj = attributes.obj
    if obj is None or attributes.resource != "pods" or attributes.subresource not in ("", "ephemeralcontainers"):
        return
    spec = obj.get("spec") or {}
    if attributes.old is not None and attributes.old.get("spec") == spec:
        return
    namespace = attributes.ctx.lookup("namespaces", "", attributes.namespace) or {}
    level = ((namespace.get("metadata") or {}).get("labels") or {}).get(_LABEL)
    if level not in ("baseline", "restricted"):
        return
    broken = [*_baseline(spec), *(_restricted(spec) if level == "restricted" else ())]
    if broken:
        raise attributes.forbidden(f'violates PodSecurity "{level}:latest": {", ".join(broken)}')
