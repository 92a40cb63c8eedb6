"""Protection of storage in use: a claim that a pod uses, and a volume that a claim is bound to, outlive their deletion.

Who calls it: `controllers.main` (two controllers). Invariant: the finalizer, put on by admission (and here, should it be
missing), is only taken off an object that is being deleted and that nobody uses, the last look being at the API server itself.
Upstream: pkg/controller/volume/{pvcprotection,pvprotection}.
"""

from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from minikube_py.api.meta import is_terminating, namespace_of, split_key
from minikube_py.api.types import Obj
from minikube_py.client import finalizers
from minikube_py.client.controller import Controller


def build_claims(context: Context) -> Controller:
    """Watches claims, and pods for the claims they use; keys are claims."""
    reconciler = ClaimProtection(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.claims)
    return controller.watch(reconciler.pods, reconciler.deleted_claims_of)


def build_volumes(context: Context) -> Controller:
    """Watches volumes; keys are volumes."""
    reconciler = VolumeProtection(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.volumes)


class ClaimProtection:
    """The reconciler of claims."""

    name = "pvc-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.claims, self.pods = context.informers.of(PERSISTENTVOLUMECLAIMS), context.informers.of(PODS)

    def deleted_claims_of(self, pod: Obj) -> Iterable[str]:
        keys = (f"{namespace_of(pod)}/{claim.name}" for claim in v.claims_of(pod))
        return [key for key in keys if (held := self.claims.get_key(key)) is not None and is_terminating(held)]

    def reconcile(self, key: str) -> float | None:
        claim = self.claims.get_key(key)
        if claim is None:
            return None
        if not is_terminating(claim):
            finalizers.put(self._client, PERSISTENTVOLUMECLAIMS, claim, v.CLAIM_PROTECTION)
        elif v.CLAIM_PROTECTION in (claim["metadata"].get("finalizers") or ()):
            namespace, name = split_key(key)
            if not _used(self.pods.list(namespace), name) and not _used(
                self._client.list(PODS, namespace)["items"], name
            ):
                finalizers.take(self._client, PERSISTENTVOLUMECLAIMS, claim, v.CLAIM_PROTECTION)
        return None


def _used(pods: Iterable[Obj], claim: str) -> bool:
    """Whether a pod that has a node uses the claim; its own ephemeral one it uses until the kubelet is done with it."""
    return any(
        pod["spec"].get("nodeName")
        and any(used.name == claim and not (used.ephemeral and _shut_down(pod)) for used in v.claims_of(pod))
        for pod in pods
    )


def _shut_down(pod: Obj) -> bool:
    return is_terminating(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0


class VolumeProtection:
    """The reconciler of volumes."""

    name = "pv-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.volumes = context.informers.of(PERSISTENTVOLUMES)

    def reconcile(self, key: str) -> float | None:
        volume = self.volumes.get("", key)
        if volume is None:
            return None
        if not is_terminating(volume):
            finalizers.put(self._client, PERSISTENTVOLUMES, volume, v.VOLUME_PROTECTION)
        elif v.phase_of(volume) != "Bound":
            finalizers.take(self._client, PERSISTENTVOLUMES, volume, v.VOLUME_PROTECTION)
        return None
