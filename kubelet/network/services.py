"""What the service proxy must do, as data: every port of every Service with the endpoints behind it. Pure.

Who calls it: rules.py turns these into nftables rules; the DNS server reads `endpoints_of` too.
Invariant: the answer depends on the given Services and EndpointSlices alone, in no matter which order they come.
Honoured: every slice labelled with the Service's name, hand-written ones too; named target ports resolved by the slice; ready
endpoints, else those still serving while they terminate; ClientIP affinity; traffic policies and topology hints (where
endpoints are chosen); the sources a load balancer's address admits.
Upstream: pkg/proxy/servicechangetracker.go, endpointslicecache.go, topology.go.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from minikube_py.api.meta import key_of, labels_of, name_of, namespace_of
from minikube_py.api.types import Obj

SERVICE_NAME = "kubernetes.io/service-name"
BY_SERVICE = "service"
"""The index of an EndpointSlice informer by `service_of`."""
_DEFAULT_AFFINITY_SECONDS = 10800


class Endpoint(NamedTuple):
    """One address that can answer: `ready`, or only still `serving` because its pod terminates."""

    ip: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()


class ServicePort(NamedTuple):
    """One port of one Service. `vips` are its cluster IPs, `external` its external IPs, `balanced` its load balancer's, which
    admit `sources` (none: everybody); `node_port` 0 means none."""

    namespace: str
    service: str
    name: str
    protocol: str
    port: int
    vips: tuple[str, ...]
    node_port: int
    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int = 0
    internal_local: bool = False
    external_local: bool = False
    external: tuple[str, ...] = ()
    balanced: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def service_ports(services: Iterable[Obj], slices: Iterable[Obj]) -> list[ServicePort]:
    """Every port the proxy handles, sorted; ExternalName and headless Services have none."""
    by_service: dict[str, list[Obj]] = defaultdict(list)
    for entry in slices:
        for key in service_of(entry):
            by_service[key].append(entry)
    found: list[ServicePort] = []
    for service in services:
        found += ports_of(service, by_service.get(key_of(service), []))
    return sorted(found)


def service_of(entry: Obj) -> list[str]:
    """The key of the Service an EndpointSlice belongs to, as an index wants it."""
    owner = labels_of(entry).get(SERVICE_NAME)
    return [f"{namespace_of(entry)}/{owner}"] if owner else []


def ports_of(service: Obj, slices: Iterable[Obj]) -> list[ServicePort]:
    """The ports of one Service, given its own slices, sorted."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in ("None", "", None):
        return []
    own = [entry for entry in slices if entry.get("addressType") == "IPv4"]
    return sorted(_port(service, port, own) for port in spec.get("ports") or [])


def usable(endpoints: Iterable[Endpoint], node: str | None = None) -> tuple[Endpoint, ...]:
    """Those to send traffic to, optionally on one node: the ready ones, else the serving ones that terminate."""
    here = [e for e in endpoints if node is None or e.node == node]
    return tuple([e for e in here if e.ready] or [e for e in here if e.serving])


def nearest(endpoints: Iterable[Endpoint], node: str, zone: str) -> tuple[Endpoint, ...]:
    """Those `usable` from this node that are meant for it, or for its zone. Hints count only if every ready endpoint has one
    and one of them is for us; so a Service never loses its last endpoint to them."""
    found = usable(endpoints)
    for ours, hints in ((node, [e.for_nodes for e in found]), (zone, [e.for_zones for e in found])):
        if ours and all(hints) and any(ours in hint for hint in hints) and all(e.ready for e in found):
            return tuple(e for e, hint in zip(found, hints, strict=True) if ours in hint)
    return found


def endpoints_of(slices: Iterable[Obj], port_name: str, protocol: str) -> tuple[Endpoint, ...]:
    """The endpoints of a Service's slices on the port of this name, each once, sorted; a ready one wins over its double."""
    found: dict[tuple[str, int], Endpoint] = {}
    for entry in slices:
        number = next(
            (p["port"] for p in entry.get("ports") or []
             if (p.get("name") or "") == port_name and (p.get("protocol") or "TCP") == protocol and p.get("port")), 0,
        )  # fmt: skip
        if not number:
            continue
        for endpoint in entry.get("endpoints") or []:
            made = _endpoint(endpoint, number)
            known = found.get((made.ip, made.port))
            if known is None or (made.ready, made.serving, made.node) > (known.ready, known.serving, known.node):
                found[made.ip, made.port] = made
    return tuple(found[key] for key in sorted(found))


def _endpoint(endpoint: Obj, port: int) -> Endpoint:
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving", ready) is not False
    hints = endpoint.get("hints") or {}
    zones, nodes = (tuple(h["name"] for h in hints.get(kind) or []) for kind in ("forZones", "forNodes"))
    return Endpoint(endpoint["addresses"][0], port, endpoint.get("nodeName") or "", ready, serving, zones, nodes)


def _addresses(candidates: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(a for a in candidates if _is_ipv4(a)))


def _disjoint(networks: Iterable[str]) -> list[str]:
    """A set of intervals must not hold overlaps."""
    return [str(net) for net in ipaddress.collapse_addresses(ipaddress.IPv4Network(n, strict=False) for n in networks)]


def _is_ipv4(address: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(address))
    except ValueError:
        return False


def _port(service: Obj, port: Obj, slices: list[Obj]) -> ServicePort:
    spec = service["spec"]
    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    sources = spec.get("loadBalancerSourceRanges") or []
    name, protocol = port.get("name") or "", port.get("protocol") or "TCP"
    seconds = 0
    if spec.get("sessionAffinity") == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        seconds = client_ip.get("timeoutSeconds") or _DEFAULT_AFFINITY_SECONDS
    return ServicePort(
        namespace_of(service), name_of(service), name, protocol, port["port"],
        _addresses(spec.get("clusterIPs") or [spec["clusterIP"]]), port.get("nodePort") or 0,
        endpoints_of(slices, name, protocol), seconds,
        spec.get("internalTrafficPolicy") == "Local", spec.get("externalTrafficPolicy") == "Local",
        _addresses(spec.get("externalIPs") or []),
        _addresses(b.get("ip", "") for b in balancers if b.get("ipMode", "VIP") == "VIP"),
        tuple(_disjoint(text.strip() for text in sources if ":" not in text)),
    )  # fmt: skip
