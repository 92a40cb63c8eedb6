"""Service ports -> the nftables table of one node, or of the host itself. Pure; golden-tested.

Who calls it: proxy.py, on every change of Services, EndpointSlices or Nodes.
Invariant: a packet meets one map look-up however many Services exist; what a map or chain says is in its name's digest, so
that a table read back from the kernel can be compared by names alone, and a chain never changes, it is replaced.
How it reads: base chain -> map `service-ips` (address . protocol . port) or `nodeports` (protocol . port) -> the chain of that
service port -> destination rewritten to a random endpoint. A service address that no map holds (no endpoints, no such port)
stays unchanged, and an `unserved` filter rejects every packet to the service CIDR, so callers fail at once.
The node's table serves its pods, NodePorts on its address and its pods' host ports; the host's table serves the host's own
processes.
Where we differ: a Service with internalTrafficPolicy Local and no endpoint on the node is rejected, upstream drops.
Upstream: pkg/proxy/nftables/proxier.go.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubelet.network.host_ports import HostPort
from kubelet.network.services import Endpoint, ServicePort, nearest, usable

SERVICE_IPS, NODEPORTS, HAIRPIN, HOSTPORTS = "service-ips", "nodeports", "hairpin", "hostports"
_NAT_BEFORE_ENGINE = "priority -101; policy accept;"  # Docker's own nat chain has -100


@dataclass(frozen=True)
class Scope:
    """Whose traffic a table handles. `node` "" is the host: then `node_ips` says where the nodes are (name -> address).

    `infrastructure_cidr` holds machines that sit on the pods' bridge but do not route through a node (the API server of a
    compose cluster): they would answer a pod directly, past the rewriting, so they must see the node as their peer.
    """

    table: str
    service_cidr: str
    node: str = ""
    node_ip: str = ""
    pod_cidr: str = ""
    dns_vip: str = ""
    dns_port: int = 53
    host_ports: tuple[HostPort, ...] = ()
    bridge: str = ""
    cluster_cidr: str = ""
    balancer_cidr: str = ""
    infrastructure_cidr: str = ""
    host_addresses: tuple[str, ...] = ()
    node_ips: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""


@dataclass
class Ruleset:
    """One table. `base`: chains with hooks, name -> (hook line, rules). `maps`: name -> type. The rest comes and goes:
    `sets` name -> type, `chains` name -> rules, `elements` (map, key) -> verdict or address ("" in a plain set)."""

    table: str
    base: dict[str, tuple[str, tuple[str, ...]]]
    maps: dict[str, str]
    sets: dict[str, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    elements: dict[tuple[str, str], str] = field(default_factory=dict)


def table_name(profile: str, part: str) -> str:
    """The table of a node, of its part "NODE/policy", or of part "host" or "partition"; no name can hold a slash."""
    return f"minikube-py-{profile}/{part}"


def frame(scope: Scope) -> Ruleset:
    """The table without any Service: its chains with hooks, its maps, cluster DNS and the pods' host ports."""
    if scope.node:
        ruleset = Ruleset(scope.table, _node_base(scope), {**_MAPS, **_NODE_MAPS})
    else:
        ruleset = Ruleset(scope.table, _host_base(scope), dict(_MAPS))
    _add_dns(ruleset, scope)
    for entry in sorted(scope.host_ports, key=lambda entry: not entry.host_ip):
        # Like a node's, this host's loopback leads to the pod too. Nodes share it: the first to claim a port has it.
        for address in (entry.host_ip,) if entry.host_ip else (scope.node_ip, "127.0.0.1"):
            key = f"{address} . {entry.protocol.lower()} . {entry.port}"
            ruleset.elements.setdefault((HOSTPORTS, key), f"{entry.pod_ip} . {entry.container_port}")
        ruleset.elements[HAIRPIN, f"{entry.pod_ip} . {entry.pod_ip}"] = ""
    return ruleset


def part(scope: Scope, ports: Iterable[ServicePort]) -> Ruleset:
    """What some Services add to the frame; their chains' names are theirs alone."""
    ruleset = Ruleset(scope.table, {}, _NODE_MAPS if scope.node else _MAPS)
    for port in ports:
        if scope.node:
            _add_to_node(ruleset, scope, port)
        else:
            _add_to_host(ruleset, scope, port)
    return ruleset


def build(scope: Scope, ports: Iterable[ServicePort]) -> Ruleset:
    """The complete table for these service ports."""
    ruleset, services = frame(scope), part(scope, ports)
    ruleset.sets |= services.sets
    ruleset.chains |= services.chains
    ruleset.elements = services.elements | ruleset.elements
    return ruleset


