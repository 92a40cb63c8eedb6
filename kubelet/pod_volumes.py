"""One pod's volumes: set up before its containers start, kept fresh while they run.

Who calls it: `pod_worker`, which alone sets up; `pod_manager` says when a source changed. Invariants: a pod's first look at
what it mounts is never older than the pod; what changes while files are being written is written with the next step.
Upstream: pkg/kubelet/volumemanager (as far as one pod sees it).
"""

import logging

from kubelet.downward import View
from kubelet.errors import VolumeError
from kubelet.network.ipam import AddressesExhausted
from kubelet.node_services import NodeServices
from kubelet.runtime.base import Status
from kubelet.start_container import Surroundings
from kubelet.volumes.persistent import Ready
from kubelet.volumes.sources import Sources
from minikube_py.api.meta import name_of, uid_of
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)


class PodVolumes:
    """The volumes of one pod. `since` is when the pod was first seen (monotonic seconds)."""

    def __init__(self, node: NodeServices) -> None:
        self._node = node
        self.since = node.clock.monotonic()
        self._fresh_at = 0.0

    def stale(self) -> None:
        """What projected volumes are made of changed: write them anew with the next step."""
        self._fresh_at = float("-inf")

    def setup(self, pod: Obj) -> tuple[dict[str, Ready], View]:
        """Everything the pod mounts is there: (volume → path, what the downward API shows). Raises VolumeError."""
        node = self._node
        try:
            ip = node.sandboxes.address_for(pod)
        except AddressesExhausted as error:
            raise VolumeError(str(error)) from error
        view = View(node.options.node_ip, ip, node.allocatable())
        self._fresh_at = node.clock.monotonic()  # before, so that a change while this is done is not missed
        node.watches.follow(pod)
        return node.volumes.setup(pod, self._sources(pod, view)), view

    def around(self, pod: Obj, sandbox: Status, running: dict[str, str]) -> Surroundings:
        """What a container of the pod is started in. Raises VolumeError. In: `running` are its containers, name → id."""
        volumes, view = self.setup(pod)
        return Surroundings(sandbox, self._node.volumes.pod_directory(uid_of(pod)), volumes, view, running, self.since)

    def refresh(self, pod: Obj) -> float | None:
        """Projected volumes follow their sources. Out: seconds until they are looked at again; None when nothing can change."""
        node = self._node
        if not node.volumes.changes(pod):
            return None
        period = node.options.sync_frequency
        if node.clock.monotonic() - self._fresh_at >= period:
            try:
                self.setup(pod)
            except VolumeError as error:
                _log.info("pod %s: %s", name_of(pod), error)
        return period

    def _sources(self, pod: Obj, view: View) -> Sources:
        node, since = self._node, self.since
        return Sources(
            get=lambda plural, namespace, name: node.objects.get(plural, namespace, name, since),
            token=node.tokens.get, view=view, image=lambda source: node.starter.image_files(pod, source, since),
        )  # fmt: skip
