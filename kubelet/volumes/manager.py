"""Setting a pod's volumes up, keeping projected ones fresh, tearing everything down.

Who calls it: `pod_worker` (setup before containers start, refresh from time to time, teardown at the end) and start-up
(directories of pods that are gone). Invariants: setup may be repeated at any time and only completes what is missing; teardown
unmounts whatever the kernel says is mounted below the pod's directory and never follows a mount into foreign data.
Upstream: pkg/kubelet/volumemanager, reduced to volumes that need no attaching.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from kubelet.errors import VolumeError
from kubelet.volumes import atomic, directories, image_files, mounts
from kubelet.volumes.sources import Sources, files_of, is_projected
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

_PLUGINS = {
    "emptyDir": "kubernetes.io~empty-dir", "configMap": "kubernetes.io~configmap", "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api", "projected": "kubernetes.io~projected",
    "image": "kubernetes.io~image",
}  # fmt: skip
ClaimResolver = Callable[[Obj, Obj], Obj]
"""(pod, persistentVolumeClaim source) → the volume source of the bound PersistentVolume. Raises VolumeError."""


class VolumeManager:
    """The volumes of all pods of a node, below `root`/pods/UID/volumes. Calls for one pod come one at a time."""

    def __init__(self, root: Path, clock: Clock, claims: ClaimResolver | None = None) -> None:
        self._pods = root / "pods"
        self._clock, self._claims = clock, claims

    def pod_directory(self, uid: str) -> Path:
        return self._pods / uid

    def setup(self, pod: Obj, sources: Sources) -> dict[str, Path]:
        """Every volume of the pod, ready: name → path on this machine. Raises VolumeError naming the volume."""
        paths: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or []:
            try:
                paths[volume["name"]] = self._one(pod, volume, sources)
            except VolumeError as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
            except (OSError, ValueError, APIError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
        return paths

    def changes(self, pod: Obj) -> bool:
        """Whether the pod has volumes whose contents may change while it runs."""
        return any(is_projected(volume) for volume in pod["spec"].get("volumes") or [])

    def _one(self, pod: Obj, volume: Obj, sources: Sources) -> Path:
        if claim := volume.get("persistentVolumeClaim"):
            if self._claims is None:
                raise VolumeError("persistent volume claims are not supported on this node")
            volume = {"name": volume["name"], **self._claims(pod, claim)}
        if source := volume.get("hostPath"):
            return directories.host_path(source)
        kind = next((kind for kind in _PLUGINS if kind in volume), None)
        if kind is None:
            kinds = ", ".join(key for key in volume if key != "name")
            raise VolumeError(f"no volume plugin matched ({kinds})")
        path: Path = self.pod_directory(pod["metadata"]["uid"]) / "volumes" / _PLUGINS[kind] / volume["name"]
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if kind == "emptyDir":
            directories.empty_dir(path, volume["emptyDir"] or {})
            if group is not None and path.stat().st_gid != int(group):  # once: later it may hold a million files
                directories.give_to_group(path, int(group), read_only=False)
            return path
        if kind == "image":
            if not path.exists():
                image_files.unpack(path, sources.image(volume["image"]))
            return path
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        if atomic.write(path, files_of(pod, volume, sources), self._clock) and group is not None:
            directories.give_to_group(path, int(group), read_only=True)
        return path

    def release(self, uid: str) -> None:
        """Nothing of the pod runs any more: undo its volumes, keep its other files. Raises OSError as `teardown`."""
        directory = self.pod_directory(uid) / "volumes"
        for path in mounts.below(directory):
            mounts.unmount(path)
        shutil.rmtree(directory, ignore_errors=True)

    def teardown(self, uid: str) -> None:
        """Remove everything of a pod from this machine. Raises OSError when a mount cannot be undone."""
        directory = self.pod_directory(uid)
        for path in mounts.below(directory):
            mounts.unmount(path)
        shutil.rmtree(directory, ignore_errors=True)

    def pods_on_disk(self) -> list[str]:
        """The uids of pods that have a directory."""
        try:
            return os.listdir(self._pods)
        except FileNotFoundError:
            return []
