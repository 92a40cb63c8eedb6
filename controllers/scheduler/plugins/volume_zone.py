"""VolumeZone: volumes labelled with a zone or region only go to nodes labelled with one of the same.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/volumezone.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from controllers.scheduler import framework as f
from controllers.scheduler.volume_facts import Facts, VolumePlugin
from minikube_py.api.meta import labels_of
from minikube_py.api.volumes import claims_of

_KEYS = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)
_SEPARATOR = "__"


class VolumeZone(VolumePlugin):
    name: ClassVar[str] = "VolumeZone"
    events = frozenset([f.NODE_ADD, f.NODE_LABEL, f.VOLUME_CLAIM, f.VOLUME, f.STORAGE_CLASS])
    _REFUSED = f.Verdict(name, ("node(s) had no available volume zone",), unresolvable=True)

    def pre_filter(self, cycle: f.Cycle) -> f.PreFilter:
        names = [claim.name for claim in claims_of(cycle.pod.pod)]
        if not names:
            return f.SKIP
        facts = Facts(self._lister, cycle.pod.namespace)
        volumes = [volume for name in names if (volume := facts.bound_volume(name)) is not None]
        wanted = [
            (key, labels_of(pv)[key].split(_SEPARATOR)) for pv in volumes for key in _KEYS if key in labels_of(pv)
        ]
        cycle.state[self.name] = wanted
        return None if wanted else f.SKIP

    def filter(self, cycle: f.Cycle, rows: Sequence[int]) -> Mapping[int, f.Verdict]:
        wanted, snapshot = cycle.state[self.name], cycle.snapshot
        zoned = [any(snapshot.label_column(key)[row] for key in _KEYS) for row in rows]
        return {
            row: self._REFUSED
            for row, has_zone in zip(rows, zoned, strict=True)
            if has_zone and any(snapshot.label_column(key)[row] not in values for key, values in wanted)
        }
