"""From a volume of a pod that is a claim to the PersistentVolume behind it, checked: bound both ways, reachable from this node.

Who calls it: `volumes.manager`, for `persistentVolumeClaim` and `ephemeral` volumes. Invariants: a pod never gets the volume of
another claim, nor a claim that somebody else happened to call like its ephemeral one; a ReadWriteOncePod volume serves one
pod until that pod has ended, however old the others are.
Upstream: pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go.
"""

import threading
from collections.abc import Callable, Iterable

from kubelet.errors import VolumeError
from kubelet.objects import ObjectCache
from minikube_py.api import volumes as v
from minikube_py.api.clock import Clock
from minikube_py.api.meta import is_terminating, labels_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

_ENDED = ("Succeeded", "Failed")


class Claims:
    """`node` gives this Node, `pods` the pods bound to it."""

    def __init__(
        self, objects: ObjectCache, clock: Clock, node: Callable[[], Obj], pods: Callable[[], Iterable[Obj]]
    ) -> None:
        self._objects, self._clock, self._node, self._pods = objects, clock, node, pods
        self._lock = threading.Lock()
        self._holders: dict[
            tuple[str, str], str
        ] = {}  # the pod a ReadWriteOncePod volume is for, by namespace and claim

    def volume_of(self, pod: Obj, wanted: v.PodClaim, *, starting: bool) -> Obj:
        """The PersistentVolume of a pod's claim. In: `starting` is False once the volume was set up for the pod before.

        Raises VolumeError in upstream's words, APIError when the server is away and nothing is remembered.
        """
        namespace = namespace_of(pod)
        where = f"error processing PVC {namespace}/{wanted.name}: "
        claim = self._get("persistentvolumeclaims", namespace, wanted.name, v.is_fully_bound)
        if claim is None:
            raise VolumeError(
                f'{where}failed to fetch PVC from API server: persistentvolumeclaims "{wanted.name}" not found'
            )
        if starting and is_terminating(claim):
            raise VolumeError(f"{where}PVC is being deleted")
        if wanted.ephemeral and not v.made_for(claim, pod):
            raise VolumeError(f"{where}PVC was not created for pod {namespace}/{name_of(pod)} (pod is not owner)")
        if v.phase_of(claim) != "Bound" or not claim["spec"].get("volumeName"):
            raise VolumeError(f"{where}PVC is not bound")
        name = claim["spec"]["volumeName"]
        volume = self._get("persistentvolumes", "", name, lambda pv: v.belongs_to(pv, claim))
        if volume is None:
            raise VolumeError(f'{where}failed to fetch PV {name} from API server: persistentvolumes "{name}" not found')
        if not v.belongs_to(volume, claim) or not volume["spec"]["claimRef"].get("uid"):
            raise VolumeError(f"{where}PV {name} is not bound to the claim")
        node = self._node()
        if not v.reaches(volume, labels_of(node), name_of(node)):
            raise VolumeError(
                f'MountVolume.NodeAffinity check failed for volume "{name}" : no matching NodeSelectorTerms'
            )
        if v.SINGLE_POD in (volume["spec"].get("accessModes") or ()):
            self._alone(pod, wanted.name)
        return volume

    def _get(self, plural: str, namespace: str, name: str, ready: Callable[[Obj], bool]) -> Obj | None:
        """As remembered, if that is what we wait for; else asked anew."""
        held = self._objects.get(plural, namespace, name)
        if held is not None and ready(held):
            return held
        return self._objects.get(plural, namespace, name, self._clock.monotonic())

    def _alone(self, pod: Obj, claim: str) -> None:
        """Who holds the volume keeps it. A free one goes to a pod that runs (this kubelet is a new one), else to the oldest."""
        key = namespace_of(pod), claim
        with self._lock:
            living = {uid_of(other): other for other in self._pods() if _phase(other) not in _ENDED}
            living[uid_of(pod)] = pod
            self._holders = {held: uid for held, uid in self._holders.items() if uid in living}
            wanting = [
                other for other in living.values()
                if namespace_of(other) == key[0] and any(used.name == claim for used in v.claims_of(other))
            ]  # fmt: skip
            if self._holders.setdefault(key, uid_of(min(wanting, key=_precedence))) != uid_of(pod):
                raise VolumeError("volume uses the ReadWriteOncePod access mode and is already in use by another pod")


def _phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _precedence(pod: Obj) -> tuple[bool, str, str]:
    return _phase(pod) != "Running", pod["metadata"].get("creationTimestamp") or "", uid_of(pod)
