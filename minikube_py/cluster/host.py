"""What the machine has to offer: programs, rights, memory, processors; and installing what is missing where we may.

Who calls it: `up` before anything else, and `doctor`. Invariant: packages are only installed as root through the system's own
package manager; everything else is looked at, never changed.
"""

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
from pathlib import Path

from minikube_py.cluster.errors import ClusterError

PACKAGES = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "nft": "nftables",
    "conntrack": "conntrack",
    "haproxy": "haproxy",
    "apparmor_parser": "apparmor",
}
"""Programs that may be needed on the host, and the Debian/Ubuntu package that brings each."""


def is_root() -> bool:
    return os.geteuid() == 0


def which(program: str) -> str | None:
    """The program's path; system directories are searched although a user's PATH may lack them."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def needed() -> list[str]:
    """The programs every node needs. Where the kernel enforces AppArmor the engine starts nothing without its parser."""
    enforced = Path("/sys/module/apparmor/parameters/enabled")
    with contextlib.suppress(OSError):
        if enforced.read_text().startswith("Y"):
            return ["nft", "conntrack", "apparmor_parser"]
    return ["nft", "conntrack"]


def install(programs: list[str]) -> None:
    """Install the packages that bring `programs`. Raises ClusterError, naming the command to run, where it may not or fails."""
    packages = [PACKAGES[program] for program in programs]
    command = f"apt-get install -y {' '.join(packages)}"
    if not is_root() or which("apt-get") is None:
        raise ClusterError(f"{' and '.join(programs)} missing; run: sudo {command} (or your distribution's equivalent)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True)
        if done.returncode and arguments[0] == "install":
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ClusterError(f"'{command}' failed ({last}); mend that and run up again")


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def share(nodes: int) -> tuple[int, int]:
    """One node's share of this machine when it is divided by `nodes`: (milli-CPUs, bytes rounded down to 64 MiB)."""
    step = 64 << 20
    return (os.cpu_count() or 1) * 1000 // nodes, max(step, memory_bytes() // nodes // step * step)


def port_free(address: str, port: int) -> bool:
    """True if nobody listens on this TCP port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True


def is_own_address(address: str) -> bool:
    """True if this machine has that IP address."""
    try:
        return port_free(str(ipaddress.IPv4Address(address)), 0)
    except ValueError:
        return False


def routes() -> frozenset[str]:
    """The IPv4 networks this machine has routes to, as "a.b" prefixes of 16 bits (what our address ranges consist of)."""
    found = set()
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        destination = int(line.split()[1], 16)
        found.add(f"{destination & 0xFF}.{destination >> 8 & 0xFF}")
    return frozenset(found)
