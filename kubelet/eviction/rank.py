"""Which pod has to go, and what it is told. Pure.

Who calls it: `eviction.manager`. Invariants: pods that use more than they asked for go before those that do not, lower
priority before higher, then whoever is furthest above its request; critical pods never go; messages are upstream's.
Upstream: pkg/kubelet/eviction/helpers.go (rankMemoryPressure, rankDiskPressureFunc, rankPIDPressure, evictionMessage).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.eviction.thresholds import Observed, Threshold
from kubelet.qos import qos_class
from minikube_py.api import quantity, tolerations
from minikube_py.api.podresources import BEST_EFFORT, amounts, is_critical, pod_limits, pod_requests
from minikube_py.api.types import Obj

_MEMORY_TAINT = "node.kubernetes.io/memory-pressure"


@dataclass(frozen=True)
class ContainerUsage:
    """Bytes; `disk` is the writable layer and the logs."""

    memory: int = 0
    disk: int = 0


@dataclass(frozen=True)
class PodUsage:
    """Bytes, inodes and processes of a pod. `disk`: layers, logs and volumes on disk; `volumes`: each emptyDir."""

    memory: int = 0
    pids: int = 0
    disk: int = 0
    inodes: int = 0
    containers: Mapping[str, ContainerUsage] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)


Usage = Callable[[Obj], PodUsage]
_USED: dict[str, Callable[[PodUsage], int]] = {
    "memory": lambda used: used.memory, "ephemeral-storage": lambda used: used.disk, "inodes": lambda used: used.inodes,
    "pids": lambda used: used.pids,
}  # fmt: skip


def ranked(pods: Sequence[Obj], resource: str, usage: Usage) -> list[Obj]:
    """Who goes first comes first; critical pods are left out. In: `resource` is memory, ephemeral-storage, inodes or pids."""

    def key(pod: Obj) -> tuple[bool, int, int]:
        used = _USED[resource](usage(pod))
        asked = pod_requests(pod).get(resource, 0) if resource in ("memory", "ephemeral-storage") else 0
        within = resource != "pids" and used <= asked
        return within, pod["spec"].get("priority") or 0, asked - used

    return sorted((pod for pod in pods if not is_critical(pod)), key=key)


def message(pod: Obj, threshold: Threshold, observed: Mapping[str, Observed], used: PodUsage) -> str:
    """Why the pod was evicted: the resource, how much was left, and which of its containers used more than they asked for."""
    resource, found = threshold.resource, observed[threshold.signal]
    limit, left = (_binary(number) for number in (threshold.value.of(found.capacity), found.available))
    if threshold.value.quantity:
        limit = threshold.value.quantity
    text = f"The node was low on resource: {resource}. Threshold quantity: {limit}, available: {left}. "
    if resource not in ("memory", "ephemeral-storage"):
        return text
    whole = amounts((pod["spec"].get("resources") or {}).get("requests"))
    if resource == "memory" and "memory" in whole:
        text += _larger(
            "Pod", pod["metadata"]["name"], used.memory, pod["spec"]["resources"]["requests"][resource], resource
        )
    for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())):
        own = used.containers.get(container["name"])
        if own is None:
            continue
        asked = ((container.get("resources") or {}).get("requests") or {}).get(resource, "0")
        usage = own.memory if resource == "memory" else own.disk
        if usage > quantity.value(asked):
            text += _larger("Container", container["name"], usage, asked, resource)
    return text


def _larger(kind: str, name: str, used: int, asked: str, resource: str) -> str:
    return f"{kind} {name} was using {_binary(used)}, request is {asked}, has larger consumption of {resource}. "


def _binary(number: int) -> str:
    """Bytes as a quantity: "1536Ki"; what is no multiple of 1024 stays a plain number."""
    return quantity.format(number, binary=True)


def over_own_limit(pod: Obj, used: PodUsage) -> str:
    """Why the pod's use of local disk breaks a limit of its own, "" when it does not."""
    for volume in pod["spec"].get("volumes") or []:
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and 0 < quantity.value(limit) < used.volumes.get(volume["name"], 0):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    whole = pod_limits(pod).get("ephemeral-storage", 0)
    if whole and used.disk > whole:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {_binary(whole)}. "
    for container in pod["spec"]["containers"]:
        limit = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        own = used.containers.get(container["name"])
        if limit and own and 0 < quantity.value(limit) < own.disk:
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def has_own_limit(pod: Obj) -> bool:
    """Whether `over_own_limit` can ever find something."""
    volumes = any((volume.get("emptyDir") or {}).get("sizeLimit") for volume in pod["spec"].get("volumes") or [])
    limits = ((container.get("resources") or {}).get("limits") or {} for container in pod["spec"]["containers"])
    return volumes or any("ephemeral-storage" in limit for limit in limits)


def refused(pod: Obj, conditions: frozenset[str]) -> str:
    """Why a node with these conditions does not take the pod, "" when it does."""
    if not conditions or is_critical(pod):
        return ""
    if conditions == {"MemoryPressure"}:
        taint = tolerations.Taint(_MEMORY_TAINT, "", "NoSchedule")
        tolerated = any(tolerations.tolerates(each, taint) for each in tolerations.tolerations_of(pod))
        if qos_class(pod) != BEST_EFFORT or tolerated:
            return ""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "
