"""Resource requests and limits of containers, pods, claims and quotas.

Who calls it: `containers.py`, `pod.py`, storage and policy validation. Invariant: what passes can be summed by
`api/podresources`: known or fully qualified names, not negative, whole numbers where devices are counted.
Upstream: pkg/apis/core/validation (ValidateContainerResourceRequirements, validateResourceQuantityValue).
"""

from typing import Any

from apiserver.strategies.checks import invalid, required, syntax
from minikube_py.api import names, quantity
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_DEFAULT_PREFIX = "requests."
NATIVE_DOMAIN = "kubernetes.io/"


def is_extended(name: str) -> bool:
    """Devices and other counted things: domain-qualified, outside kubernetes.io."""
    return "/" in name and NATIVE_DOMAIN not in name and not name.startswith(_DEFAULT_PREFIX)


def is_hugepages(name: str) -> bool:
    return name.startswith("hugepages-")


def amount(path: str, value: Any, name: str = "") -> list[Cause]:
    """One quantity: parses, not negative, whole when the resource is counted."""
    try:
        parsed = quantity.parse(value)
    except ValueError as error:
        return [invalid(path, value, str(error))]
    if parsed < 0:
        return [invalid(path, str(value), "must be greater than or equal to 0")]
    if (is_extended(name) or name in ("pods", "services")) and parsed != parsed.to_integral_value():
        return [invalid(path, str(value), "must be an integer")]
    return []


def _container_name(path: str, name: str) -> list[Cause]:
    causes = syntax(path, name, names.qualified)
    if causes:
        return causes
    if "/" not in name:
        if name not in _STANDARD and not is_hugepages(name):
            causes.append(invalid(path, name, "must be a standard resource for containers"))
    elif not is_extended(name) and not name.startswith(NATIVE_DOMAIN):
        causes.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return causes


def requirements(path: str, resources: Obj | None) -> list[Cause]:
    """`resources` of one container."""
    causes: list[Cause] = []
    limits, requests = (resources or {}).get("limits") or {}, (resources or {}).get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, value in amounts.items():
            causes += _container_name(f"{path}.{kind}", name) + amount(f"{path}.{kind}[{name}]", value, name)
    if causes:
        return causes
    for name, value in requests.items():
        whole = is_extended(name) or is_hugepages(name)
        if name not in limits:
            if whole:
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif whole and quantity.compare(value, limits[name]) != 0:
            causes.append(invalid(f"{path}.requests", value, f"must be equal to {name} limit of {limits[name]}"))
        elif quantity.compare(value, limits[name]) > 0:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            causes.append(invalid(f"{path}.requests", value, why))
    return causes


def quantities(path: str, amounts: Obj | None) -> list[Cause]:
    """A plain resource list, such as a node's capacity or a quota's hard limits."""
    return [cause for name, value in (amounts or {}).items() for cause in amount(f"{path}[{name}]", value, name)]
