"""What the volume plugins look up: claims, volumes, classes, drivers; and whether a volume could be provisioned on a node.

Who calls it: plugins/volume_*.py, node_volume_limits.py. Invariant: each collection is read at most once per cycle, and only
if a pod has claims.
Upstream: pkg/scheduler/framework/plugins/volumebinding/binder.go (checkVolumeProvisions). Differs: a copy of a volume (or
snapshot) that one node alone can reach is only provisioned there, as our provisioner copies on that node.
"""

from functools import cached_property

from controllers.scheduler.framework import Handle, Lister, Plugin, only
from controllers.scheduler.snapshot import NodeRow
from minikube_py.api import quantity
from minikube_py.api import volumes as v
from minikube_py.api.gvr import (
    CSIDRIVERS,
    CSISTORAGECAPACITIES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from minikube_py.api.meta import name_of
from minikube_py.api.selectors import from_label_selector
from minikube_py.api.types import Obj


class Facts:
    """By name. `claims` are those of one namespace."""

    def __init__(self, lister: Lister, namespace: str) -> None:
        self._lister, self.namespace = lister, namespace

    @cached_property
    def claims(self) -> dict[str, Obj]:
        return {name_of(claim): claim for claim in self._lister(PERSISTENTVOLUMECLAIMS, self.namespace)}

    @cached_property
    def volumes(self) -> dict[str, Obj]:
        return {name_of(volume): volume for volume in self._lister(PERSISTENTVOLUMES)}

    @cached_property
    def classes(self) -> dict[str, Obj]:
        return {name_of(found): found for found in self._lister(STORAGECLASSES)}

    @cached_property
    def drivers(self) -> dict[str, Obj]:
        return {name_of(found): found for found in self._lister(CSIDRIVERS)}

    @cached_property
    def capacities(self) -> list[Obj]:
        return list(self._lister(CSISTORAGECAPACITIES))

    def is_delayed(self, claim: Obj) -> bool:
        """Whether the claim's class waits for the first consumer."""
        return v.waits_for_consumer(self.classes.get(v.class_of(claim)))

    def bound_volume(self, claim_name: str) -> Obj | None:
        claim = self.claims.get(claim_name)
        return self.volumes.get(claim["spec"].get("volumeName") or "") if claim else None


class VolumePlugin(Plugin):
    """What the plugins that only look things up have in common."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args)
        return cls(handle.lister)


def in_topology(facts: Facts, claim: Obj, node: NodeRow) -> bool:
    """Whether the claim's class could provision a volume for this node."""
    found = facts.classes.get(v.class_of(claim))
    if found is None or found["provisioner"] == v.NO_PROVISIONER:
        return False
    if not v.in_topology(found.get("allowedTopologies") or (), node.labels):
        return False
    source = claim["spec"].get("dataSource") or {}
    origin = None
    if source.get("kind") == "PersistentVolumeClaim":
        origin = facts.bound_volume(source["name"])
    elif source.get("kind") == "VolumeSnapshot":
        origin = v.snapshot_volume(claim, facts.volumes.values())
    return origin is None or v.reaches(origin, node.labels, node.name)


def has_room(facts: Facts, claim: Obj, node: NodeRow) -> bool:
    """Drivers that publish capacities must have one large enough within this node's reach."""
    found = facts.classes[v.class_of(claim)]
    driver = facts.drivers.get(found["provisioner"])
    if driver is None or not driver["spec"].get("storageCapacity"):
        return True
    return any(
        offer.get("storageClassName") == name_of(found)
        and quantity.parse(offer.get("maximumVolumeSize") or offer.get("capacity") or "0") >= v.requested(claim)
        and offer.get("nodeTopology") is not None
        and from_label_selector(offer["nodeTopology"]).matches(node.labels)
        for offer in facts.capacities
    )
