"""What the service proxy must do, as data: every port of every Service with the endpoints behind it. Pure.

Who calls it: rules.py turns these into nftables rules; the DNS server reads `endpoints_of` too.
Invariant: the answer depends on the given Services and EndpointSlices alone, in no matter which order they come.
Honoured: every slice labelled with the Service's name, hand-written ones too; named target ports resolved by the slice; ready
endpoints, else those still serving while they terminate; ClientIP affinity; traffic policies (where endpoints are chosen).
Upstream: pkg/proxy/servicechangetracker.go, endpointslicecache.go, topology.go.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from minikube_py.api.meta import labels_of, name_of, namespace_of
from minikube_py.api.types import Obj

SERVICE_NAME = "kubernetes.io/service-name"
_DEFAULT_AFFINITY_SECONDS = 10800


class Endpoint(NamedTuple):
    """One address that can answer: `ready`, or only still `serving` because its pod terminates."""

    ip: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True


class ServicePort(NamedTuple):
    """One port of one Service. `vips` are its cluster, external and load-balancer addresses; `node_port` 0 means none."""

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


def service_ports(services: Iterable[Obj], slices: Iterable[Obj]) -> list[ServicePort]:
    """Every port the proxy handles, sorted; ExternalName and headless Services have none."""
    by_service: dict[tuple[str, str], list[Obj]] = defaultdict(list)
    for entry in slices:
        owner = labels_of(entry).get(SERVICE_NAME)
        if owner and entry.get("addressType") == "IPv4":
            by_service[namespace_of(entry), owner].append(entry)
    found: list[ServicePort] = []
    for service in services:
        vips = _addresses(service)
        if vips:
            own = by_service.get((namespace_of(service), name_of(service)), [])
            found += [_port(service, port, vips, own) for port in service["spec"].get("ports") or []]
    return sorted(found)


def usable(endpoints: Iterable[Endpoint], node: str | None = None) -> tuple[Endpoint, ...]:
    """Those to send traffic to, optionally on one node: the ready ones, else the serving ones that terminate."""
    here = [e for e in endpoints if node is None or e.node == node]
    return tuple([e for e in here if e.ready] or [e for e in here if e.serving])


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
    return Endpoint(endpoint["addresses"][0], port, endpoint.get("nodeName") or "", ready, serving)


def _addresses(service: Obj) -> tuple[str, ...]:
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in ("None", "", None):
        return ()
    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    candidates = [
        *(spec.get("clusterIPs") or [spec["clusterIP"]]), *(spec.get("externalIPs") or []),
        *(b.get("ip", "") for b in balancers if b.get("ipMode", "VIP") == "VIP"),
    ]  # fmt: skip
    return tuple(dict.fromkeys(a for a in candidates if _is_ipv4(a)))


def _is_ipv4(address: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(address))
    except ValueError:
        return False


def _port(service: Obj, port: Obj, vips: tuple[str, ...], slices: list[Obj]) -> ServicePort:
    spec = service["spec"]
    name, protocol = port.get("name") or "", port.get("protocol") or "TCP"
    seconds = 0
    if spec.get("sessionAffinity") == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        seconds = client_ip.get("timeoutSeconds") or _DEFAULT_AFFINITY_SECONDS
    return ServicePort(
        namespace_of(service), name_of(service), name, protocol, port["port"], vips, port.get("nodePort") or 0,
        endpoints_of(slices, name, protocol), seconds,
        spec.get("internalTrafficPolicy") == "Local", spec.get("externalTrafficPolicy") == "Local",
    )  # fmt: skip
