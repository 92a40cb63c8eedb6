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
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubelet import slices
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
            return slices.name(parts)
        return "/" + "/".join(parts) if self.driver == "cgroupfs" else ""

    def _parts(self, pod: Obj | None = None) -> list[str]:
        parts = [_PREFIX, self.profile, self.node]
        if pod is not None:
            level = _LEVELS.get(qos_class(pod))
            parts += [*([level] if level else []), f"pod{pod['metadata']['uid']}"]
        return parts

    def _directory(self, controller: str, parts: list[str]) -> Path:
        """Where the kernel shows a cgroup (of one controller, with version 1)."""
        return _below(self.root if self.version == "2" else self.root / controller, self.driver, parts)

    # --- making

    def prepare_node(self, options: Options) -> None:
        """The node's own cgroup, limited to its share of the machine."""
        capacity = options.capacity
        share = Resources(cpu_shares(quantity.milli(capacity["cpu"])), memory=quantity.value(capacity["memory"]))
        try:
            self._write(self._parts(), share)
        except OSError as error:  # a smaller share than the pods that run already use
            _log.warning("the node's cgroup keeps its limits: %s", error)

    def prepare(self, pod: Obj, pids: int = 0) -> bool:
        """The pod's cgroup with its limits; repeating it sets them anew. Raises OSError when the kernel refuses a limit.

        Out: False where only the engine can make it, together with the first container.
        """
        return self._write(self._parts(pod), pod_limits(pod, pids))

    def _write(self, parts: list[str], limits: Resources) -> bool:
        made = bool(self.driver) and self._make(parts, limits)
        if not made and self.driver != "systemd":
            return False
        files = _files_version2(limits) if self.version == "2" else _files_version1(limits)
        for controller, name, text in files:
            path = self._directory(controller, parts) / name
            if path.exists():
                path.write_text(text)
        return made

    def _make(self, parts: list[str], limits: Resources) -> bool:
        """Whether the cgroup is there, or will be in a moment."""
        wanted = [self._directory(controller, parts) for controller in _CONTROLLERS]
        if self.driver == "systemd":
            weight, there = _weight(limits.cpu_shares), wanted[0].is_dir()
            return slices.limit(slices.name(parts), limits, weight, self.version, there) or there
        try:
            for directory in wanted:
                if self.version == "2":
                    self._delegate(directory)
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _log.info("no cgroups of our own: %s", error)
            return False
        return True

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
        """Remove the cgroup of a pod that is gone."""
        for directory in self._pods(uid):
            if directory.endswith(".slice"):
                slices.stop(os.path.basename(directory))
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def leftovers(self) -> list[str]:
        """The uids of pods that have a cgroup."""
        names = (os.path.basename(directory).rpartition("pod")[2] for directory in self._pods("*"))
        return sorted({name.removesuffix(".slice").replace("_", "-") for name in names})

    def _pods(self, uid: str) -> Iterator[str]:
        """The directories of a pod, one per hierarchy ("*" is every pod)."""
        own = [glob.escape(part) for part in self._parts()]
        for level in ("", *_LEVELS.values()):
            parts = [*own, *([level] if level else []), f"pod{uid}"]
            for top in (self.root, self.root / "*"):
                yield from glob.iglob(str(_below(top, self.driver, parts)))


def of(options: Options, info: Info) -> Cgroups:
    return Cgroups(options.profile, options.node_name, info.cgroup_driver, info.cgroup_version)


def remove_all(profile: str, node: str = "", root: Path = ROOT) -> None:
    """Remove every empty cgroup of a profile (or of one of its nodes), deepest first: for `down` and `node remove`."""
    parts = [_PREFIX, profile, *([node] if node else [])]
    escaped = [glob.escape(part) for part in parts]
    for driver in ("cgroupfs", "systemd"):
        found = [top for place in (root, root / "*") for top in glob.glob(str(_below(place, driver, escaped)))]
        if found and driver == "systemd":
            slices.stop(slices.name(parts))
        for top in found:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def _below(top: Path, driver: str, parts: list[str]) -> Path:
    if driver == "systemd":  # a-b-c.slice lies below a-b.slice, which lies below a.slice
        return top.joinpath(*(slices.name(parts[: depth + 1]) for depth in range(len(parts))))
    return top.joinpath(*parts)


def _weight(shares: int) -> int:
    """Version 2's weight: 1…10000 for shares of 2…262144, and 100 for 1024, by the parabola runc and Kubernetes agreed on."""
    power = math.log2(max(shares, 2))
    return min(10_000, math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34)))


def _files_version1(limits: Resources) -> list[tuple[str, str, str]]:
    return [
        ("cpu", "cpu.shares", str(limits.cpu_shares)),
        ("cpu", "cpu.cfs_period_us", str(limits.cpu_period)),
        ("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota or -1)),
        ("memory", "memory.limit_in_bytes", str(limits.memory or -1)),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]


def _files_version2(limits: Resources) -> list[tuple[str, str, str]]:
    return [
        ("cpu", "cpu.weight", str(_weight(limits.cpu_shares))),
        ("cpu", "cpu.max", f"{limits.cpu_quota or 'max'} {limits.cpu_period}"),
        ("memory", "memory.max", str(limits.memory or "max")),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]
