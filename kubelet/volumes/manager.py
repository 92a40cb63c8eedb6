"""Setting a pod's volumes up, keeping projected ones fresh, tearing everything down.

Who calls it: `pod_worker` (setup before containers start, refresh from time to time, teardown at the end) and start-up
(directories of pods that are gone). Invariants: setup may be repeated at any time and only completes what is missing; teardown
unmounts whatever the kernel says is mounted below the pod's directory and never follows a mount into foreign data.
Upstream: pkg/kubelet/volumemanager.
"""

import os
from pathlib import Path

from kubelet.errors import VolumeError
from kubelet.volumes import atomic, directories, image_files, mounts, persistent
from kubelet.volumes.persistent import Ready
from kubelet.volumes.persistent_volumes import PersistentVolumes
from kubelet.volumes.sources import Sources, files_of, is_projected
from minikube_py.api import volumes as v
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj

_PLUGINS = {
    "emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "downwardAPI": "downward-api",
    "projected": "projected", "image": "image",
}  # fmt: skip


class VolumeManager:
    """The volumes of all pods of a node, below `root`/pods/UID/volumes. Calls for one pod come one at a time."""

    def __init__(self, root: Path, clock: Clock, persistent_volumes: PersistentVolumes) -> None:
        self._root, self._pods = root, root / "pods"
        self._clock, self._persistent = clock, persistent_volumes

    def pod_directory(self, uid: str) -> Path:
        return self._pods / uid

    def setup(self, pod: Obj, sources: Sources) -> dict[str, Ready]:
        """Every volume of the pod, ready, by name. Raises VolumeError naming the volume."""
        ready: dict[str, Ready] = {}
        for volume in pod["spec"].get("volumes") or []:
            try:
                ready[volume["name"]] = self._one(pod, volume, sources)
            except (VolumeError, OSError, ValueError, APIError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
        return ready

    def changes(self, pod: Obj) -> bool:
        """Whether the pod has volumes that may change while it runs: in contents, in size, or as their driver likes."""
        volumes = pod["spec"].get("volumes") or []
        return any(is_projected(volume) or volume.get("csi") for volume in volumes) or any(v.claims_of(pod))

    def _one(self, pod: Obj, volume: Obj, sources: Sources) -> Ready:
        claim = next((claim for claim in v.claims_of(pod) if claim.volume is volume), None)
        if claim is not None:
            return self._persistent.setup(pod, claim)
        if volume.get("csi"):
            return self._persistent.inline(pod, volume)
        if source := volume.get("hostPath"):
            return Ready(directories.host_path(source, self._root))
        if source := volume.get("nfs"):
            path = persistent.nfs(source, self._directory(pod, "nfs", volume["name"]), [])
            return Ready(path, bool(source.get("readOnly")))
        kind = next((kind for kind in _PLUGINS if kind in volume), None)
        if kind is None:
            kinds = ", ".join(key for key in volume if key != "name")
            raise VolumeError(f"no volume plugin matched ({kinds})")
        path = self._directory(pod, _PLUGINS[kind], volume["name"])
        if kind == "emptyDir":
            directories.empty_dir(path, volume["emptyDir"] or {})
            group = _group(pod)
            if group is not None and path.stat().st_gid != group:  # once: later it may hold a million files
                directories.give_to_group(path, group, read_only=False)
        elif kind == "image":
            if not path.exists():
                image_files.unpack(path, sources.image(volume["image"]))
        else:
            self._projected(pod, path, volume, sources)
        return Ready(path, kind == "image")

    def _projected(self, pod: Obj, path: Path, volume: Obj, sources: Sources) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        group = _group(pod)
        if atomic.write(path, files_of(pod, volume, sources), self._clock) and group is not None:
            directories.give_to_group(path, group, read_only=True)

    def _directory(self, pod: Obj, plugin: str, name: str) -> Path:
        return self.pod_directory(uid_of(pod)) / "volumes" / f"kubernetes.io~{plugin}" / name

    def release(self, uid: str) -> None:
        """Nothing of the pod runs any more: undo its volumes, keep its other files. Raises OSError as `teardown`."""
        self._persistent.release(uid)
        mounts.clear(self.pod_directory(uid) / "volumes")

    def teardown(self, uid: str) -> None:
        """Remove everything of a pod from this machine. Raises OSError when a mount cannot be undone."""
        self._persistent.release(uid)
        mounts.clear(self.pod_directory(uid))

    def pods_on_disk(self) -> list[str]:
        """The uids of pods that have a directory."""
        try:
            return os.listdir(self._pods)
        except FileNotFoundError:
            return []


def _group(pod: Obj) -> int | None:
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if group is None else int(group)
