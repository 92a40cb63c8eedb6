"""Quality of service, and the cgroup numbers that follow from a container's requests and limits. Pure.

Who calls it: container configs, status, eviction of what does not fit. What a pod requests in sum is `api.podresources`.
Invariant: the same pod gives the same numbers on every node of the same size.
Upstream: pkg/apis/core/v1/helper/qos/qos.go, pkg/kubelet/qos/policy.go, pkg/kubelet/cm/helpers_linux.go.
"""

from kubelet.runtime.base import Resources
from minikube_py.api import podresources
from minikube_py.api.podresources import BEST_EFFORT, GUARANTEED, amounts, is_critical, limits_of
from minikube_py.api.types import Obj

_MIN_SHARES, _MAX_SHARES = 2, 262_144
_PERIOD, _MIN_QUOTA = 100_000, 1_000


def is_sidecar(container: Obj) -> bool:
    """An init container that keeps running beside the main ones."""
    return container.get("restartPolicy") == "Always"


def requests_of(container: Obj) -> dict[str, int]:
    """Requests, completed by limits where only those are given: milli-CPU, bytes, devices."""
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def qos_class(pod: Obj) -> str:
    """The class the API server set, or the one that follows from cpu and memory."""
    return str((pod.get("status") or {}).get("qosClass") or podresources.qos_class(pod))


def oom_score_adj(pod: Obj, container: Obj, node_memory: int) -> int:
    """Guaranteed and critical pods −997, best effort 1000, the rest by the share of the node's memory they asked for.

    What a pod requests as a whole beyond its containers' own requests counts for all its containers alike.
    """
    qos = qos_class(pod)
    if is_critical(pod) or qos == GUARANTEED:
        return -997
    if qos == BEST_EFFORT:
        return 1000
    request = requests_of(container).get("memory", 0)
    whole = amounts((pod["spec"].get("resources") or {}).get("requests")).get("memory", 0)
    if whole:
        group = pod["spec"]["containers"]
        request += max(0, whole - sum(requests_of(one).get("memory", 0) for one in group)) // len(group)
    score = 1000 - (1000 * request) // max(1, node_memory)
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


def pod_limits(pod: Obj, pids: int = 0) -> Resources:
    """The numbers of the pod's own cgroup; a limit that some container lacks is none of the pod's either."""
    if qos_class(pod) == BEST_EFFORT:
        return Resources(cpu_shares=_MIN_SHARES, pids=pids)
    spec, limits = pod["spec"], podresources.pod_limits(pod)
    whole = (spec.get("resources") or {}).get("limits") or {}
    everyone = [limits_of(container) for container in (*spec["containers"], *(spec.get("initContainers") or ()))]
    kept = {name for name in ("cpu", "memory") if name in whole or all(own.get(name) for own in everyone)}
    return Resources(
        cpu_shares=cpu_shares(podresources.pod_requests(pod).get("cpu", 0)),
        cpu_quota=cpu_quota(limits["cpu"]) if "cpu" in kept else 0,
        memory=limits["memory"] if "memory" in kept else 0,
        pids=pids,
    )


def cpu_shares(milli_cpu: int) -> int:
    """1024 shares a core, at least 2."""
    return min(max(milli_cpu * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)


def cpu_quota(milli_cpu: int) -> int:
    """Microseconds of CPU per period of 100 ms, at least one millisecond."""
    return max(milli_cpu * _PERIOD // 1000, _MIN_QUOTA)
