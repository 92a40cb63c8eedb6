"""How fast the nodes of a zone may be emptied: whole zones that fall silent are more likely cut off than dead.

Who calls it: `controllers.nodelifecycle`. Invariants: pure but for the limiter's memory; where every zone is silent nothing is
evicted, as it is us who are cut off; in a small zone that is mostly silent nothing is either, in a large one slowly.
Upstream: pkg/controller/nodelifecycle/{node_lifecycle_controller,scheduler/rate_limited_queue}.go.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from controllers.node_health import ready_status
from controllers.options import Options
from minikube_py.api.meta import labels_of
from minikube_py.api.types import Obj

NORMAL, PARTIAL, FULL = "Normal", "PartialDisruption", "FullDisruption"
_FEW = 2  # up to this many silent nodes are never a disrupted zone


class Zone(NamedTuple):
    """Nodes of one zone: how many are ready, and how many are not."""

    ready: int = 0
    silent: int = 0


def zone_of(node: Obj) -> str:
    labels = labels_of(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def count(nodes: Iterable[Obj]) -> dict[str, Zone]:
    zones: dict[str, Zone] = defaultdict(Zone)
    for node in nodes:
        name, ready = zone_of(node), ready_status(node) == "True"
        zones[name] = Zone(zones[name].ready + ready, zones[name].silent + (not ready))
    return zones


def state(zone: Zone, threshold: float) -> str:
    """In: `threshold`: the share of silent nodes from which a zone is partially disrupted."""
    if zone.ready == 0 and zone.silent > 0:
        return FULL
    if zone.silent > _FEW and zone.silent / (zone.silent + zone.ready) >= threshold:
        return PARTIAL
    return NORMAL


def rate(zones: dict[str, Zone], name: str, options: Options) -> float | None:
    """Evictions per second in a zone now; None: everything is silent, and evictions that were begun are taken back."""
    states = {other: state(zone, options.unhealthy_zone_threshold) for other, zone in zones.items()}
    if all(found == FULL for found in states.values()):
        return None
    if states[name] != PARTIAL:
        return options.node_eviction_rate
    large = zones[name].ready + zones[name].silent > options.large_cluster_size_threshold
    return options.secondary_node_eviction_rate if large else 0.0


class Limiter:
    """At most so many nodes per second and zone, one at a time."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def wait(self, zone: str, per_second: float, now: float) -> float:
        """Seconds until the next node of the zone may be emptied; 0.0: now, and that was it for a while."""
        left = self._next.get(zone, now) - now
        if left > 0:
            return left
        self._next[zone] = now + 1.0 / per_second
        return 0.0
