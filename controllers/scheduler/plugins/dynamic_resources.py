"""DynamicResources: a pod goes where its ResourceClaims can be satisfied, and what they get is chosen with its node.

Who calls it: the framework; `pre_bind` runs on the writer threads. Invariants: an allocated claim decides where its pods may
go; one that is not gets devices at `reserve`, which from then on nobody else gets (`_pending`), and they are written into the
claim, with the reservation for the pod, at `pre_bind`; so no device is in two allocations, whatever crashes in between.
Upstream: pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from controllers.scheduler import framework as f
from controllers.scheduler.devices.allocator import InvalidPools, allocate
from controllers.scheduler.devices.claim_writer import deallocate, reserve
from controllers.scheduler.devices.pools import DeviceID, Inventory, Node, Pool, reaches
from controllers.scheduler.devices.requests import AllocationError, classes_of
from controllers.scheduler.devices.result import allocation, devices_of
from controllers.scheduler.devices.selectors import Selectors
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.snapshot import NodeRow
from minikube_py.api import errors
from minikube_py.api import resourceclaims as rc
from minikube_py.api.gvr import DEVICECLASSES, RESOURCECLAIMS, RESOURCESLICES
from minikube_py.api.meta import key_of, name_of, uid_of
from minikube_py.api.types import Obj

_STATE = "claims"
_MOST_ALTERNATIVES = 8


@dataclass
class Pending:
    """What a claim is about to get: for which pod, and, once written, in which revision of the claim."""

    allocation: Obj
    pod: str
    revision: int | None = None


@dataclass
class _State:
    claims: list[Obj]
    waiting: list[Obj]  # those of them that are not allocated
    taken: frozenset[DeviceID]
    classes: dict[str, Obj]
    chosen: dict[str, list[Obj]] = field(default_factory=dict)  # node → what the waiting claims would get there
    unavailable: dict[str, Obj] = field(default_factory=dict)  # allocated claims (uid) that keep the pod from some node


class DynamicResources(f.Plugin):
    name: ClassVar[str] = "DynamicResources"
    events = frozenset([f.NODE_ADD, f.NODE_LABEL, f.RESOURCE_CLAIM, f.RESOURCE_SLICE, f.DEVICE_CLASS])
    _NOT_HERE = f.Verdict(name, ("resourceclaim not available on the node",))
    _TOO_FEW = f.Verdict(name, ("cannot allocate all claims",))

    def __init__(self, handle: f.Handle) -> None:
        self._client, self._lister = handle.client, handle.lister
        self._selectors, self._inventory, self._slices = Selectors(), Inventory(()), list[Obj]()
        self._pending: dict[str, Pending] = handle.shared.setdefault(self.name, {})  # by uid of the claim

    @classmethod
    def build(cls, handle: f.Handle, args: Obj) -> f.Plugin:
        f.only(args, "filterTimeout", "bindingTimeout")  # our search counts steps, and binds without waiting
        return cls(handle)

    # -- where can it go ----------------------------------------------------------------------------------------------

    def pre_enqueue(self, pod: PodInfo) -> str | None:
        """Claims from templates come first; that they are there is said in the pod itself."""
        return rc.unmade(pod.pod) or None

    def pre_filter(self, cycle: f.Cycle) -> f.PreFilter:
        if not rc.entries_of(cycle.pod.pod):
            return f.SKIP
        held = {name_of(claim): claim for claim in self._lister(RESOURCECLAIMS, cycle.pod.namespace)}
        classes = {name_of(found): found for found in self._lister(DEVICECLASSES)}
        if reason := self._obstacle(cycle.pod.pod, held, classes):
            return f.Verdict(self.name, (reason,), unresolvable=True)
        named = dict.fromkeys(rc.claim_names(cycle.pod.pod).values())
        claims = [held[name] for name in named]
        waiting = [claim for claim in claims if rc.allocation_of(claim) is None]
        taken = self._taken() if waiting else frozenset[DeviceID]()
        cycle.state[_STATE] = _State(claims, waiting, taken, classes)
        return None

    def _obstacle(self, pod: Obj, held: Mapping[str, Obj], classes: Mapping[str, Obj]) -> str:
        """Why the pod cannot be placed, whatever the node; "" for nothing."""
        names = rc.claim_names(pod)
        for entry in rc.entries_of(pod):
            if entry["name"] not in names:
                continue  # the template's controller decided that it needs none
            claim = held.get(names[entry["name"]])
            if claim is None:
                return f'resourceclaim.resource.k8s.io "{names[entry["name"]]}" not found'
            if reason := rc.unusable(pod, entry, claim) or self._claim_obstacle(pod, claim, classes):
                return reason
        return ""

    def _claim_obstacle(self, pod: Obj, claim: Obj, classes: Mapping[str, Obj]) -> str:
        if rc.allocation_of(claim) is not None:
            full = len(rc.reserved_for(claim)) >= rc.MOST_RESERVED and not rc.is_reserved_for(claim, pod)
            return "resourceclaim in use" if full else ""
        self._forget_written(claim)
        if uid_of(claim) in self._pending:
            return f"resource claim {key_of(claim)} is in the process of being allocated"
        absent = ((request, name) for request, name in classes_of(claim) if name not in classes)
        return next((f"request {request}: device class {name} does not exist" for request, name in absent), "")

    def _taken(self) -> frozenset[DeviceID]:
        """The devices that are allocated, or about to be."""
        found: set[DeviceID] = set()
        for claim in self._lister(RESOURCECLAIMS):
            if (allocated := rc.allocation_of(claim)) is not None:
                found.update(devices_of(allocated))
            self._forget_written(claim)
        self._forget_gone()
        for pending in self._pending.values():
            found.update(devices_of(pending.allocation))
        return frozenset(found)

    def filter(self, cycle: f.Cycle, rows: Sequence[int]) -> Mapping[int, f.Verdict]:
        state: _State = cycle.state[_STATE]
        rejected: dict[int, f.Verdict] = {}
        for row in rows:
            node = _node(cycle.snapshot.nodes[row])
            away = [claim for claim in state.claims if not _is_available(claim, node)]
            state.unavailable |= {uid_of(claim): claim for claim in away}
            verdict = self._NOT_HERE if away else self._choose(state, node) if state.waiting else None
            if verdict is not None:
                rejected[row] = verdict
        return rejected

    def _choose(self, state: _State, node: Node) -> f.Verdict | None:
        """Find devices for the waiting claims on this node."""
        try:
            given = allocate(state.waiting, self._pools(node), state.taken, state.classes, self._selectors)
        except (AllocationError, InvalidPools) as error:
            return f.Verdict(self.name, (str(error),))
        if given is None:
            return self._TOO_FEW
        pairs = zip(state.waiting, given, strict=True)
        state.chosen[node.name] = [allocation(claim, devices) for claim, devices in pairs]
        return None

    def _pools(self, node: Node) -> list[Pool]:
        slices = self._lister(RESOURCESLICES)
        if len(slices) != len(self._slices) or any(a is not b for a, b in zip(slices, self._slices, strict=True)):
            self._slices, self._inventory = list(slices), Inventory(slices)
        return self._inventory.pools(node)

    def post_filter(self, cycle: f.Cycle, profile: f.Profile, rejected: Mapping[int, f.Verdict]) -> f.PostFilter | None:
        """An allocation that nobody uses and that keeps the pod from where it could go is given up."""
        again = f.Cycle(cycle.pod, cycle.snapshot)
        if all(verdict.plugin != self.name for verdict in rejected.values()) or self.pre_filter(again) is not None:
            return None
        self.filter(again, range(len(cycle.snapshot.nodes)))
        for claim in again.state[_STATE].unavailable.values():
            if all(consumer["uid"] == cycle.pod.uid for consumer in rc.reserved_for(claim)):
                return f.PostFilter("deallocation of ResourceClaim completed", write=self._deallocation(claim))
        return None

    def _deallocation(self, claim: Obj) -> Callable[[], object]:
        return lambda: deallocate(self._client, claim)

    def score(self, cycle: f.Cycle, rows: Sequence[int]) -> list[float] | None:
        """Nodes where requests get what they would rather have are liked more."""
        state: _State | None = cycle.state.get(_STATE)
        if state is None or not any(_has_alternatives(claim) for claim in state.waiting):
            return None
        nodes = cycle.snapshot.nodes
        return [float(_liking(state.waiting, state.chosen.get(nodes[row].name) or [])) for row in rows]

    def normalise(self, cycle: f.Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        return f.normalise_by_max(scores)

    # -- it goes there ------------------------------------------------------------------------------------------------

    def reserve(self, cycle: f.Cycle, node: str) -> str | None:
        state: _State | None = cycle.state.get(_STATE)
        for claim, found in zip(state.waiting, state.chosen[node], strict=True) if state and state.waiting else ():
            self._pending[uid_of(claim)] = Pending(found, cycle.pod.uid)
        return None

    def unreserve(self, cycle: f.Cycle, node: str) -> None:
        """What is written already stays, and stays in `_pending` until the informer shows it."""
        state: _State | None = cycle.state.get(_STATE)
        for claim in state.waiting if state else ():
            pending = self._pending.get(uid_of(claim))
            if pending is not None and pending.pod == cycle.pod.uid and pending.revision is None:
                del self._pending[uid_of(claim)]

    def pre_bind(self, cycle: f.Cycle, node: str) -> f.Readiness:
        """Write allocations and reservations, once each; a claim that changed under us is looked at anew."""
        state: _State | None = cycle.state.get(_STATE)
        for claim in state.claims if state else ():
            pending = self._pending.get(uid_of(claim)) if rc.allocation_of(claim) is None else None
            done = self._write(claim, cycle.pod.pod, pending.allocation if pending else None)
            if isinstance(done, str):
                return done
            if pending is not None:
                pending.revision = int(done["metadata"]["resourceVersion"])
        return None

    def _write(self, claim: Obj, pod: Obj, allocated: Obj | None) -> Obj | str:
        """Raises APIError; ServiceUnavailable, after which it is tried again, while nobody knows whether it was written."""
        try:
            return reserve(self._client, claim, pod, allocated)
        except errors.APIError as error:
            if error.code >= 500:
                raise errors.ServiceUnavailable(str(error)) from error
            raise

    def _forget_written(self, claim: Obj) -> None:
        """Once the informer has what was written, or something later, the claim speaks for itself."""
        pending = self._pending.get(uid_of(claim))
        written = pending.revision if pending else None
        if written is not None and int(claim["metadata"]["resourceVersion"]) >= written:
            del self._pending[uid_of(claim)]

    def _forget_gone(self) -> None:
        there = {uid_of(claim) for claim in self._lister(RESOURCECLAIMS)} if self._pending else set[str]()
        for uid in [uid for uid in self._pending if uid not in there]:
            del self._pending[uid]


def _node(row: NodeRow) -> Node:
    return Node(row.name, row.labels)


def _is_available(claim: Obj, node: Node) -> bool:
    """Whether what is allocated can be used on the node."""
    selector = (rc.allocation_of(claim) or {}).get("nodeSelector")
    return selector is None or reaches({"nodeSelector": selector}, node)


def _requests(claim: Obj) -> list[Obj]:
    return (claim["spec"].get("devices") or {}).get("requests") or []


def _has_alternatives(claim: Obj) -> bool:
    return any(request.get("firstAvailable") for request in _requests(claim))


def _liking(claims: Sequence[Obj], allocations: Sequence[Obj]) -> int:
    """How early in their lists the alternatives stand that were chosen."""
    total = 0
    for claim, found in zip(claims, allocations, strict=False):
        got = {one["request"] for one in found["devices"]["results"]}
        for request in _requests(claim):
            names = [f"{request['name']}/{one['name']}" for one in request.get("firstAvailable") or ()]
            total += sum(_MOST_ALTERNATIVES - at for at, name in enumerate(names) if name in got)
    return total
