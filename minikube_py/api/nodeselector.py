"""Node selectors: `nodeSelector`, required and preferred node affinity, volume node affinity.

Who uses it: the scheduler's NodeAffinity plugin, the DaemonSet controller, the kubelet's admission.
Invariant: pure; an empty term matches no node, terms are ORed, the requirements inside a term are ANDed. A requirement is
compiled to a predicate on one label value (None = absent), so that it can be run over a column of distinct values once.
Upstream: component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go.
"""

from collections.abc import Callable, Mapping

from minikube_py.api.selectors import requirement_of
from minikube_py.api.types import Obj

Predicate = Callable[[str | None], bool]


def predicate(requirement: Obj) -> Predicate:
    """What one matchExpressions/matchFields entry asks of its label's value. A malformed entry matches nothing."""
    try:
        compiled = requirement_of(requirement)
    except ValueError:
        return lambda value: False
    key = compiled.key
    return lambda value: compiled.matches({} if value is None else {key: value})


def term_matches(term: Obj, labels: Mapping[str, str], name: str) -> bool:
    """Whether one nodeSelectorTerm (or the `preference` of a preferred one) matches a node."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(predicate(r)(labels.get(r.get("key", ""))) for r in expressions) and all(
        predicate(r)(name if r.get("key") == "metadata.name" else None) for r in fields
    )


def required_terms(pod: Obj) -> list[Obj] | None:
    """The pod's required node affinity terms; None when it has none."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else required.get("nodeSelectorTerms") or []


def preferred_terms(pod: Obj) -> list[Obj]:
    """The pod's preferred node affinity: [{weight, preference}]."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    return affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []


def pod_matches_node(pod: Obj, labels: Mapping[str, str], name: str) -> bool:
    """Whether the pod's nodeSelector and required node affinity both accept a node with these labels and name."""
    wanted: dict[str, str] = (pod.get("spec") or {}).get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    terms = required_terms(pod)
    return terms is None or any(term_matches(term, labels, name) for term in terms)
