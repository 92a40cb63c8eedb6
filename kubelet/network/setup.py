"""The node's network, wired: what gives pods their addresses, and what serves and guards them.

Who calls it: `kubelet.main`, once. Invariant: without a service proxy none of it runs, and
every pod may be reached by everyone.
Upstream: cmd/kube-proxy, a network plug-in and node-local DNS, each a program of its own there.
"""

import ipaddress
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from kubelet.network.dns import DNSServer
from kubelet.network.health_ports import HealthPorts
from kubelet.network.host_ports import HostPort, host_ports
from kubelet.network.pod_network import DockerPodNetwork, NodeNetwork, OwnPodNetwork, PodNetwork
from kubelet.network.policy_agent import PolicyAgent
from kubelet.network.proxy import ServiceProxy
from kubelet.network.rules import Scope, table_name
from kubelet.options import Options
from kubelet.pod_source import PodSource
from kubelet.unwired import UnwiredPodNetwork
from minikube_py.api.clock import Clock
from minikube_py.api.meta import labels_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import Informer, SharedInformers

_ZONE = "topology.kubernetes.io/zone"
Part = PolicyAgent | DNSServer | ServiceProxy | HealthPorts


class NetworkServices(NamedTuple):
    """`parts`, to be started in this order; `isolate(pod, address)`, before a pod's first container; `pages` to be served."""

    parts: tuple[Part, ...] = ()
    isolate: Callable[[Obj, str], None] = lambda pod, address: None
    pages: Mapping[tuple[str, ...], Callable[[], str]] = MappingProxyType({})


def network_services(
    options: Options,
    informers: SharedInformers,
    pods: PodSource,
    nodes: Informer,
    node: Callable[[], Obj],
    clock: Clock,
) -> NetworkServices:
    """Policies, DNS, service proxy and health ports. In: the node's own pods and Node object, `node` that object."""
    if not options.service_proxy:
        return NetworkServices()
    policies = PolicyAgent(informers, options.profile, options.node_name, clock)
    dns = DNSServer(informers, options.node_ip, domain=options.cluster_domain, clock=clock)

    def scope() -> Scope:
        return _proxy_scope(options, dns.port, host_ports(pods.list()), labels_of(node()).get(_ZONE, ""))

    proxy = ServiceProxy(informers, scope, clock)
    pods.add_handler(lambda old, new: proxy.changed() if host_ports((old,)) != host_ports((new,)) else None)
    nodes.add_handler(lambda old, new: proxy.changed())
    health = HealthPorts(informers, options.node_name, options.node_ip)
    return NetworkServices((policies, dns, proxy, health), policies.isolate, {("metrics", "dns"): dns.cache.metrics})


def pod_network(options: Options) -> PodNetwork:
    """What gives this node's pods their addresses."""
    node = NodeNetwork(options.profile, options.node_name, options.bridge, options.node_ip, options.pod_cidr)
    if options.network == "own":
        return OwnPodNetwork(node)
    if options.network == "docker":
        return DockerPodNetwork(node, options.engine_network or f"minikube-py-{options.profile}")
    return UnwiredPodNetwork(options.pod_cidr)


def _proxy_scope(options: Options, dns_port: int, ports: tuple[HostPort, ...], zone: str = "") -> Scope:
    """What this node's service proxy looks after."""
    vip = options.cluster_dns[0] if options.cluster_dns else ""
    service_cidr = options.service_cluster_ip_range
    if not service_cidr and vip:
        service_cidr = str(ipaddress.ip_network(f"{vip}/16", strict=False))
    return Scope(
        table_name(options.profile, options.node_name), service_cidr, node=options.node_name, node_ip=options.node_ip,
        pod_cidr=options.pod_cidr, dns_vip=vip, dns_port=dns_port, host_ports=ports,
        infrastructure_cidr=options.infrastructure_cidr, balancer_cidr=options.load_balancer_range, zone=zone,
    )  # fmt: skip
