"""The volume behind a claim, set up for a pod: whatever sort it is.

Who calls it: `volumes.manager`. Invariants: what a pod gets is checked by `claims` first; a volume's owner is set once in the
life of a pod (and of the kubelet), as it may hold a million files.
Upstream: pkg/volume and pkg/kubelet/volumemanager.
"""

from pathlib import Path

from kubelet.csi.volumes import CSIVolumes
from kubelet.errors import VolumeError
from kubelet.volumes import directories, persistent
from kubelet.volumes.claims import Claims
from kubelet.volumes.expansion import Expansion
from kubelet.volumes.local_path import LocalVolumes
from kubelet.volumes.persistent import Ready
from minikube_py.api import volumes as v
from minikube_py.api.meta import annotations_of, name_of, uid_of
from minikube_py.api.types import Obj


class PersistentVolumes:
    """`root` is this node's directory."""

    def __init__(self, root: Path, claims: Claims, local: LocalVolumes, csi: CSIVolumes, expansion: Expansion) -> None:
        self._root, self._claims, self._local, self._csi, self._expansion = root, claims, local, csi, expansion
        self._done: set[tuple[str, str]] = set()  # (uid, volume) that were set up for a pod

    def setup(self, pod: Obj, claim: v.PodClaim) -> Ready:
        """Raises VolumeError, OSError, APIError."""
        done = (uid_of(pod), claim.volume["name"])
        volume = self._claims.volume_of(pod, claim, starting=done not in self._done)
        kind, source = v.source_of(volume)
        entry = claim.volume.get("persistentVolumeClaim") or {}
        read_only = bool(entry.get("readOnly") or source.get("readOnly"))
        if kind == "csi":
            ready = Ready(self._csi.persistent(pod, volume, read_only), read_only, v.mode_of(volume) == "Block")
            self._grow(pod, volume)
        elif kind == "local":
            ready = Ready(self._local_path(pod, volume, source), read_only, v.mode_of(volume) == "Block")
            self._give(pod, ready, first=done not in self._done)
        elif kind == "hostPath":
            ready = Ready(directories.host_path(source, self._root), read_only)
        elif kind == "nfs":
            options = volume["spec"].get("mountOptions") or []
            ready = Ready(persistent.nfs(source, self._directory(pod, "nfs", volume), options), read_only)
        else:
            raise VolumeError(f"no volume plugin matched ({kind})")
        self._done.add(done)
        return ready

    def inline(self, pod: Obj, volume: Obj) -> Ready:
        """A `csi` volume of the pod itself. Raises as `setup`."""
        return Ready(self._csi.inline(pod, volume), bool(volume["csi"].get("readOnly")))

    def release(self, uid: str) -> None:
        """Undo what only a driver can undo. Raises OSError."""
        self._csi.release(uid)
        self._done -= {entry for entry in self._done if entry[0] == uid}

    def _local_path(self, pod: Obj, volume: Obj, source: Obj) -> Path:
        if annotations_of(volume).get(v.PROVISIONED_BY) == v.LOCAL_PATH:
            self._local.ensure(volume)
        path = persistent.local(source, v.mode_of(volume) == "Block")
        if v.mode_of(volume) == "Block" or not path.is_block_device():
            return path
        options = volume["spec"].get("mountOptions") or []
        return persistent.local_device(path, self._directory(pod, "local-volume", volume), source, options)

    @staticmethod
    def _give(pod: Obj, ready: Ready, *, first: bool) -> None:
        settings = pod["spec"].get("securityContext") or {}
        if settings.get("fsGroup") is not None and first and not ready.block and not ready.read_only:
            persistent.give(ready.path, int(settings["fsGroup"]), settings.get("fsGroupChangePolicy"))

    def _grow(self, pod: Obj, volume: Obj) -> None:
        claim = self._expansion.claim_of(volume)
        if claim is not None:
            self._csi.expand(pod, volume)
            self._expansion.finish(volume, claim)

    def _directory(self, pod: Obj, plugin: str, volume: Obj) -> Path:
        return self._root / "pods" / uid_of(pod) / "volumes" / f"kubernetes.io~{plugin}" / name_of(volume)
