"""What a process's cgroup has used, read from the kernel: both hierarchies, versions 1 and 2.

Who calls it: `runtime.docker` for a container's process, `kubelet.cgroups` for those of pods and of the node.
Why not the engine's own stats: it fails for every container that joins a sandbox it did not wire (it looks for the sandbox's
network first and gives up), and it costs a request per container.
Invariant: a reading that is not there is 0; nothing is raised for a process that has just gone.
"""

import contextlib
from collections import Counter
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
    cpu = places.get("cpuacct", memory)
    quota = _table(places.get("cpu", memory) / "cpu.stat")
    disk = places.get("blkio", memory)
    moved, times = (
        _disk_version1(disk / f"blkio.throttle.{name}_recursive") for name in ("io_service_bytes", "io_serviced")
    )
    return Stats(
        container_id, _number(cpu / "cpuacct.usage"), usage, max(0, usage - details.get("total_inactive_file", 0)),
        details.get("total_rss", 0), _number(places.get("pids", memory) / "pids.current"),
        cpu_user=_number(cpu / "cpuacct.usage_user"), cpu_system=_number(cpu / "cpuacct.usage_sys"),
        cfs_periods=quota.get("nr_periods", 0), cfs_throttled=quota.get("nr_throttled", 0),
        cfs_throttled_nanoseconds=quota.get("throttled_time", 0), memory_cache=details.get("total_cache", 0),
        memory_mapped=details.get("total_mapped_file", 0), memory_swap=details.get("total_swap", 0),
        memory_peak=_number(memory / "memory.max_usage_in_bytes"), memory_failures=_number(memory / "memory.failcnt"),
        active_file=details.get("total_active_file", 0), inactive_file=details.get("total_inactive_file", 0),
        page_faults=details.get("total_pgfault", 0), major_page_faults=details.get("total_pgmajfault", 0),
        read_bytes=moved["Read"], written_bytes=moved["Write"], reads=times["Read"], writes=times["Write"],
    )  # fmt: skip


def _version2(container_id: str, place: Path) -> Stats | None:
    if not (place / "memory.current").exists():
        return None
    details, usage = _table(place / "memory.stat"), _number(place / "memory.current")
    cpu, disk = _table(place / "cpu.stat"), _disk_version2(place / "io.stat")
    return Stats(
        container_id, cpu.get("usage_usec", 0) * 1000, usage, max(0, usage - details.get("inactive_file", 0)),
        details.get("anon", 0), _number(place / "pids.current"),
        cpu_user=cpu.get("user_usec", 0) * 1000, cpu_system=cpu.get("system_usec", 0) * 1000,
        cfs_periods=cpu.get("nr_periods", 0), cfs_throttled=cpu.get("nr_throttled", 0),
        cfs_throttled_nanoseconds=cpu.get("throttled_usec", 0) * 1000, memory_cache=details.get("file", 0),
        memory_mapped=details.get("file_mapped", 0), memory_swap=_number(place / "memory.swap.current"),
        memory_peak=_number(place / "memory.peak"), memory_failures=_table(place / "memory.events").get("max", 0),
        active_file=details.get("active_file", 0), inactive_file=details.get("inactive_file", 0),
        page_faults=details.get("pgfault", 0), major_page_faults=details.get("pgmajfault", 0),
        read_bytes=disk["rbytes"], written_bytes=disk["wbytes"], reads=disk["rios"], writes=disk["wios"],
    )  # fmt: skip


def _disk_version1(path: Path) -> Counter[str]:
    """Lines such as "8:0 Read 4096", summed over the devices."""
    found: Counter[str] = Counter()
    for words in _words(path):
        if len(words) == 3 and words[2].isdigit():
            found[words[1]] += int(words[2])
    return found


def _disk_version2(path: Path) -> Counter[str]:
    """Lines such as "8:0 rbytes=4096 wbytes=0 rios=1 wios=0", summed over the devices."""
    found: Counter[str] = Counter()
    for words in _words(path):
        for name, _, number in (word.partition("=") for word in words[1:]):
            if number.isdigit():
                found[name] += int(number)
    return found


def _words(path: Path) -> list[list[str]]:
    with contextlib.suppress(OSError):
        return [line.split() for line in path.read_text().splitlines()]
    return []


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
