"""What is accepted but probably not meant: sentences that reach the user as warnings.

Who calls it: the strategies of pods and of kinds with a pod template, after a successful validation. Invariant: a warning
changes nothing. Upstream: pkg/api/pod/warnings.go, pkg/api/service/warnings.go.
"""

from collections.abc import Callable

from minikube_py.api import quantity
from minikube_py.api.types import Obj

_OLD_LABELS = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def _container(path: str, container: Obj) -> list[str]:
    found, seen = [], set()
    for index, item in enumerate(container.get("env") or ()):
        name = item.get("name", "")  # what has none is refused later
        if name in seen:
            found.append(
                f'{path}.env[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
            )
        seen.add(name)
    ports: dict[tuple[object, ...], int] = {}
    for index, port in enumerate(container.get("ports") or ()):
        key = (port.get("containerPort"), port.get("hostPort"), port.get("hostIP"), port.get("protocol"))
        if key in ports:
            found.append(f"{path}.ports[{index}]: duplicate port definition with {path}.ports[{ports[key]}]")
        ports.setdefault(key, index)
    for side in ("limits", "requests"):
        for name in ("memory", "ephemeral-storage"):
            value = ((container.get("resources") or {}).get(side) or {}).get(name)
            if value is not None and quantity.parse(value) % 1:
                found.append(
                    f'{path}.resources.{side}[{name}]: fractional byte value "{value}" is invalid, must be an integer'
                )
    return found


def pod_spec(path: str, spec: Obj) -> list[str]:
    """Warnings about a pod spec at this path."""
    found = [
        f'{path}.nodeSelector[{key}]: deprecated since v1.14; use "{_OLD_LABELS[key]}" instead'
        for key in spec.get("nodeSelector") or ()
        if key in _OLD_LABELS
    ]
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            found += _container(f"{path}.{kind}[{index}]", container)
    found += [
        f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'
        for index, ref in enumerate(spec.get("imagePullSecrets") or ())
        if not ref.get("name")
    ]
    return found


def pod(obj: Obj) -> list[str]:
    return pod_spec("spec", obj.get("spec") or {})


def template(*steps: str) -> Callable[[Obj], list[str]]:
    """Warnings about the pod template that lies at these steps of the object."""

    def warnings(obj: Obj) -> list[str]:
        at = obj
        for step in steps:
            at = at.get(step) or {}
        return pod_spec(".".join((*steps, "spec")), at.get("spec") or {})

    return warnings


def service(obj: Obj) -> list[str]:
    spec = obj.get("spec") or {}
    if spec.get("clusterIP") == "None" and spec.get("sessionAffinity") == "ClientIP":
        return ["spec.SessionAffinity is ignored for headless services"]
    return []
