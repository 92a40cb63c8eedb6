"""Whether a pod may run on this node: the kubelet's own last check, for pods no scheduler placed or that lost a race. Pure.

Who calls it: `pod_worker` when it first sees a pod that has no containers. Invariant: what is refused never had a container,
is Failed for good with upstream's reason, and its controller replaces it.
Upstream: pkg/kubelet/lifecycle/predicate.go.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubelet.pod_spec import lasting_containers
from kubelet.status import Verdict
from minikube_py.api import nodeselector, quantity, tolerations
from minikube_py.api.meta import labels_of, name_of
from minikube_py.api.podresources import amount, pod_requests
from minikube_py.api.types import Obj

_CORE = ("cpu", "memory", "ephemeral-storage")


def refuse(pod: Obj, node: Obj, others: Iterable[Obj]) -> Verdict | None:
    """Why the pod cannot run here, or None. In: `others` are the pods that have been admitted and have not ended."""
    running = list(others)
    return _resources(pod, node, running) or _selector(pod, node) or _ports(pod, running) or _taints(pod, node)


@dataclass(frozen=True)
class Shortage:
    """A resource the node has too little of, in its own units."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def missing(self) -> int:
        return self.used + self.requested - self.capacity


def shortages(pod: Obj, node: Obj, others: Iterable[Obj]) -> list[Shortage]:
    """What the node lacks for the pod."""
    return list(_shortages(pod, node, list(others)))


def only_short(pod: Obj, node: Obj, others: Iterable[Obj]) -> bool:
    """Whether nothing but resources stands in the pod's way."""
    return not (_selector(pod, node) or _ports(pod, list(others)) or _taints(pod, node))


def _resources(pod: Obj, node: Obj, others: list[Obj]) -> Verdict | None:
    found = next(_shortages(pod, node, others), None)
    if found is None:
        return None
    message = (
        f"Node didn't have enough resource: {found.resource}, requested: {found.requested}, used: {found.used}, "
        f"capacity: {found.capacity}"
    )
    return Verdict(f"OutOf{found.resource}", f"Pod was rejected: {message}")


def _shortages(pod: Obj, node: Obj, others: list[Obj]) -> Iterator[Shortage]:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    limit = quantity.value(allocatable.get("pods", "110"))
    if len(others) + 1 > limit:
        yield Shortage("pods", 1, len(others), limit)
    wanted = {name: count for name, count in pod_requests(pod).items() if count}
    held = [pod_requests(other) for other in others] if wanted else []
    for name, count in sorted(wanted.items()):
        if name not in allocatable and name not in _CORE:
            continue  # a resource only somebody else knows: not ours to judge
        capacity = amount(name, allocatable.get(name, "0"))
        used = sum(requests.get(name, 0) for requests in held)
        if used + count > capacity:
            yield Shortage(name, count, used, capacity)


def _selector(pod: Obj, node: Obj) -> Verdict | None:
    if nodeselector.pod_matches_node(pod, labels_of(node), name_of(node)):
        return None
    return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")


def host_ports(pod: Obj) -> Iterator[tuple[str, str, int]]:
    """(host ip, protocol, port) the pod occupies on the node."""
    for container in lasting_containers(pod):
        for port in container.get("ports") or []:
            number = port.get("hostPort") or (port["containerPort"] if pod["spec"].get("hostNetwork") else 0)
            if number:
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), number


def _ports(pod: Obj, others: list[Obj]) -> Verdict | None:
    taken = [occupied for other in others for occupied in host_ports(other)]
    for ip, protocol, port in host_ports(pod):
        for other_ip, other_protocol, other_port in taken:
            overlap = "0.0.0.0" in (ip, other_ip) or ip == other_ip
            if (protocol, port) == (other_protocol, other_port) and overlap:
                return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    return None


def _taints(pod: Obj, node: Obj) -> Verdict | None:
    found = tolerations.first_untolerated(tolerations.taints_of(node), tolerations.tolerations_of(pod), {"NoExecute"})
    if found is None:
        return None
    return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _predicate(name: str, text: str) -> Verdict:
    return Verdict(name, f"Pod was rejected: Predicate {name} failed: {text}")
