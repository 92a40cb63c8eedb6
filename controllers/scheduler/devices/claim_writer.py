"""What the scheduler writes into a claim: that it may not just vanish, what it got, and for whom it is reserved.

Who calls it: the plugin DynamicResources, on writer threads. Invariants: the finalizer is there before the allocation is;
allocation and reservation come in one write; a write whose answer was lost is recognised when it is tried again.
Upstream: pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go (bindClaim, PostFilter).
"""

from minikube_py.api import errors
from minikube_py.api import resourceclaims as rc
from minikube_py.api.gvr import RESOURCECLAIMS
from minikube_py.api.meta import is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_TRIES = 5


def reserve(client: Client, claim: Obj, pod: Obj, allocation: Obj | None) -> Obj | str:
    """Give the claim its allocation (None: it has one) and reserve it for the pod. Out: the claim as it is then, or why not.

    Raises APIError.
    """
    held = claim
    for _ in range(_TRIES):
        try:
            return _reserve(client, held, pod, allocation)
        except errors.Conflict:
            held = client.get(RESOURCECLAIMS, name_of(claim), namespace_of(claim))
            if uid_of(held) != uid_of(claim):
                return f"claim {key_of(claim)} got deleted in the meantime"
    raise errors.Conflict(f"claim {key_of(claim)} changes all the time")


def _reserve(client: Client, claim: Obj, pod: Obj, allocation: Obj | None) -> Obj | str:
    if is_terminating(claim):
        return f"claim {key_of(claim)} got deleted in the meantime"
    found, reserved = rc.allocation_of(claim), rc.reserved_for(claim)
    if allocation is None and found is None:
        return f"claim {key_of(claim)} got deallocated elsewhere in the meantime"
    if allocation is not None and found is not None and _devices(found) != _devices(allocation):
        return f"claim {key_of(claim)} got allocated elsewhere in the meantime"
    if found is not None and rc.is_reserved_for(claim, pod):
        return claim
    if len(reserved) >= rc.MOST_RESERVED:
        return f"claim {key_of(claim)} is reserved for as many pods as it can be"
    finalizers = claim["metadata"].get("finalizers") or []
    if rc.FINALIZER not in finalizers:
        protected = {**claim, "metadata": {**claim["metadata"], "finalizers": [*finalizers, rc.FINALIZER]}}
        claim = client.update(RESOURCECLAIMS, protected)
    status = {**(claim.get("status") or {}), "allocation": found or allocation}
    status["reservedFor"] = [*reserved, *([] if rc.is_reserved_for(claim, pod) else [rc.consumer(pod)])]
    return client.update(RESOURCECLAIMS, {**claim, "status": status}, subresource="status")


def _devices(allocation: Obj) -> list[Obj]:
    found: list[Obj] = (allocation.get("devices") or {}).get("results") or []
    return found


def deallocate(client: Client, claim: Obj) -> None:
    """Take away what an unused claim has. Raises APIError, Conflict when somebody has changed it."""
    dropped = ("allocation", "reservedFor", "devices")
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in dropped}
    client.update(RESOURCECLAIMS, {**claim, "status": status}, subresource="status")
