"""What ResourceSlices offer to one node: pools of devices, each whole, half published, or inconsistent.

Who calls it: the plugin DynamicResources keeps an `Inventory` of all slices; the allocator asks it for a node's pools.
Invariants: pure; only slices of a pool's newest generation count; a pool is whole when all the slices that it says it has are
there, wherever they lead; devices are in the order of slice names, so the same cluster always answers alike.
Upstream: dynamic-resource-allocation/structured/internal/stable/pools_stable.go.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from minikube_py.api import quantity
from minikube_py.api.meta import name_of
from minikube_py.api.nodeselector import term_matches
from minikube_py.api.types import Obj

Counters = Mapping[tuple[str, str], Decimal]
"""(counter set, counter) → how much of it."""


class DeviceID(NamedTuple):
    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return "/".join(self)


class Node(NamedTuple):
    """What decides whether a device can be reached."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Device:
    """`spec` is its entry in the slice; `place` says where it can be used, in the fields of a slice's spec."""

    id: DeviceID
    spec: Obj
    place: Obj

    @cached_property
    def consumes(self) -> Counters:
        """What of the pool's shared counters it takes while it is allocated."""
        return _counters(self.spec.get("consumesCounters") or (), "counterSet")

    def attribute(self, name: str) -> tuple[str, object] | None:
        """(type, value) of a fully qualified attribute; a name without a domain in the slice is the driver's own."""
        attributes = self.spec.get("attributes") or {}
        domain, _, own = name.partition("/")
        found = attributes.get(name) or (attributes.get(own) if domain == self.id.driver else None)
        return next(iter(found.items())) if found else None


@dataclass
class Pool:
    """`trouble`: why nothing can be taken from it now. `elsewhere`: devices of it that this node cannot reach."""

    driver: str
    name: str
    trouble: str = ""
    devices: list[Device] = field(default_factory=list)
    elsewhere: list[Device] = field(default_factory=list)
    counters: Counters = field(default_factory=dict)

    @property
    def incomplete(self) -> bool:
        return self.trouble == INCOMPLETE

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"


INCOMPLETE, INVALID = "currently being updated", "currently invalid"
PoolID = tuple[str, str]


class Inventory:
    """All slices, sorted so that a node's are found without looking at all nodes'."""

    def __init__(self, slices: Sequence[Obj]) -> None:
        self._newest: dict[PoolID, int] = {}
        for one in slices:
            pool = pool_id(one)
            self._newest[pool] = max(self._newest.get(pool, 0), _generation(one))
        self._all: defaultdict[PoolID, list[Obj]] = defaultdict(list)
        self._local: defaultdict[str, set[PoolID]] = defaultdict(set)
        self._shared: set[PoolID] = set()
        for one in sorted(slices, key=name_of):
            pool = pool_id(one)
            if _generation(one) == self._newest[pool]:
                self._all[pool].append(one)
                name = one["spec"].get("nodeName")
                self._local[name].add(pool) if name else self._shared.add(pool)
        self._devices: dict[int, list[Device]] = {}

    def pools(self, node: Node) -> list[Pool]:
        """The pools with something for this node."""
        wanted = sorted(self._local.get(node.name, set()) | self._shared)
        found = (self._pool(pool, node) for pool in wanted)
        return [pool for pool in found if pool is not None]

    def _pool(self, pool: PoolID, node: Node) -> Pool | None:
        slices = self._all[pool]
        devices = [device for one in slices for device in self._of(one)]
        near = [device for device in devices if reaches(device.place, node)]
        if not near:
            return None
        made = Pool(*pool)
        if len(slices) != slices[0]["spec"]["pool"].get("resourceSliceCount"):
            made.trouble = INCOMPLETE
            return made
        sets = [entry for one in slices for entry in one["spec"].get("sharedCounters") or ()]
        made.counters = _counters(sets, "name")
        if _is_inconsistent(sets, devices, near, made.counters):
            made.trouble = INVALID
            return made
        here = {device.id for device in near}
        made.devices, made.elsewhere = near, [device for device in devices if device.id not in here]
        return made

    def _of(self, one: Obj) -> list[Device]:
        known = self._devices.get(id(one))
        if known is None:
            spec = one["spec"]
            driver, pool, apart = spec["driver"], spec["pool"]["name"], bool(spec.get("perDeviceNodeSelection"))
            known = self._devices[id(one)] = [
                Device(DeviceID(driver, pool, device["name"]), device, device if apart else spec)
                for device in spec.get("devices") or ()
            ]
        return known


def pool_id(one: Obj) -> PoolID:
    return one["spec"]["driver"], one["spec"]["pool"]["name"]


def _generation(one: Obj) -> int:
    return int(one["spec"]["pool"].get("generation") or 0)


def reaches(place: Obj, node: Node) -> bool:
    """Whether what is at this place can be used on the node."""
    if place.get("nodeName"):
        return bool(place["nodeName"] == node.name)
    if place.get("allNodes"):
        return True
    terms = (place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
    return any(term_matches(term, node.labels, node.name) for term in terms)


def _counters(entries: Sequence[Obj], name: str) -> Counters:
    return {
        (entry[name], counter): quantity.parse(amount["value"])
        for entry in entries
        for counter, amount in (entry.get("counters") or {}).items()
    }


def _is_inconsistent(
    sets: Sequence[Obj], devices: Sequence[Device], near: Sequence[Device], counters: Counters
) -> bool:
    names, sets_named = [device.id for device in near], [entry["name"] for entry in sets]
    if len(names) != len(set(names)) or len(sets_named) != len(set(sets_named)):
        return True
    return any(counter not in counters for device in devices for counter in device.consumes)
