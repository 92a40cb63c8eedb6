"""Which rows a pod's nodeSelector and required node affinity accept.

Who calls it: plugins/node_affinity.py, plugins/pod_topology_spread.py. Invariant: computed at most once per cycle, and each
requirement is evaluated once per distinct label value, not once per node.
Upstream: component-helpers/scheduling/corev1/nodeaffinity.
"""

from collections.abc import Sequence

from controllers.scheduler.framework import Cycle
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api.nodeselector import predicate, required_terms
from minikube_py.api.types import Obj

_KEY = "nodematch"


def _judge(column: Sequence[str | None], requirement: Obj) -> list[bool]:
    test = predicate(requirement)
    known = {value: test(value) for value in set(column)}
    return [known[value] for value in column]


def term_rows(snapshot: Snapshot, term: Obj) -> list[bool]:
    """Per row, whether one node selector term (or preference) accepts it. An empty term accepts none."""
    columns = [_judge(snapshot.label_column(r.get("key", "")), r) for r in term.get("matchExpressions") or ()]
    for requirement in term.get("matchFields") or ():
        named = requirement.get("key") == "metadata.name"
        columns.append(_judge([node.name if named else None for node in snapshot.nodes], requirement))
    if not columns:
        return [False] * len(snapshot.nodes)
    return columns[0] if len(columns) == 1 else [all(row) for row in zip(*columns, strict=True)]


def matching_rows(cycle: Cycle) -> list[bool] | None:
    """Per row, whether nodeSelector and required affinity accept it; None when the pod has neither."""
    if _KEY not in cycle.state:
        cycle.state[_KEY] = _matching_rows(cycle)
    rows: list[bool] | None = cycle.state[_KEY]
    return rows


def _matching_rows(cycle: Cycle) -> list[bool] | None:
    pod, snapshot = cycle.pod, cycle.snapshot
    wanted: dict[str, str] = pod.spec.get("nodeSelector") or {}
    terms = required_terms(pod.pod)
    if not wanted and terms is None:
        return None
    matching = [True] * len(snapshot.nodes)
    for key, value in wanted.items():
        matching = [ok and found == value for ok, found in zip(matching, snapshot.label_column(key), strict=True)]
    if terms is not None:
        accepted = [term_rows(snapshot, term) for term in terms] or [[False] * len(snapshot.nodes)]
        matching = [ok and any(row) for ok, *row in zip(matching, *accepted, strict=True)]
    return matching
