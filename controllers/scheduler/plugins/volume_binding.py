"""VolumeBinding: a pod goes where its volumes can be reached, and the volumes of waiting claims are chosen with its node.

Who calls it: the framework; `pre_bind` runs on the writer threads. Invariants: claims already bound decide where the pod may
go; claims that wait for their first consumer get a volume (or, to be provisioned, a node) only at `pre_bind`, after the pod's
node is decided, and until that is written `_promised` keeps it from every other pod. Killed anywhere, the claims say how far
it got.
Upstream: pkg/scheduler/framework/plugins/volumebinding.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from controllers.scheduler import framework as f
from controllers.scheduler.nodematch import term_rows
from controllers.scheduler.snapshot import NodeRow
from controllers.scheduler.volume_facts import Facts, has_room, in_topology
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from minikube_py.api.meta import annotations_of, is_terminating, key_of, name_of, namespace_of, split_key, uid_of
from minikube_py.api.types import Obj

_STATE = "volumes"


class Choice(NamedTuple):
    """What a waiting claim gets: a volume that is there, or ("") one to be provisioned for the node."""

    node: str
    volume: str


@dataclass
class _State:
    bound: list[Obj]  # the volumes of bound claims
    waiting: list[Obj]  # claims that wait for their first consumer
    facts: Facts
    chosen: dict[str, dict[str, Choice]] = field(default_factory=dict)  # node → claim key → what it would get there
    labels: dict[str, dict[str, str]] = field(default_factory=dict)  # of those nodes
    written: dict[str, str] = field(default_factory=dict)  # claim key → the revision with the node we selected


class VolumeBinding(f.Plugin):
    name: ClassVar[str] = "VolumeBinding"
    events = frozenset([f.NODE_ADD, f.NODE_LABEL, f.VOLUME_CLAIM, f.VOLUME, f.STORAGE_CLASS, f.CSI])
    _NO_MATCH = f.Verdict(name, ("node(s) didn't find available persistent volumes to bind",), unresolvable=True)
    _AFFINITY = f.Verdict(name, ("node(s) didn't match PersistentVolume's node affinity",), unresolvable=True)
    _NO_SPACE = f.Verdict(name, ("node(s) did not have enough free storage",), unresolvable=True)
    _GONE = f.Verdict(
        name, ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",), unresolvable=True
    )

    def __init__(self, handle: f.Handle) -> None:
        self._client, self._lister = handle.client, handle.lister
        # claim key → what it gets, and the pods (uid) that wait for it
        self._promised: dict[str, tuple[Choice, set[str]]] = handle.shared.setdefault(self.name, {})

    @classmethod
    def build(cls, handle: f.Handle, args: Obj) -> f.Plugin:
        f.only(args)
        return cls(handle)

    # -- where can it go ----------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: f.Cycle) -> f.PreFilter:
        wanted = list(v.claims_of(cycle.pod.pod))
        if not wanted:
            return f.SKIP
        facts = Facts(self._lister, cycle.pod.namespace)
        claims = []
        for entry in wanted:
            claim = facts.claims.get(entry.name)
            if reason := _unusable(entry, claim, cycle.pod.pod):
                return f.Verdict(self.name, (reason,), unresolvable=True)
            assert claim is not None
            claims.append(claim)
        waiting = [claim for claim in claims if not v.is_fully_bound(claim)]
        if not all(facts.is_delayed(claim) and not claim["spec"].get("volumeName") for claim in waiting):
            return f.Verdict(self.name, ("pod has unbound immediate PersistentVolumeClaims",), unresolvable=True)
        names = [claim["spec"]["volumeName"] for claim in claims if v.is_fully_bound(claim)]
        if not all(name in facts.volumes for name in names):
            return self._GONE
        cycle.state[_STATE] = _State([facts.volumes[name] for name in names], waiting, facts)
        self._forget_written(facts)
        return None

    def filter(self, cycle: f.Cycle, rows: Sequence[int]) -> Mapping[int, f.Verdict]:
        state: _State = cycle.state[_STATE]
        rejected: dict[int, f.Verdict] = {}
        for volume in state.bound:
            required = (volume["spec"].get("nodeAffinity") or {}).get("required")
            if required:
                accepted = [term_rows(cycle.snapshot, term) for term in required.get("nodeSelectorTerms") or ()]
                rejected |= {row: self._AFFINITY for row in rows if not any(column[row] for column in accepted)}
        for row in rows if state.waiting else ():
            if row not in rejected and (verdict := self._choose(state, cycle.snapshot.nodes[row])) is not None:
                rejected[row] = verdict
        return rejected

    def _choose(self, state: _State, node: NodeRow) -> f.Verdict | None:
        """Find something for every waiting claim on this node, the largest last so that it is not left with nothing."""
        reachable = [pv for pv in state.facts.volumes.values() if v.reaches(pv, node.labels, node.name)]
        promised = {choice.volume: key for key, (choice, _) in self._promised.items() if choice.volume}
        chosen: dict[str, Choice] = {}
        for claim in sorted(state.waiting, key=v.requested):
            key = key_of(claim)
            known = self._promised.get(key)
            selected = annotations_of(claim).get(v.SELECTED_NODE) or (
                known[0].node if known and not known[0].volume else ""
            )
            taken = [name for name, owner in promised.items() if owner != key]
            found = None
            if not selected:
                options = reachable if known is None else [pv for pv in reachable if name_of(pv) == known[0].volume]
                found = v.best_match(claim, options, taken)
            if found is not None:
                promised[name_of(found)] = key
                chosen[key] = Choice(node.name, name_of(found))
                continue
            if selected not in ("", node.name) or (known is not None and known[0].volume):
                return self._NO_MATCH
            if not in_topology(state.facts, claim, node):
                return self._NO_MATCH
            if not has_room(state.facts, claim, node):
                return self._NO_SPACE
            chosen[key] = Choice(node.name, "")
        state.chosen[node.name], state.labels[node.name] = chosen, node.labels
        return None

    # -- it goes there ------------------------------------------------------------------------------------------------

    def reserve(self, cycle: f.Cycle, node: str) -> str | None:
        state: _State | None = cycle.state.get(_STATE)
        for key, choice in (state.chosen.get(node) or {}).items() if state else ():
            _, pods = self._promised.setdefault(key, (choice, set()))
            pods.add(cycle.pod.uid)
        return None

    def unreserve(self, cycle: f.Cycle, node: str) -> None:
        state: _State | None = cycle.state.get(_STATE)
        for key in (state.chosen.get(node) or ()) if state else ():
            _, pods = self._promised.get(key, (None, set()))
            pods.discard(cycle.pod.uid)
            if not pods:
                self._promised.pop(key, None)

    def _forget_written(self, facts: Facts) -> None:
        """A promise has been kept once the claim itself says so."""
        for key in [key for key in self._promised if split_key(key)[0] == facts.namespace]:
            claim = facts.claims.get(split_key(key)[1])
            if claim is None or v.is_fully_bound(claim):
                del self._promised[key]

    def pre_bind(self, cycle: f.Cycle, node: str) -> f.Readiness:
        """Write the choices, then wait until the binder (and a provisioner) has made bindings of them."""
        state: _State | None = cycle.state.get(_STATE)
        choices = state.chosen.get(node) if state else None
        if not choices:
            return None
        assert state is not None
        facts, pending = Facts(self._lister, cycle.pod.namespace), False
        for key, choice in choices.items():
            claim = facts.claims.get(split_key(key)[1])
            if claim is None or is_terminating(claim):
                return f"claim {key} is gone"
            if v.is_fully_bound(claim):
                found = facts.volumes.get(claim["spec"]["volumeName"])
                if found is not None and not v.reaches(found, state.labels[node], node):
                    return f"claim {key} was bound to a volume that node {node} cannot reach"
                if found is not None:
                    continue
            elif refusal := self._write(state, claim, choice, facts):
                return refusal
            pending = True
        return f.WAIT if pending else None

    def _write(self, state: _State, claim: Obj, choice: Choice, facts: Facts) -> str:
        """Make the choice known, once. Out: why it cannot stand any more, or "". Raises APIError."""
        key, annotated = key_of(claim), annotations_of(claim).get(v.SELECTED_NODE)
        if choice.volume:
            volume = facts.volumes.get(choice.volume)
            if volume is None or (volume["spec"].get("claimRef") and not v.belongs_to(volume, claim)):
                return f"volume {choice.volume} was given to another claim"
            if not volume["spec"].get("claimRef") and key not in state.written:
                done = self._client.update(PERSISTENTVOLUMES, _reserved(volume, claim))
                state.written[key] = done["metadata"]["resourceVersion"]
        elif annotated is None and key not in state.written:
            mark = {"metadata": {"annotations": {v.SELECTED_NODE: choice.node}, "uid": uid_of(claim)}}
            done = self._client.patch(PERSISTENTVOLUMECLAIMS, name_of(claim), mark, namespace_of(claim))
            state.written[key] = done["metadata"]["resourceVersion"]
        elif annotated != choice.node and int(claim["metadata"]["resourceVersion"]) >= int(state.written.get(key, "0")):
            return f"the provisioner could not make a volume for claim {key} on node {choice.node}"
        return ""


def _unusable(entry: v.PodClaim, claim: Obj | None, pod: Obj) -> str:
    """Why a pod cannot be placed because of this claim, whatever the node."""
    if claim is None:
        if entry.ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{entry.name}"'
        return f'persistentvolumeclaim "{entry.name}" not found'
    if v.phase_of(claim) == "Lost":
        volume = claim["spec"].get("volumeName", "")
        return f'persistentvolumeclaim "{entry.name}" bound to non-existent persistentvolume "{volume}"'
    if is_terminating(claim):
        return f'persistentvolumeclaim "{entry.name}" is being deleted'
    if entry.ephemeral and not v.made_for(claim, pod):
        return f"PVC {key_of(claim)} was not created for pod {key_of(pod)} (pod is not owner)"
    return ""


def _reserved(volume: Obj, claim: Obj) -> Obj:
    """The volume as the binder would reserve it."""
    changed = copy.deepcopy(volume)
    changed["metadata"]["annotations"] = {**annotations_of(volume), v.BOUND_BY_CONTROLLER: "yes"}
    changed["spec"]["claimRef"] = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace_of(claim), "name": name_of(claim),
        "uid": uid_of(claim), "resourceVersion": claim["metadata"]["resourceVersion"],
    }  # fmt: skip
    return changed
