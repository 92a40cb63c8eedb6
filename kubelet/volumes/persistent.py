"""Mounting what a PersistentVolume (or an `nfs` volume of a pod) names: hostPath, local, NFS.

Who calls it: `volumes.manager`. Invariant: data of a volume is never below a pod's directory except through a mount, so that
clearing a pod's directory, done only when nothing is mounted there, cannot touch it.
Upstream: pkg/volume/{local,hostpath,nfs}. Differs: a local directory is given to the containers as it is, not through a bind
mount of its own in the pod's directory, as everything is bound into containers once more anyway.
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from kubelet.errors import VolumeError
from kubelet.volumes import directories, host, mounts
from minikube_py.api.types import Obj


class Ready(NamedTuple):
    """A volume set up: a directory, file or (`block`) device of this machine. `read_only` holds for every container."""

    path: Path
    read_only: bool = False
    block: bool = False


def local(source: Obj, block: bool) -> Path:
    """The path of a `local` volume. Raises VolumeError when it is not there, or is something else."""
    path = Path(source["path"])
    try:
        mode = os.stat(path).st_mode
    except OSError:
        raise VolumeError(f'path "{path}" does not exist') from None
    if block and not stat.S_ISBLK(mode):
        raise VolumeError(f"{path} is not a block device")
    if not block and not (stat.S_ISDIR(mode) or stat.S_ISBLK(mode)):
        raise VolumeError(f"{path} is neither a directory nor a block device")
    return path


def local_device(device: Path, directory: Path, source: Obj, options: list[str]) -> Path:
    """A block device used as a filesystem: formatted if it is blank, mounted at `directory`. Raises VolumeError."""
    if not mounts.is_mounted(directory):
        kind = source.get("fsType") or "ext4"
        if not host.succeeds("blkid", "-p", str(device)):
            host.run(f"mkfs.{kind}", "-q", str(device))
        directory.mkdir(parents=True, exist_ok=True)
        _mount(kind, str(device), directory, options)
    return directory


def nfs(source: Obj, directory: Path, options: list[str]) -> Path:
    """Mount a directory of an NFS server. Raises VolumeError when this machine cannot (no mount.nfs, no answer)."""
    if not mounts.is_mounted(directory):
        directory.mkdir(parents=True, exist_ok=True)
        options = [*options, *(["ro"] if source.get("readOnly") else [])]
        _mount("nfs", f"{source['server']}:{source['path']}", directory, options)
    return directory


def _mount(kind: str, what: str, where: Path, options: list[str]) -> None:
    host.run("mount", "-t", kind, *(["-o", ",".join(options)] if options else []), what, str(where))


def give(path: Path, gid: int, policy: str | None) -> None:
    """fsGroup for a volume that outlives its pods; OnRootMismatch looks at the top alone. Raises OSError."""
    info = path.stat()
    right = info.st_gid == gid and info.st_mode & stat.S_ISGID and info.st_mode & 0o070 == 0o070
    if policy != "OnRootMismatch" or not right:
        directories.give_to_group(path, gid, read_only=False)
