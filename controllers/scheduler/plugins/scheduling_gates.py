"""SchedulingGates: a pod with `spec.schedulingGates` stays out of the queue until they are all removed.

Who calls it: the framework, before a pod enters the queue. Invariant: no attempt is ever made for a gated pod.
Upstream: pkg/scheduler/framework/plugins/schedulinggates.
"""

from controllers.scheduler.framework import Plugin
from controllers.scheduler.podinfo import PodInfo


class SchedulingGates(Plugin):
    name = "SchedulingGates"

    def pre_enqueue(self, pod: PodInfo) -> str | None:
        gates = [gate.get("name", "") for gate in pod.spec.get("schedulingGates") or ()]
        return f"waiting for scheduling gates: [{' '.join(gates)}]" if gates else None
