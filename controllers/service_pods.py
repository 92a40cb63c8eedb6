"""The pods behind a Service: which they are, on which ports they answer, whether they count as ready.

Who calls it: `controllers.endpointslice` and `controllers.endpoints`. Invariant: pure functions, but for `ServicePods`, which
reads the informers.
Upstream: staging/src/k8s.io/endpointslice/utils.go, pkg/controller/util/endpoint, pkg/api/v1/pod/util.go (FindPort).
"""

from collections.abc import Iterable
from typing import NamedTuple

from controllers.context import Context
from controllers.pod import is_finished, is_ready
from minikube_py.api import selectors
from minikube_py.api.gvr import PODS, SERVICES
from minikube_py.api.meta import is_terminating, key_of, labels_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

HEADLESS_LABEL = "service.kubernetes.io/headless"


class Port(NamedTuple):
    """One port of one pod, for one port of its Service."""

    name: str
    port: int
    protocol: str
    app_protocol: str

    def as_obj(self) -> Obj:
        obj: Obj = {"name": self.name, "port": self.port, "protocol": self.protocol}
        return {**obj, "appProtocol": self.app_protocol} if self.app_protocol else obj


class ServicePods:
    """Services and pods, from the informers."""

    def __init__(self, context: Context) -> None:
        self.services, self.pods = context.informers.of(SERVICES), context.informers.of(PODS)

    def keys_of_pod(self, pod: Obj) -> Iterable[str]:
        """The Services that select the pod."""
        labels = labels_of(pod)
        return [key_of(s) for s in self.services.list(namespace_of(pod)) if has_selector(s) and _selects(s, labels)]

    def of(self, service: Obj) -> list[Obj]:
        """The pods with an address that the Service selects, sorted by name."""
        pods = self.pods.list(namespace_of(service))
        chosen = [p for p in pods if _selects(service, labels_of(p)) and pod_ip(p) and not is_finished(p)]
        return sorted(chosen, key=name_of)


def has_selector(service: Obj) -> bool:
    """Services without one (and ExternalName) have endpoints made by somebody else."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def _selects(service: Obj, labels: dict[str, str]) -> bool:
    return selectors.from_map(service["spec"]["selector"]).matches(labels)


def pod_ip(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")


def is_headless(service: Obj) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def publishes_not_ready(service: Obj) -> bool:
    return bool(service["spec"].get("publishNotReadyAddresses"))


def conditions(service: Obj, pod: Obj) -> Obj:
    """An endpoint's conditions: serving follows readiness alone, ready also wants the pod to stay."""
    serving, terminating = is_ready(pod), is_terminating(pod)
    ready = publishes_not_ready(service) or (serving and not terminating)
    return {"ready": ready, "serving": serving, "terminating": terminating}


def target(pod: Obj) -> Obj:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def hostname(service: Obj, pod: Obj) -> str:
    """The name under which a headless Service's DNS answers for this pod alone."""
    spec = pod["spec"]
    return str(spec.get("hostname") or "") if spec.get("subdomain") == name_of(service) else ""


def ports(service: Obj, pod: Obj) -> tuple[Port, ...]:
    """The Service's ports as this pod offers them; a named port that the pod does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or []:
        protocol = port.get("protocol", "TCP")
        number = _find(pod, port.get("targetPort") or port["port"], protocol)
        if number is not None:
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(sorted(found))


def _find(pod: Obj, wanted: int | str, protocol: str) -> int | None:
    if isinstance(wanted, int):
        return wanted
    sidecars = [c for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    for container in [*(pod["spec"].get("containers") or []), *sidecars]:
        for port in container.get("ports") or []:
            if port.get("name") == wanted and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None
