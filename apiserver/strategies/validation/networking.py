"""Ingress, IngressClass, NetworkPolicy, ServiceCIDR, IPAddress.

Who calls it: the strategy table. Invariant: pure.
Upstream: pkg/apis/networking/validation/validation.go.
"""

import ipaddress

from apiserver.strategies.checks import (
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    required,
    required_syntax,
    syntax,
)
from apiserver.strategies.validation.containers import PROTOCOLS, port_value
from apiserver.strategies.validation.selectors import label_selector
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def _backend(path: str, backend: Obj) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, backend, "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{path}.resource.{name}") for name in ("kind", "name") if not resource.get(name)]
    if service is None:
        return [required(path, "resource or service backend is required")]
    causes = required_syntax(f"{path}.service.name", service.get("name"), names.label_1035)
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        causes.append(invalid(f"{path}.service.port", port, "cannot set both port name & port number"))
    elif not port.get("name") and not port.get("number"):
        causes.append(required(f"{path}.service.port", "port name or number is required"))
    elif port.get("number"):
        causes += syntax(f"{path}.service.port.number", port["number"], names.port_number)
    return causes


def _path(item: Obj, path: str) -> list[Cause]:
    kind, value = item.get("pathType"), item.get("path") or ""
    if not kind:
        return [required(f"{path}.pathType", "pathType must be specified")]
    causes = one_of(f"{path}.pathType", kind, _PATH_TYPES)
    if kind in ("Exact", "Prefix") or value:
        if not value.startswith("/"):
            causes.append(invalid(f"{path}.path", value, "must be an absolute path"))
        for bad in ("//", "/./", "/../", "%2f", "%2F"):
            if kind != "ImplementationSpecific" and bad in value:
                causes.append(invalid(f"{path}.path", value, f"must not contain '{bad}'"))
    return causes + _backend(f"{path}.backend", item.get("backend") or {})


def _host(path: str, host: str) -> list[Cause]:
    if host.startswith("*."):
        return syntax(path, host[2:], names.subdomain)
    if not names.ip(host):
        return [invalid(path, host, "must be a DNS name, not an IP address")]
    return syntax(path, host, names.subdomain)


def _rule(rule: Obj, path: str) -> list[Cause]:
    causes = _host(f"{path}.host", rule["host"]) if rule.get("host") else []
    http = rule.get("http")
    if http is None:
        return causes
    if not http.get("paths"):
        return [*causes, required(f"{path}.http.paths")]
    return causes + each(f"{path}.http.paths", http["paths"], _path)


def ingress(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        causes.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        causes += _backend("spec.defaultBackend", spec["defaultBackend"])
    causes += each("spec.rules", spec.get("rules"), _rule)
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            causes += _host(f"spec.tls[{index}].hosts[{number}]", host)
    if spec.get("ingressClassName"):
        causes += syntax("spec.ingressClassName", spec["ingressClassName"], names.subdomain)
    return causes


def ingressclass(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    causes = syntax("spec.controller", controller, names.qualified) if controller else [required("spec.controller")]
    if controller and "/" not in controller:
        causes.append(invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    parameters = spec.get("parameters")
    if parameters is not None:
        causes += one_of("spec.parameters.scope", parameters.get("scope"), ("Cluster", "Namespace"))
        causes += [required(f"spec.parameters.{name}") for name in ("kind", "name") if not parameters.get(name)]
    return causes


def ingressclass_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return immutable("spec.controller", spec.get("controller"), before.get("controller"))


def _policy_port(item: Obj, path: str) -> list[Cause]:
    causes = one_of(f"{path}.protocol", item["protocol"], PROTOCOLS) if item.get("protocol") else []
    if item.get("port") is not None:
        causes += port_value(f"{path}.port", item["port"])
    end, port = item.get("endPort"), item.get("port")
    if end is not None:
        if not isinstance(port, int):
            causes.append(required(f"{path}.port", "may not be empty or a name when `endPort` is specified"))
        elif end < port:
            causes.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
    return causes


def _peer(item: Obj, path: str) -> list[Cause]:
    causes = label_selector(f"{path}.podSelector", item.get("podSelector"))
    causes += label_selector(f"{path}.namespaceSelector", item.get("namespaceSelector"))
    block = item.get("ipBlock")
    if not any(item.get(name) is not None for name in ("podSelector", "namespaceSelector", "ipBlock")):
        return [required(path, "must specify a peer")]
    if block is None:
        return causes
    if item.get("podSelector") is not None or item.get("namespaceSelector") is not None:
        return [forbidden(path, "may not specify both ipBlock and another peer")]
    causes = required_syntax(f"{path}.ipBlock.cidr", block.get("cidr"), names.cidr)
    for index, hole in enumerate(block.get("except") or ()):
        causes += syntax(f"{path}.ipBlock.except[{index}]", hole, names.cidr)
    if not causes:
        whole = ipaddress.ip_network(block["cidr"], strict=False)
        for index, hole in enumerate(block.get("except") or ()):
            part = ipaddress.ip_network(hole, strict=False)
            if part.version != whole.version or not part.subnet_of(whole) or part == whole:  # type: ignore[arg-type]
                why = f"must be a strict subset of `cidr` {block['cidr']}"
                causes.append(invalid(f"{path}.ipBlock.except[{index}]", hole, why))
    return causes


def networkpolicy(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{index}]"
            causes += each(f"{at}.ports", rule.get("ports"), _policy_port) + each(
                f"{at}.{peers}", rule.get(peers), _peer
            )
    for index, kind in enumerate(spec.get("policyTypes") or ()):
        causes += one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return causes


def servicecidr(obj: Obj) -> list[Cause]:
    blocks = (obj.get("spec") or {}).get("cidrs") or []
    if not blocks:
        return [required("spec.cidrs", "at least one CIDR required")]
    return [cause for index, block in enumerate(blocks) for cause in syntax(f"spec.cidrs[{index}]", block, names.cidr)]


def ip_name(value: str) -> str:
    """The name of an IPAddress is the address itself, in canonical form."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    return "" if str(address) == value else f"must be in canonical form ({address})"


def ipaddress_(obj: Obj) -> list[Cause]:
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        return [required("spec.parentRef")]
    return [required(f"spec.parentRef.{name}") for name in ("resource", "name") if not parent.get(name)]


def parent_kept(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return immutable("spec.parentRef", spec.get("parentRef"), before.get("parentRef"))
