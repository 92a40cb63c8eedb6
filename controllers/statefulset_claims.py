"""The volume claims of a StatefulSet: made before their pod, and owned by whoever's end shall be theirs.

Who calls it: `controllers.statefulset`. Invariants: a claim outlives its pods unless the retention policy says Delete: then its
controller is the set (whenDeleted), or the pod, once that is scaled away (whenScaled), and garbage collection does the rest.
A claim that somebody else controls, or that belongs to an earlier set or pod of the name, is left alone.
Upstream: pkg/controller/statefulset/stateful_set_utils.go (updateClaimOwnerRefForSetAndPod).
"""

from controllers import statefulset_pods as pods_of
from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS
from minikube_py.api.meta import controller_reference, key_of, name_of, namespace_of, owners_of, uid_of
from minikube_py.api.types import Obj


def wanted_owners(claim: Obj, sts: Obj, pod: Obj, *, scaled_away: bool) -> list[Obj]:
    """The owner references the claim shall have."""
    policy = sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    ours, others = (
        [ref for ref in owners_of(claim) if (_names(ref, sts) or _names(ref, pod)) == mine] for mine in (True, False)
    )
    if any(ref["uid"] not in (uid_of(sts), uid_of(pod)) for ref in ours):
        return owners_of(claim)
    if any(ref.get("controller") for ref in others):
        return owners_of(claim) if not ours else others
    if scaled_away and policy.get("whenScaled") == "Delete":
        return [*others, controller_reference(pod)]
    stays_with_set = policy.get("whenDeleted") == "Delete"
    return [*others, controller_reference(sts)] if stays_with_set else others


def _names(ref: Obj, obj: Obj) -> bool:
    return (ref["kind"], ref["name"]) == (obj["kind"], name_of(obj))


class Claims:
    """Reads and writes claims."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.informer = context.informers.of(PERSISTENTVOLUMECLAIMS)

    def ensure(self, sts: Obj, ordinal: int) -> None:
        """Make the claims of an ordinal that are not there. Raises APIError."""
        for wanted in pods_of.claims_for(sts, ordinal):
            if self.informer.get_key(key_of(wanted)) is None:
                try:
                    self._client.create(PERSISTENTVOLUMECLAIMS, wanted)
                except errors.AlreadyExists:
                    continue

    def are_stale(self, sts: Obj, ordinal: int) -> bool:
        """Whether a claim belongs to a pod of this ordinal that is gone: garbage collection has yet to take it."""
        if (sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).get("whenScaled") != "Delete":
            return False
        pod = f"{name_of(sts)}-{ordinal}"
        found = (self.informer.get_key(key_of(wanted)) for wanted in pods_of.claims_for(sts, ordinal))
        return any((ref["kind"], ref["name"]) == ("Pod", pod) for claim in found if claim for ref in owners_of(claim))

    def settle(self, sts: Obj, pod: Obj, ordinal: int) -> None:
        """Give the claims of a pod the owners the retention policy wants. Raises APIError."""
        start = pods_of.start_of(sts)
        scaled_away = not start <= ordinal < start + int(sts["spec"].get("replicas", 1))
        for named in pods_of.claims_for(sts, ordinal):
            claim = self.informer.get_key(key_of(named))
            if claim is None:
                continue
            owners = wanted_owners(claim, sts, pod, scaled_away=scaled_away)
            if owners != owners_of(claim):
                guard = {"uid": uid_of(claim), "resourceVersion": claim["metadata"]["resourceVersion"]}
                change = {"metadata": {**guard, "ownerReferences": owners or None}}
                try:
                    self._client.patch(PERSISTENTVOLUMECLAIMS, name_of(claim), change, namespace_of(claim))
                except errors.NotFound:
                    continue
