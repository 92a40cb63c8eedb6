"""NodeUnschedulable: cordoned nodes (`spec.unschedulable`) take only pods that tolerate the taint of that name.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/nodeunschedulable.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import NODE_ADD, NODE_TAINT, SKIP, Cycle, Plugin, PreFilter, Verdict
from minikube_py.api.tolerations import Taint, first_untolerated, tolerations_of

_CORDONED = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    events = frozenset([NODE_ADD, NODE_TAINT])
    _REFUSED = Verdict(name, ("node(s) were unschedulable",), unresolvable=True)

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        if True not in cycle.snapshot.unschedulable:
            return SKIP
        return None if first_untolerated([_CORDONED], tolerations_of(cycle.pod.pod)) else SKIP

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        cordoned = cycle.snapshot.unschedulable
        return {row: self._REFUSED for row in rows if cordoned[row]}
