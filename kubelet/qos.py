"""Quality of service, and the cgroup numbers that follow from a container's requests and limits. Pure.

Who calls it: container configs, status, eviction of what does not fit. What a pod requests in sum is `api.podresources`.
Invariant: the same pod gives the same numbers on every node of the same size.
Upstream: pkg/apis/core/v1/helper/qos/qos.go, pkg/kubelet/qos/policy.go, pkg/kubelet/cm/helpers_linux.go.
"""

from kubelet.runtime.base import Resources
from minikube_py.api import quantity
from minikube_py.api.podresources import amounts
from minikube_py.api.types import Obj

_MIN_SHARES, _MAX_SHARES = 2, 262_144
_PERIOD, _MIN_QUOTA = 100_000, 1_000
GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


def is_sidecar(container: Obj) -> bool:
    """An init container that keeps running beside the main ones."""
    return container.get("restartPolicy") == "Always"


def requests_of(container: Obj) -> dict[str, int]:
    """Requests, completed by limits where only those are given: milli-CPU, bytes, devices."""
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def limits_of(container: Obj) -> dict[str, int]:
    return amounts((container.get("resources") or {}).get("limits"))


def qos_class(pod: Obj) -> str:
    """The class the API server set, or the one that follows from cpu and memory of all containers."""
    known = (pod.get("status") or {}).get("qosClass")
    if known:
        return str(known)
    guaranteed, any_set = True, False
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            any_set = any_set or limit is not None or request is not None
            if limit is None or quantity.compare(limit, request or 0) != 0:
                guaranteed = False
    if not any_set:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def oom_score_adj(pod: Obj, container: Obj, node_memory: int) -> int:
    """Guaranteed and critical pods −997, best effort 1000, the rest by the share of the node's memory they asked for."""
    qos = qos_class(pod)
    if (pod["spec"].get("priority") or 0) >= 2_000_000_000 or qos == GUARANTEED:
        return -997
    if qos == BEST_EFFORT:
        return 1000
    score = 1000 - (1000 * requests_of(container).get("memory", 0)) // max(1, node_memory)
    return min(max(score, 3), 999)


def container_limits(pod: Obj, container: Obj, node_memory: int, pids: int = 0) -> Resources:
    """The numbers the runtime is given for this container."""
    requests, limits = requests_of(container), limits_of(container)
    return Resources(
        cpu_shares=cpu_shares(requests.get("cpu", 0)),
        cpu_quota=cpu_quota(limits["cpu"]) if limits.get("cpu") else 0,
        cpu_period=_PERIOD,
        memory=limits.get("memory", 0),
        pids=pids,
        oom_score_adj=oom_score_adj(pod, container, node_memory),
    )


def cpu_shares(milli_cpu: int) -> int:
    """1024 shares a core, at least 2."""
    return min(max(milli_cpu * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)


def cpu_quota(milli_cpu: int) -> int:
    """Microseconds of CPU per period of 100 ms, at least one millisecond."""
    return max(milli_cpu * _PERIOD // 1000, _MIN_QUOTA)
