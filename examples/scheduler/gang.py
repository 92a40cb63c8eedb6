"""A scheduler plugin of one's own: pods of a gang are bound together, or not at all.

Pods name their gang with the label `gang` and its size with the label `gang-size`. A pod that found a node waits at "permit",
its place kept, until as many of its gang have found theirs; when that takes too long, all of them give their places back.
`examples/scheduler/config.yaml` enables it: `minikube-py up --scheduler-config examples/scheduler/config.yaml`.
"""

from collections import defaultdict
from typing import ClassVar

from controllers.scheduler.framework import WAIT, Cycle, Plugin, Readiness
from controllers.scheduler.podinfo import PodInfo


class Gang(Plugin):
    name: ClassVar[str] = "Gang"

    def __init__(self) -> None:
        self._placed: dict[str, set[str]] = defaultdict(set)  # gang → the pods (uid) that have a place

    def reserve(self, cycle: Cycle, node: str) -> str | None:
        self._placed[_gang(cycle.pod)].add(cycle.pod.uid)
        return None

    def unreserve(self, cycle: Cycle, node: str) -> None:
        self._placed[_gang(cycle.pod)].discard(cycle.pod.uid)

    def permit(self, cycle: Cycle, node: str) -> Readiness:
        wanted = int(cycle.pod.labels.get("gang-size", "1"))
        return None if len(self._placed[_gang(cycle.pod)]) >= wanted else WAIT


def _gang(pod: PodInfo) -> str:
    """Its gang; a pod without one is a gang of its own."""
    return f"{pod.namespace}/{pod.labels.get('gang', pod.uid)}"
