"""What a process's cgroup has used, read from the kernel: both hierarchies, versions 1 and 2.

Who calls it: `runtime.docker` for a container's process, `kubelet.cgroups` for those of pods and of the node.
Why not the engine's own stats: it fails for every container that joins a sandbox it did not wire (it looks for the sandbox's
network first and gives up), and it costs a request per container.
Invariant: a reading that is not there is 0; nothing is raised for a process that has just gone.
"""

import contextlib
from pathlib import Path

from kubelet.runtime.base import Stats

_ROOT = Path("/sys/fs/cgroup")


def read(container_id: str, pid: int) -> Stats | None:
    """The usage of the cgroup that process `pid` is in; None when there is no such process or cgroup."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    places: dict[str, Path] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            places[name] = _ROOT / name / path.lstrip("/") if name else _ROOT / path.lstrip("/")
    return at(container_id, places)


def at(name: str, places: dict[str, Path]) -> Stats | None:
    """The usage of one cgroup. In: its directory by controller; with version 2 the only controller is "".

    Out: None when there is no such cgroup.
    """
    return _version1(name, places) if "memory" in places else _version2(name, places[""])


def _version1(container_id: str, places: dict[str, Path]) -> Stats | None:
    memory = places["memory"]
    if not memory.is_dir():
        return None
    details = _table(memory / "memory.stat")
    usage = _number(memory / "memory.usage_in_bytes")
    return Stats(
        container_id, _number(places.get("cpuacct", memory) / "cpuacct.usage"), usage,
        max(0, usage - details.get("total_inactive_file", 0)), details.get("total_rss", 0),
        _number(places.get("pids", memory) / "pids.current"),
    )  # fmt: skip


def _version2(container_id: str, place: Path) -> Stats | None:
    if not (place / "memory.current").exists():
        return None
    details, usage = _table(place / "memory.stat"), _number(place / "memory.current")
    return Stats(
        container_id, _table(place / "cpu.stat").get("usage_usec", 0) * 1000, usage,
        max(0, usage - details.get("inactive_file", 0)), details.get("anon", 0), _number(place / "pids.current"),
    )  # fmt: skip


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _table(path: Path) -> dict[str, int]:
    result: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            result[name] = int(value)
    return result
