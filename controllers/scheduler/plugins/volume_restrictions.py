"""VolumeRestrictions: a ReadWriteOncePod claim serves one pod in the whole cluster.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/volumerestrictions (its rules for cloud disks concern
volume types that no longer exist).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from controllers.scheduler import framework as f
from controllers.scheduler.volume_facts import Facts, VolumePlugin
from minikube_py.api import volumes as v


class VolumeRestrictions(VolumePlugin):
    name: ClassVar[str] = "VolumeRestrictions"
    events = frozenset([f.POD_DELETE, f.NODE_ADD, f.VOLUME_CLAIM])
    _REFUSED = f.Verdict(
        name, ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",)
    )

    def pre_filter(self, cycle: f.Cycle) -> f.PreFilter:
        names = {claim.name for claim in v.claims_of(cycle.pod.pod)}
        if not names:
            return f.SKIP
        claims = Facts(self._lister, cycle.pod.namespace).claims
        alone = {n for n in names if n in claims and v.SINGLE_POD in (claims[n]["spec"].get("accessModes") or ())}
        cycle.state[self.name] = alone
        return None if alone else f.SKIP

    def filter(self, cycle: f.Cycle, rows: Sequence[int]) -> Mapping[int, f.Verdict]:
        """While some pod has it no node will do; that pod may be preempted."""
        alone = cycle.state[self.name]
        used = any(
            pod.namespace == cycle.pod.namespace and pod.uid != cycle.pod.uid
            and any(claim.name in alone for claim in v.claims_of(pod.pod))
            for node in cycle.snapshot.nodes for pod in node.pods.values()
        )  # fmt: skip
        return dict.fromkeys(rows, self._REFUSED) if used else {}
