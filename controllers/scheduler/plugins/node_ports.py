"""NodePorts: no two pods of a node hold the same host port, protocol and address (0.0.0.0 meets every address).

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/nodeports.
"""

from collections.abc import Mapping, Sequence

from controllers.scheduler.framework import NODE_ADD, POD_DELETE, SKIP, Cycle, Plugin, PreFilter, Verdict


class NodePorts(Plugin):
    name = "NodePorts"
    events = frozenset([NODE_ADD, POD_DELETE])
    _REFUSED = Verdict(name, ("node(s) didn't have free ports for the requested pod ports",))

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        return None if cycle.pod.ports else SKIP

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        nodes, wanted = cycle.snapshot.nodes, cycle.pod.ports
        return {
            row: self._REFUSED
            for row in rows
            if nodes[row].ports and any(want.conflicts(held) for want in wanted for held in nodes[row].ports)
        }
