"""ResourceClaims: made for pods from their templates, reserved for pods that run without the scheduler, given back at the end.

Who calls it: `controllers.main`. Invariants: a pod gets one claim per template, found again by owner and annotation when the
answer to its creation was lost; a reservation is taken away only when its pod will certainly not run (asked live if unseen);
an allocation goes with the last reservation.
Upstream: pkg/controller/resourceclaim/controller.go.
"""

from collections.abc import Iterable

from controllers.children import Expectations, Names
from controllers.context import BY_CONTROLLER, Context, index_by_controller
from controllers.owned_pods import UNSEEN_RETRY
from controllers.pod import is_finished, node_of
from minikube_py.api import errors
from minikube_py.api import resourceclaims as claims
from minikube_py.api.gvr import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, new_object
from minikube_py.api.meta import (
    annotations_of,
    controller_of,
    controller_reference,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_POD, _CLAIM = "pod|", "claim|"
_LONGEST_BASE = 57
_BY_TEMPLATE = "template"


def build(context: Context) -> Controller:
    """Watches pods that name claims, claims, and templates for the pods that wait for them; keys are pods and claims."""
    reconciler = ResourceClaim(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.pods, reconciler.keys_of_pod).watch(reconciler.claims, reconciler.keys_of_claim)
    return controller.watch(reconciler.templates, reconciler.keys_of_template)


class ResourceClaim:
    """The reconciler; keys are "pod|namespace/name" and "claim|namespace/name"."""

    name = "resource-claim"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.pods = context.informers.of(PODS)
        self.pods.add_index(_BY_TEMPLATE, _templates_of)
        self.claims = index_by_controller(context.informers.of(RESOURCECLAIMS))
        self.templates = context.informers.of(RESOURCECLAIMTEMPLATES)
        self._expectations, self._names = Expectations(self.claims, context.clock), Names()
        self._events = context.recorder("resource_claim")

    def keys_of_pod(self, pod: Obj) -> Iterable[str]:
        """The pod, and its claims: they may be free now."""
        if not pod["spec"].get("resourceClaims"):
            return ()
        named = [f"{_CLAIM}{namespace_of(pod)}/{name}" for name in claims.claim_names(pod).values()]
        return (f"{_POD}{key_of(pod)}", *named)

    def keys_of_claim(self, claim: Obj) -> Iterable[str]:
        owner = controller_of(claim)
        pods = {owner["name"]} if owner and owner["kind"] == "Pod" else set[str]()
        return (f"{_CLAIM}{key_of(claim)}", *(f"{_POD}{namespace_of(claim)}/{name}" for name in sorted(pods)))

    def keys_of_template(self, template: Obj) -> Iterable[str]:
        return [f"{_POD}{key_of(pod)}" for pod in self.pods.by_index(_BY_TEMPLATE, key_of(template))]

    def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            return self._serve(key.removeprefix(_POD))
        claim = self.claims.get_key(key.removeprefix(_CLAIM))
        if claim is not None:
            self._release(claim)
        return None

    # -- a pod's claims -----------------------------------------------------------------------------------------------

    def _serve(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None:
            self._expectations.forget(key)
            self._names.forget(key)
            return None
        if is_terminating(pod) or is_finished(pod):
            return None
        if not self._expectations.met(key):
            return UNSEEN_RETRY
        made = {}
        for entry in pod["spec"].get("resourceClaims") or []:
            try:
                if entry.get("resourceClaimTemplateName") and (name := self._ensure(key, pod, entry)):
                    made[entry["name"]] = name
            except errors.APIError as error:
                message = f"PodResourceClaim {entry['name']}: {error}"
                self._events.event(pod, "Warning", "FailedResourceClaimCreation", message)
                raise
        if made:
            statuses = [{"name": name, "resourceClaimName": claim} for name, claim in made.items()]
            body = {"metadata": {"uid": uid_of(pod)}, "status": {"resourceClaimStatuses": statuses}}
            self._client.patch(PODS, name_of(pod), body, namespace_of(pod), kind="strategic", subresource="status")
        if node_of(pod):
            self._reserve(pod)
        return None

    def _ensure(self, key: str, pod: Obj, entry: Obj) -> str:
        """Out: the name of the claim to note in the pod's status, "" when it stands there. Raises APIError."""
        if claims.needs_none(pod, entry):
            return ""
        noted = claims.claim_names(pod).get(entry["name"], "")
        found = self.claims.get(namespace_of(pod), noted) if noted else None
        if found is not None and _belongs(found, pod):
            return ""
        for claim in self.claims.by_index(BY_CONTROLLER, uid_of(pod)):
            if annotations_of(claim).get(claims.CLAIM_NAME) == entry["name"] and not is_terminating(claim):
                return name_of(claim)
        template = self.templates.get(namespace_of(pod), entry["resourceClaimTemplateName"])
        if template is None:
            raise errors.NotFound(f'resource claim template "{entry["resourceClaimTemplateName"]}": not found')
        make = lambda name: _claim_for(pod, entry, template, name)  # noqa: E731
        made = self._names.create(self._client, RESOURCECLAIMS, key, _base(pod, entry), make, pod)
        self._expectations.wrote(key, made)
        return name_of(made)

    def _reserve(self, pod: Obj) -> None:
        """Reserve allocated claims for a pod that was bound without the scheduler, which would have done it."""
        for name in claims.claim_names(pod).values():
            claim = self.claims.get(namespace_of(pod), name)
            status = (claim or {}).get("status") or {}
            reserved = status.get("reservedFor") or []
            if claim is None or not status.get("allocation") or claims.is_reserved_for(claim, pod):
                continue
            if len(reserved) < claims.MOST_RESERVED and (controller_of(claim) is None or _belongs(claim, pod)):
                self._write_status(claim, {**status, "reservedFor": [*reserved, claims.consumer(pod)]})

    # -- the end of a claim -------------------------------------------------------------------------------------------

    def _release(self, claim: Obj) -> None:
        """Take away reservations of pods that are over; free, unprotect and delete what nobody uses."""
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        remaining = [ref for ref in reserved if not self._is_over(claim, ref)]
        protected = claims.FINALIZER in (claim["metadata"].get("finalizers") or [])
        ends = protected and not remaining and (bool(reserved) or is_terminating(claim))
        if len(remaining) < len(reserved) or (ends and status.get("allocation")):
            dropped = {"reservedFor"} | ({"allocation"} if ends else set())
            kept = {field: value for field, value in status.items() if field not in dropped}
            claim = self._write_status(claim, kept | ({"reservedFor": remaining} if remaining else {}))
        if ends:
            rest = [f for f in claim["metadata"].get("finalizers") or [] if f != claims.FINALIZER]
            claim = self._client.update(
                RESOURCECLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": rest}}
            )
        if not remaining and not is_terminating(claim):
            self._delete_unneeded(claim)

    def _is_over(self, claim: Obj, ref: Obj) -> bool:
        """Whether a consumer will not use the claim any more. What is no pod is nobody we know."""
        if ref.get("apiGroup") or ref.get("resource") != "pods":
            return False
        pod = self.pods.get(namespace_of(claim), ref["name"])
        if pod is None:
            try:
                pod = self._client.get(PODS, ref["name"], namespace_of(claim))
            except errors.NotFound:
                return True
        return uid_of(pod) != ref["uid"] or _is_done(pod)

    def _delete_unneeded(self, claim: Obj) -> None:
        """A claim made for a pod that is over goes before the pod does."""
        owner = controller_of(claim)
        pod = self.pods.get(namespace_of(claim), owner["name"]) if owner and owner["kind"] == "Pod" else None
        if owner is None or pod is None or (uid_of(pod) == owner["uid"] and not _is_done(pod)):
            return
        try:
            self._client.delete(RESOURCECLAIMS, name_of(claim), namespace_of(claim), uid=uid_of(claim))
        except errors.NotFound:
            return

    def _write_status(self, claim: Obj, status: Obj) -> Obj:
        return self._client.update(RESOURCECLAIMS, {**claim, "status": status}, subresource="status")


def _is_done(pod: Obj) -> bool:
    return is_finished(pod) or (is_terminating(pod) and not node_of(pod))


def _belongs(claim: Obj, pod: Obj) -> bool:
    owner = controller_of(claim)
    return owner is not None and owner["uid"] == uid_of(pod)


def _templates_of(pod: Obj) -> list[str]:
    entries = pod["spec"].get("resourceClaims") or []
    named = (entry.get("resourceClaimTemplateName") for entry in entries)
    return [f"{namespace_of(pod)}/{name}" for name in named if name]


def _base(pod: Obj, entry: Obj) -> str:
    """The beginning of a claim's name; of long names a bit of both parts is kept."""
    base = f"{name_of(pod)}-{entry['name']}-"
    if len(base) <= _LONGEST_BASE:
        return base
    share = _LONGEST_BASE / len(base)
    return f"{name_of(pod)[: int(len(name_of(pod)) * share)]}-{entry['name'][: int(len(entry['name']) * share)]}"


def _claim_for(pod: Obj, entry: Obj, template: Obj, name: str) -> Obj:
    metadata = template["spec"].get("metadata") or {}
    claim = new_object(RESOURCECLAIMS, name, namespace_of(pod), spec=template["spec"]["spec"])
    claim["metadata"] |= {
        "generateName": _base(pod, entry), "labels": dict(metadata.get("labels") or {}),
        "annotations": {**(metadata.get("annotations") or {}), claims.CLAIM_NAME: entry["name"]},
        "ownerReferences": [controller_reference(pod)],
    }  # fmt: skip
    return claim
