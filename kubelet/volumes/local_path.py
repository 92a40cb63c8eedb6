"""Local volumes of this node, made for claims: their directories, the room they may take, and their end.

Who calls it: `main` runs it as a controller over the volumes labelled with this node; `volumes.manager` before it mounts one.
Invariants: a directory appears under its volume's name only when it is complete; data is removed only when the volume is being
deleted and bound to nobody, and no copy of it is still to be made; the volume goes only after its data.
`controllers/storage/local_path.py` decides, this obeys.
A plain directory takes what it wants of the node's disk. With the class parameter `limit: image` the volume is a filesystem in
a file of its own, mounted through a loop device, which ends at its size on any disk.
"""

import logging
import os
import threading
from pathlib import Path

from kubelet.errors import VolumeError
from kubelet.volumes import host, mounts
from kubelet.volumes.expansion import Expansion
from minikube_py.api import volumes as v
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import PERSISTENTVOLUMES
from minikube_py.api.meta import annotations_of, is_terminating, name_of
from minikube_py.api.types import Obj
from minikube_py.client import finalizers
from minikube_py.client.controller import Controller
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_SECONDS, _RETRY = 600.0, 5.0
_OVERHEAD = 0.85  # what a filesystem leaves of its device for files


def directory(root: str) -> Path:
    """Where a node keeps its local volumes."""
    return Path(root) / "volumes"


class LocalVolumes:
    """The reconciler; keys are volumes."""

    name = "local-volumes"

    def __init__(self, client: Client, informers: SharedInformers, expansion: Expansion, root: str, node: str) -> None:
        self._client, self._expansion, self._root = client, expansion, directory(root)
        self._volumes = informers.of(PERSISTENTVOLUMES, label_selector=f"{v.NODE_LABEL}={node}")
        self._lock = threading.Lock()

    def controller(self) -> Controller:
        return Controller(self).watch(self._volumes)

    def reconcile(self, key: str) -> float | None:
        """Raises OSError or APIError: tried again."""
        volume = self._volumes.get("", key)
        if volume is None:
            self._expansion.forget(key)
        elif not is_terminating(volume):
            try:
                self.ensure(volume)
            except VolumeError as error:
                _log.info("volume %s: %s", key, error)
                return _RETRY
            if _unfinished(volume):
                marks = {"metadata": {"annotations": {v.MADE: rfc3339(REAL.now())}}}
                self._client.patch(PERSISTENTVOLUMES, key, marks)
            if (claim := self._expansion.claim_of(volume)) is not None:
                self._expansion.finish(volume, claim)
        elif v.phase_of(volume) != "Bound" and v.DATA_FINALIZER in (volume["metadata"].get("finalizers") or ()):
            if any(
                annotations_of(other).get(v.COPY_OF) == key and _unfinished(other) for other in self._volumes.list()
            ):
                return _RETRY
            self._remove(key)
            finalizers.take(self._client, PERSISTENTVOLUMES, volume, v.DATA_FINALIZER)
        return None

    def ensure(self, volume: Obj) -> None:
        """Make the volume's directory, or complete it. Raises VolumeError, OSError."""
        path, marks = self._root / name_of(volume), annotations_of(volume)
        with self._lock:
            self._root.mkdir(parents=True, exist_ok=True)
            if marks.get(v.LIMITED) == "image":
                self._ensure_image(path, int(v.capacity(volume)), marks.get(v.COPY_OF, ""))
            elif not path.exists():
                making = _making(path)
                mounts.clear(making)
                making.mkdir()
                self._fill(making, marks.get(v.COPY_OF, ""))
                os.rename(making, path)

    def _fill(self, path: Path, copy_of: str) -> None:
        if copy_of:
            source = self._root / copy_of
            if not source.is_dir() or (_image(source).exists() and not mounts.is_mounted(source)):
                raise VolumeError(f"volume {copy_of}, which is to be copied, is not on this node")
            host.run("cp", "-a", "--reflink=auto", f"{source}/.", str(path), seconds=_SECONDS)
        path.chmod(0o777)

    def _ensure_image(self, path: Path, size: int, copy_of: str) -> None:
        """A filesystem of that size in a file, mounted at `path`; grown when it is smaller."""
        image = _image(path)
        if not image.exists():
            self._make_image(path, image, size, copy_of)
        path.mkdir(exist_ok=True)
        if not mounts.is_mounted(path):
            host.run("mount", "-o", "loop", str(image), str(path))
        if image.stat().st_size < size:
            os.truncate(image, size)
        if os.statvfs(path).f_blocks * os.statvfs(path).f_frsize < size * _OVERHEAD:
            self._grow(path, image)

    def _grow(self, path: Path, image: Path) -> None:
        """The filesystem fills its file: at once where the kernel lets us, else when nobody uses it. Raises VolumeError."""
        device = mounts.device_of(path)
        host.run("losetup", "-c", device)
        if host.succeeds("resize2fs", device):
            return
        mounts.unmount(path)
        used = host.output("losetup", "-j", str(image))  # the device goes with its last mount: containers hold theirs
        if not used:
            host.succeeds("e2fsck", "-fp", str(image))
            host.run("resize2fs", str(image))
        host.run("mount", *(() if used else ("-o", "loop")), device if used else str(image), str(path))
        if used:
            raise VolumeError("this kernel grows a filesystem only while no pod uses it")

    def _make_image(self, path: Path, image: Path, size: int, copy_of: str) -> None:
        making, file = _making(path), _making(image)
        mounts.clear(making)
        file.unlink(missing_ok=True)
        with file.open("wb") as empty:
            empty.truncate(size)
        host.run("mkfs.ext4", "-q", "-F", "-m", "0", str(file), seconds=_SECONDS)
        making.mkdir()
        host.run("mount", "-o", "loop", str(file), str(making))
        (making / "lost+found").rmdir()
        self._fill(making, copy_of)
        mounts.clear(making)
        os.rename(file, image)

    def _remove(self, name: str) -> None:
        with self._lock:
            path = self._root / name
            for directory in (path, _making(path)):
                mounts.clear(directory)
            for file in (_image(path), _making(_image(path))):
                file.unlink(missing_ok=True)


def _unfinished(volume: Obj) -> bool:
    """Whether the volume is a copy that is still to be made: until then what it copies stays."""
    marks = annotations_of(volume)
    return v.COPY_OF in marks and v.MADE not in marks and not is_terminating(volume)


def _making(path: Path) -> Path:
    """Where something is made that shall appear at `path` when it is complete."""
    return path.with_name(f".{path.name}.making")


def _image(path: Path) -> Path:
    return path.with_name(f"{path.name}.img")
