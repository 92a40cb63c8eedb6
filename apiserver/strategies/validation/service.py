"""Services, Endpoints and EndpointSlices.

Who calls it: their strategies. Invariant: pure; ranges and free addresses are the allocators' matter.
Upstream: pkg/apis/core/validation (ValidateService, ValidateEndpoints), pkg/apis/discovery/validation.
"""

from apiserver.strategies.checks import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    optional_one_of,
    required,
    required_syntax,
    syntax,
    too_many,
    unique,
    unsupported,
)
from apiserver.strategies.metadata import labels
from apiserver.strategies.validation.containers import PROTOCOLS, port_value
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


def needs_cluster_ip(spec: Obj) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer", None)


def is_headless(spec: Obj) -> bool:
    return needs_cluster_ip(spec) and spec.get("clusterIP") == "None"


def needs_node_port(spec: Obj) -> bool:
    return spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_port(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _ports(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    ports, seen = spec.get("ports") or [], set()
    for index, port in enumerate(ports):
        at, name = f"spec.ports[{index}]", port.get("name")
        if not name and len(ports) > 1:
            causes.append(required(f"{at}.name"))
        elif name:
            causes += syntax(f"{at}.name", name, names.label)
            if name in seen:
                causes.append(duplicate(f"{at}.name", name))
            seen.add(name)
        causes += syntax(f"{at}.port", port.get("port") or 0, names.port_number)
        causes += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
        causes += port_value(f"{at}.targetPort", port.get("targetPort"))
        if port.get("appProtocol"):
            causes += syntax(f"{at}.appProtocol", port["appProtocol"], names.qualified)
        if is_headless(spec) and spec.get("type") == "NodePort":
            causes.append(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
        if port.get("nodePort") and not needs_node_port(spec) and spec.get("type") != "LoadBalancer":
            why = f"may not be used when `type` is '{spec.get('type')}'"
            causes.append(forbidden(f"{at}.nodePort", why))
    causes += unique("spec.ports", ports, "protocol", "port")
    node_ports = [port if port.get("nodePort") else {"nodePort": object()} for port in ports]
    return causes + unique("spec.ports", node_ports, "protocol", "nodePort", leaf="nodePort")


def _cluster_ips(spec: Obj) -> list[Cause]:
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if not needs_cluster_ip(spec):
        if address or addresses:
            why = f"may not be set when `type` is '{spec.get('type')}'"
            return [forbidden("spec.clusterIPs", why)]
        return []
    causes: list[Cause] = []
    for index, value in enumerate(addresses):
        if value == "None":
            if spec.get("type") != "ClusterIP":
                why = f"may not be set to 'None' for {spec.get('type')} services"
                causes.append(invalid(f"spec.clusterIPs[{index}]", value, why))
            if len(addresses) > 1:
                causes.append(invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
        else:
            causes += syntax(f"spec.clusterIPs[{index}]", value, names.ip)
    if addresses and address and addresses[0] != address:
        causes.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    if len(addresses) > 2:
        causes.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    return causes


def _affinity(spec: Obj) -> list[Cause]:
    causes = one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == "None" and config:
        causes.append(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"))
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= 86400:
        at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        causes.append(invalid(at, seconds, "must be greater than 0 and less than 86400"))
    return causes


def _traffic(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    external = spec.get("externalTrafficPolicy")
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        causes += one_of("spec.externalTrafficPolicy", external, _POLICIES)
    elif external and not spec.get("externalIPs"):
        causes.append(
            invalid("spec.externalTrafficPolicy", external, "may only be set for externally-accessible services")
        )
    if spec.get("type") != "ExternalName":
        causes += one_of("spec.internalTrafficPolicy", spec.get("internalTrafficPolicy"), _POLICIES)
    if spec.get("healthCheckNodePort") and not needs_health_port(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], why))
    if spec.get("type") != "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is not None:
            why = "may only be used when `type` is 'LoadBalancer'"
            causes.append(forbidden("spec.allocateLoadBalancerNodePorts", why))
        if spec.get("loadBalancerClass"):
            causes.append(forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
    return causes


def service(obj: Obj) -> list[Cause]:
    """A Service, defaulted."""
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    causes = one_of("spec.type", kind, TYPES)
    if not spec.get("ports") and kind != "ExternalName" and not is_headless(spec):
        causes.append(required("spec.ports"))
    if kind == "ExternalName":
        name = (spec.get("externalName") or "").removesuffix(".")
        causes += syntax("spec.externalName", name, names.subdomain) if name else [required("spec.externalName")]
    causes += _cluster_ips(spec) + _ports(spec) + _affinity(spec) + _traffic(spec)
    causes += labels("spec.selector", spec.get("selector"))
    causes += optional_one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), _FAMILY_POLICIES)
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        causes += one_of(f"spec.ipFamilies[{index}]", family, _FAMILIES)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        causes += syntax(f"spec.externalIPs[{index}]", address, names.ip)
    for index, network in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        causes += syntax(f"spec.loadBalancerSourceRanges[{index}]", network, names.cidr)
    return causes


def service_update(new: Obj, old: Obj) -> list[Cause]:
    """clusterIP may be filled in or dropped with the type, but not exchanged."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes: list[Cause] = []
    keeps = needs_cluster_ip(spec) and needs_cluster_ip(before) and before.get("clusterIP")
    if keeps and spec.get("clusterIP") != before["clusterIP"]:
        causes.append(invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [], "may not change once set"))
    if spec.get("type") == before.get("type") == "LoadBalancer":
        at = "spec.loadBalancerClass"
        causes += immutable(at, spec.get("loadBalancerClass"), before.get("loadBalancerClass"))
    return causes


def _address(item: Obj, path: str) -> list[Cause]:
    causes = required_syntax(f"{path}.ip", item.get("ip"), names.ip)
    if item.get("hostname"):
        causes += syntax(f"{path}.hostname", item["hostname"], names.label)
    return causes


def endpoints(obj: Obj) -> list[Cause]:
    """An Endpoints object."""
    causes: list[Cause] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            causes += each(f"{at}.{field}", subset.get(field), _address)
        ports = subset.get("ports") or []
        for number, port in enumerate(ports):
            if port.get("name"):
                causes += syntax(f"{at}.ports[{number}].name", port["name"], names.label)
            elif len(ports) > 1:
                causes.append(required(f"{at}.ports[{number}].name"))
            causes += syntax(f"{at}.ports[{number}].port", port.get("port") or 0, names.port_number)
            causes += one_of(f"{at}.ports[{number}].protocol", port.get("protocol"), PROTOCOLS)
    return causes


def endpoint_slice(obj: Obj) -> list[Cause]:
    """An EndpointSlice."""
    causes = one_of("addressType", obj.get("addressType"), ("FQDN", "IPv4", "IPv6"))
    rule = names.subdomain if obj.get("addressType") == "FQDN" else names.ip
    endpoints_, ports = obj.get("endpoints") or [], obj.get("ports") or []
    if len(endpoints_) > 1000:
        causes.append(too_many("endpoints", len(endpoints_), 1000))
    if len(ports) > 20000:
        causes.append(too_many("ports", len(ports), 20000))
    for index, item in enumerate(endpoints_):
        addresses = item.get("addresses") or []
        if not addresses:
            causes.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
        for number, address in enumerate(addresses):
            causes += syntax(f"endpoints[{index}].addresses[{number}]", address, rule)
        if item.get("nodeName"):
            causes += syntax(f"endpoints[{index}].nodeName", item["nodeName"], names.subdomain)
        if item.get("hostname"):
            causes += syntax(f"endpoints[{index}].hostname", item["hostname"], names.label)
    for index, port in enumerate(ports):
        if port.get("name"):
            causes += syntax(f"ports[{index}].name", port["name"], names.label)
        if port.get("protocol") not in PROTOCOLS:
            causes.append(unsupported(f"ports[{index}].protocol", port.get("protocol") or "", PROTOCOLS))
    return causes + unique("ports", ports, "name", leaf="name")


def endpoint_slice_update(new: Obj, old: Obj) -> list[Cause]:
    return immutable("addressType", new.get("addressType"), old.get("addressType"))
