"""Mounts of this machine: what is mounted where, tmpfs, unmounting.

Who calls it: `volumes.manager`. Invariant: the kernel's mount table is the only record, so that whatever a crash left is found.
"""

import ctypes
import errno
import os
import shutil
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_DETACH, _NOFOLLOW = 2, 8
_BIND, _REC, _SHARED = 0x1000, 0x4000, 1 << 20


def _table() -> list[tuple[str, str]]:
    """(device, mount point) of every mount."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [(_unescape(fields[0]), _unescape(fields[1])) for fields in lines]


def below(directory: Path) -> list[Path]:
    """Every mount point at or below a directory, deepest first."""
    root = os.path.realpath(directory)
    return sorted((Path(at) for _, at in _table() if at == root or at.startswith(root + "/")), reverse=True)


def device_of(path: Path) -> str:
    """What is mounted at a mount point. Raises OSError when nothing is."""
    for device, at in reversed(_table()):
        if at == os.path.realpath(path):
            return device
    raise OSError(errno.EINVAL, f"nothing is mounted at {path}")


def clear(directory: Path) -> None:
    """Remove a directory with everything in it, but nothing of what is mounted there. A missing one is fine.

    Raises OSError when a mount cannot be undone.
    """
    for path in below(directory):
        unmount(path)
    if left := below(directory):
        raise OSError(errno.EBUSY, f"still mounted: {left[0]}")
    shutil.rmtree(directory, ignore_errors=True)


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def is_mounted(path: Path) -> bool:
    return Path(os.path.realpath(path)) in below(path)


def mount_tmpfs(path: Path, size: int = 0, mode: str = "0777") -> None:
    """Mount a tmpfs; `size` in bytes, 0 = the kernel's default. Raises OSError."""
    options = f"mode={mode}" + (f",size={size}" if size else "")
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount a tmpfs at {path}: {os.strerror(number)}")


def share(directory: Path) -> None:
    """Let containers see what is mounted below a directory later, also where the machine's root is not shared. Raises OSError.

    The directory is mounted onto itself for that, and cleared like any other mount.
    """
    if _is_shared(directory):
        return
    path = os.fsencode(os.path.realpath(directory))
    for source, flags in ((path, _BIND | _REC), (b"none", _SHARED | _REC)):
        if _libc.mount(source, path, None, flags, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot share the mounts below {directory}: {os.strerror(number)}")


def _is_shared(directory: Path) -> bool:
    """Whether the mount that a directory is on passes mounts on."""
    path, best, shared = os.path.realpath(directory), "", False
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        at = _unescape(fields[4])
        if len(at) >= len(best) and (path == at or path.startswith(at.rstrip("/") + "/")):
            best, shared = at, any(field.startswith("shared:") for field in fields[6 : fields.index("-")])
    return shared


def unmount(path: Path) -> None:
    """Detach a mount; it vanishes when its last user does. Not mounted is fine."""
    if _libc.umount2(os.fsencode(path), _DETACH | _NOFOLLOW) != 0:
        number = ctypes.get_errno()
        if number not in (2, 22):  # gone, or no mount point
            raise OSError(number, f"cannot unmount {path}: {os.strerror(number)}")
