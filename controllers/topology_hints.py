"""For which zone each endpoint of a Service with `topology-mode: Auto` is meant: as many as the zone has of the CPUs. Pure.

Who calls it: `controllers.endpointslice`. Invariants: hints for all endpoints or for none; no zone gets so few that each of its
endpoints would carry a fifth more than its part; most endpoints stay in their own zone.
Where we differ: no event tells why there are no hints.
Upstream: staging/src/k8s.io/endpointslice/topologycache.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from minikube_py.api import quantity
from minikube_py.api.meta import annotations_of, condition_is, labels_of
from minikube_py.api.types import Obj

_ZONE = "topology.kubernetes.io/zone"
_ANNOTATIONS = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
_NOT_FOR_PODS = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
_OVERLOAD = 1.2


def is_wanted(service: Obj) -> bool:
    """Whether the Service asks for it."""
    said = annotations_of(service)
    return next((said[name] for name in _ANNOTATIONS if name in said), "") in ("Auto", "auto")


def shares(nodes: Iterable[Obj]) -> dict[str, float]:
    """The part of all CPUs that each zone's ready nodes have; nothing where a node does not say its zone or its CPUs."""
    found: Counter[str] = Counter()
    for node in nodes:
        if _NOT_FOR_PODS & labels_of(node).keys() or not condition_is(node, "Ready"):
            continue
        zone = labels_of(node).get(_ZONE)
        cpu = quantity.milli(((node.get("status") or {}).get("allocatable") or {}).get("cpu") or "0")
        if not zone or not cpu:
            return {}
        found[zone] += cpu
    return {zone: cpu / found.total() for zone, cpu in found.items()}


def zones(homes: Sequence[str], shares: Mapping[str, float]) -> list[str] | None:
    """In: the zone of each ready endpoint. Out: the zone each is meant for; None where hints would do harm."""
    if len(shares) < 2 or len(homes) < len(shares) or not all(homes):
        return None
    least = {zone: math.ceil(share * len(homes) / _OVERLOAD) for zone, share in shares.items()}
    if sum(least.values()) > len(homes):
        return None
    surplus = {zone: float(count) for zone, count in Counter(homes).items()}
    for zone, share in shares.items():
        surplus[zone] = surplus.get(zone, 0.0) - max(share * len(homes), least[zone])
    moved: dict[str, list[str]] = defaultdict(list)
    while True:
        giver, taker = max(surplus, key=surplus.__getitem__), min(surplus, key=surplus.__getitem__)
        spare, lack = surplus[giver], -surplus[taker]
        if min(spare, lack) < 0.5 or max(spare, lack) < 1.0:
            return [moved[home].pop() if moved[home] else home for home in homes]
        surplus[giver] -= 1
        surplus[taker] += 1
        moved[giver].append(taker)
