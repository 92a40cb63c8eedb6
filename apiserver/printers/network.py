"""Columns of services, endpoints, ingresses, network policies and addresses.

Who uses it: `kinds.py`. Upstream: pkg/printers/internalversion/printers.go.
"""

from apiserver.printers.columns import (
    AGE,
    NAME,
    NONE,
    UNSET,
    column,
    dig,
    field,
    labels_text,
    more,
    selector_text,
)  # fmt: skip
from minikube_py.api.types import Obj


def _cluster_ip(service: Obj) -> str:
    addresses = dig(service, "spec", "clusterIPs") or ()
    return str(addresses[0] if addresses else dig(service, "spec", "clusterIP") or NONE)


def _ingress_addresses(obj: Obj) -> list[str]:
    ingress = dig(obj, "status", "loadBalancer", "ingress") or ()
    return [str(one.get("ip") or one.get("hostname") or "") for one in ingress]


def _external_ip(service: Obj) -> str:
    spec = service.get("spec") or {}
    extra = spec.get("externalIPs") or []
    match spec.get("type"):
        case "LoadBalancer":
            return ",".join([*sorted(set(filter(None, _ingress_addresses(service)))), *extra]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
    return ",".join(extra) or NONE


def _service_ports(service: Obj) -> str:
    found = []
    for port in dig(service, "spec", "ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        found.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(found) or NONE


SERVICE = (
    NAME,
    column("Type", field("spec.type", "ClusterIP")),
    column("Cluster-IP", _cluster_ip),
    column("External-IP", _external_ip),
    column("Port(s)", _service_ports),
    AGE,
    column("Selector", lambda service: labels_text(dig(service, "spec", "selector")), wide=True),
)


def _host_port(address: str, port: object) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoints(endpoints: Obj) -> str:
    found: list[str] = []
    for subset in endpoints.get("subsets") or ():
        addresses = [one.get("ip", "") for one in subset.get("addresses") or ()]
        ports = [one.get("port") for one in subset.get("ports") or ()]
        found += [_host_port(ip, port) for port in ports for ip in addresses] if ports else addresses
    return more(found)


ENDPOINTS = (NAME, column("Endpoints", _endpoints), AGE)


def _slice_ports(obj: Obj) -> str:
    found = [str(one.get("port") or one.get("name") or "*") for one in obj.get("ports") or ()]
    return more(found, empty=UNSET)


def _slice_endpoints(obj: Obj) -> str:
    return more([address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()], empty=UNSET)


ENDPOINT_SLICE = (
    NAME,
    column("AddressType", field("addressType")),
    column("Ports", _slice_ports),
    column("Endpoints", _slice_endpoints),
    AGE,
)


def _hosts(ingress: Obj) -> str:
    return more([rule["host"] for rule in dig(ingress, "spec", "rules") or () if rule.get("host")], empty="*")


INGRESS = (
    NAME,
    column("Class", field("spec.ingressClassName", NONE)),
    column("Hosts", _hosts),
    column("Address", lambda ingress: ",".join(filter(None, _ingress_addresses(ingress)))),
    column("Ports", lambda ingress: "80, 443" if dig(ingress, "spec", "tls") else "80"),
    AGE,
)


def _parameters(ingress_class: Obj) -> str:
    found = dig(ingress_class, "spec", "parameters")
    if not found:
        return NONE
    group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
    return f"{found.get('kind', '')}{group}/{found.get('name', '')}"


INGRESS_CLASS = (NAME, column("Controller", field("spec.controller")), column("Parameters", _parameters), AGE)
NETWORK_POLICY = (NAME, column("Pod-Selector", lambda obj: selector_text(dig(obj, "spec", "podSelector"))), AGE)


def _parent(address: Obj) -> str:
    ref = dig(address, "spec", "parentRef") or {}
    group = f".{ref['group']}" if ref.get("group") else ""
    return "/".join(filter(None, (f"{ref.get('resource', '')}{group}", ref.get("namespace"), ref.get("name"))))


IP_ADDRESS = (NAME, column("ParentRef", _parent), AGE)
SERVICE_CIDR = (NAME, column("CIDRs", lambda obj: ",".join(dig(obj, "spec", "cidrs") or ())), AGE)
