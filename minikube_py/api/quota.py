"""What an object costs a ResourceQuota, and which quotas it falls under.

Who uses it: ResourceQuota admission, which charges new objects, and the quota controller, which counts what there is; both
must agree, so the arithmetic stands here. Invariant: pure; amounts are exact decimals under the names `spec.hard` uses.
Upstream: pkg/quota/v1/evaluator/core and staging/src/k8s.io/apiserver/pkg/quota.
"""

from decimal import Decimal

from minikube_py.api import quantity
from minikube_py.api.podresources import pod_requests
from minikube_py.api.types import Obj

Usage = dict[str, Decimal]
CLAIMS, DEVICES = "resourceclaims.resource.k8s.io", ".deviceclass.resource.k8s.io/devices"

_COUNTED = frozenset({
    "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services",
})  # fmt: skip
_ALIASES = {"cpu": "requests.cpu", "memory": "requests.memory", "ephemeral-storage": "requests.ephemeral-storage"}
_FINISHED = ("Succeeded", "Failed")
_MILLI = Decimal(1000)
_MOST_DEVICES = 32


def usage(plural_key: str, obj: Obj) -> Usage:
    """What one object costs. In: the stored collection's name ("pods", "deployments.apps")."""
    used: Usage = {f"count/{plural_key}": Decimal(1)}
    if plural_key in _COUNTED:
        used[plural_key] = Decimal(1)
    if plural_key == "pods":
        used |= _pod(obj)
    elif plural_key == "services":
        used |= _service(obj.get("spec") or {})
    elif plural_key == "persistentvolumeclaims":
        used |= _claim(obj)
    elif plural_key == CLAIMS:
        used |= _devices(obj)
    return used


def _devices(claim: Obj) -> Usage:
    """The devices of each class that a claim may get at most, whichever alternatives are chosen."""
    used: Usage = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        most: Usage = {}
        for ask in request.get("firstAvailable") or [request.get("exactly") or {}]:
            name = f"{ask.get('deviceClassName')}{DEVICES}"
            count = _MOST_DEVICES if ask.get("allocationMode") == "All" else ask.get("count") or 1
            most[name] = max(Decimal(count), most.get(name, Decimal(0)))
        for name, count in most.items():
            used[name] = used.get(name, Decimal(0)) + count
    return used


def _pod(pod: Obj) -> Usage:
    if (pod.get("status") or {}).get("phase") in _FINISHED:
        return {}
    used: Usage = {"pods": Decimal(1)}
    for name, value in pod_amounts(pod, "requests").items():
        used[f"requests.{name}"] = value
        if name in _ALIASES or name.startswith("hugepages-"):
            used[name] = value
    for name, value in pod_amounts(pod, "limits").items():
        used[f"limits.{name}"] = value
    return used


def pod_amounts(pod: Obj, side: str) -> Usage:
    """The sum of the pod's "requests" or "limits", as the scheduler adds them up."""
    spec: Obj = dict(pod.get("spec") or {})
    if side != "requests":
        for kind in ("containers", "initContainers"):
            spec[kind] = [_swapped(container, side) for container in spec.get(kind) or ()]
        spec["resources"] = {"requests": (spec.get("resources") or {}).get(side) or {}}
    total = pod_requests({**pod, "spec": spec, "status": {}})
    return {name: Decimal(value) / _MILLI if name == "cpu" else Decimal(value) for name, value in total.items()}


def _swapped(container: Obj, side: str) -> Obj:
    return {**container, "resources": {"requests": (container.get("resources") or {}).get(side) or {}}}


def _service(spec: Obj) -> Usage:
    ports, kind = len(spec.get("ports") or ()), spec.get("type")
    used: Usage = {}
    if kind == "NodePort":
        used["services.nodeports"] = Decimal(ports)
    elif kind == "LoadBalancer":
        used["services.loadbalancers"] = Decimal(1)
        if spec.get("allocateLoadBalancerNodePorts") is not False:
            used["services.nodeports"] = Decimal(ports)
        else:
            used["services.nodeports"] = Decimal(sum(1 for port in spec.get("ports") or () if port.get("nodePort")))
    return used


def _claim(claim: Obj) -> Usage:
    spec = claim.get("spec") or {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    used: Usage = {}
    name = spec.get("storageClassName")
    if name:
        used[f"{name}.storageclass.storage.k8s.io/persistentvolumeclaims"] = Decimal(1)
    if storage is not None:
        used["requests.storage"] = quantity.parse(storage)
        if name:
            used[f"{name}.storageclass.storage.k8s.io/requests.storage"] = quantity.parse(storage)
    return used


def covers(quota: Obj, plural_key: str, obj: Obj) -> bool:
    """Whether the quota's scopes let it count this object. Without scopes it counts everything."""
    spec = quota.get("spec") or {}
    terms = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not terms:
        return True
    return plural_key == "pods" and all(_in_scope(term, obj) for term in terms)


def _in_scope(term: Obj, pod: Obj) -> bool:
    spec, scope, operator = pod.get("spec") or {}, term.get("scopeName"), term.get("operator")
    terminating = spec.get("activeDeadlineSeconds") is not None
    best_effort = not any(pod_amounts(pod, side).get(n) for side in ("requests", "limits") for n in ("cpu", "memory"))
    if scope == "PriorityClass":
        name, values = spec.get("priorityClassName") or "", term.get("values") or []
        return {
            "Exists": bool(name), "DoesNotExist": not name, "In": name in values, "NotIn": name not in values,
        }.get(operator or "", False)  # fmt: skip
    if scope == "CrossNamespacePodAffinity":
        return _crosses_namespaces(spec)
    return {
        "Terminating": terminating, "NotTerminating": not terminating,
        "BestEffort": best_effort, "NotBestEffort": not best_effort,
    }.get(scope or "", False)  # fmt: skip


def _crosses_namespaces(spec: Obj) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [item.get("podAffinityTerm") or {} for item in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def text(name: str, value: Decimal, like: str = "") -> str:
    """An amount as `status.used` shows it."""
    binary = "memory" in name or "storage" in name or "hugepages" in name
    return quantity.format(value, like) if like else quantity.format(value, binary=binary)
