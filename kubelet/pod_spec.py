"""Small questions about a pod's spec. Pure. Who calls it: everything in this package. Invariant: nothing is changed."""

from collections.abc import Iterator

from minikube_py.api.types import Obj

SOURCE, MIRROR = "kubernetes.io/config.source", "kubernetes.io/config.mirror"


def containers_of(pod: Obj) -> Iterator[Obj]:
    """Init, main and ephemeral containers, in this order."""
    spec = pod["spec"]
    for group in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(group) or []


def lasting_containers(pod: Obj) -> list[Obj]:
    """Those that run as long as the pod does: the main ones and the sidecars."""
    spec = pod["spec"]
    return [*spec["containers"], *(c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always")]


def container_of(pod: Obj, name: str) -> Obj | None:
    return next((container for container in containers_of(pod) if container["name"] == name), None)


def host_network(pod: Obj) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def is_static(pod: Obj) -> bool:
    """Whether the pod came from a file of the node."""
    return (pod["metadata"].get("annotations") or {}).get(SOURCE, "api") != "api" and not is_mirror(pod)


def is_mirror(pod: Obj) -> bool:
    """Whether the pod only shows a static one in the API."""
    return MIRROR in ((pod.get("metadata") or {}).get("annotations") or {})


def field_path(pod: Obj, name: str) -> str:
    """How events point at a container: "spec.containers{web}"."""
    for group in ("initContainers", "containers", "ephemeralContainers"):
        if any(container["name"] == name for container in pod["spec"].get(group) or []):
            return f"spec.{group}{{{name}}}"
    return ""


def grace_period(pod: Obj) -> int:
    """Seconds a pod has to end: as the deletion asks, else as its spec says."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    return int(asked if asked is not None else pod["spec"].get("terminationGracePeriodSeconds", 30))
