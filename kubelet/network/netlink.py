"""rtnetlink in one page: links, addresses and routes, spoken directly to the kernel.

Who calls it: pod_network.py and proxy.py; conntrack.py and nfnetlink.py speak other protocols through its sockets.
Why not a library: pyroute2 costs 1.2 s of import and 25 MB per process, which is a large part of this cluster's start-up
time and memory; what a pod network needs of the protocol is a dozen message kinds.
Invariant: every request is acknowledged by the kernel; a refusal is raised as OSError with the kernel's errno. A socket
belongs for life to the network namespace it was opened in, whichever thread uses it.
Upstream: rtnetlink(7); the message layouts of linux/if_link.h, linux/rtnetlink.h.
"""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

REQUEST, ACK, EXCL, REPLACE, CREATE, DUMP = 0x1, 0x4, 0x200, 0x100, 0x400, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR, _DELADDR, _GETADDR, _NEWROUTE = 16, 17, 18, 19, 20, 21, 22, 24
_IFF_UP = 0x1
_IFLA = {
    "address": 1, "ifname": 3, "mtu": 4, "master": 10, "protinfo": 12, "linkinfo": 18, "ifalias": 20, "net_ns_fd": 28,
}  # fmt: skip
_NESTED = 0x8000
_CLONE_NEWNET = 0x40000000
_SO_SNDBUFFORCE = 32
_libc = ctypes.CDLL(None, use_errno=True)


