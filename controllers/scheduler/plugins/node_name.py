"""NodeName: a pod that names its node may only go there.

Who calls it: the framework. Such pods are bound already and never reach the queue; the rule is here for what-if questions.
Upstream: pkg/scheduler/framework/plugins/nodename.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import NODE_ADD, SKIP, Cycle, Plugin, PreFilter, Verdict


class NodeName(Plugin):
    name = "NodeName"
    events = frozenset([NODE_ADD])
    _REFUSED = Verdict(name, ("node(s) didn't match the requested node name",), unresolvable=True)

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        return None if cycle.pod.spec.get("nodeName") else SKIP

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        only = cycle.snapshot.rows.get(cycle.pod.spec["nodeName"])
        return {row: self._REFUSED for row in rows if row != only}
