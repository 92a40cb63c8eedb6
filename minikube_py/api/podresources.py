"""What a pod asks of a node: the sum the scheduler, the kubelet's admission and quota all have to agree on.

Who uses it: the scheduler (NodeResourcesFit and its scores), the kubelet's admission and cgroups, resource quota; the API
server gives each pod its QoS class with it.
Invariant: cpu in milli-CPU, everything else in whole units (bytes, devices), rounded up; exact integers, so that sums never
drift. Containers run together and add up; ordinary init containers run one at a time, each beside the sidecars (init
containers with restartPolicy Always) started before it, so the pod needs the larger of the two, plus its overhead.
Upstream: component-helpers/resource/helpers.go (PodRequests, PodLimits), pkg/apis/core/v1/helper/qos/qos.go.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

from minikube_py.api import quantity
from minikube_py.api.types import Obj

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container that states nothing is taken to use when nodes are scored (never when they are filtered)."""


@lru_cache(maxsize=4096)
def amount(resource: str, text: str | int | float) -> int:
    """One quantity in the units above."""
    return quantity.milli(text) if resource == "cpu" else quantity.value(text)


def amounts(resources: Mapping[str, str | int | float] | None) -> dict[str, int]:
    """A resource list ({"cpu": "500m"}) in the units above."""
    return {name: amount(name, text) for name, text in (resources or {}).items()}


def _container(container: Obj, allocated: Mapping[str, Obj], defaults: Mapping[str, int]) -> dict[str, int]:
    wanted = amounts((container.get("resources") or {}).get("requests"))
    status = allocated.get(container.get("name", ""))
    if status is not None:  # while a resize is under way the larger of wanted, allocated and actual is taken
        for held in (status.get("allocatedResources"), (status.get("resources") or {}).get("requests")):
            for name, number in amounts(held).items():
                wanted[name] = max(wanted.get(name, 0), number)
    for name, number in defaults.items():
        wanted.setdefault(name, number)
    return wanted


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        total[name] = total.get(name, 0) + number


def pod_requests(pod: Obj, *, defaults: Mapping[str, int] | None = None) -> dict[str, int]:
    """Everything the pod requests, overhead included.

    In: `defaults` stands in, container by container, for what a container does not state (see DEFAULT_MILLI_CPU).
    """
    spec, defaults = pod["spec"], defaults or {}
    status = pod.get("status") or {}
    allocated = {s["name"]: s for s in status.get("containerStatuses") or () if "resources" in s}
    total = _together(spec, lambda container: _container(container, allocated, defaults))
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return total


def pod_limits(pod: Obj) -> dict[str, int]:
    """The sum of what limits the pod states, overhead included; containers without a limit add nothing."""
    spec = pod["spec"]
    total = _together(spec, limits_of)
    total.update(amounts((spec.get("resources") or {}).get("limits")))
    for name, number in amounts(spec.get("overhead")).items():
        if name in total:
            total[name] += number
    return total


def limits_of(container: Obj) -> dict[str, int]:
    """One container's limits."""
    return amounts((container.get("resources") or {}).get("limits"))


def _together(spec: Obj, needs_of: Callable[[Obj], dict[str, int]]) -> dict[str, int]:
    """The most that is needed at any one time: all main containers and sidecars, or an init container beside its sidecars."""
    total: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, needs_of(container))
    for container in spec.get("initContainers") or ():
        needs = needs_of(container)
        if container.get("restartPolicy") == "Always":
            _add(total, needs)
            _add(sidecars, needs)
            needs = dict(sidecars)
        else:
            _add(needs, sidecars)
        for name, number in needs.items():
            peak[name] = max(peak.get(name, 0), number)
    for name, number in peak.items():
        total[name] = max(total.get(name, 0), number)
    return total


def qos_class(pod: Obj) -> str:
    """Guaranteed, Burstable or BestEffort: by the pod's own cpu and memory where it states them, else by its containers'."""
    spec = pod.get("spec") or {}
    holders = (
        [spec] if spec.get("resources") else [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    )
    any_set, all_equal = False, True
    for holder in holders:
        wanted = holder.get("resources") or {}
        for name in ("cpu", "memory"):
            written = (wanted.get("limits") or {}).get(name) or "0"
            limit = quantity.parse(written)
            request = quantity.parse((wanted.get("requests") or {}).get(name) or written)
            any_set = any_set or request > 0 or limit > 0
            all_equal = all_equal and limit > 0 and request == limit
    if not any_set:
        return BEST_EFFORT
    return GUARANTEED if all_equal else BURSTABLE


def is_critical(pod: Obj) -> bool:
    """Whether a pod may not be missing: it came from a file on the node, or its priority is the system's."""
    annotations = pod["metadata"].get("annotations") or {}
    static = (
        annotations.get("kubernetes.io/config.source", "api") != "api" or "kubernetes.io/config.mirror" in annotations
    )
    return static or (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY
