"""Which pods of a DaemonSet go and which nodes get a second one: one step of an update. Pure functions.

Who calls it: `controllers.daemonset`. Invariants: with maxSurge 0 a node is emptied before it gets the new pod, and at most
maxUnavailable nodes are empty; with maxSurge an old pod that is available stays until the new one beside it is, and at most
maxSurge nodes have two.
Upstream: pkg/controller/daemon/update.go.
"""

from datetime import datetime
from typing import NamedTuple

from controllers.pod import available_in, is_ready
from controllers.revisions import HASH_LABEL
from minikube_py.api.meta import is_terminating, labels_of, name_of
from minikube_py.api.types import Obj

ByNode = dict[str, list[Obj]]


class Limits(NamedTuple):
    """Nodes that may be without an available pod, or have two, because of the update."""

    surge: int
    unavailable: int


def limits(ds: Obj, desired: int) -> Limits:
    """Percentages are rounded up; if both come to nothing, one node may be without, or no update would ever proceed."""
    rolling = (ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge, unavailable = _nodes(rolling.get("maxSurge", 0), desired), _nodes(rolling.get("maxUnavailable", 1), desired)
    return Limits(surge, unavailable if surge else max(1, unavailable))


def _nodes(value: int | str, desired: int) -> int:
    return value if isinstance(value, int) else -(-desired * int(value.removesuffix("%")) // 100)


def oldest_first(pod: Obj) -> tuple[bool, str, str]:
    return not pod["spec"].get("nodeName"), pod["metadata"].get("creationTimestamp", ""), name_of(pod)


def surplus(pods: list[Obj], ds: Obj, hashed: str, now: datetime) -> list[Obj]:
    """The pods of one node that are too many: all but the oldest; with surge, all but the oldest of either kind."""
    living = sorted((p for p in pods if not is_terminating(p)), key=oldest_first)
    if limits(ds, 1).surge == 0 or len(living) < 2:
        return living[1:]
    new, old = ([p for p in living if _is_new(p, hashed) == wanted] for wanted in (True, False))
    doomed = new[1:] + old[1:]
    if new and old and (not is_ready(old[0]) or _available(new[0], ds, now)):
        doomed.append(old[0])
    return doomed


def step(by_node: ByNode, ds: Obj, hashed: str, now: datetime) -> tuple[list[Obj], list[str]]:
    """(pods to delete, nodes to put a second pod on). In: `by_node` holds the nodes that shall run a daemon, all of them."""
    most = limits(ds, len(by_node))
    return (
        _surge(by_node, ds, hashed, most.surge, now) if most.surge else (_replace(by_node, ds, hashed, most, now), [])
    )


def _replace(by_node: ByNode, ds: Obj, hashed: str, most: Limits, now: datetime) -> list[Obj]:
    """Old pods that are not available anyway come first and for free."""
    unavailable, free, candidates = 0, [], []
    for pods in by_node.values():
        living = [pod for pod in pods if not is_terminating(pod)]
        old = [pod for pod in living if not _is_new(pod, hashed)]
        if not any(_available(pod, ds, now) for pod in living):
            unavailable += 1
            free += old
        elif len(living) == 1:
            candidates += old
    return free + candidates[: max(0, most.unavailable - unavailable)]


def _surge(by_node: ByNode, ds: Obj, hashed: str, most: int, now: datetime) -> tuple[list[Obj], list[str]]:
    """A node whose old pod is not available gets the new one at once; the others wait for their turn."""
    surging, doomed = 0, list[Obj]()
    free, candidates = list[str](), list[str]()
    for node, pods in by_node.items():
        living = [pod for pod in pods if not is_terminating(pod)]
        new, old = ([p for p in living if _is_new(p, hashed) == wanted] for wanted in (True, False))
        if len(new) > 1 or len(old) > 1:
            surging += 1  # too many: `surplus` cleans up first
        elif old and not new:
            (candidates if _available(old[0], ds, now) else free).append(node)
        elif old and _available(new[0], ds, now):
            doomed += old
        elif old:
            surging += 1
    return doomed, free + candidates[: max(0, most - surging)]


def _is_new(pod: Obj, hashed: str) -> bool:
    return labels_of(pod).get(HASH_LABEL) == hashed


def _available(pod: Obj, ds: Obj, now: datetime) -> bool:
    return available_in(pod, int(ds["spec"].get("minReadySeconds") or 0), now) == 0.0
