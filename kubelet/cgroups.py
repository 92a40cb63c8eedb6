"""The cgroups of this node: one with the node's share, one per QoS class below it, one per pod; containers are the engine's.

Who calls it: `sandbox` (before a pod starts), `pod_worker` (resize, end), `pod_manager` (what belongs to no pod), `eviction`
(usage), `down`. Invariants: nothing outside our own prefix is touched; a machine that does not let us write its cgroups runs
its pods all the same, limited container by container; only empty directories are removed.
Layout: /minikube-py/PROFILE/NODE[/burstable|/besteffort]/podUID, or slices of the same names with the systemd driver.
Upstream: pkg/kubelet/cm (qos_container_manager_linux.go, pod_container_manager_linux.go, cgroup_manager_linux.go).
"""

import contextlib
import glob
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubelet.options import Options
from kubelet.qos import cpu_shares, pod_limits, qos_class
from kubelet.runtime import cgroup_stats
from kubelet.runtime.base import Info, Resources, Stats
from minikube_py.api import quantity
from minikube_py.api.podresources import BEST_EFFORT, BURSTABLE
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)
ROOT = Path("/sys/fs/cgroup")
_PREFIX = "minikube-py"
_LEVELS = {BURSTABLE: "burstable", BEST_EFFORT: "besteffort"}
_CONTROLLERS = ("cpu", "memory", "pids")


@dataclass(frozen=True)
class Cgroups:
    """The cgroups of one node, as its engine's driver names them. `driver` "" knows none (no engine, or a foreign one)."""

    profile: str
    node: str
    driver: str = ""
    version: str = "1"
    root: Path = ROOT

    # --- names

    def parent(self, pod: Obj) -> str:
        """What the engine is told as the parent of the pod's containers; "" leaves it to the engine."""
        parts = self._parts(pod)
        if self.driver == "systemd":
            return _slice(parts)
        return "/" + "/".join(parts) if self.driver == "cgroupfs" else ""

    def _parts(self, pod: Obj | None = None) -> list[str]:
        parts = [_PREFIX, self.profile, self.node]
        if pod is not None:
            level = _LEVELS.get(qos_class(pod))
            parts += [*([level] if level else []), f"pod{pod['metadata']['uid']}"]
        return parts

    def _directory(self, controller: str, parts: list[str]) -> Path:
        """Where the kernel shows a cgroup (of one controller, with version 1)."""
        top = self.root if self.version == "2" else self.root / controller
        if self.driver == "systemd":  # a-b-c.slice lies below a-b.slice, which lies below a.slice
            return top.joinpath(*(_slice(parts[: depth + 1]) for depth in range(len(parts))))
        return top.joinpath(*parts)

    # --- making

    def prepare_node(self, options: Options) -> None:
        """The node's own cgroup, limited to its share of the machine."""
        capacity = options.capacity
        share = Resources(cpu_shares(quantity.milli(capacity["cpu"])), memory=quantity.value(capacity["memory"]))
        try:
            self._write(self._parts(), share)
        except OSError as error:  # a smaller share than the pods that run already use
            _log.warning("the node's cgroup keeps its limits: %s", error)

    def prepare(self, pod: Obj, pids: int = 0) -> None:
        """The pod's cgroup with its limits; repeating it sets them anew. Raises OSError when the kernel refuses a limit."""
        self._write(self._parts(pod), pod_limits(pod, pids))

    def _write(self, parts: list[str], limits: Resources) -> None:
        if not self.driver:
            return
        if not self._make(parts):
            return
        files = _files_version2(limits) if self.version == "2" else _files_version1(limits)
        for controller, name, text in files:
            path = self._directory(controller, parts) / name
            if path.exists():
                path.write_text(text)

    def _make(self, parts: list[str]) -> bool:
        """Whether the cgroup is there. Slices are made by the engine, through systemd."""
        wanted = [self._directory(controller, parts) for controller in _CONTROLLERS]
        if self.driver == "cgroupfs":
            try:
                for directory in wanted:
                    if self.version == "2":
                        self._delegate(directory)
                    directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                _log.info("no cgroups of our own: %s", error)
                return False
        return wanted[0].is_dir()

    def _delegate(self, directory: Path) -> None:
        """Version 2 only: a controller works in a directory when every directory above hands it on."""
        for place in reversed([p for p in directory.parents if p == self.root or self.root in p.parents]):
            place.mkdir(exist_ok=True)
            (place / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))

    # --- looking

    def usage(self, pod: Obj | None = None) -> Stats | None:
        """What the pod (or the whole node) uses; None when the kernel does not show it."""
        if not self.driver:
            return None
        places = {
            controller: self._directory(controller, self._parts(pod))
            for controller in (*_CONTROLLERS, "cpuacct", "blkio")
        }
        return cgroup_stats.at("", {"": places["memory"]} if self.version == "2" else places)

    # --- removing

    def remove(self, uid: str) -> None:
        """Remove the cgroup of a pod that is gone; slices are systemd's to remove."""
        for directory in self._pods(uid):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def leftovers(self) -> list[str]:
        """The uids of pods that have a cgroup."""
        return sorted({os.path.basename(directory)[3:] for directory in self._pods("*")})

    def _pods(self, uid: str) -> Iterator[str]:
        own = f"{_PREFIX}/{glob.escape(self.profile)}/{glob.escape(self.node)}"
        for top in (f"{self.root}/{own}", f"{self.root}/*/{own}"):
            for level in ("", *(f"{level}/" for level in _LEVELS.values())):
                yield from glob.iglob(f"{top}/{level}pod{uid}")


def of(options: Options, info: Info) -> Cgroups:
    return Cgroups(options.profile, options.node_name, info.cgroup_driver, info.cgroup_version)


def remove_all(profile: str, node: str = "", root: Path = ROOT) -> None:
    """Remove every empty cgroup of a profile (or of one of its nodes), deepest first: for `down` and `node remove`."""
    below = f"{glob.escape(profile)}/{glob.escape(node)}" if node else glob.escape(profile)
    for place in (f"{root}/{_PREFIX}", f"{root}/*/{_PREFIX}"):
        for top in glob.glob(f"{place}/{below}"):
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def _slice(parts: list[str]) -> str:
    return "-".join(part.replace("-", "_") for part in parts) + ".slice"


def _files_version1(limits: Resources) -> list[tuple[str, str, str]]:
    return [
        ("cpu", "cpu.shares", str(limits.cpu_shares)),
        ("cpu", "cpu.cfs_period_us", str(limits.cpu_period)),
        ("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota or -1)),
        ("memory", "memory.limit_in_bytes", str(limits.memory or -1)),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]


def _files_version2(limits: Resources) -> list[tuple[str, str, str]]:
    weight = 1 + (limits.cpu_shares - 2) * 9999 // 262_142  # the same scale as shares: 2…262144 becomes 1…10000
    return [
        ("cpu", "cpu.weight", str(weight)),
        ("cpu", "cpu.max", f"{limits.cpu_quota or 'max'} {limits.cpu_period}"),
        ("memory", "memory.max", str(limits.memory or "max")),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]
