"""How much a directory holds, as `du -x` counts it.

Who calls it: `runtime.docker` for layers and logs, `eviction.usage` for volumes. Invariant: other file systems mounted below
are not entered, a file with several names counts once, and what vanishes meanwhile counts nothing.
"""

import os
import stat
from pathlib import Path


def used(directory: str | Path) -> tuple[int, int]:
    """(bytes on disk, files and directories) at and below a directory; (0, 0) when there is none."""
    try:
        top = os.stat(directory, follow_symlinks=False)
    except OSError:
        return 0, 0
    total, inodes, seen = top.st_blocks * 512, 1, set()
    waiting = [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        except OSError:
            continue
        for path, info in found:
            is_directory = stat.S_ISDIR(info.st_mode)
            if info.st_dev != top.st_dev:
                continue
            if info.st_nlink > 1 and not is_directory:
                if info.st_ino in seen:
                    continue
                seen.add(info.st_ino)
            total, inodes = total + info.st_blocks * 512, inodes + 1
            if is_directory:
                waiting.append(path)
    return total, inodes


def logs(path: str) -> int:
    """Bytes of a log file and of its rotated predecessors (PATH.1, PATH.2.gz, …)."""
    total = 0
    directory, name = os.path.split(path)
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(name):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return total
    return total
