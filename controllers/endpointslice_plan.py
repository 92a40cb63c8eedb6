"""Which EndpointSlices to write so that they hold given endpoints. Pure functions.

Who calls it: `controllers.endpointslice` and `controllers.endpointslicemirroring`. Invariants: every endpoint is in exactly one
slice; a slice holds at most 100 endpoints, all with the same ports; endpoints stay in the slice they are in, so that a change
rewrites as few slices as possible; planning again over the result plans nothing.
Upstream: staging/src/k8s.io/endpointslice/reconciler.go.
"""

import copy
from collections import defaultdict
from typing import NamedTuple

from controllers.pod import random_name
from controllers.service_pods import Port
from minikube_py.api.gvr import ENDPOINTSLICES, new_object
from minikube_py.api.meta import controller_reference, labels_of, name_of, namespace_of
from minikube_py.api.types import Obj

SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
_MOST = 100

Wanted = dict[tuple[Port, ...], list[Obj]]
"""Endpoints by the ports they answer on."""


class Plan(NamedTuple):
    """Slices to update, to create, to delete."""

    changed: list[Obj]
    created: list[Obj]
    superfluous: list[Obj]


def plan(owner: Obj, labels: dict[str, str], wanted: Wanted, existing: list[Obj], *, placeholder: bool = True) -> Plan:
    """In: the slices' owner (whose name they begin with) and labels. With `placeholder`, no endpoints make one empty slice."""
    by_ports: dict[tuple[Port, ...], list[Obj]] = defaultdict(list)
    for slice_ in sorted(existing, key=name_of):
        by_ports[_ports_of(slice_)].append(slice_)
    result = Plan([], [], [])
    for group in wanted.keys() | by_ports.keys():
        part = _fill(owner, labels, group, wanted.get(group, []), by_ports.get(group, []))
        for whole, more in zip(result, part, strict=True):
            whole.extend(more)
    if not wanted and placeholder:
        _keep_placeholder(owner, labels, result)
    return result


def _keep_placeholder(owner: Obj, labels: dict[str, str], result: Plan) -> None:
    kept = next((slice_ for slice_ in result.superfluous if not slice_.get("ports")), None)
    if kept is None:
        result.created.append(_new(owner, labels, (), []))
        return
    result.superfluous.remove(kept)
    updated = _dressed(labels, kept, [])
    if updated != kept:
        result.changed.append(updated)


def _fill(owner: Obj, labels: dict[str, str], group: tuple[Port, ...], wanted: list[Obj], slices: list[Obj]) -> Plan:
    """Place the endpoints of one port group: each where it is already, new ones in the fullest slice with room."""
    missing = {_identity(endpoint): endpoint for endpoint in wanted}
    kept: list[tuple[Obj, list[Obj]]] = []
    for slice_ in slices:
        stay = [missing.pop(i) for e in slice_.get("endpoints") or [] if (i := _identity(e)) in missing]
        kept.append((slice_, stay))
    rest = list(missing.values())
    for _, endpoints in sorted(kept, key=lambda pair: -len(pair[1])):
        room = _MOST - len(endpoints)
        endpoints += rest[:room]
        rest = rest[room:]
    created = [_new(owner, labels, group, rest[start : start + _MOST]) for start in range(0, len(rest), _MOST)]
    dressed = [(slice_, _dressed(labels, slice_, endpoints)) for slice_, endpoints in kept if endpoints]
    changed = [after for before, after in dressed if after != before]
    return Plan(changed, created, [slice_ for slice_, endpoints in kept if not endpoints])


def _identity(endpoint: Obj) -> tuple[str, str]:
    return (endpoint.get("targetRef") or {}).get("uid", ""), (endpoint.get("addresses") or [""])[0]


def _ports_of(slice_: Obj) -> tuple[Port, ...]:
    found = slice_.get("ports") or []
    return tuple(sorted(
        Port(p.get("name") or "", p.get("port") or 0, p.get("protocol", "TCP"), p.get("appProtocol") or "") for p in found
    ))  # fmt: skip


def _dressed(labels: dict[str, str], slice_: Obj, endpoints: list[Obj]) -> Obj:
    """The slice with these endpoints and labels."""
    after = copy.copy(slice_)
    if (slice_.get("endpoints") or []) != endpoints:
        after["endpoints"] = endpoints
    if labels_of(slice_) != labels:
        after["metadata"] = {**slice_["metadata"], "labels": labels}
    return after


def _new(owner: Obj, labels: dict[str, str], group: tuple[Port, ...], endpoints: list[Obj]) -> Obj:
    base = f"{name_of(owner)}-"
    slice_ = new_object(ENDPOINTSLICES, random_name(base), namespace_of(owner), addressType="IPv4")
    owners = [controller_reference(owner)]
    slice_["metadata"] |= {"generateName": base, "labels": dict(labels), "ownerReferences": owners}
    return {**slice_, "endpoints": endpoints, "ports": [port.as_obj() for port in group]}
