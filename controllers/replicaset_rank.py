"""Which pods go first when a ReplicaSet shrinks.

Who calls it: `controllers.replicaset`. Invariant: the order is total and does not depend on the order of its input.
Upstream: pkg/controller/controller_utils.go (ActivePodsWithRanks).
"""

import math
from collections import Counter
from datetime import datetime
from typing import Any

from controllers.pod import is_ready, node_of, phase_of, ready_since
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.meta import annotations_of, uid_of
from minikube_py.api.types import Obj

_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def pods_to_delete(active: list[Obj], related: list[Obj], count: int, now: datetime) -> list[Obj]:
    """The `count` pods of `active` that hurt least. `related` are the pods of the set's siblings, to spread over nodes.

    First those without a node, then by phase, unready ones, low deletion cost, those on nodes with many related pods,
    ready for a shorter time (by order of magnitude), more restarts, younger.
    """
    if count >= len(active):
        return active
    crowd = Counter(node_of(pod) for pod in related)
    return sorted(active, key=lambda pod: _rank(pod, crowd, now))[:count]


def _rank(pod: Obj, crowd: Counter[str], now: datetime) -> tuple[Any, ...]:
    created = parse_rfc3339(pod["metadata"]["creationTimestamp"])
    since = ready_since(pod)
    return (
        bool(node_of(pod)),
        _PHASES.get(phase_of(pod), 0),
        is_ready(pod),
        _deletion_cost(pod),
        -crowd[node_of(pod)],
        _magnitude(since, now) if since else 0,
        -_restarts(pod),
        _magnitude(created, now),
        uid_of(pod),
    )


def _deletion_cost(pod: Obj) -> int:
    try:
        return int(annotations_of(pod).get(_COST, "0"))
    except ValueError:
        return 0


def _magnitude(moment: datetime, now: datetime) -> int:
    """log2 of the age in seconds: pods of about the same age are chosen among by uid, that is, at random."""
    age = (now - moment).total_seconds()
    return int(math.log2(age)) + 1 if age >= 1 else 0


def _restarts(pod: Obj) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return max((int(status.get("restartCount", 0)) for status in statuses), default=0)
