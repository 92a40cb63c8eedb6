"""NodeVolumeLimits: a node holds no more volumes of a CSI driver than the driver said it can.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/nodevolumelimits/csi.go.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from controllers.scheduler import framework as f
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.volume_facts import Facts, VolumePlugin
from minikube_py.api import volumes as v
from minikube_py.api.gvr import CSINODES
from minikube_py.api.meta import name_of


class NodeVolumeLimits(VolumePlugin):
    name: ClassVar[str] = "NodeVolumeLimits"
    events = frozenset([f.CSI, f.POD_DELETE, f.VOLUME_CLAIM])
    _REFUSED = f.Verdict(name, ("node(s) exceed max volume count",))

    def pre_filter(self, cycle: f.Cycle) -> f.PreFilter:
        wanted = set(self._volumes(cycle.pod, {}))
        if not wanted:
            return f.SKIP
        limits = {
            name_of(node): {d["name"]: d["allocatable"]["count"] for d in node["spec"].get("drivers") or ()
                            if (d.get("allocatable") or {}).get("count") is not None}
            for node in self._lister(CSINODES)
        }  # fmt: skip
        cycle.state[self.name] = (wanted, limits)
        return None

    def filter(self, cycle: f.Cycle, rows: Sequence[int]) -> Mapping[int, f.Verdict]:
        wanted, limits = cycle.state[self.name]
        facts: dict[str, Facts] = {}
        rejected = {}
        for row in rows:
            node = cycle.snapshot.nodes[row]
            limit = limits.get(node.name)
            if not limit:
                continue
            held = {volume for pod in node.pods.values() for volume in self._volumes(pod, facts)}
            for driver, count in limit.items():
                new = {volume for volume in wanted - held if volume[0] == driver}
                if new and len(new) + sum(volume[0] == driver for volume in held) > count:
                    rejected[row] = self._REFUSED
        return rejected

    def _volumes(self, pod: PodInfo, known: dict[str, Facts]) -> Iterator[tuple[str, str]]:
        """(driver, handle) of every CSI volume a pod uses; a volume still to be provisioned counts by its claim's name."""
        for claim in v.claims_of(pod.pod):
            facts = known.setdefault(pod.namespace, Facts(self._lister, pod.namespace))
            volume = facts.bound_volume(claim.name)
            if volume is not None:
                if csi := volume["spec"].get("csi"):
                    yield csi["driver"], csi["volumeHandle"]
            elif claim.name in facts.claims:
                found = facts.classes.get(v.class_of(facts.claims[claim.name]))
                if found is not None:
                    yield found["provisioner"], f"{pod.namespace}/{claim.name}"
