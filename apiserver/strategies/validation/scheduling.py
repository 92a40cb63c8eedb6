"""Where a pod may run: tolerations, affinities, spread constraints, scheduling gates.

Who calls it: `pod.py`, and node validation for taints. Invariant: pure.
Upstream: pkg/apis/core/validation (ValidateTolerations, validateAffinity, validateTopologySpreadConstraints).
"""

from apiserver.strategies.checks import each, invalid, one_of, required, syntax, unique, unsupported
from apiserver.strategies.validation.selectors import label_selector, node_selector, node_term
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_ANY_KEY = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'


def toleration(item: Obj, path: str) -> list[Cause]:
    """One toleration."""
    key, operator, effect = item.get("key") or "", item.get("operator") or "", item.get("effect") or ""
    causes = syntax(f"{path}.key", key, names.qualified) if key else []
    if not key and operator != "Exists":
        causes.append(invalid(f"{path}.operator", operator, _ANY_KEY))
    if item.get("tolerationSeconds") is not None and effect != "NoExecute":
        causes.append(invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    if operator in ("Equal", ""):
        causes += syntax(f"{path}.operator", item.get("value") or "", names.label_value)
    elif operator == "Exists":
        if item.get("value"):
            causes.append(invalid(f"{path}.operator", item["value"], "value must be empty when `operator` is 'Exists'"))
    else:
        causes.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in EFFECTS:
        causes.append(unsupported(f"{path}.effect", effect, EFFECTS))
    return causes


def taint(item: Obj, path: str) -> list[Cause]:
    """One taint of a node."""
    causes = syntax(f"{path}.key", item.get("key") or "", names.qualified)
    causes += syntax(f"{path}.value", item.get("value") or "", names.label_value)
    return causes + one_of(f"{path}.effect", item.get("effect"), EFFECTS)


def _weight(item: Obj, path: str) -> list[Cause]:
    weight = item.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_term(term: Obj, path: str) -> list[Cause]:
    causes = label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    causes += label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for index, namespace in enumerate(term.get("namespaces") or ()):
        causes += syntax(f"{path}.namespaces[{index}]", namespace, names.label)
    if not term.get("topologyKey"):
        return [*causes, required(f"{path}.topologyKey", "can not be empty")]
    return causes + syntax(f"{path}.topologyKey", term["topologyKey"], names.qualified)


_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def affinity(path: str, item: Obj | None) -> list[Cause]:
    """Node affinity, pod affinity and pod anti-affinity."""
    if not item:
        return []
    causes: list[Cause] = []
    if node := item.get("nodeAffinity"):
        at = f"{path}.nodeAffinity"
        if node.get(_REQUIRED) is not None:
            causes += node_selector(f"{at}.{_REQUIRED}", node[_REQUIRED])
        causes += each(
            f"{at}.{_PREFERRED}",
            node.get(_PREFERRED),
            lambda term, p: _weight(term, p) + node_term(term.get("preference") or {}, f"{p}.preference"),
        )
    for kind in ("podAffinity", "podAntiAffinity"):
        pod, at = item.get(kind) or {}, f"{path}.{kind}"
        causes += each(f"{at}.{_REQUIRED}", pod.get(_REQUIRED), _pod_term)
        causes += each(
            f"{at}.{_PREFERRED}",
            pod.get(_PREFERRED),
            lambda term, p: _weight(term, p) + _pod_term(term.get("podAffinityTerm") or {}, f"{p}.podAffinityTerm"),
        )
    return causes


def _spread_one(item: Obj, path: str) -> list[Cause]:
    causes = []
    if (item.get("maxSkew") or 0) <= 0:
        causes.append(invalid(f"{path}.maxSkew", item.get("maxSkew") or 0, "must be greater than zero"))
    if not item.get("topologyKey"):
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    else:
        causes += syntax(f"{path}.topologyKey", item["topologyKey"], names.qualified)
    causes += one_of(f"{path}.whenUnsatisfiable", item.get("whenUnsatisfiable"), ("DoNotSchedule", "ScheduleAnyway"))
    domains = item.get("minDomains")
    if domains is not None:
        if domains <= 0:
            causes.append(invalid(f"{path}.minDomains", domains, "must be greater than zero"))
        if item.get("whenUnsatisfiable") != "DoNotSchedule":
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {item.get('whenUnsatisfiable')}"
            causes.append(invalid(f"{path}.minDomains", domains, why))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if item.get(name) is not None:
            causes += one_of(f"{path}.{name}", item[name], ("Honor", "Ignore"))
    return causes + label_selector(f"{path}.labelSelector", item.get("labelSelector"))


def spread(path: str, items: list[Obj] | None) -> list[Cause]:
    """`topologySpreadConstraints`: complete, and one per pair of topologyKey and whenUnsatisfiable."""
    return each(path, items, _spread_one) + unique(path, items or [], "topologyKey", "whenUnsatisfiable")


def gates(path: str, items: list[Obj] | None) -> list[Cause]:
    """`schedulingGates`: qualified names, each once."""
    causes = each(path, items, lambda gate, at: syntax(f"{at}.name", gate.get("name") or "", names.qualified))
    return causes + unique(path, items or [], "name", leaf="name")
