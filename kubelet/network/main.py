"""The per-host half of the service proxy: Services as seen by processes of the host itself (component `kube-proxy`).

Who calls it: the supervisor, once per profile; `python -m kubelet.network.main` runs the same by hand.
Invariant: it owns one table, one rule among the engine's (forward.py) and one route (the service CIDR through the cluster
bridge, which gives host processes a source address that pods can answer), and leaves them in place when it stops, so that a
restart interrupts nothing; cleanup.py removes table and rule, and the route goes with the bridge.
Upstream: cmd/kube-proxy.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubelet.network import forward
from kubelet.network.netlink import RouteNetlink
from kubelet.network.proxy import ServiceProxy
from kubelet.network.rules import Scope, table_name
from minikube_py.api.gvr import NODES
from minikube_py.api.meta import name_of
from minikube_py.client import termination
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.kubeconfig import load
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)
_CHECK = 30.0


@dataclass(frozen=True)
class Options:
    """Flags, by their names; see `parse`."""

    kubeconfig: str
    profile: str
    bridge: str
    cluster_cidr: str
    service_cidr: str
    cluster_dns: str = ""
    load_balancer_range: str = ""


def parse(argv: Sequence[str]) -> Options:
    """Command line to Options; argparse ends the process on bad flags."""
    parser = argparse.ArgumentParser(prog="kube-proxy", description="Services for processes of this host.")
    parser.add_argument("--kubeconfig", required=True, help="how to reach the API server")
    parser.add_argument("--profile", required=True, help="names the table")
    parser.add_argument("--bridge", required=True, help="the cluster's bridge on this host")
    parser.add_argument("--cluster-cidr", required=True, help="all pods and nodes, such as 10.244.0.0/16")
    parser.add_argument("--service-cidr", required=True, help="all cluster IPs, such as 10.96.0.0/16")
    parser.add_argument("--load-balancer-range", default="", help="all load balancers' addresses")
    parser.add_argument("--cluster-dns", default="", help="the cluster's DNS address")
    return Options(**vars(parser.parse_args(argv)))


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the bridge is missing."""
    ended = termination.event()
    ensure_host(options.bridge, options.service_cidr)
    informers = SharedInformers(Client(load(options.kubeconfig), user_agent="minikube-py/kube-proxy"))
    nodes = informers.of(NODES)
    addresses = host_addresses(options.bridge)
    proxy = ServiceProxy(informers, lambda: host_scope(options, nodes, addresses))
    nodes.add_handler(lambda old, new: proxy.changed() if _ip(old) != _ip(new) else None)
    informers.start()
    proxy.start()
    while True:
        forward.ensure(
            options.profile, options.bridge
        )  # again and again: an engine that restarts writes its rules anew
        if ended.wait(_CHECK):
            break
    proxy.stop()
    informers.stop()


def host_scope(options: Options, nodes: Informer, addresses: tuple[str, ...]) -> Scope:
    """What the host's table serves now, with the nodes there are."""
    node_ips = {name_of(node): ip for node in nodes.list() if (ip := _ip(node))}
    return Scope(
        table_name(options.profile, "host"), options.service_cidr, dns_vip=options.cluster_dns, bridge=options.bridge,
        cluster_cidr=options.cluster_cidr, host_addresses=addresses, node_ips=node_ips,
        balancer_cidr=options.load_balancer_range,
    )  # fmt: skip


def ensure_host(bridge: str, service_cidr: str) -> None:
    """Route the service CIDR through the bridge with the bridge's own address as source, and let 127.0.0.1 reach NodePorts.

    Raises FileNotFoundError when there is no such bridge.
    """
    with RouteNetlink() as host:
        link = host.link(bridge)
        if link is None:
            raise FileNotFoundError(2, f"there is no network interface {bridge}")
        own = host.addresses(link.number)
        if own:
            host.add_route(link.number, service_cidr, source=own[0][0])
    # The host's table drops what others send to 127.0.0.0/8 through the bridge.
    Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet").write_text("1")


def host_addresses(bridge: str) -> tuple[str, ...]:
    """The host's own IPv4 addresses, other than loopback's and those of bridges."""
    with RouteNetlink() as host:
        links = host.links()
        masters = {link.master for link in links}
        engines = ("docker", "br-", "mkp", "veth")
        plain = [link for link in links if link.number not in masters and not link.name.startswith((*engines, bridge))]
        plain = [link for link in plain if link.name != "lo"]
        return tuple(address for link in plain for address, _ in host.addresses(link.number))


def _ip(node: dict[str, object] | None) -> str:
    status = (node or {}).get("status")
    addresses = status.get("addresses") or [] if isinstance(status, dict) else []
    return next((str(a["address"]) for a in addresses if a["type"] == "InternalIP"), "")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run(parse(sys.argv[1:]))
