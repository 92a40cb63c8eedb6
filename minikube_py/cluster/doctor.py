"""`minikube-py doctor`: what a cluster needs from this machine, checked one by one, each failure with its fix.

Who calls it: the CLI. Invariant: it looks and changes nothing. A check is one row: a name, whether the cluster cannot do
without it, and a function that returns "" or what is wrong and how to mend it.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minikube_py.cluster import engine, host
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.up import FIRST_PORT

_MIB = 1 << 20
_DISK_MIB, _MEMORY_MIB = 2048, 1024


class Check(NamedTuple):
    name: str
    required: bool
    problem: Callable[[], str]


class Finding(NamedTuple):
    """One checked row; `problem` is "" when all is well."""

    name: str
    required: bool
    problem: str


def examine() -> list[Finding]:
    """Every check's finding, in order."""
    return [Finding(check.name, check.required, check.problem()) for check in CHECKS]


def _linux() -> str:
    return "" if sys.platform == "linux" else "host processes need Linux; on this system use: docker compose up"


def _root() -> str:
    return "" if host.is_root() else "not root; run with sudo (or use --runtime simulated)"


def _program(name: str) -> Callable[[], str]:
    def problem() -> str:
        return "" if host.which(name) else f"{name} missing; run: sudo apt-get install {host.PACKAGES.get(name, name)}"

    return problem


def _apparmor() -> str:
    return _program("apparmor_parser")() if "apparmor_parser" in host.needed() else ""


def _engine() -> str:
    return (
        ""
        if engine.answers()
        else "no engine answers; run: sudo systemctl start docker (or let minikube-py up start one)"
    )


def _disk() -> str:
    place = next(p for p in (profiles.home(), *profiles.home().parents) if p.exists())
    free = shutil.disk_usage(place).free // _MIB
    return (
        "" if free >= _DISK_MIB else f"only {free} MiB free under {place}; free some, or set MINIKUBE_PY_HOME elsewhere"
    )


def _memory() -> str:
    total = host.memory_bytes() // _MIB
    return "" if total >= _MEMORY_MIB else f"{total} MiB of memory; a cluster wants at least {_MEMORY_MIB}"


def _ports() -> str:
    mine = {profile.port for profile in profiles.load_all()}
    port = FIRST_PORT + len(mine)
    if port in mine or host.port_free("127.0.0.1", port):
        return ""
    return f"port {port} is in use; start with: minikube-py up --port N"


def _forwarding() -> str:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    on = not path.exists() or path.read_text().strip() == "1"
    return "" if on or host.is_root() else "IP forwarding is off; run: sudo sysctl -w net.ipv4.ip_forward=1"


def _ranges() -> str:
    try:
        profiles.free_index(host.routes())
    except ClusterError as error:
        return str(error)
    return ""


def _cgroups() -> str:
    there = Path("/sys/fs/cgroup/cgroup.controllers").exists() or Path("/sys/fs/cgroup/memory").is_dir()
    return "" if there else "no cgroup controllers are mounted; limits will not work (mount cgroup2 on /sys/fs/cgroup)"


def _kubectl() -> str:
    return (
        ""
        if shutil.which("kubectl")
        else "not found; kctl does the everyday part (package kubernetes-client brings it)"
    )


def _compiler() -> str:
    return (
        ""
        if shutil.which("gcc") or shutil.which("cc")
        else "no C compiler: simulated GPUs fall back to a Python stand-in"
    )


def _writable() -> str:
    place = next(p for p in (profiles.home(), *profiles.home().parents) if p.exists())
    return "" if os.access(place, os.W_OK) else f"{place} is not writable; set MINIKUBE_PY_HOME to a directory that is"


CHECKS = (
    Check("Linux", True, _linux),
    Check("root", True, _root),
    Check("state directory", True, _writable),
    Check("Docker Engine", True, _engine),
    Check("AppArmor's parser", True, _apparmor),
    Check("nft", True, _program("nft")),
    Check("conntrack", False, _program("conntrack")),
    Check("API port", True, _ports),
    Check("address ranges", True, _ranges),
    Check("IP forwarding", True, _forwarding),
    Check("cgroups", True, _cgroups),
    Check("disk", True, _disk),
    Check("memory", True, _memory),
    Check("kubectl", False, _kubectl),
    Check("C compiler", False, _compiler),
)
