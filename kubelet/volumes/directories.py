"""Volumes that are directories: emptyDir on disk or in memory, and hostPath.

Who calls it: `volumes.manager`. Invariant: an emptyDir is writable by every user whatever our umask; a hostPath is never
created unless its type says so, and never removed.
Upstream: pkg/volume/emptydir, pkg/volume/hostpath.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from kubelet.csi.driver import real_path
from kubelet.errors import VolumeError
from kubelet.volumes import mounts
from minikube_py.api import quantity
from minikube_py.api.types import Obj


def empty_dir(directory: Path, source: Obj) -> None:
    """Make an emptyDir. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and not mounts.is_mounted(directory):
        mounts.mount_tmpfs(directory, quantity.value(source["sizeLimit"]) if source.get("sizeLimit") else 0)
    if not directory.stat().st_mode & stat.S_ISGID:
        directory.chmod(0o777)


_KINDS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "FileOrCreate": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket"),
    "CharDevice": (stat.S_ISCHR, "is not character device"),
    "BlockDevice": (stat.S_ISBLK, "is not block device"),
}


def host_path(source: Obj, root: Path) -> Path:
    """The path of a hostPath volume, of the type asked for. Raises VolumeError when it is something else or missing.

    In: `root` is this node's directory, which is what its pods find at /var/lib/kubelet, as several nodes share a machine.
    """
    path, kind = Path(real_path(source["path"], str(root))), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    elif not kind and not path.exists():
        path.mkdir(parents=True, exist_ok=True, mode=0o755)  # as a container engine does with a missing bind source
    if not kind:
        return path
    check, complaint = _KINDS.get(kind, (None, ""))
    if check is None:
        raise VolumeError(f"hostPath type check failed: unknown type {kind}")
    try:
        mode = os.stat(path).st_mode
    except OSError:
        raise VolumeError(f"hostPath type check failed: {path} {complaint}") from None
    if not check(mode):
        raise VolumeError(f"hostPath type check failed: {path} {complaint}")
    return path


def give_to_group(directory: Path, gid: int, *, read_only: bool) -> None:
    """fsGroup: everything belongs to the group, which may read (and write), and new files inherit it. Raises OSError."""
    files = 0o440 if read_only else 0o660
    for root, _, names in os.walk(directory):
        os.chown(root, -1, gid)
        os.chmod(root, os.stat(root).st_mode & 0o7777 | files | stat.S_ISGID | 0o110)
        for name in names:
            path = os.path.join(root, name)
            os.chown(path, -1, gid, follow_symlinks=False)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o7777 | files)
