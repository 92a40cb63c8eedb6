"""The kernel's connection table: forgetting UDP flows whose backend is gone.

Who calls it: proxy.py after a change of rules. Why: translation is decided once per flow, and a UDP "flow" never ends while its
client keeps asking, so without this the client would talk to a dead backend for ever. TCP notices by itself.
Invariant: only entries the caller names are deleted; an entry that ended meanwhile is no error.
Upstream: pkg/proxy/conntrack; linux/netfilter/nfnetlink_conntrack.h.
"""

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from kubelet.network.netlink import DUMP, Socket, attribute, attributes

_NETFILTER, _GET, _DELETE = 12, 0x101, 0x102
_NESTED = 0x8000


class Flow(NamedTuple):
    """One UDP entry as the client sees it (`source` to `destination`), and who answers it (`backend`)."""

    source: str
    destination: str
    destination_port: int
    backend: str
    backend_port: int
    tuple: bytes


def forget_udp(stale: Callable[[Flow], bool]) -> int:
    """Delete every UDP entry for which `stale` says so; how many. Raises OSError when the kernel has no conntrack."""
    with Socket(_NETFILTER) as kernel:
        header = struct.pack("=BBH", socket.AF_INET, 0, 0)
        flows = [flow for payload in kernel.request(_GET, DUMP, header) if (flow := _flow(payload)) is not None]
        gone = [flow for flow in flows if stale(flow)]
        for flow in gone:
            try:
                kernel.request(_DELETE, 0, header + attribute(1 | _NESTED, flow.tuple))
            except FileNotFoundError:
                continue
        return len(gone)


def _flow(payload: bytes) -> Flow | None:
    found = dict(attributes(payload[4:]))
    original, reply = _tuple(found.get(1, b"")), _tuple(found.get(2, b""))
    if original is None or reply is None:
        return None
    return Flow(original[0], original[1], original[3], reply[0], reply[2], found[1])


def _tuple(data: bytes) -> tuple[str, str, int, int] | None:
    """(source, destination, source port, destination port) of a UDP tuple; None for other protocols."""
    parts = dict(attributes(data))
    ip, proto = dict(attributes(parts.get(1, b""))), dict(attributes(parts.get(2, b"")))
    if proto.get(1) != bytes([socket.IPPROTO_UDP]) or 1 not in ip or 2 not in ip:
        return None
    ports = struct.unpack(">H", proto[2])[0], struct.unpack(">H", proto[3])[0]
    return socket.inet_ntoa(ip[1]), socket.inet_ntoa(ip[2]), *ports
