"""The pod network of one node: an address, a veth pair and routes for every pod sandbox.

Who calls it: the kubelet's sandbox code (`setup` after a sandbox started, `teardown` when it goes, `sweep` on start).
Invariant: nothing is remembered here that a restart would lose. Link names derive from node and pod uid, an alias on the link
names the sandbox it belongs to, the address stands in the sandbox's label; every call may be repeated, and a call cut off
half-way is finished or undone by repeating it. A link is brought up last, so a link that is up is complete.
Stop of the data path: 10.

How packets travel: a pod has its address as /32 and one neighbour, the node's address on the cluster bridge; everything it
sends goes to the host's IP layer, where Services, partitions and the engine's own rules see it, and from there to the pod's
bridge port. So nothing depends on br_netfilter. Three facts found by trying, on kernel 6.18 with Docker 20.10:
- the engine's FORWARD chain (policy DROP) accepts bridge-to-bridge packets of its own network and masquerades to the outside;
- where br_netfilter is on, a packet sent to a Service that maps back to the same pod is switched, not routed, so that the port
  needs hairpin mode; where it is off it does not matter;
- the host may tell a pod that another pod is reachable directly (an ICMP redirect). Replies taking that short cut would bypass
  address translation, and redirects use up the kernel's allowance of "unreachable" answers, so that a UDP packet to a Service
  without endpoints timed out instead of failing: the bridge sends no redirects, and pods accept none.
Upstream: the bridge and ptp plugins of containernetworking/plugins.
"""

import hashlib
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubelet.network.ipam import AddressPool
from kubelet.network.netlink import Link, RouteNetlink, entered

_PREFIX = "mkp"


@dataclass(frozen=True)
class NodeNetwork:
    """What a node needs to know of its network: names for labelling, the cluster bridge, its address and pod CIDR."""

    profile: str
    node: str
    bridge: str
    node_ip: str
    pod_cidr: str
    mtu: int = 1500


class PodNetwork(Protocol):
    """How pods get connected. `engine_network` is the engine's network a sandbox must join, "" when we wire it ourselves."""

    engine_network: str

    def ensure_node(self) -> None:
        """Give the node its address on the bridge; repeated calls repair. Raises OSError when the bridge is missing."""

    def allocate(self, pod_uid: str) -> str:
        """The pod's address, the same for the same pod until `teardown`. Raises ipam.AddressesExhausted."""

    def restore(self, assigned: Mapping[str, str]) -> None:
        """Take over the addresses of pods already running (pod uid -> address)."""

    def setup(self, pod_uid: str, pid: int, ip: str) -> None:
        """Connect the sandbox whose process is `pid`. Raises OSError when the sandbox is gone or the kernel refuses."""

    def teardown(self, pod_uid: str) -> None:
        """Disconnect the pod and give its address back; no error when there is nothing left of it."""

    def sweep(self, known: Collection[str]) -> None:
        """Remove what belongs to pods of this node that are not in `known` (pod uids)."""


class OwnPodNetwork:
    """Wired by us through netlink: 2 ms a pod instead of the 60 ms a container engine takes for the same."""

    engine_network = ""

    def __init__(self, node: NodeNetwork) -> None:
        self.node = node
        self._pool = AddressPool(node.pod_cidr)
        self.allocate, self.restore = self._pool.allocate, self._pool.restore

    def ensure_node(self) -> None:
        ensure_node(self.node)

    def setup(self, pod_uid: str, pid: int, ip: str) -> None:
        name = veth_name(self.node, pod_uid)
        sandbox = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            alias = f"{_alias(self.node)}{pod_uid}/{os.fstat(sandbox).st_ino}"
            with RouteNetlink() as host:
                existing = host.link(name)
                if existing is not None and existing.up and existing.alias == alias:
                    return
                if existing is not None:
                    host.delete_link(name)
                host.add_veth(name, _bridge(host, self.node).number, self.node.mtu, "eth0", sandbox, mac_of(ip))
                port = _required(host, name)
                host.set_alias(port.number, alias)
                host.set_hairpin(port.number)
                _configure_sandbox(sandbox, ip, self.node.node_ip)
                host.set_up(port.number)
        finally:
            os.close(sandbox)

    def teardown(self, pod_uid: str) -> None:
        with RouteNetlink() as host:
            host.delete_link(veth_name(self.node, pod_uid))
        self._pool.release(pod_uid)

    def sweep(self, known: Collection[str]) -> None:
        keep = {veth_name(self.node, uid) for uid in known}
        mine = veth_name(self.node, "")[: len(_PREFIX) + 4]
        with RouteNetlink() as host:
            for link in host.links():
                # Without an alias it is half made; the name alone says which node made it.
                owned = not link.alias or link.alias.startswith(_alias(self.node))
                if owned and link.name.startswith(mine) and link.name not in keep:
                    host.delete_link(link.name)
        for uid in self._pool.assigned():
            if uid not in known:
                self._pool.release(uid)


