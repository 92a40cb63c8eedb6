"""PrioritySort: the queue's order. Higher priority first, then who has waited longer.

Who calls it: the queue, through the profile. Upstream: pkg/scheduler/framework/plugins/queuesort.
"""

from typing import Any

from controllers.scheduler.framework import Plugin
from controllers.scheduler.podinfo import PodInfo


class PrioritySort(Plugin):
    name = "PrioritySort"

    def queue_sort(self, pod: PodInfo, since: float) -> tuple[Any, ...]:
        return (-pod.priority, since)
