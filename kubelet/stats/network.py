"""What has passed through the network interfaces of a process's namespace.

Who calls it: `collect`, for the sandbox of each pod. Invariant: a process that is gone, or not ours to see, has none.
Upstream: cadvisor container/libcontainer (networkStatsFromProc).
"""

from pathlib import Path
from typing import NamedTuple


class Interface(NamedTuple):
    """Counters since the interface was made, in the order of /proc/net/dev."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def interfaces(pid: int) -> list[Interface]:
    """All but the loopback. In: a process of the host."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return []
    found = []
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = [int(number) for number in rest.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            found.append(Interface(name.strip(), *numbers[:4], *numbers[8:12]))
    return found
