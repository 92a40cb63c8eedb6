"""Slices of systemd: where it manages the machine's cgroups, it makes, limits and removes those of pods and nodes too.

Who calls it: `kubelet.cgroups`, with the systemd driver only. Invariant: without systemd within reach (a kubelet in a
container) nothing is raised; the engine then makes the slices together with the first container, as unlimited ones.
Why not the files alone: systemd writes them again whenever it likes, with what it was told.
Upstream: opencontainers/cgroups systemd/v1.go and v2.go, which say the same over D-Bus (here: with busctl).
"""

import logging
import subprocess
from collections.abc import Sequence

from kubelet.runtime.base import Resources

_log = logging.getLogger(__name__)
_CALL = (
    "busctl", "call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
)  # fmt: skip
_UNLIMITED = str((1 << 64) - 1)
_ACCOUNTED = ("CPUAccounting", "MemoryAccounting", "TasksAccounting")


def name(parts: Sequence[str]) -> str:
    """A slice's name says where it lies: a-b-c.slice is below a-b.slice, so a dash inside a part becomes an underscore."""
    return "-".join(part.replace("-", "_") for part in parts) + ".slice"


def limit(slice_name: str, limits: Resources, weight: int, version: str, there: bool) -> bool:
    """Start a slice with these limits; one that is `there` gets them anew. Out: whether systemd took them.

    In: `weight` is the CPU's with cgroup version 2.
    """
    values = _version2(limits, weight) if version == "2" else _version1(limits)
    flat = [word for key, (kind, value) in values.items() for word in (key, kind, value)]
    if not there:
        accounted = [word for key in _ACCOUNTED for word in (key, "b", "true")]
        count = str(len(values) + len(_ACCOUNTED))
        if _call("StartTransientUnit", "ssa(sv)a(sa(sv))", slice_name, "fail", count, *flat, *accounted, "0"):
            return True
    return _call("SetUnitProperties", "sba(sv)", slice_name, "true", str(len(values)), *flat)


def stop(slice_name: str) -> None:
    """Stop a slice and all below it; its cgroup goes with it."""
    _call("StopUnit", "ss", slice_name, "replace")


def _version1(limits: Resources) -> dict[str, tuple[str, str]]:
    return {"CPUShares": ("t", str(limits.cpu_shares)), "MemoryLimit": ("t", _bound(limits.memory)), **_both(limits)}


def _version2(limits: Resources, weight: int) -> dict[str, tuple[str, str]]:
    return {"CPUWeight": ("t", str(weight)), "MemoryMax": ("t", _bound(limits.memory)), **_both(limits)}


def _both(limits: Resources) -> dict[str, tuple[str, str]]:
    return {
        "CPUQuotaPerSecUSec": ("t", _bound(limits.cpu_quota * 1_000_000 // limits.cpu_period)),
        "CPUQuotaPeriodUSec": ("t", str(limits.cpu_period)),
        "TasksMax": ("t", _bound(limits.pids)),
    }


def _bound(number: int) -> str:
    return str(number) if number else _UNLIMITED


def _call(method: str, *arguments: str) -> bool:
    """Whether systemd did it."""
    try:
        done = subprocess.run([*_CALL, method, *arguments], capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        _log.info("systemd is not within reach: %s", error)
        return False
    if done.returncode != 0:
        _log.info("systemd: %s %s: %s", method, arguments[0], done.stderr.strip())
    return done.returncode == 0