_MAPS = {
    SERVICE_IPS: "map { type ipv4_addr . inet_proto . inet_service : verdict; }",
    NODEPORTS: "map { type inet_proto . inet_service : verdict; }",
}
_NODE_MAPS = {
    HAIRPIN: "set { type ipv4_addr . ipv4_addr; }",  # pods that may meet themselves, as (address . address)
    HOSTPORTS: "map { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
}
_TO_SERVICE = f"ip daddr . meta l4proto . th dport vmap @{SERVICE_IPS}"
_TO_HOSTPORT = f"dnat ip to ip daddr . meta l4proto . th dport map @{HOSTPORTS}"
_TO_NODEPORT = f"meta l4proto . th dport vmap @{NODEPORTS}"


def _node_base(scope: Scope) -> dict[str, tuple[str, tuple[str, ...]]]:
    unserved = f"ip saddr {scope.pod_cidr} ip daddr {_service_addresses(scope)}"
    return {
        "prerouting": (
            f"type nat hook prerouting {_NAT_BEFORE_ENGINE}",
            (_TO_HOSTPORT, f"ip saddr {scope.pod_cidr} {_TO_SERVICE}", f"ip daddr {scope.node_ip} {_TO_NODEPORT}"),
        ),
        "output": (f"type nat hook output {_NAT_BEFORE_ENGINE}", (_TO_HOSTPORT,)),
        # A pod that reaches itself must see the node as its peer, or it would answer itself directly.
        "postrouting": (
            "type nat hook postrouting priority 99; policy accept;",
            (
                f"ip saddr {scope.pod_cidr} ip saddr . ip daddr @{HAIRPIN} ct status dnat snat to {scope.node_ip}",
                *_behind_node(scope),
            ),
        ),
        "forward-unserved": (
            "type filter hook forward priority 0; policy accept;",
            (f"{unserved} meta l4proto tcp reject with tcp reset", f"{unserved} reject"),
        ),
    }


def _behind_node(scope: Scope) -> tuple[str, ...]:
    if not scope.infrastructure_cidr:
        return ()
    return (f"ip saddr {scope.pod_cidr} ip daddr {scope.infrastructure_cidr} ct status dnat snat to {scope.node_ip}",)


def _service_addresses(scope: Scope) -> str:
    return f"{{ {scope.service_cidr}, {scope.balancer_cidr} }}" if scope.balancer_cidr else scope.service_cidr


def _host_base(scope: Scope) -> dict[str, tuple[str, tuple[str, ...]]]:
    local = [f"ip daddr {scope.cluster_cidr} fib daddr type local", "ip daddr 127.0.0.0/8"]
    outside = f'iifname != "{scope.bridge}"'
    from_outside = [f"{outside} {_TO_SERVICE}"]
    if scope.host_addresses:
        own = f"ip daddr {{ {', '.join(sorted(scope.host_addresses))} }}"
        local.append(own)
        from_outside.append(f"{outside} {own} {_TO_NODEPORT}")
    return {
        # With route_localnet on the bridge, nobody but the host may address the host's loopback.
        "guard-loopback": (
            "type filter hook prerouting priority -300; policy accept;",
            (f'iifname "{scope.bridge}" ip daddr 127.0.0.0/8 drop',),
        ),
        # Other machines: the host's addresses have the NodePorts; what is routed to us finds the Services' addresses.
        "prerouting": (f"type nat hook prerouting {_NAT_BEFORE_ENGINE}", tuple(from_outside)),
        "output": (
            f"type nat hook output {_NAT_BEFORE_ENGINE}",
            (_TO_SERVICE, *(f"{match} {_TO_NODEPORT}" for match in local)),
        ),
        "postrouting": (
            "type nat hook postrouting priority 99; policy accept;",
            (f'ip saddr 127.0.0.0/8 oifname "{scope.bridge}" masquerade',),
        ),
        "output-unserved": (
            "type filter hook output priority 0; policy accept;",
            (
                f"ip daddr {_service_addresses(scope)} meta l4proto tcp reject with tcp reset",
                f"ip daddr {_service_addresses(scope)} reject",
            ),
        ),
    }


def _add_to_node(ruleset: Ruleset, scope: Scope, port: ServicePort) -> None:
    everywhere = _balance(ruleset, port, "", nearest(port.endpoints, scope.node, scope.zone))
    here = _balance(ruleset, port, "local", usable(port.endpoints, scope.node)) if _has_policy(port) else ""
    _add_vips(ruleset, port, port.vips, here if port.internal_local else everywhere)
    _add_outer_addresses(ruleset, port, everywhere)
    if not port.node_port or not everywhere:
        return
    target = everywhere
    if port.external_local:  # the node's own pods may go anywhere, everyone else only to its own endpoints
        target = _chain(
            ruleset, port, "external", (f"ip saddr {scope.pod_cidr} goto {everywhere}", _goto_or_drop(here))
        )
    ruleset.elements[NODEPORTS, f"{_protocol(port)} . {port.node_port}"] = f"goto {target}"


