"""What a pod asks of a node: the sum the scheduler, the kubelet's admission and quota all have to agree on.

Who uses it: the scheduler (NodeResourcesFit and its scores), the kubelet's admission, resource quota.
Invariant: cpu in milli-CPU, everything else in whole units (bytes, devices), rounded up; exact integers, so that sums never
drift. Containers run together and add up; ordinary init containers run one at a time, each beside the sidecars (init
containers with restartPolicy Always) started before it, so the pod needs the larger of the two, plus its overhead.
Upstream: component-helpers/resource/helpers.go (PodRequests).
"""

from collections.abc import Mapping
from functools import lru_cache

from minikube_py.api import quantity
from minikube_py.api.types import Obj

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
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, allocated, defaults))
    if spec.get("initContainers"):
        sidecars: dict[str, int] = {}
        peak: dict[str, int] = {}
        for container in spec["initContainers"]:
            needs = _container(container, allocated, defaults)
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
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return total
