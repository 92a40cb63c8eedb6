"""What pods use and how much of the node's share is left.

Who calls it: `eviction.manager`, once per round. Invariants: what is left is the smaller of what the node's share and the
machine have left, so that several nodes on one machine each answer for themselves; a round costs a few small files while
nothing is short: single pods are measured when somebody has to be chosen, disks by a sweep that takes a hundredth of the time.
Upstream: pkg/kubelet/eviction/helpers.go (makeSignalObservations) over pkg/kubelet/server/stats.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubelet.cgroups import Cgroups
from kubelet.eviction import thresholds
from kubelet.eviction.rank import ContainerUsage, PodUsage, has_own_limit
from kubelet.eviction.thresholds import Observed
from kubelet.options import Options
from kubelet.runtime import disk, labels
from kubelet.runtime.base import CONTAINER, RUNNING, Runtime, Stats, Summary
from minikube_py.api import quantity
from minikube_py.api.clock import Clock
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj

_DISK_SHARE_OF_TIME = 100.0
_EMPTY_DIRS = "kubernetes.io~empty-dir"


@dataclass(frozen=True)
class _Disk:
    total: int = 0
    inodes: int = 0
    containers: dict[str, int] | None = None
    volumes: dict[str, int] | None = None


class Meter:
    """Measures one node. Used by one thread."""

    def __init__(self, options: Options, runtime: Runtime, cgroups: Cgroups, clock: Clock) -> None:
        self._options, self._runtime, self._cgroups, self._clock = options, runtime, cgroups, clock
        self._root = Path(options.root_dir)
        self._real = runtime.name != "simulated"
        self._disks: dict[str, _Disk] = {}
        self._swept, self._sweep_again = float("-inf"), 0.0

    def observe(self, pods: Sequence[Obj]) -> dict[str, Observed]:
        """Every signal there is to see. Raises RuntimeFault."""
        self._measure_disks(pods)
        memory, pids = self._in_use()
        found = {thresholds.MEMORY: self._memory(memory)}
        found[thresholds.NODEFS] = found[thresholds.IMAGEFS] = self._disk()
        if self._real:
            system = os.statvfs(self._existing_root())
            if system.f_files:
                inodes = Observed(system.f_favail, system.f_files)
                found[thresholds.NODEFS_INODES] = found[thresholds.IMAGEFS_INODES] = inodes
        found[thresholds.PIDS] = self._pids(pids)
        return found

    def pod(self, pod: Obj) -> PodUsage:
        """What one pod uses now; its disk as measured last. Raises RuntimeFault."""
        running = self._running(uid_of(pod))
        stats = {entry.container_id: entry for entry in self._runtime.stats([summary.id for summary in running])}
        on_disk = self._disks.get(uid_of(pod), _Disk())
        layers = on_disk.containers or {}
        containers = {
            name: ContainerUsage(stats[summary.id].memory_working_set, layers.get(name, 0))
            for summary in running if summary.id in stats and (name := summary.labels.get(labels.CONTAINER_NAME, ""))
        }  # fmt: skip
        whole = self._cgroups.usage(pod) or Stats.total("", stats.values())
        return PodUsage(
            whole.memory_working_set, whole.pids, on_disk.total, on_disk.inodes, containers, on_disk.volumes or {}
        )

    def disk_of(self, pod: Obj) -> PodUsage:
        """Only what the pod has on disk, as measured last."""
        found = self._disks.get(uid_of(pod), _Disk())
        containers = {name: ContainerUsage(disk=number) for name, number in (found.containers or {}).items()}
        return PodUsage(disk=found.total, inodes=found.inodes, containers=containers, volumes=found.volumes or {})

    # --- memory and processes

    def _running(self, uid: str = "") -> list[Summary]:
        listed = self._runtime.list_all(uid)
        return [s for s in listed if s.state == RUNNING and s.labels.get(labels.TYPE) == CONTAINER]

    def _in_use(self) -> tuple[int, int]:
        """Memory and processes of all pods together."""
        whole = self._cgroups.usage() if self._real else None
        if whole is None:
            whole = Stats.total("", self._runtime.stats([summary.id for summary in self._running()]))
        return whole.memory_working_set, whole.pids

    def _memory(self, used: int) -> Observed:
        share = quantity.value(self._options.capacity["memory"])
        left = max(0, share - used)
        if self._real:
            left = min(left, _machine_memory() or left)
        return Observed(left, share)

    def _pids(self, used: int) -> Observed:
        """Of the node's own share where it has one, else what the kernel has left."""
        share = self._options.max_pids
        if share:
            return Observed(max(0, share - used), share)
        with contextlib.suppress(OSError, ValueError, IndexError):
            limit = int(Path("/proc/sys/kernel/pid_max").read_text())
            limit = min(limit, int(Path("/proc/sys/kernel/threads-max").read_text()))
            running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
            return Observed(max(0, limit - running), limit)
        return Observed(1, 1)

    # --- disk

    def _existing_root(self) -> Path:
        return self._root if self._root.exists() else Path("/")

    def _disk(self) -> Observed:
        """Of the node's own share where it has one, and of the file system."""
        used = sum(found.total for found in self._disks.values())
        stated = self._options.capacity.get("ephemeral-storage")
        system = os.statvfs(self._existing_root())
        share = quantity.value(stated) if stated else system.f_blocks * system.f_frsize
        left = max(0, share - used)
        if self._real or not stated:
            left = min(left, system.f_bavail * system.f_frsize)
        return Observed(left, share)

    def _measure_disks(self, pods: Sequence[Obj]) -> None:
        """Pods with limits of their own every time, the others whenever the sweep's turn comes."""
        began = self._clock.monotonic()
        everyone = began - self._swept >= self._sweep_again
        present = {uid_of(pod) for pod in pods}
        self._disks = {uid: found for uid, found in self._disks.items() if uid in present}
        wanted = [pod for pod in pods if everyone or has_own_limit(pod) or uid_of(pod) not in self._disks]
        if not wanted:
            return
        by_pod: dict[str, list[Summary]] = {}
        for summary in self._runtime.list_all():
            if summary.labels.get(labels.TYPE) == CONTAINER:
                by_pod.setdefault(summary.labels.get(labels.POD_UID, ""), []).append(summary)
        for pod in wanted:
            self._disks[uid_of(pod)] = self._measure(uid_of(pod), by_pod.get(uid_of(pod), []))
        if everyone:
            self._swept = self._clock.monotonic()
            self._sweep_again = _DISK_SHARE_OF_TIME * (self._swept - began)

    def _measure(self, uid: str, containers: Sequence[Summary]) -> _Disk:
        names = {summary.id: summary.labels.get(labels.CONTAINER_NAME, "") for summary in containers}
        layers: dict[str, int] = {}
        inodes = 0
        for entry in self._runtime.disk_usage(list(names)):
            name = names[entry.container_id]
            layers[name] = layers.get(name, 0) + entry.layer + entry.logs
            inodes += entry.inodes
        own, files = disk.used(self._root / "pods" / uid)
        volumes = {}
        with contextlib.suppress(OSError), os.scandir(self._root / "pods" / uid / "volumes" / _EMPTY_DIRS) as entries:
            volumes = {entry.name: disk.used(entry.path)[0] for entry in entries}
        return _Disk(own + sum(layers.values()), inodes + files, layers, volumes)


def _machine_memory() -> int:
    """Bytes the whole machine has left, 0 when it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
