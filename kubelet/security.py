"""The merged securityContext of pod and container. Pure, but for reading the node's own seccomp profiles.

Who calls it: `container_config`. Invariant: the container's setting wins over the pod's; a container that must not run as root
is refused here, before anything is created.
Upstream: pkg/securitycontext/util.go, pkg/kubelet/kuberuntime/security_context.go.
"""

from pathlib import Path
from typing import Any

from kubelet.errors import ConfigError
from kubelet.runtime.base import Image, Security
from minikube_py.api.types import Obj

SECCOMP_PROFILES = Path("/var/lib/kubelet/seccomp")
"""Where upstream's kubelet looks by default; one place for all nodes of this machine."""


def merged(pod: Obj, container: Obj, name: str) -> Any:
    """One setting of securityContext: the container's, else the pod's, else None."""
    own = (container.get("securityContext") or {}).get(name)
    return own if own is not None else (pod["spec"].get("securityContext") or {}).get(name)


def security_of(pod: Obj, container: Obj, image: Image) -> Security:
    """What the runtime is told. Raises ConfigError when runAsNonRoot cannot be kept."""
    own = container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    privileged = bool(own.get("privileged"))
    added = tuple(capabilities.get("add") or ())
    return Security(
        user=_user(pod, container, image),
        groups=_groups(pod),
        privileged=privileged,
        add_capabilities=added,
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp="Unconfined" if privileged else _profile(pod, container, "seccompProfile", "Unconfined"),
        apparmor=_apparmor(pod, container),
        unmasked_proc=own.get("procMount") == "Unmasked",
    )


def _user(pod: Obj, container: Obj, image: Image) -> str:
    user, group = merged(pod, container, "runAsUser"), merged(pod, container, "runAsGroup")
    from_image = image.user.split(":")[0]
    if merged(pod, container, "runAsNonRoot"):
        _refuse_root(user, from_image)
    if user is None and group is None:
        return ""  # the image's own
    first = str(user) if user is not None else (from_image or "0")
    if group is None and merged(pod, container, "supplementalGroupsPolicy") == "Strict":
        group = 0  # with a group of its own named, the engine adds none from the image's /etc/group
    return f"{first}:{group}" if group is not None else first


def _refuse_root(user: int | None, from_image: str) -> None:
    if user is not None:
        if user == 0:
            raise ConfigError("container's runAsUser breaks non-root policy")
    elif from_image in ("", "0", "root"):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    elif not from_image.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({from_image}), cannot verify user is non-root"
        )


def _groups(pod: Obj) -> tuple[int, ...]:
    context = pod["spec"].get("securityContext") or {}
    groups = list(context.get("supplementalGroups") or ())
    if context.get("fsGroup") is not None:
        groups.append(context["fsGroup"])
    return tuple(groups)


def _profile(pod: Obj, container: Obj, field: str, default: str) -> str:
    profile = merged(pod, container, field)
    if not profile:
        return default
    kind = profile.get("type", default)
    if kind != "Localhost":
        return str(kind)
    path = str(SECCOMP_PROFILES / profile.get("localhostProfile", ""))
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot load seccomp profile {path!r}: {error.strerror}") from error


def _apparmor(pod: Obj, container: Obj) -> str:
    profile = merged(pod, container, "appArmorProfile") or {}
    if profile.get("type") == "Localhost":
        return str(profile.get("localhostProfile", ""))
    return "unconfined" if profile.get("type") == "Unconfined" else ""