class DockerPodNetwork:
    """The fallback: the engine connects the sandbox to its network, at the address we allocate."""

    def __init__(self, node: NodeNetwork, engine_network: str) -> None:
        self.node, self.engine_network = node, engine_network
        self._pool = AddressPool(node.pod_cidr)
        self.allocate, self.restore = self._pool.allocate, self._pool.restore
        self.teardown = self._pool.release

    def ensure_node(self) -> None:
        ensure_node(self.node)

    def setup(self, pod_uid: str, pid: int, ip: str) -> None:
        """The engine did it when it started the sandbox."""

    def sweep(self, known: Collection[str]) -> None:
        for uid in self._pool.assigned():
            if uid not in known:
                self._pool.release(uid)


def ensure_node(node: NodeNetwork) -> None:
    """Put the node's address on the bridge and set the bridge's switches. Raises OSError when there is no bridge."""
    with RouteNetlink() as host:
        bridge = _bridge(host, node)
        host.add_address(bridge.number, node.node_ip)
    _sysctl("ip_forward", "1")
    # A packet leaves by the bridge it came in on, so the kernel would send a redirect; "all" is or-ed with each interface's
    # own switch, which the others keep.
    _sysctl(f"conf/{node.bridge}/send_redirects", "0")
    _sysctl("conf/all/send_redirects", "0")


def remove_node(node: NodeNetwork) -> None:
    """Undo `ensure_node` and remove every link of the node; no error for what is gone already."""
    OwnPodNetwork(node).sweep(())
    with RouteNetlink() as host:
        bridge = host.link(node.bridge)
        if bridge is not None:
            host.delete_address(bridge.number, node.node_ip)


def veth_name(node: NodeNetwork, pod_uid: str) -> str:
    """The host's end of a pod's veth pair: prefix, four digits for the node, eight for the pod (15 is the kernel's limit)."""
    return _PREFIX + _digest(_alias(node))[:4] + _digest(pod_uid)[:8]


def mac_of(ip: str) -> bytes:
    """A pod's hardware address follows from its IP, so that a neighbour's cached entry stays right when the IP is reused."""
    return b"\x0a\x58" + socket.inet_aton(ip)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def alias_prefix(profile: str, node: str = "") -> str:
    """How the aliases of a profile's (or one of its nodes') links begin."""
    return f"minikube-py/{profile}/{node}/" if node else f"minikube-py/{profile}/"


def _alias(node: NodeNetwork) -> str:
    return alias_prefix(node.profile, node.node)


def _bridge(host: RouteNetlink, node: NodeNetwork) -> Link:
    return _required(host, node.bridge)


def _required(host: RouteNetlink, name: str) -> Link:
    link = host.link(name)
    if link is None:
        raise FileNotFoundError(2, f"there is no network interface {name}")
    return link


def _configure_sandbox(sandbox: int, ip: str, node_ip: str) -> None:
    """Inside the pod: lo and eth0 up, the address, a route to the node, everything else through it."""
    with entered(sandbox):
        inside = RouteNetlink()
        _sysctl("conf/all/accept_redirects", "0")
        _sysctl("conf/eth0/accept_redirects", "0")
        _sysctl("conf/eth0/disable_ipv6", "1", family="ipv6")
    with inside:
        eth0 = _required(inside, "eth0")
        inside.add_address(eth0.number, ip)
        inside.set_up(1)
        inside.set_up(eth0.number)
        inside.add_route(eth0.number, f"{node_ip}/32")
        inside.add_route(eth0.number, gateway=node_ip)


def _sysctl(name: str, value: str, family: str = "ipv4") -> None:
    """Set a network switch of the calling thread's namespace unless it has that value; absent ones (no IPv6) are skipped."""
    path = Path("/proc/sys/net") / family / name
    if path.exists() and path.read_text().strip() != value:
        path.write_text(value)