def _add_to_host(ruleset: Ruleset, scope: Scope, port: ServicePort) -> None:
    everywhere = _balance(ruleset, port, "", usable(port.endpoints))
    _add_vips(ruleset, port, port.vips, everywhere)
    _add_outer_addresses(ruleset, port, everywhere)
    if not port.node_port or not everywhere:
        return
    ruleset.elements[NODEPORTS, f"{_protocol(port)} . {port.node_port}"] = f"goto {everywhere}"
    if port.external_local:
        for node, address in sorted(scope.node_ips.items()):
            local = _balance(ruleset, port, node, usable(port.endpoints, node))
            target = _chain(ruleset, port, f"external.{node}", (_goto_or_drop(local),))
            ruleset.elements[SERVICE_IPS, f"{address} . {_protocol(port)} . {port.node_port}"] = f"goto {target}"


def _add_outer_addresses(ruleset: Ruleset, port: ServicePort, chain: str) -> None:
    """External IPs and those of the load balancer, which may admit some sources only."""
    _add_vips(ruleset, port, port.external, chain)
    if port.sources and port.balanced and chain:
        admitted = f"ip saddr {{ {', '.join(port.sources)} }} goto {chain}"
        chain = _chain(ruleset, port, "admitted", (admitted, "drop"))
    _add_vips(ruleset, port, port.balanced, chain)


def _add_vips(ruleset: Ruleset, port: ServicePort, vips: tuple[str, ...], chain: str) -> None:
    if chain:
        for vip in vips:
            ruleset.elements[SERVICE_IPS, f"{vip} . {_protocol(port)} . {port.port}"] = f"goto {chain}"


def _add_dns(ruleset: Ruleset, scope: Scope) -> None:
    """The cluster's DNS address leads to the node's own server, whatever endpoints the Service may have."""
    servers = [scope.node_ip] if scope.node else sorted(scope.node_ips.values())
    if scope.dns_vip and servers:
        for protocol in ("TCP", "UDP"):
            port = ServicePort("kube-system", "kube-dns", "dns", protocol, 53, (scope.dns_vip,), 0, ())
            _add_vips(
                ruleset,
                port,
                port.vips,
                _balance(ruleset, port, "node", tuple(Endpoint(ip, scope.dns_port) for ip in servers)),
            )


def _balance(ruleset: Ruleset, port: ServicePort, kind: str, endpoints: tuple[Endpoint, ...]) -> str:
    """The chain that rewrites to a random one of the endpoints; its name, or "" when there is none to rewrite to."""
    if not endpoints:
        return ""
    for endpoint in endpoints if HAIRPIN in ruleset.maps else ():
        ruleset.elements[HAIRPIN, f"{endpoint.ip} . {endpoint.ip}"] = ""
    if port.affinity_seconds:
        return _chain(ruleset, port, kind, _sticky(ruleset, port, kind, endpoints))
    return _chain(ruleset, port, kind, (_rewrite(port, endpoints),))


def _rewrite(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> str:
    match = f"meta l4proto {_protocol(port)}"
    if len(endpoints) == 1:
        return f"{match} dnat to {endpoints[0].ip}:{endpoints[0].port}"
    choices = ", ".join(f"{n} : {e.ip} . {e.port}" for n, e in enumerate(endpoints))
    return f"{match} dnat ip to numgen random mod {len(endpoints)} map {{ {choices} }}"


def _sticky(ruleset: Ruleset, port: ServicePort, kind: str, endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
    """ClientIP affinity: a set of recent clients per endpoint is asked first; whoever is chosen remembers its client."""
    remembered, fresh = [], []
    for number, endpoint in enumerate(endpoints):
        clients = f"affinity-{digest(_identity(port), kind, endpoint[:2], port.affinity_seconds)}"
        ruleset.sets[clients] = f"set {{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; }}"
        remember = f"update @{clients} {{ ip saddr }}"
        chain = _chain(
            ruleset, port, f"{kind or 'to'}.{endpoint.ip}.{endpoint.port}", (remember, _rewrite(port, (endpoint,)))
        )
        remembered.append(f"ip saddr @{clients} goto {chain}")
        fresh.append(f"{number} : goto {chain}")
    return (*remembered, f"numgen random mod {len(endpoints)} vmap {{ {', '.join(fresh)} }}")


def _chain(ruleset: Ruleset, port: ServicePort, kind: str, rules: tuple[str, ...]) -> str:
    readable = re.sub(r"[^A-Za-z0-9./-]", "-", f"{_identity(port)}{'/' + kind if kind else ''}")[:100]
    name = f"{readable}-{digest(_identity(port), kind, rules)}"
    ruleset.chains[name] = rules
    return name


def _has_policy(port: ServicePort) -> bool:
    return port.internal_local or port.external_local


def _goto_or_drop(chain: str) -> str:
    return f"goto {chain}" if chain else "drop"


def _identity(port: ServicePort) -> str:
    return f"service/{port.namespace}/{port.service}/{_protocol(port)}/{port.name or port.port}"


def _protocol(port: ServicePort) -> str:
    return port.protocol.lower()


def digest(*parts: object) -> str:
    """Ten digits for what a name stands for."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]
