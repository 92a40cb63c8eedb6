"""Writing a set of files so that readers see all of the old or all of the new: the `..data` symlink swap.

Who calls it: `volumes.manager` for configMap, secret, downwardAPI and projected volumes.
Invariants: visible names are symlinks through `..data`, which is swapped by one rename; nothing is written when nothing
changed; a writer killed at any point leaves the old contents visible, and the next write clears up after it.
Upstream: pkg/volume/util/atomic_writer.go.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from minikube_py.api.clock import Clock

_DATA, _NEW_DATA = "..data", "..data_tmp"


class File(NamedTuple):
    """One projected file; `uid` −1 leaves the owner as it is."""

    data: bytes
    mode: int
    uid: int = -1


def write(directory: Path, files: Mapping[str, File], clock: Clock) -> bool:
    """Make `directory` show exactly these files (relative path → content). Out: True when anything changed.

    Raises OSError; ValueError for a path that leaves the directory.
    """
    for path in files:
        _check(path)
    current = _current(directory)
    if current is not None and _same(current, files):
        _link_names(directory, files)
        _sweep(directory, current.name)
        return False
    fresh = directory / f"..{clock.now().strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.randbelow(10**9):09d}"
    fresh.mkdir(mode=0o755)
    fresh.chmod(0o755)
    for path, file in files.items():
        _write_file(fresh, path, file)
    temporary = directory / _NEW_DATA
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(fresh.name)
    temporary.rename(directory / _DATA)
    _link_names(directory, files)
    _sweep(directory, fresh.name)
    return True


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise ValueError(f"{path!r} is not a path inside the volume")


def _current(directory: Path) -> Path | None:
    try:
        found = directory / os.readlink(directory / _DATA)
    except OSError:
        return None
    return found if found.is_dir() else None


def _same(current: Path, files: Mapping[str, File]) -> bool:
    present = {str(path.relative_to(current)): path for path in current.rglob("*") if path.is_file()}
    if present.keys() != files.keys():
        return False
    for name, path in present.items():
        info, wanted = path.stat(), files[name]
        if info.st_mode & 0o777 != wanted.mode & 0o777 or wanted.uid not in (-1, info.st_uid):
            return False
        if info.st_size != len(wanted.data) or path.read_bytes() != wanted.data:
            return False
    return True


def _write_file(root: Path, path: str, file: File) -> None:
    target = root / path
    for parent in reversed(target.relative_to(root).parents):
        if not (root / parent).exists():
            (root / parent).mkdir()
            (root / parent).chmod(0o755)
    target.write_bytes(file.data)
    if file.uid != -1:
        os.chown(target, file.uid, -1)
    target.chmod(file.mode)


def _link_names(directory: Path, files: Mapping[str, File]) -> None:
    wanted = {path.split("/")[0] for path in files}
    for name in wanted:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()


def _sweep(directory: Path, keep: str) -> None:
    for entry in directory.iterdir():
        if (
            entry.name.startswith("..")
            and entry.name not in (keep, _DATA)
            and entry.is_dir()
            and not entry.is_symlink()
        ):
            shutil.rmtree(entry, ignore_errors=True)