class Link(NamedTuple):
    """One interface as the kernel lists it; `master` is the number of the bridge it is a port of, or 0."""

    number: int
    name: str
    up: bool
    master: int
    mtu: int
    alias: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` as (type without flag bits, payload)."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


@contextlib.contextmanager
def entered(netns_fd: int) -> Iterator[None]:
    """The calling thread (it alone) is inside the network namespace of `netns_fd` within the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _setns(netns_fd)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot enter a network namespace: {os.strerror(code)}")


class Socket:
    """A netlink socket of the caller's network namespace; one thread at a time. `close()` it or use it in `with`."""

    def __init__(self, protocol: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send one request; the payloads of its answer, without message headers. Raises OSError when refused."""
        self._sequence += 1
        dump = flags & DUMP == DUMP
        flags |= REQUEST | (0 if dump else ACK)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            for answered, sequence, payload in _messages(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if answered == _NLMSG_DONE:
                    return answers
                if answered == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                answers.append(payload)

    def batch(self, requests: Sequence[tuple[int, int, bytes]]) -> None:
        """Send requests (kind, flags, body) that netfilter takes or refuses as a whole; the last but one shall carry ACK.

        Raises OSError with the first reason.
        """
        first, self._sequence = self._sequence + 1, self._sequence + len(requests)
        data = b"".join(
            struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST, sequence, 0) + body
            for sequence, (kind, flags, body) in enumerate(requests, first)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data) + 4096)
        self._socket.send(data)
        while True:
            for answered, sequence, payload in _messages(self._socket.recv(1 << 18)):
                if answered == _NLMSG_ERROR and sequence >= first:  # older ones are what a refused batch left
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    if sequence == self._sequence - 1:
                        return


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, offset)
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


class RouteNetlink(Socket):
    """Links, addresses and routes of one network namespace. Adding what exists and deleting what is gone are no errors."""

    @classmethod
    def inside(cls, netns_fd: int) -> "RouteNetlink":
        """A socket that belongs to another network namespace."""
        with entered(netns_fd):
            return cls()

    def links(self) -> list[Link]:
        return [_link(payload) for payload in self.request(_GETLINK, DUMP, _ifinfo())]

    def link(self, name: str) -> Link | None:
        try:
            found = self.request(_GETLINK, 0, _ifinfo() + attribute(_IFLA["ifname"], name.encode() + b"\0"))
        except OSError as error:
            if error.errno == 19:  # ENODEV
                return None
            raise
        return _link(found[0])

    def add_veth(self, name: str, master: int, mtu: int, peer: str, peer_netns: int, peer_mac: bytes) -> None:
        """A veth pair: `name` here (down) as a port of bridge `master`, `peer` in namespace `peer_netns` (fd).

        Raises FileExistsError when either name is taken.
        """
        size = struct.pack("=I", mtu)
        peer_attributes = (
            _ifinfo() + attribute(_IFLA["ifname"], peer.encode() + b"\0") + attribute(_IFLA["mtu"], size)
            + attribute(_IFLA["address"], peer_mac) + attribute(_IFLA["net_ns_fd"], struct.pack("=I", peer_netns))
        )  # fmt: skip
        info = attribute(1, b"veth\0") + attribute(2 | _NESTED, attribute(1 | _NESTED, peer_attributes))
        body = (
            _ifinfo() + attribute(_IFLA["ifname"], name.encode() + b"\0") + attribute(_IFLA["mtu"], size)
            + attribute(_IFLA["master"], struct.pack("=I", master)) + attribute(_IFLA["linkinfo"] | _NESTED, info)
        )  # fmt: skip
        self.request(_NEWLINK, CREATE | EXCL, body)

    def add_bridge(self, name: str) -> None:
        """A bridge that is up; for tests and for hosts whose engine makes none.

        Its hardware address is fixed: left alone a bridge takes the lowest one of its ports, and pods would lose the node
        from their neighbour tables whenever a port comes or goes.
        """
        info = attribute(1, b"bridge\0")
        body = _ifinfo(up=True) + attribute(_IFLA["ifname"], name.encode() + b"\0")
        body += attribute(_IFLA["address"], b"\x02\x42" + os.urandom(4))
        self.request(_NEWLINK, CREATE | EXCL, body + attribute(_IFLA["linkinfo"] | _NESTED, info))

    def set_alias(self, index: int, alias: str) -> None:
        self.request(_SETLINK, 0, _ifinfo(index) + attribute(_IFLA["ifalias"], alias.encode()))

    def set_up(self, index: int) -> None:
        self.request(_SETLINK, 0, _ifinfo(index, up=True))

    def set_hairpin(self, index: int) -> None:
        """Let the bridge send a frame back out of the port it came from (IFLA_BRPORT_MODE)."""
        body = _ifinfo(index, family=socket.AF_BRIDGE) + attribute(_IFLA["protinfo"] | _NESTED, attribute(4, b"\1"))
        self.request(_SETLINK, 0, body)

    def delete_link(self, name: str) -> None:
        with _absent_is_fine():
            self.request(_DELLINK, 0, _ifinfo() + attribute(_IFLA["ifname"], name.encode() + b"\0"))

    def add_address(self, index: int, address: str, prefix: int = 32) -> None:
        raw = socket.inet_aton(address)
        body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index) + attribute(2, raw) + attribute(1, raw)
        with contextlib.suppress(FileExistsError):
            self.request(_NEWADDR, CREATE | EXCL, body)

    def delete_address(self, index: int, address: str, prefix: int = 32) -> None:
        body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index) + attribute(2, socket.inet_aton(address))
        with _absent_is_fine():
            self.request(_DELADDR, 0, body)

    def addresses(self, index: int) -> list[tuple[str, int]]:
        """The IPv4 addresses of a link, primary first, as (address, prefix length)."""
        found = []
        for payload in self.request(_GETADDR, DUMP, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)):
            _family, prefix, _flags, _scope, of = struct.unpack_from("=BBBBI", payload)
            local = dict(attributes(payload[8:])).get(2)
            if of == index and local:
                found.append((socket.inet_ntoa(local), prefix))
        return found

    def add_route(self, index: int, destination: str = "", gateway: str = "", source: str = "") -> None:
        """Add or replace a route through link `index`. In: `destination` as CIDR, "" is the default route."""
        network, _, length = destination.partition("/")
        scope = 0 if gateway else 253  # universe, or link
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length or 0), 0, 0, 254, 4, scope, 1, 0)
        if network:
            body += attribute(1, socket.inet_aton(network))
        body += attribute(4, struct.pack("=I", index))
        if gateway:
            body += attribute(5, socket.inet_aton(gateway))
        if source:
            body += attribute(7, socket.inet_aton(source))
        self.request(_NEWROUTE, CREATE | REPLACE, body)


@contextlib.contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (19, 99, 3):  # ENODEV, EADDRNOTAVAIL, ESRCH
            raise


def _ifinfo(index: int = 0, *, up: bool = False, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, _IFF_UP if up else 0, _IFF_UP if up else 0)


def _link(payload: bytes) -> Link:
    _family, _kind, own, flags, _change = struct.unpack_from("=BxHiII", payload)
    found = dict(attributes(payload[16:]))

    def number(name: str) -> int:
        raw = found.get(_IFLA[name])
        return int(struct.unpack("=I", raw)[0]) if raw else 0

    def text(name: str) -> str:
        return found.get(_IFLA[name], b"").rstrip(b"\0").decode(errors="replace")

    return Link(own, text("ifname"), bool(flags & _IFF_UP), number("master"), number("mtu"), text("ifalias"))
