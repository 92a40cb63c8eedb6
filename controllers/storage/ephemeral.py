"""Generic ephemeral volumes: a claim for each such volume of a pod, owned by the pod and deleted with it.

Who calls it: `controllers.main`. Invariant: a claim of that name which is not the pod's is left alone, and the pod waits.
Upstream: pkg/controller/volume/ephemeral/controller.go.
"""

import copy
from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PODS, new_object
from minikube_py.api.meta import controller_reference, is_terminating, key_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller


def build(context: Context) -> Controller:
    """Watches pods, and claims for the pods that want one of that name; keys are pods."""
    reconciler = EphemeralVolumes(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.pods, _if_ephemeral)
    return controller.watch(reconciler.claims, reconciler.pods_wanting)


def _if_ephemeral(pod: Obj) -> Iterable[str]:
    return (key_of(pod),) if any(claim.ephemeral for claim in v.claims_of(pod)) else ()


class EphemeralVolumes:
    """The reconciler."""

    name = "ephemeral-volume"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder("ephemeral_volume")
        self.pods, self.claims = context.informers.of(PODS), context.informers.of(PERSISTENTVOLUMECLAIMS)

    def pods_wanting(self, claim: Obj) -> Iterable[str]:
        name, pods = name_of(claim), self.pods.list(namespace_of(claim))
        return [key_of(pod) for pod in pods if any(c.ephemeral and c.name == name for c in v.claims_of(pod))]

    def reconcile(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None or is_terminating(pod):
            return None
        for wanted in v.claims_of(pod):
            if wanted.ephemeral:
                self._ensure(pod, wanted)
        return None

    def _ensure(self, pod: Obj, wanted: v.PodClaim) -> None:
        held = self.claims.get(namespace_of(pod), wanted.name)
        if held is None:
            template = wanted.volume["ephemeral"]["volumeClaimTemplate"]
            claim = new_object(
                PERSISTENTVOLUMECLAIMS, wanted.name, namespace_of(pod), spec=copy.deepcopy(template["spec"])
            )
            metadata = template.get("metadata") or {}
            claim["metadata"] |= {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
            claim["metadata"]["ownerReferences"] = [controller_reference(pod)]
            try:
                self._client.create(PERSISTENTVOLUMECLAIMS, claim)
            except errors.AlreadyExists:
                held = self._client.get(PERSISTENTVOLUMECLAIMS, wanted.name, namespace_of(pod))
            except errors.APIError as error:
                self._recorder.event(
                    pod, "Warning", "FailedToCreateClaim", f"ephemeral volume {wanted.volume['name']}: {error}"
                )
                raise
        if held is not None and not v.made_for(held, pod):
            text = f"PVC {key_of(held)} was not created for pod {key_of(pod)} (pod is not owner)"
            self._recorder.event(pod, "Warning", "FailedToCreateClaim", text)
