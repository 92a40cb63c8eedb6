"""What pods and ResourceClaims say about each other: names, ownership, reservations.

Who calls it: the resource-claim controller, the scheduler's DynamicResources, the kubelet's DRA manager.
Invariant: pure functions; a claim made from a template counts only for the pod it was made for.
Upstream: dynamic-resource-allocation/resourceclaim/resourceclaim.go.
"""

from minikube_py.api.meta import controller_of, is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

FINALIZER, CLAIM_NAME = "resource.kubernetes.io/delete-protection", "resource.kubernetes.io/pod-claim-name"
MOST_RESERVED = 256
"""How many consumers a claim may have."""


def entries_of(pod: Obj) -> list[Obj]:
    """`spec.resourceClaims`."""
    return pod["spec"].get("resourceClaims") or []


def noted_claims(pod: Obj) -> list[Obj]:
    """`status.resourceClaimStatuses`: which claims were made for the pod, and for which entries none is needed."""
    return (pod.get("status") or {}).get("resourceClaimStatuses") or []


def claim_names(pod: Obj) -> dict[str, str]:
    """The names of the pod's claims, as far as they have one, by the names the pod calls them."""
    made = {entry["name"]: entry.get("resourceClaimName") or "" for entry in noted_claims(pod)}
    names = {e["name"]: e.get("resourceClaimName") or made.get(e["name"], "") for e in entries_of(pod)}
    return {name: claim for name, claim in names.items() if claim}


def needs_none(pod: Obj, entry: Obj) -> bool:
    """Whether it was noted in the pod that this entry of `spec.resourceClaims` stands for no claim at all."""
    return any(one["name"] == entry["name"] and not one.get("resourceClaimName") for one in noted_claims(pod))


def unmade(pod: Obj) -> str:
    """What stands in the way of a pod whose claims from templates are not all made yet; "" for nothing."""
    noted = {entry["name"] for entry in noted_claims(pod)}
    waiting = any(not e.get("resourceClaimName") and e["name"] not in noted for e in entries_of(pod))
    return f'pod "{key_of(pod)}": ResourceClaim not created yet' if waiting else ""


def unusable(pod: Obj, entry: Obj, claim: Obj) -> str:
    """Why this pod must not use the claim that its entry of `spec.resourceClaims` names; "" when it may."""
    if is_terminating(claim):
        return f'resourceclaim "{name_of(claim)}" is being deleted'
    owner = controller_of(claim)
    if not entry.get("resourceClaimName") and (owner is None or owner["uid"] != uid_of(pod)):
        return f"ResourceClaim {key_of(claim)} was not created for Pod {key_of(pod)} (Pod is not owner)"
    return ""


def allocation_of(claim: Obj) -> Obj | None:
    """`status.allocation`."""
    found: Obj | None = (claim.get("status") or {}).get("allocation")
    return found


def reserved_for(claim: Obj) -> list[Obj]:
    """The consumers in `status.reservedFor`."""
    return (claim.get("status") or {}).get("reservedFor") or []


def is_reserved_for(claim: Obj, pod: Obj) -> bool:
    return any(reference["uid"] == uid_of(pod) for reference in reserved_for(claim))


def consumer(pod: Obj) -> Obj:
    """The pod as an entry of `status.reservedFor`."""
    return {"resource": "pods", "name": name_of(pod), "uid": uid_of(pod)}


def claim_keys(pod: Obj) -> list[str]:
    """The keys of the pod's claims, as far as they have a name."""
    return [f"{namespace_of(pod)}/{name}" for name in claim_names(pod).values()]
